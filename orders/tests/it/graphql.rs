//! The subgraph as a gateway and a client see it.

use serde_json::json;
use testkit::World;

#[test]
fn the_schema_is_the_committed_one() {
    testkit::assert_schema("orders.graphql", &orders::graphql::sdl());
}

#[tokio::test]
async fn entities_are_resolved_by_id_and_a_missing_one_is_null() {
    let world = World::start().await;
    let order = world.place(42).await;
    let answer = world
        .orders_graphql(
            "query($r: [_Any!]!) { _entities(representations: $r) { ... on Order { id amount status timeline { type } } } }",
            json!({ "r": [
                { "__typename": "Order", "id": order },
                { "__typename": "Order", "id": uuid::Uuid::now_v7() },
                { "__typename": "Order", "id": "no-uuid" },
            ] }),
        )
        .await;
    let entities = &answer["data"]["_entities"];
    assert_eq!(entities[0]["amount"], 42, "{answer}");
    assert_eq!(entities[0]["timeline"][0]["type"], "ORDER_CREATED");
    assert_eq!((&entities[1], &entities[2]), (&json!(null), &json!(null)));
}

/// A cursor made by hand.
fn cursor_of(at: &str) -> String {
    chassis::cursor::encode("CREATED_AT_DESC", &json!({ "at": at, "amount": 1, "id": uuid::Uuid::nil() }))
}

/// One small request must not take the database from everybody else.
#[tokio::test]
async fn a_request_for_too_much_is_refused_and_introspection_is_not() {
    let world = World::start().await;
    let many: String = (0..500).map(|n| format!("a{n}: orders {{ nodes {{ id }} }} ")).collect();
    let answer = world.orders_graphql(&format!("{{ {many} }}"), json!({})).await;
    assert!(answer["errors"][0]["message"].as_str().unwrap().contains("complex"), "{answer}");
    let answer = world.orders_graphql(testkit::INTROSPECTION, json!({})).await;
    assert!(answer.get("errors").is_none(), "{}", answer["errors"]);
}

#[tokio::test]
async fn lists_are_filtered_and_arguments_are_checked() {
    let world = World::start().await;
    for (amount, customer) in [(5, "ada"), (9, "ada"), (7, "bob")] {
        let body = json!({ "amount": amount, "customerId": customer });
        world.http.post(format!("{}/orders", world.orders_url())).json(&body).send().await.unwrap();
    }
    let query = "query($f: OrderFilter, $s: OrderSort, $n: Int, $a: String) {
        orders(filter: $f, sort: $s, first: $n, after: $a) { nodes { amount } edges { cursor node { amount } } pageInfo { hasNextPage hasPreviousPage endCursor } }
    }";
    let answer = world.orders_graphql(query, json!({ "f": { "customerId": "ada" }, "s": "AMOUNT_DESC" })).await;
    assert_eq!(answer["data"]["orders"]["nodes"], json!([{ "amount": 9 }, { "amount": 5 }]), "{answer}");
    // An optional variable that is left out means the default.
    let all = world.orders_graphql(query, json!({})).await;
    assert_eq!(all["data"]["orders"]["nodes"].as_array().unwrap().len(), 3);
    let first = world.orders_graphql(query, json!({ "n": 1, "s": "AMOUNT_ASC" })).await;
    assert_eq!(first["data"]["orders"]["pageInfo"]["hasNextPage"], true);
    let cursor = &first["data"]["orders"]["edges"][0]["cursor"];

    for (variables, code) in [
        (json!({ "n": 0 }), "BAD_USER_INPUT"),
        (json!({ "n": 101 }), "BAD_USER_INPUT"),
        (json!({ "a": "garbage" }), "BAD_CURSOR"),
        (json!({ "a": cursor_of("-100000-01-01T00:00:00Z") }), "BAD_CURSOR"),
        (json!({ "f": { "customerId": "\u{0}" } }), "BAD_USER_INPUT"),
        (json!({ "a": cursor, "s": "AMOUNT_DESC" }), "BAD_CURSOR"),
    ] {
        let answer = world.orders_graphql(query, variables.clone()).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{variables}: {answer}");
        assert_eq!(answer["errors"][0]["path"], json!(["orders"]));
        assert_eq!(answer["data"], json!({ "orders": null }));
    }
}

