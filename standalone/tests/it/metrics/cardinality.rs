//! Whatever clients send, the number of series stays below a budget: a series costs memory in Prometheus for hours, and a
//! label that a stranger can choose is a way to take it down.

use axum::http::Method;
use futures_util::{StreamExt, stream};
use serde_json::json;
use testkit::World;

/// So many of each kind.
const MANY: usize = 10_000;
/// The most series that the three services may have together, with every route, method and error that there is.
const BUDGET: usize = 6_000;

#[tokio::test]
async fn ten_thousand_strange_names_paths_and_methods_are_no_series() {
    let world = World::start().await;
    world.place(5).await;
    world.settle().await;

    let (graphql, rest) = (format!("{}/graphql", world.bff_url()), world.orders_url().to_owned());
    let requests = (0..MANY).flat_map(|n| {
        // Names and hashes that differ from all before; both parts of the system that a client talks to.
        let strange = format!("Strange{n}x{}", rand::random::<u32>());
        let query = format!("query {strange} {{ __typename }}");
        let operation = world.http.post(&graphql).json(&json!({ "query": query, "operationName": strange }));
        let path = world.http.get(format!("{rest}/{strange}/{n}"));
        let method = Method::from_bytes(strange.to_ascii_uppercase().as_bytes()).unwrap();
        let method = world.http.request(method, format!("{rest}/orders"));
        [(operation, 200), (path, 404), (method, 405)]
    });
    stream::iter(requests)
        .for_each_concurrent(32, |(request, expected)| async move {
            assert_eq!(request.send().await.unwrap().status(), expected);
        })
        .await;

    let scrape = world.scrape().await;
    let series = scrape.series();
    assert!(series <= BUDGET, "{series} series");
    assert!(!scrape.text.to_ascii_lowercase().contains("strange"), "a client's text is a label");
    const REQUESTS: &str = "http_server_request_duration_seconds_count";
    let requests = |labels: &[(&str, &str)]| scrape.sum(REQUESTS, labels);
    assert_eq!(requests(&[("service", "orders"), ("route", "unmatched"), ("method", "GET")]), MANY as f64);
    assert_eq!(requests(&[("service", "orders"), ("route", "/orders"), ("method", "_OTHER")]), MANY as f64);
    const OPERATIONS: &str = "graphql_operation_duration_seconds_count";
    assert_eq!(scrape.sum(OPERATIONS, &[("operation_name", "other"), ("outcome", "ok")]), MANY as f64);
    assert_eq!(scrape.label_values(OPERATIONS, "operation_name"), ["other"]);
}
