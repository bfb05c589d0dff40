//! After a known story, each number is known.

use std::time::Duration;

use contracts::topology::EXCHANGE;
use serde_json::json;
use testkit::{PATIENCE, Scrape, World};
use tokio::time::{Instant, sleep};

use crate::reconciling::say_created;

/// A metric, labels, and the sum of the series that have them.
type Sum<'a> = (&'a str, &'a [(&'a str, &'a str)], f64);

/// Asserts sums, naming the first that is wrong.
fn check(scrape: &Scrape, expected: &[Sum<'_>]) -> Result<(), String> {
    for (name, labels, value) in expected {
        let found = scrape.sum(name, labels);
        if found != *value {
            return Err(format!("{name} {labels:?} is {found}, not {value}"));
        }
    }
    Ok(())
}

/// What is counted after the fact, such as an acknowledgement, comes a moment later.
async fn expect(world: &World, expected: &[Sum<'_>]) {
    let deadline = Instant::now() + PATIENCE;
    // A wrong number stays wrong: this is for what is counted a moment after it was seen.
    while let Err(wrong) = check(&world.scrape().await, expected) {
        assert!(Instant::now() < deadline, "within {PATIENCE:?}: {wrong}");
        sleep(Duration::from_millis(10)).await;
    }
}

const ORDERS: (&str, &str) = ("service", "orders");
const INVOICES: (&str, &str) = ("service", "invoices");
const BFF: (&str, &str) = ("service", "bff");

#[tokio::test]
async fn every_step_of_two_orders_is_counted_where_it_happens() {
    let world = World::start().await;
    let create = "mutation CreateOrder { createOrder(input: { amount: 5 }) { order { id } } }";
    let created = world.graphql(create, json!({})).await;
    let paid: uuid::Uuid = created["data"]["createOrder"]["order"]["id"].as_str().unwrap().parse().unwrap();
    let canceled = world.place(7).await;
    let invoice = world.invoice_of(paid, "issued").await;
    world.invoice_of(canceled, "issued").await;
    let pay = "mutation PayInvoice($id: ID!) { payInvoice(id: $id) { invoice { id } } }";
    world.graphql(pay, json!({ "id": invoice["id"] })).await;
    let cancel = format!("{}/orders/{canceled}/cancel", world.orders_url());
    assert_eq!(world.http.post(cancel).send().await.unwrap().status(), 200);
    world.settle().await;

    const SENT: &str = "messaging_client_sent_messages_total";
    const CONSUMED: &str = "messaging_client_consumed_messages_total";
    const STEPS: &str = "saga_transitions_total";
    let sent = |event: &str| format!("{EXCHANGE}:{event}");
    expect(
        &world,
        &[
            // Orders.
            ("orders_created_total", &[ORDERS], 2.0),
            (SENT, &[ORDERS, ("destination", &sent("order.created")), ("error_type", "")], 2.0),
            (SENT, &[ORDERS, ("destination", &sent("order.paid")), ("error_type", "")], 1.0),
            (SENT, &[ORDERS, ("destination", &sent("order.canceled")), ("error_type", "")], 1.0),
            (SENT, &[ORDERS], 4.0),
            ("outbox_publish_lag_seconds_count", &[ORDERS], 4.0),
            (CONSUMED, &[ORDERS, ("destination", "orders.invoice-events"), ("outcome", "ack")], 4.0),
            (CONSUMED, &[ORDERS], 4.0),
            (STEPS, &[ORDERS, ("from", "pending/none"), ("to", "pending/issued")], 2.0),
            (STEPS, &[ORDERS, ("from", "pending/issued"), ("to", "paid/paid")], 1.0),
            (STEPS, &[ORDERS, ("from", "pending/issued"), ("to", "canceled/issued")], 1.0),
            (STEPS, &[ORDERS, ("from", "canceled/issued"), ("to", "canceled/voided")], 1.0),
            (STEPS, &[ORDERS], 5.0),
            ("order_to_invoice_seconds_count", &[ORDERS], 2.0),
            (
                "http_server_request_duration_seconds_count",
                &[ORDERS, ("route", "/orders"), ("method", "POST"), ("status_code", "201")],
                1.0,
            ),
            (
                "http_server_request_duration_seconds_count",
                &[ORDERS, ("route", "/orders/{id}/cancel"), ("status_code", "200"), ("error_type", "")],
                1.0,
            ),
            // Invoices.
            ("invoices_created_total", &[INVOICES], 2.0),
            (SENT, &[INVOICES, ("destination", &sent("invoice.issued"))], 2.0),
            (SENT, &[INVOICES, ("destination", &sent("invoice.paid"))], 1.0),
            (SENT, &[INVOICES, ("destination", &sent("invoice.voided"))], 1.0),
            (CONSUMED, &[INVOICES, ("destination", "orders"), ("outcome", "ack")], 2.0),
            (CONSUMED, &[INVOICES, ("destination", "invoices.order-canceled"), ("outcome", "ack")], 1.0),
            (CONSUMED, &[INVOICES], 3.0),
            (STEPS, &[INVOICES, ("from", "absent"), ("to", "issued")], 2.0),
            (STEPS, &[INVOICES, ("from", "issued"), ("to", "paid")], 1.0),
            (STEPS, &[INVOICES, ("from", "issued"), ("to", "voided")], 1.0),
            (STEPS, &[INVOICES], 4.0),
            // Nothing went wrong, and nothing waits.
            (CONSUMED, &[("outcome", "retry")], 0.0),
            (CONSUMED, &[("outcome", "dead_letter")], 0.0),
            ("inbox_duplicates_total", &[], 0.0),
            ("outbox_publish_failures_total", &[], 0.0),
            ("outbox_unpublished_messages", &[], 0.0),
            ("outbox_oldest_unpublished_age_seconds", &[], 0.0),
            ("saga_oldest_pending_age_seconds", &[], 0.0),
            ("metrics_collection_errors_total", &[], 0.0),
            // The bff.
            (
                "graphql_operation_duration_seconds_count",
                &[BFF, ("operation_type", "mutation"), ("operation_name", "CreateOrder"), ("outcome", "ok")],
                1.0,
            ),
            (
                "graphql_operation_duration_seconds_count",
                &[BFF, ("operation_name", "PayInvoice"), ("outcome", "ok")],
                1.0,
            ),
            ("graphql_operation_duration_seconds_count", &[BFF], 2.0),
            (
                "graphql_field_duration_seconds_count",
                &[BFF, ("parent_type", "Mutation"), ("field", "createOrder")],
                1.0,
            ),
            ("graphql_errors_total", &[BFF], 0.0),
            ("graphql_query_depth_sum", &[BFF], 6.0),
            ("http_server_request_duration_seconds_count", &[BFF, ("route", "/graphql")], 2.0),
            ("http_server_active_requests", &[], 0.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn an_event_that_comes_again_is_a_duplicate_and_nothing_else() {
    let world = World::start().await;
    let order = world.place(10).await;
    world.settle().await;
    say_created(&world, order).await;

    let of_queue = |outcome| [INVOICES, ("destination", "orders"), ("outcome", outcome)];
    expect(
        &world,
        &[
            ("messaging_client_consumed_messages_total", &of_queue("duplicate"), 1.0),
            ("messaging_client_consumed_messages_total", &of_queue("ack"), 1.0),
            ("inbox_duplicates_total", &[INVOICES, ("event", "order.created")], 1.0),
            ("invoices_created_total", &[INVOICES], 1.0),
            ("messaging_process_duration_seconds_count", &[INVOICES, ("destination", "orders")], 2.0),
        ],
    )
    .await;
}

#[tokio::test]
async fn errors_are_counted_by_whose_fault_they_are() {
    let mut world = World::start().await;
    world.graphql("{ orders(after: \"nonsense\") { nodes { id } } }", json!({})).await;
    world.graphql("{ nonsense }", json!({})).await;
    world.graphql("{", json!({})).await;
    world.stop_invoices().await;
    world.graphql("{ orders { nodes { id } } invoices { nodes { id } } }", json!({})).await;
    world.graphql("query Orders { invoices { nodes { id } } }", json!({})).await;

    let outcome = |outcome| [BFF, ("outcome", outcome)];
    let anonymous = |outcome| [BFF, ("operation_name", "anonymous"), ("outcome", outcome)];
    const OPERATIONS: &str = "graphql_operation_duration_seconds_count";
    expect(
        &world,
        &[
            (OPERATIONS, &anonymous("client_error"), 2.0),
            (OPERATIONS, &anonymous("partial"), 1.0),
            (OPERATIONS, &[BFF, ("operation_name", "Orders"), ("outcome", "error")], 1.0),
            (OPERATIONS, &outcome("ok"), 0.0),
            ("graphql_rejected_total", &[BFF, ("reason", "GRAPHQL_VALIDATION_FAILED")], 1.0),
            ("graphql_rejected_total", &[BFF, ("reason", "GRAPHQL_PARSE_FAILED")], 1.0),
            ("graphql_errors_total", &[BFF, ("code", "BAD_CURSOR")], 1.0),
            ("graphql_errors_total", &[BFF, ("code", "SERVICE_UNAVAILABLE")], 2.0),
            (
                "http_client_request_duration_seconds_count",
                &[BFF, ("subgraph", "invoices"), ("error_type", "connection")],
                4.0,
            ),
        ],
    )
    .await;
}