#[tokio::test]
async fn what_a_caller_can_correct_is_a_user_error() {
    let world = World::start().await;
    let create =
        "mutation($i: CreateOrderInput!) { createOrder(input: $i) { order { id } userErrors { code field message } } }";
    for (input, code, field) in [
        (json!({ "amount": 0 }), "INVALID_AMOUNT", "amount"),
        (json!({ "amount": -1 }), "INVALID_AMOUNT", "amount"),
        (json!({ "amount": 1, "customerId": "" }), "INVALID_CUSTOMER_ID", "customerId"),
        (json!({ "amount": 1, "idempotencyKey": "" }), "INVALID_IDEMPOTENCY_KEY", "idempotencyKey"),
    ] {
        let answer = world.orders_graphql(create, json!({ "i": input })).await;
        let payload = &answer["data"]["createOrder"];
        assert_eq!(payload["order"], json!(null), "{answer}");
        assert_eq!(
            (&payload["userErrors"][0]["code"], &payload["userErrors"][0]["field"]),
            (&json!(code), &json!(["input", field]))
        );
    }
    // What the schema forbids never reaches the rules.
    let answer = world.orders_graphql(create, json!({ "i": { "amount": 2_147_483_648_i64 } })).await;
    assert!(
        answer["errors"][0]["extensions"]["code"].is_string()
            && answer.get("data").is_none_or(|d| d["createOrder"].is_null()),
        "{answer}"
    );

    let cancel = "mutation($id: ID!) { cancelOrder(id: $id) { order { status } userErrors { code field } } }";
    let answer = world.orders_graphql(cancel, json!({ "id": "no-uuid" })).await;
    assert_eq!(answer["data"]["cancelOrder"]["userErrors"], json!([{ "code": "ORDER_NOT_FOUND", "field": ["id"] }]));
    let order = world.place(1).await;
    for _ in 0..2 {
        let answer = world.orders_graphql(cancel, json!({ "id": order })).await;
        assert_eq!(answer["data"]["cancelOrder"], json!({ "order": { "status": "CANCELED" }, "userErrors": [] }));
    }
    assert_eq!(world.settle().await[&order].invoice, "voided");
}

#[tokio::test]
async fn graphql_over_http_is_strict_about_what_a_web_page_can_send() {
    let world = World::start().await;
    let url = format!("{}/graphql", world.orders_url());
    let mutation = "mutation{createOrder(input:{amount:1}){order{id}}}";
    let by_get = async |parameters: &[(&str, &str)]| {
        let mut url: reqwest::Url = url.parse().unwrap();
        url.query_pairs_mut().extend_pairs(parameters);
        world.http.get(url).send().await.unwrap()
    };
    let named = mutation.replacen("mutation", "mutation M", 1);
    let behind_a_query = format!("query Q {{__typename}} {named}");
    for parameters in [
        vec![("query", mutation)],
        vec![("query", &named)],
        vec![("query", &named), ("operationName", "M")],
        vec![("query", &behind_a_query), ("operationName", "M")],
    ] {
        let answer = by_get(&parameters).await;
        assert_eq!(answer.status(), 405, "{parameters:?}");
        assert_eq!(answer.headers()["allow"], "POST", "{parameters:?}");
    }
    // Without a name none of them runs.
    let nameless = by_get(&[("query", &behind_a_query)]).await.json::<serde_json::Value>().await.unwrap();
    assert_eq!(nameless["errors"][0]["extensions"]["code"], "GRAPHQL_VALIDATION_FAILED", "{nameless}");
    let plain =
        world.http.post(&url).header("content-type", "text/plain").body(json!({ "query": mutation }).to_string());
    assert_eq!(plain.send().await.unwrap().status(), 415);
    let batch = world.http.post(&url).json(&json!([{ "query": "{__typename}" }])).send().await.unwrap();
    assert_eq!(batch.status(), 400);
    let large = world.http.post(&url).json(&json!({ "query": " ".repeat(200_000) })).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let image = world.http.post(&url).header("accept", "image/png").json(&json!({ "query": "{__typename}" }));
    assert_eq!(image.send().await.unwrap().status(), 406);
    assert!(world.pairs().await.is_empty());

    let ok = world.http.get(format!("{url}?query={{__typename}}")).send().await.unwrap();
    assert_eq!(
        (ok.status().as_u16(), ok.headers()["content-type"].to_str().unwrap()),
        (200, "application/json; charset=utf-8")
    );
    for (query, code) in [("{", "GRAPHQL_PARSE_FAILED"), ("{ nothing }", "GRAPHQL_VALIDATION_FAILED")] {
        let request = world
            .http
            .post(&url)
            .header("accept", "application/graphql-response+json")
            .json(&json!({ "query": query }));
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400);
        let body: serde_json::Value = response.json().await.unwrap();
        assert!(body.get("data").is_none() && body["errors"][0]["extensions"]["code"] == code, "{body}");
        assert!(!body["errors"][0]["message"].as_str().unwrap().contains('\n'), "{body}");
    }
}
