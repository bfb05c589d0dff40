//! What the service does with what orders say, however often and in whatever order it comes.

use bytes::Bytes;
use contracts::{
    Amount, Customer, Event, EventEnvelope, OrderCanceled, OrderCreated, TraceContext, event_id, topology,
};
use messaging::{EventBus, Outcome};
use serde_json::Value;
use testkit::{World, eventually};
use uuid::Uuid;

fn envelope<E: Event>(event: &E, event_no: i64) -> EventEnvelope {
    EventEnvelope {
        id: event_id(event.order_id(), event_no),
        event_type: E::TYPE,
        source: "orders".to_owned(),
        aggregate_id: event.order_id(),
        event_no,
        order_id: event.order_id(),
        occurred_at: contracts::now(),
        trace_context: TraceContext::default(),
        asks: false,
        body: Bytes::from(serde_json::to_vec(event).unwrap()),
    }
}

fn created(order: Uuid, amount: i64) -> EventEnvelope {
    let amount = Amount::try_from(amount).unwrap();
    envelope(&OrderCreated { id: order, amount, customer: Customer { id: "ada".parse().unwrap() } }, 1)
}

fn canceled(order: Uuid) -> EventEnvelope {
    envelope(&OrderCanceled { id: order }, 2)
}

async fn publish(bus: &dyn EventBus, events: &[EventEnvelope]) -> Vec<Outcome> {
    let mut publisher = bus.publisher();
    publisher.ready().await;
    publisher.publish(events).await.unwrap()
}

async fn count(world: &World) -> usize {
    world.pairs().await.values().filter(|pair| pair.invoice != "absent").count()
}

#[tokio::test]
async fn a_redelivered_order_gets_one_invoice_and_one_event() {
    let world = World::start().await;
    let order = world.place(10).await;
    let invoice = world.invoice_of(order, "issued").await;
    world.settle().await;
    let duplicate = EventEnvelope {
        body: Bytes::from(format!(r#"{{"id":"{order}","amount":10,"customer":{{"id":"customer-123"}}}}"#)),
        ..created(order, 10)
    };
    let bus = world.test_bus();
    publish(&*bus, &[duplicate.clone(), duplicate.clone()]).await;
    publish(&*bus, &[duplicate]).await;
    // What comes after them has been processed, so they have been, too.
    let after = world.place(11).await;
    world.invoice_of(after, "issued").await;
    world.settle().await;
    assert_eq!(count(&world).await, 2);
    assert_eq!(world.invoice_of(order, "issued").await, invoice);
}

#[tokio::test]
async fn a_cancellation_that_overtakes_its_order_leaves_no_open_invoice() {
    let mut world = World::start().await;
    world.stop_orders().await;
    let order = Uuid::now_v7();
    let bus = world.test_bus();
    publish(&*bus, &[canceled(order)]).await;
    eventually("there is a tombstone", || async {
        (world.pairs().await.get(&order)?.invoice == "tombstone").then_some(())
    })
    .await;
    // Nobody sees it.
    let url = format!("{}/invoices?orderId={order}", world.invoices_url());
    let page: Value = world.http.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!(page["items"], serde_json::json!([]));

    publish(&*bus, &[created(order, 10), canceled(order), created(order, 10)]).await;
    let invoice = world.invoice_of(order, "voided").await;
    assert_eq!((&invoice["amount"], &invoice["customerId"]), (&10.into(), &"ada".into()));
}

/// Two messages about one order that contradict each other: the first stands, the second waits for somebody to look.
#[tokio::test]
async fn an_order_with_another_amount_is_not_ignored() {
    let mut world = World::start().await;
    world.stop_orders().await;
    let order = Uuid::now_v7();
    let bus = world.test_bus();
    publish(&*bus, &[created(order, 10)]).await;
    world.invoice_of(order, "issued").await;
    let good = Uuid::now_v7();
    let outcomes = publish(&*bus, &[created(order, 11), created(good, 5)]).await;
    world.invoice_of(good, "issued").await;
    assert_eq!(world.invoice_of(order, "issued").await["amount"], 10);
    let reason = world.set_aside(&topology::ORDERS, &outcomes).await;
    assert!(reason.ends_with(&format!("order {order} has an invoice already, with another amount")), "{reason}");
}

/// A hundred orders, half of them canceled, every message three times, mixed.
#[tokio::test]
async fn any_order_of_arrival_ends_in_the_same_place() {
    let mut world = World::start().await;
    world.stop_orders().await;
    let orders: Vec<Uuid> = (1..=100).map(Uuid::from_u128).collect();
    let mut events = Vec::new();
    for (index, order) in orders.iter().enumerate() {
        for _ in 0..3 {
            events.push(created(*order, 1 + index as i64));
            if index % 2 == 0 {
                events.push(canceled(*order));
            }
        }
    }
    // The ids and the places are fixed, so the mix is the same on every run.
    let mut mixed: Vec<(usize, EventEnvelope)> = events.into_iter().enumerate().collect();
    mixed.sort_by_key(|(place, event)| Uuid::new_v5(&event.id, &place.to_be_bytes()));
    let events: Vec<EventEnvelope> = mixed.into_iter().map(|(_, event)| event).collect();
    let bus = world.test_bus();
    for window in events.chunks(37) {
        publish(&*bus, window).await;
    }
    eventually("every order has its final invoice", || async {
        let pairs = world.pairs().await;
        let done = orders.iter().enumerate().all(|(index, order)| {
            let expected = if index % 2 == 0 { "voided" } else { "issued" };
            pairs.get(order).is_some_and(|pair| pair.invoice == expected)
        });
        done.then_some(())
    })
    .await;
    assert_eq!(count(&world).await, 100);
}
