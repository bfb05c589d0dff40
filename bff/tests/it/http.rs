//! GraphQL over HTTP as any client meets it. The audits of the npm package `graphql-http` are in `contracts/checks`;
//! here is what they do not ask.

use serde_json::{Value, json};

use crate::world::World;

const ORDER: &str = r#"query($id: ID!) { order(id: $id) { id } }"#;

#[tokio::test]
async fn a_query_may_come_by_get_with_all_its_parameters() {
    let world = World::start().await;
    let document = "query A($id: ID!) { order(id: $id) { id } } query B { invoices { nodes { id } } }";
    let parameters = [("query", document), ("operationName", "A"), ("variables", r#"{"id":"o2"}"#)];
    let answer = world.get(&parameters).await;
    assert_eq!(answer.status(), 200);
    let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("content-type"), "application/json; charset=utf-8");
    assert_eq!((header("vary"), header("cache-control")), ("Accept".to_owned(), "no-store".to_owned()));
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "data": { "order": { "id": "o2" } } }));
}

#[tokio::test]
async fn the_status_says_what_happened_to_clients_that_read_it() {
    let world = World::start().await;
    let cases = [
        (json!({ "query": "{" }), 400, "GRAPHQL_PARSE_FAILED"),
        (json!({ "query": "{ nothing }" }), 400, "GRAPHQL_VALIDATION_FAILED"),
        (json!({ "query": ORDER }), 400, "BAD_USER_INPUT"),
        (json!({ "query": ORDER, "variables": { "id": [] } }), 400, "GRAPHQL_VALIDATION_FAILED"),
        (json!({ "query": "query A { __typename } query B { __typename }" }), 400, "GRAPHQL_VALIDATION_FAILED"),
        (json!({ "query": "{ orders(first: 0) { nodes { id } } }" }), 200, "none"),
        (json!({ "query": ORDER, "variables": { "id": "o1" } }), 200, "none"),
    ];
    for (body, status, code) in cases {
        for (accept, status) in [("application/graphql-response+json", status), ("application/json", 200)] {
            let request = world.client.post(format!("{}/graphql", world.bff.url())).header("accept", accept);
            let answer = request.json(&body).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{body}");
            assert!(answer.headers()["content-type"].to_str().unwrap().starts_with(accept), "{body}");
            let answer: Value = answer.json().await.unwrap();
            assert_eq!(answer.get("data").is_some(), code == "none", "{answer}");
            if code != "none" {
                assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
            }
        }
    }
}

/// Each of these a page of another site can send without asking: as a form, an image or a link, or by `fetch` in the
/// mode `no-cors`. None may change anything, with whichever cookies it comes.
#[tokio::test]
async fn what_any_web_page_can_send_changes_nothing() {
    let world = World::start().await;
    let url = format!("{}/graphql", world.bff.url());
    let mutation = r#"mutation M { cancelOrder(id: "o1") { order { id } } }"#;
    let body = json!({ "query": mutation }).to_string();
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let answer =
            world.client.post(&url).header("content-type", content_type).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{content_type}");
    }
    let without_type = world.client.post(&url).body(body.clone()).send().await.unwrap();
    assert_eq!(without_type.status(), 415);
    // What only looks like JSON to a careless reader.
    for content_type in ["text/plain; application/json", "application/json-patch+json", "text/plain;application/json"] {
        let answer =
            world.client.post(&url).header("content-type", content_type).body(body.clone()).send().await.unwrap();
        assert_eq!(answer.status(), 415, "{content_type}");
    }

    let behind = format!("query Q {{ __typename }} {mutation}");
    for parameters in [vec![("query", mutation)], vec![("query", &behind), ("operationName", "M")]] {
        let answer = world.get(&parameters).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST"));
    }
    // The parameters of a POST are in its body, not in its address.
    let mut address: reqwest::Url = url.parse().unwrap();
    address.query_pairs_mut().append_pair("query", mutation);
    let answer = world.client.post(address).header("content-type", "application/json").body("{}").send().await.unwrap();
    assert_eq!(answer.status(), 400);
    assert!(world.orders.take_calls().is_empty());
}

#[tokio::test]
async fn other_methods_are_told_which_there_are() {
    let world = World::start().await;
    let answer = world.client.delete(format!("{}/graphql", world.bff.url())).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "GET,HEAD,POST"));
}
