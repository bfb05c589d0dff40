//! A request ends at its deadline, with what has arrived by then.

use std::time::Duration;

use serde_json::json;

use crate::{
    service::Trouble,
    world::{World, errors},
};

/// A request that has little time, to services that may take far more than any test runs.
async fn hurried() -> World {
    World::start_with(|config| {
        config.api.request_timeout = Duration::from_millis(1500);
        config.api.subgraph_timeout = Duration::from_secs(600);
    })
    .await
}

#[tokio::test]
async fn a_service_that_is_too_slow_costs_its_own_fields() {
    let world = World::start_with(|config| {
        config.api.request_timeout = Duration::from_secs(600);
        config.api.subgraph_timeout = Duration::from_millis(1500);
    })
    .await;
    world.orders.misbehave(Trouble::Silence);
    let answer = world.ask(r#"{ order(id: "o1") { id invoice { id } } invoices { nodes { id } } }"#).await;
    let invoices = json!({ "nodes": [{ "id": "i1" }, { "id": "i2" }] });
    assert_eq!(answer["data"], json!({ "order": null, "invoices": invoices }));
    assert_eq!(errors(&answer), ["order: TIMEOUT of orders"]);
}

#[tokio::test]
async fn what_has_arrived_at_the_deadline_is_answered() {
    let world = hurried().await;
    world.invoices.misbehave(Trouble::Silence);
    let answer = world.ask("{ orders { nodes { id invoice { id } } } invoices { nodes { id } } }").await;
    let order = |id| json!({ "id": id, "invoice": null });
    assert_eq!(
        answer["data"],
        json!({ "orders": { "nodes": [order("o1"), order("o2"), order("o3")] }, "invoices": null })
    );
    assert_eq!(
        errors(&answer),
        [
            "invoices: TIMEOUT of invoices",
            "orders.nodes.0.invoice: TIMEOUT of invoices",
            "orders.nodes.1.invoice: TIMEOUT of invoices",
            "orders.nodes.2.invoice: TIMEOUT of invoices",
        ]
    );
}

#[tokio::test]
async fn a_mutation_whose_turn_comes_after_the_deadline_is_not_sent() {
    let world = hurried().await;
    world.invoices.misbehave(Trouble::Silence);
    let answer = world
        .ask(r#"mutation { payInvoice(id: "i1") { invoice { id } } cancelOrder(id: "o1") { order { id } } }"#)
        .await;
    assert_eq!(answer["data"], json!({ "payInvoice": null, "cancelOrder": null }));
    assert_eq!(errors(&answer), ["cancelOrder: TIMEOUT of orders", "payInvoice: TIMEOUT of invoices"]);
    assert_eq!(world.orders.take_queries().len(), 0);
}

#[tokio::test]
async fn without_an_order_nobody_waits_for_its_invoice() {
    let world = World::start_with(|config| {
        config.api.request_timeout = Duration::from_secs(600);
        config.api.subgraph_timeout = Duration::from_secs(600);
    })
    .await;
    world.invoices.misbehave(Trouble::Silence);
    let asked = world.ask(r#"{ order(id: "o9") { id invoice { id } } }"#);
    let answer = tokio::time::timeout(Duration::from_secs(60), asked).await.unwrap();
    assert_eq!(answer, json!({ "data": { "order": null } }));
}
