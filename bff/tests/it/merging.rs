//! Fragments, aliases, directives and repeated fields: how a document is written changes neither the answer nor what
//! it costs.

use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn fragments_and_aliases_are_between_us_and_the_client() {
    let world = World::start().await;
    let query = r#"
        query { order(id: "o1") { ...Head theInvoice: invoice { ...on Invoice { number } } } }
        fragment Head on Order { key: id ...Money invoice { id } }
        fragment Money on Order { amount }
    "#;
    let data = world.data(query).await;
    assert_eq!(
        data["order"],
        json!({ "key": "o1", "amount": 100, "invoice": { "id": "i1" }, "theInvoice": { "number": "INV-00000001" } })
    );
    assert_eq!(world.orders.take_queries(), ["query($id:ID!){order(id:$id){amount id}}"]);
    let invoices = world.invoices.take_queries();
    assert_eq!(invoices.len(), 1);
    assert!(invoices[0].ends_with("{invoice{id number}}}}"), "{invoices:?}");
}

#[tokio::test]
async fn an_alias_of_a_root_field_is_a_field_of_its_own() {
    let world = World::start().await;
    let data = world.data(r#"{ a: order(id: "o1") { id } b: order(id: "o2") { amount } }"#).await;
    assert_eq!(data, json!({ "a": { "id": "o1" }, "b": { "amount": 200 } }));
    let mut queries = world.orders.take_queries();
    queries.sort();
    assert_eq!(queries, ["query($id:ID!){order(id:$id){amount}}", "query($id:ID!){order(id:$id){id}}"]);
}

#[tokio::test]
async fn a_root_field_that_is_selected_in_two_places_is_fetched_once() {
    let world = World::start().await;
    let query = "
        query { orders { nodes { id } } ...More orders { nodes { status } } }
        fragment More on Query { orders { nodes { amount invoice { id } } } }
    ";
    let data = world.data(query).await;
    assert_eq!(
        data["orders"]["nodes"][1],
        json!({ "id": "o2", "amount": 200, "invoice": { "id": "i2" }, "status": "PENDING" })
    );
    assert_eq!(world.orders.take_queries().len(), 1);
    assert_eq!(world.invoices.take_queries().len(), 1);
}

#[tokio::test]
async fn a_failed_root_field_that_is_selected_in_two_places_is_null() {
    let mut world = World::start().await;
    world.orders.go_down().await;
    let answer = world.ask("{ orders { nodes { id } } ... on Query { orders { nodes { amount } } } }").await;
    assert_eq!(answer["data"], json!({ "orders": null }));
}

#[tokio::test]
async fn two_fields_under_one_name_are_refused() {
    let world = World::start().await;
    for query in [
        r#"{ x: order(id: "o1") { id } x: order(id: "o2") { id } }"#,
        r#"{ x: order(id: "o1") { id } x: invoice(id: "i1") { id } }"#,
        r#"{ x: order(id: "o1") { id } ...F } fragment F on Query { x: orders { nodes { id } } }"#,
    ] {
        let answer = world.ask(query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{query}: {answer}");
        assert_eq!(answer.get("data"), None);
    }
    assert_eq!(world.orders.take_queries().len(), 0);
}

#[tokio::test]
async fn what_a_directive_leaves_out_costs_nothing() {
    let world = World::start().await;
    let check = async |directive: &str, variables: Value, asked: bool| {
        let query = format!(
            "query($with: Boolean! = true, $without: Boolean = false) {{
                order(id: \"o1\") {{ id invoice {directive} {{ id }} }}
                x: order(id: \"o3\") @skip(if: $with) @include(if: $without) {{ id }}
            }}"
        );
        let answer = world.ask_with(&query, variables).await;
        assert_eq!(answer.get("errors"), None, "{answer}");
        let order = if asked { json!({ "id": "o1", "invoice": { "id": "i1" } }) } else { json!({ "id": "o1" }) };
        assert_eq!(answer["data"]["order"], order, "{directive}");
        assert_eq!(world.invoices.take_queries().len(), usize::from(asked), "{directive}");
    };
    check("@include(if: true)", json!({}), true).await;
    check("@include(if: false)", json!({}), false).await;
    check("@skip(if: true)", json!({}), false).await;
    for (with, asked) in [(json!({ "with": true }), true), (json!({ "with": false }), false), (json!({}), true)] {
        check("@include(if: $with)", with, asked).await;
    }
    for (without, asked) in [(json!({ "without": true }), false), (json!({}), true)] {
        check("@skip(if: $without)", without, asked).await;
    }
    assert_eq!(world.data(r#"{ order(id: "o1") @skip(if: true) { id } }"#).await, json!({}));
}

#[tokio::test]
async fn an_object_of_which_everything_is_left_out_is_an_object() {
    let world = World::start().await;
    let order =
        |below: &str| format!("{{ order(id: \"o1\") {{ {below} }} }} fragment F on Order {{ invoice {{ id }} }}");
    for (below, expected) in [
        ("...F timeline { at @skip(if: true) }", json!({ "timeline": [{}], "invoice": { "id": "i1" } })),
        ("...F invoice { number @skip(if: true) }", json!({ "invoice": { "id": "i1" } })),
        ("invoice { ... { id @skip(if: true) } } ...F", json!({ "invoice": { "id": "i1" } })),
        ("...F @skip(if: true) id @include(if: false)", json!({})),
    ] {
        assert_eq!(world.data(&order(below)).await["order"], expected, "{below}");
    }
}

#[tokio::test]
async fn typename_has_directives_like_every_field() {
    let world = World::start().await;
    let query = "query($no: Boolean!) { order(id: \"o1\") { id t: __typename @include(if: $no) ...F } }
                 fragment F on Order { u: __typename @skip(if: $no) }";
    let answer = world.ask_with(query, json!({ "no": false })).await;
    assert_eq!(answer, json!({ "data": { "order": { "id": "o1", "u": "Order" } } }));
    for wrong in ["@include(if: $other)", "@include(if: 1)", "@include", "@nothing"] {
        let answer = world.ask(&format!("{{ __typename {wrong} }}")).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{wrong}: {answer}");
    }
}

#[tokio::test]
async fn the_answer_has_the_order_of_the_document() {
    let world = World::start().await;
    let query = r#"{ invoices { nodes { orderId id } } me: __typename order(id: "o1") { status id } }"#;
    let text = world.text_of(query, json!({})).await;
    let place = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    let places = ["\"invoices\"", "\"orderId\"", "\"me\"", "\"order\"", "\"status\""].map(place);
    assert!(places.is_sorted(), "{text}");
}

#[tokio::test]
async fn an_argument_that_cannot_be_read_costs_its_own_field_only() {
    let world = World::start().await;
    let list = r#"orders(filter: { createdFrom: "yesterday" }) { nodes { id } }"#;
    let answer = world.ask(&format!(r#"{{ {list} invoice(id: "i1") {{ id }} }}"#)).await;
    assert_eq!(answer["data"], json!({ "orders": null, "invoice": { "id": "i1" } }), "{answer}");
    assert_eq!(answer["errors"][0]["path"], json!(["orders"]));
    assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
}

#[tokio::test]
async fn a_missing_variable_is_refused_before_anything_runs() {
    let world = World::start().await;
    let query = r#"query($id: ID!) { order(id: $id) { id } invoice(id: "i1") { id } }"#;
    for (variables, fault) in [(json!({}), "is missing"), (json!({ "id": null }), "must not be null")] {
        let answer = world.ask_with(query, variables).await;
        assert_eq!(answer["errors"][0]["message"], format!("variable $id of type ID! {fault}"));
        assert_eq!(answer["errors"][0]["extensions"]["code"], "BAD_USER_INPUT");
        assert_eq!(answer.get("data"), None, "{answer}");
    }
    assert!(world.orders.take_calls().is_empty() && world.invoices.take_calls().is_empty());
}
