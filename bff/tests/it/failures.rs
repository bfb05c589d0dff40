//! A service that fails nulls exactly its fields, and says so at their paths.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    service::Trouble,
    world::{World, errors},
};

#[tokio::test]
async fn without_invoices_every_order_is_there() {
    let mut world = World::start().await;
    world.invoices.go_down().await;
    let down = |path: &str| format!("{path}: SERVICE_UNAVAILABLE of invoices");

    let answer = world.ask("{ orders { nodes { id invoice { id } } } }").await;
    let order = |id| json!({ "id": id, "invoice": null });
    assert_eq!(answer["data"], json!({ "orders": { "nodes": [order("o1"), order("o2"), order("o3")] } }));
    assert_eq!(errors(&answer), [0, 1, 2].map(|index| down(&format!("orders.nodes.{index}.invoice"))));

    let answer = world.ask("{ page: orders { edges { node { id bill: invoice { id } } } } }").await;
    assert_eq!(answer["data"]["page"]["edges"][2], json!({ "node": { "id": "o3", "bill": null } }));
    assert_eq!(errors(&answer), [0, 1, 2].map(|index| down(&format!("page.edges.{index}.node.bill"))));

    let answer = world.ask(r#"{ order(id: "o1") { id invoice { id } } }"#).await;
    assert_eq!(answer["data"], json!({ "order": order("o1") }));
    assert_eq!(errors(&answer), [down("order.invoice")]);

    // Each failed call is one error a field; the fields that were not asked for have none.
    let answer = world.ask("{ orders { nodes { id } } }").await;
    assert_eq!(answer.get("errors"), None);
}

#[tokio::test]
async fn without_orders_the_rest_of_the_request_is_answered() {
    let mut world = World::start().await;
    world.orders.go_down().await;
    let answer = world
        .ask(r#"{ orders { nodes { id } } order(id: "o1") { id invoice { id } } invoices { nodes { id order { id amount } } } }"#)
        .await;
    assert_eq!(
        answer["data"],
        json!({
            "orders": null,
            "order": null,
            "invoices": { "nodes": [{ "id": "i1", "order": null }, { "id": "i2", "order": null }] },
        })
    );
    assert_eq!(
        errors(&answer),
        [
            "invoices.nodes.0.order: SERVICE_UNAVAILABLE of orders",
            "invoices.nodes.1.order: SERVICE_UNAVAILABLE of orders",
            "order: SERVICE_UNAVAILABLE of orders",
            "orders: SERVICE_UNAVAILABLE of orders",
        ]
    );
}

#[tokio::test]
async fn each_way_to_fail_has_its_code_and_tells_nothing_else() {
    // Only a failure that is noticed ends these calls, never the time.
    let world = World::start_with(|config| {
        config.api.request_timeout = Duration::from_secs(600);
        config.api.subgraph_timeout = Duration::from_secs(600);
    })
    .await;
    let graphql_error = |code: &str| {
        Trouble::Body(json!({
            "data": { "order": null },
            "errors": [{ "message": "db-7.internal is slow", "path": ["order"], "extensions": { "code": code } }],
        }))
    };
    let data = |order: Value| Trouble::Body(json!({ "data": { "order": order } }));
    let whole = json!({ "id": "o1", "status": "PENDING", "amount": 1 });
    let with = |name: &str, value: Value| {
        let mut order = whole.clone();
        order[name] = value;
        data(order)
    };
    for (trouble, code) in [
        (Trouble::Status(500), "SERVICE_UNAVAILABLE"),
        (Trouble::Status(503), "SERVICE_UNAVAILABLE"),
        (Trouble::Status(429), "SERVICE_UNAVAILABLE"),
        (Trouble::Status(404), "INTERNAL"),
        (Trouble::Status(302), "INTERNAL"),
        (Trouble::Cut, "SERVICE_UNAVAILABLE"),
        (Trouble::NotJson, "INTERNAL"),
        (Trouble::Endless, "INTERNAL"),
        (Trouble::Body(json!([1, 2])), "INTERNAL"),
        (Trouble::Body(json!({})), "INTERNAL"),
        (Trouble::Body(json!({ "data": null })), "INTERNAL"),
        (data(json!("an order")), "INTERNAL"),
        (data(json!({ "id": "o1", "status": "PENDING" })), "INTERNAL"),
        (with("status", json!("SHIPPED")), "INTERNAL"),
        (with("status", json!(null)), "INTERNAL"),
        (with("amount", json!(2_147_483_648_u32)), "INTERNAL"),
        (graphql_error("SERVICE_UNAVAILABLE"), "SERVICE_UNAVAILABLE"),
        (graphql_error("TIMEOUT"), "TIMEOUT"),
        (graphql_error("INTERNAL"), "INTERNAL"),
        (graphql_error("GRAPHQL_VALIDATION_FAILED"), "INTERNAL"),
        (Trouble::Body(json!({ "errors": [{ "message": "db-7.internal is slow" }] })), "INTERNAL"),
    ] {
        world.orders.misbehave(trouble.clone());
        let answer = world.ask(r#"{ order(id: "o1") { id status amount } }"#).await;
        assert_eq!(answer["data"], json!({ "order": null }), "{trouble:?}");
        assert_eq!(errors(&answer), [format!("order: {code} of orders")], "{trouble:?}");
        let text = answer.to_string();
        for secret in ["127.0.0.1", "localhost", "http", "internal:", "db-7", &world.orders.port.to_string()] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    world.orders.behave();
    world.data(r#"{ order(id: "o1") { id status amount } }"#).await;
}

#[tokio::test]
async fn what_a_service_says_about_the_input_reaches_the_client() {
    let world = World::start().await;
    for code in ["BAD_USER_INPUT", "BAD_CURSOR"] {
        world.orders.misbehave(Trouble::Body(json!({
            "data": { "orders": null },
            "errors": [{ "message": "first must be 1 to 100", "path": ["orders"], "extensions": { "code": code } }],
        })));
        let answer = world.ask("{ orders(first: 0) { nodes { id } } }").await;
        assert_eq!(errors(&answer), [format!("orders: {code} of orders")]);
        assert_eq!(answer["errors"][0]["message"], "first must be 1 to 100");
    }
}

#[tokio::test]
async fn one_entity_that_fails_keeps_its_neighbours() {
    let world = World::start().await;
    world.invoices.misbehave(Trouble::Body(json!({
        "data": { "_entities": [{ "invoice": { "amount": 7 } }, { "invoice": null }, null] },
        "errors": [{ "message": "broken", "path": ["_entities", 1, "invoice"] }],
    })));
    let answer = world.ask("{ orders { nodes { invoice { amount } } } }").await;
    assert_eq!(
        answer["data"]["orders"]["nodes"],
        json!([{ "invoice": { "amount": 7 } }, { "invoice": null }, { "invoice": null }])
    );
    assert_eq!(errors(&answer), ["orders.nodes.1.invoice: INTERNAL of invoices"]);
}

#[tokio::test]
async fn too_few_entities_are_an_error_of_each() {
    let world = World::start().await;
    world.invoices.misbehave(Trouble::Body(json!({ "data": { "_entities": [{ "invoice": null }] } })));
    let answer = world.ask("{ orders { nodes { id invoice { amount } } } }").await;
    assert_eq!(answer["data"]["orders"]["nodes"][0], json!({ "id": "o1", "invoice": null }));
    assert_eq!(errors(&answer), [0, 1, 2].map(|index| format!("orders.nodes.{index}.invoice: INTERNAL of invoices")));
}
