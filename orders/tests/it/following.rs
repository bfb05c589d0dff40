//! What the service does with what invoices say, however often and in whatever order it comes.

use bytes::Bytes;
use contracts::{Event, EventEnvelope, InvoiceIssued, InvoicePaid, InvoiceRefunded, TraceContext, event_id};
use messaging::{EventBus, Outcome};
use serde_json::json;
use testkit::{World, eventually};
use uuid::Uuid;

fn envelope<E: Event>(event: &E, invoice: Uuid, event_no: i64) -> EventEnvelope {
    EventEnvelope {
        id: event_id(invoice, event_no),
        event_type: E::TYPE,
        source: "invoices".to_owned(),
        aggregate_id: invoice,
        event_no,
        order_id: event.order_id(),
        occurred_at: contracts::now(),
        trace_context: TraceContext::default(),
        asks: false,
        body: Bytes::from(serde_json::to_vec(event).unwrap()),
    }
}

async fn publish(bus: &dyn EventBus, events: &[EventEnvelope]) -> Vec<Outcome> {
    let mut publisher = bus.publisher();
    publisher.ready().await;
    publisher.publish(events).await.unwrap()
}

async fn timeline(world: &World, order: Uuid) -> Vec<String> {
    let answer =
        world.orders_graphql("query($id: ID!) { order(id: $id) { timeline { type } } }", json!({ "id": order })).await;
    let events = answer["data"]["order"]["timeline"].as_array().unwrap().clone();
    events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_order_is_paid_once_however_often_it_is_said() {
    let mut world = World::start().await;
    let order = world.place(10).await;
    world.settle().await;
    // From here on this test speaks for invoices.
    world.stop_invoices().await;
    let bus = world.test_bus();
    let id = Uuid::now_v7();
    let issued = envelope(&InvoiceIssued { id, order_id: order }, id, 1);
    let paid = envelope(&InvoicePaid { id, order_id: order }, id, 2);
    // Paid before issued, and everything three times, in one window and in several.
    publish(&*bus, &[paid.clone(), issued.clone(), paid.clone()]).await;
    publish(&*bus, &[issued, paid]).await;
    eventually("the order is paid", || async { (world.pairs().await[&order].order == "paid").then_some(()) }).await;
    let expected = ["ORDER_CREATED", "INVOICE_ISSUED", "INVOICE_PAID", "ORDER_PAID"];
    let mut seen = timeline(&world, order).await;
    seen.sort();
    let mut sorted = expected.to_vec();
    sorted.sort_unstable();
    assert_eq!(seen, sorted);
}

#[tokio::test]
async fn what_is_said_of_a_canceled_order_never_revives_it() {
    let mut world = World::start().await;
    let order = world.place(10).await;
    world.settle().await;
    world.stop_invoices().await;
    let cancel = format!("{}/orders/{order}/cancel", world.orders_url());
    assert_eq!(world.http.post(cancel).send().await.unwrap().status(), 200);
    let bus = world.test_bus();
    let id = Uuid::now_v7();
    let events = [
        envelope(&InvoiceRefunded { id, order_id: order }, id, 3),
        envelope(&InvoicePaid { id, order_id: order }, id, 2),
        envelope(&InvoiceIssued { id, order_id: order }, id, 1),
    ];
    publish(&*bus, &events).await;
    let pair = eventually("the refund is known", || async {
        Some(world.pairs().await[&order].clone()).filter(|pair| pair.replica == "refunded")
    })
    .await;
    assert_eq!(pair.order, "canceled");
}
