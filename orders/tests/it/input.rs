//! What may be sent to `POST /orders`, and the exact answer to what may not.

use reqwest::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use testkit::World;

async fn post(world: &World, content_type: &str, body: impl Into<reqwest::Body>) -> (StatusCode, String, Value) {
    let url = format!("{}/orders", world.orders_url());
    let response = world.http.post(url).header(CONTENT_TYPE, content_type).body(body).send().await.unwrap();
    let media = response.headers()[CONTENT_TYPE].to_str().unwrap().to_owned();
    (response.status(), media, response.json().await.unwrap())
}

#[tokio::test]
async fn an_order_is_created_with_the_body_of_the_contract() {
    let world = World::start().await;
    let response = world
        .http
        .post(format!("{}/orders", world.orders_url()))
        .header(CONTENT_TYPE, "application/json")
        .body(r#"{"amount": 100}"#)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 201);
    let location = response.headers()["location"].to_str().unwrap().to_owned();
    let text = response.text().await.unwrap();
    let places =
        ["id", "customerId", "amount", "status", "createdAt"].map(|field| text.find(&format!("\"{field}\":")).unwrap());
    assert!(places.is_sorted(), "{text}");
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(body.as_object().unwrap().len(), 5, "{text}");
    assert_eq!(
        (&body["customerId"], &body["amount"], &body["status"]),
        (&json!("customer-123"), &json!(100), &json!("pending"))
    );
    let created_at = body["createdAt"].as_str().unwrap();
    assert!(created_at.len() == 24 && created_at.ends_with('Z'), "{created_at}");

    let found: Value =
        world.http.get(format!("{}{location}", world.orders_url())).send().await.unwrap().json().await.unwrap();
    assert_eq!(found["id"], body["id"]);
}

#[tokio::test]
async fn every_wrong_body_has_its_answer_and_none_creates_an_order() {
    let world = World::start().await;
    let huge = format!(r#"{{"amount": 1, "customerId": "{}"}}"#, "x".repeat(5 * 1024 * 1024));
    let range = "a whole number from 1 to 2147483647";
    for (body, status, pointer, detail) in [
        (r"{}".to_owned(), 422, "/amount", range),
        (r#"{"amount": 0}"#.to_owned(), 422, "/amount", "from 1 to 2147483647, not 0"),
        (r#"{"amount": -5}"#.to_owned(), 422, "/amount", "from 1 to 2147483647, not -5"),
        (r#"{"amount": 2147483648}"#.to_owned(), 422, "/amount", "from 1 to 2147483647, not 2147483648"),
        (r#"{"amount": 1.5}"#.to_owned(), 422, "/amount", "from 1 to 2147483647, not 1.5"),
        (r#"{"amount": "100"}"#.to_owned(), 422, "/amount", "string \"100\", expected a whole number"),
        (r#"{"amount": null}"#.to_owned(), 422, "/amount", "null, expected a whole number"),
        (r#"{"amount": 1, "customerId": ""}"#.to_owned(), 422, "/customerId", "1 to 255 printable characters"),
        (r#"{"amount": 1, "customerId": "a\u0000b"}"#.to_owned(), 422, "/customerId", "control character"),
        (r#"{"amount": 1, "customerId": 7}"#.to_owned(), 422, "/customerId", "expected a string"),
        (r#"{"amount": 1, "colour": "red"}"#.to_owned(), 422, "/colour", "amount and customerId are allowed"),
        ("[1]".to_owned(), 422, "", "must be a JSON object"),
        (r#"{"amount": "#.to_owned(), 400, "-", "the body is not JSON"),
        (String::new(), 400, "-", "the body is not JSON"),
        (huge, 413, "-", "131072 bytes at most"),
    ] {
        let shown: String = body.chars().take(60).collect();
        let (answer, media, problem) = post(&world, "application/json", body).await;
        assert_eq!((answer.as_u16(), media.as_str()), (status, "application/problem+json"), "{shown}: {problem}");
        assert_eq!(problem["status"], status, "{shown}");
        let (found_pointer, found_detail) = match problem["errors"].get(0) {
            Some(error) => (error["pointer"].as_str().unwrap(), error["detail"].as_str().unwrap()),
            None => ("-", problem["detail"].as_str().unwrap()),
        };
        assert_eq!(found_pointer, pointer, "{shown}: {problem}");
        assert!(found_detail.contains(detail), "{shown}: {problem}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1"] {
        let (answer, _, problem) = post(&world, content_type, r#"{"amount": 1}"#).await;
        assert_eq!(answer, 415, "{content_type}: {problem}");
    }
    assert!(world.pairs().await.is_empty());
}

#[tokio::test]
async fn an_integral_float_is_a_whole_number_and_null_means_the_default_customer() {
    let world = World::start().await;
    let (status, _, body) =
        post(&world, "application/json; charset=utf-8", r#"{"amount": 100.0, "customerId": null}"#).await;
    assert_eq!((status.as_u16(), &body["amount"], &body["customerId"]), (201, &json!(100), &json!("customer-123")));
}

#[tokio::test]
async fn unknown_paths_methods_and_ids_are_problems_too() {
    let world = World::start().await;
    let url = world.orders_url();
    for (request, status, code) in [
        (world.http.get(format!("{url}/nothing")), 404, json!("NOT_FOUND")),
        (world.http.delete(format!("{url}/orders")), 405, json!("METHOD_NOT_ALLOWED")),
        (world.http.get(format!("{url}/orders/no-uuid")), 404, json!("ORDER_NOT_FOUND")),
        (world.http.post(format!("{url}/orders/{}/cancel", uuid::Uuid::now_v7())), 404, json!("ORDER_NOT_FOUND")),
        (world.http.get(format!("{url}/orders/%FF")), 404, json!("NOT_FOUND")),
        (world.http.post(format!("{url}/orders/%FF/cancel")), 404, json!("NOT_FOUND")),
        (world.http.get(format!("{url}/orders?customerId=%00")), 422, json!("INVALID_INPUT")),
        (world.http.get(format!("{url}/orders?limit=0")), 422, json!("INVALID_INPUT")),
        (world.http.get(format!("{url}/orders?limit=101")), 422, json!("INVALID_INPUT")),
        (world.http.get(format!("{url}/orders?cursor=x")), 422, json!("INVALID_INPUT")),
        (world.http.get(format!("{url}/orders?status=lost")), 422, json!("INVALID_INPUT")),
        (world.http.get(format!("{url}/orders?colour=red")), 422, json!("INVALID_INPUT")),
    ] {
        let response = request.send().await.unwrap();
        let path = response.url().path().to_owned();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json", "{path}");
        if status == 405 {
            assert_eq!(response.headers()["allow"], "GET,HEAD,POST");
        }
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], code, "{path}");
    }
}

#[tokio::test]
async fn health_is_ok_and_readiness_names_its_parts() {
    let world = World::start().await;
    for path in ["/health", "/livez"] {
        let response = world.http.get(format!("{}{path}", world.orders_url())).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, r#"{"status":"ok"}"#));
    }
    // The broker is reported, not required, and it may still be connecting.
    let response = world.http.get(format!("{}/readyz", world.orders_url())).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.json::<Value>().await.unwrap()["checks"]["database"], "ok");
}
