//! What the bus has accepted and lost is asked for again, until both sides know the same.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use contracts::{
    EventEnvelope, EventType, TraceContext, event_id,
    topology::{self, Queue},
};
use messaging::{Delivery, HandleError, Handler, Verdict};
use outbox::Patience;
use sea_orm::{ConnectionTrait, Statement};
use testkit::{World, eventually, world::Settings};
use uuid::Uuid;

const SOON: Option<Patience> = Some(Patience::new(Duration::from_millis(500)));

/// A consumer that says it is done and has done nothing.
#[derive(Default)]
struct Hole(AtomicUsize);

#[async_trait]
impl Handler for Hole {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        self.0.fetch_add(batch.len(), Ordering::SeqCst);
        Ok(vec![Verdict::Done; batch.len()])
    }

    async fn is_available(&self) -> bool {
        true
    }
}

/// Has the next message of a queue, whose own consumer is stopped, vanish.
async fn lose_one(world: &World, queue: &'static Queue) {
    let (bus, hole) = (world.test_bus(), Arc::new(Hole::default()));
    let subscription = bus.subscribe(queue, Arc::clone(&hole) as Arc<dyn Handler>);
    eventually("it is lost", || async { (hole.0.load(Ordering::SeqCst) > 0).then_some(()) }).await;
    subscription.stop().await;
}

/// Says what orders say of a new order.
pub(crate) async fn say_created(world: &World, order: Uuid) {
    let body = format!(r#"{{"id":"{order}","amount":10,"customer":{{"id":"customer-123"}}}}"#);
    let event = EventEnvelope {
        id: event_id(order, 1),
        event_type: EventType::OrderCreated,
        source: "orders".to_owned(),
        aggregate_id: order,
        event_no: 1,
        order_id: order,
        occurred_at: contracts::now(),
        trace_context: TraceContext::default(),
        asks: false,
        body: body.into(),
    };
    let mut publisher = world.test_bus().publisher();
    publisher.ready().await;
    publisher.publish(&[event]).await.unwrap();
}

async fn post(world: &World, url: String) {
    let status = world.http.post(url).send().await.unwrap().status();
    assert!(status.is_success(), "{status}");
}

async fn cancel(world: &World, order: Uuid) {
    post(world, format!("{}/orders/{order}/cancel", world.orders_url())).await;
}

/// Where the order stands when nothing more happens: its status, what it knows of the invoice, and the invoice.
async fn end_of(world: &World, order: Uuid) -> [String; 3] {
    let pair = world.settle().await.remove(&order).unwrap();
    [pair.order, pair.replica, pair.invoice]
}

#[tokio::test]
async fn a_lost_order_gets_its_invoice_all_the_same() {
    let mut world = World::with(Settings { orders_patience: SOON, ..Settings::default() }).await;
    world.stop_invoices().await;
    let order = world.place(10).await;
    lose_one(&world, &topology::ORDERS).await;
    world.start_invoices().await;
    assert_eq!(end_of(&world, order).await, ["pending", "issued", "issued"]);
}

#[tokio::test]
async fn a_lost_answer_is_given_again() {
    let mut world = World::with(Settings { orders_patience: SOON, ..Settings::default() }).await;
    world.stop_invoices().await;
    let order = world.place(10).await;
    world.stop_orders().await;
    world.start_invoices().await;
    // Orders may have been stopped before it could say so. When it does later, it is a duplicate without a question.
    say_created(&world, order).await;
    world.invoice_of(order, "issued").await;
    lose_one(&world, &topology::ORDERS_INVOICE_EVENTS).await;
    world.start_orders().await;
    assert_eq!(end_of(&world, order).await, ["pending", "issued", "issued"]);
}

/// Nobody pays most orders for a while, so this one looks like any other: it is asked after as well.
#[tokio::test]
async fn a_lost_payment_is_heard_of_later() {
    let mut world = World::with(Settings { orders_patience: SOON, ..Settings::default() }).await;
    let order = world.place(10).await;
    let invoice = world.invoice_of(order, "issued").await;
    world.settle().await;
    world.stop_orders().await;
    post(&world, format!("{}/invoices/{}/pay", world.invoices_url(), invoice["id"].as_str().unwrap())).await;
    lose_one(&world, &topology::ORDERS_INVOICE_EVENTS).await;
    world.start_orders().await;
    eventually("the order is paid", || async { (world.pairs().await[&order].order == "paid").then_some(()) }).await;
    assert_eq!(end_of(&world, order).await, ["paid", "paid", "paid"]);
}

#[tokio::test]
async fn a_lost_cancellation_voids_the_invoice_in_the_end() {
    let mut world = World::with(Settings { orders_patience: SOON, ..Settings::default() }).await;
    let order = world.place(10).await;
    world.settle().await;
    world.stop_invoices().await;
    cancel(&world, order).await;
    lose_one(&world, &topology::INVOICES_ORDER_CANCELED).await;
    world.start_invoices().await;
    assert_eq!(end_of(&world, order).await, ["canceled", "voided", "voided"]);
}

/// Orders know all they want to know here: it is the other side that lacks something.
#[tokio::test]
async fn a_canceled_order_that_never_came_is_asked_for() {
    let mut world = World::with(Settings { invoices_patience: SOON, ..Settings::default() }).await;
    world.stop_invoices().await;
    let order = world.place(10).await;
    lose_one(&world, &topology::ORDERS).await;
    cancel(&world, order).await;
    world.start_invoices().await;
    assert_eq!(end_of(&world, order).await, ["canceled", "voided", "voided"]);
    assert_eq!(world.invoice_of(order, "voided").await["amount"], 10);
}

/// An older build, which runs beside a newer one for a while, settles an order and leaves its time to ask where it was.
#[tokio::test]
async fn a_settled_order_is_not_asked_after() {
    let world = World::with(Settings { orders_patience: SOON, ..Settings::default() }).await;
    let order = world.place(10).await;
    world.settle().await;
    cancel(&world, order).await;
    world.settle().await;
    let db = world.orders_db();
    db.execute_unprepared("UPDATE orders SET reconcile_at = '2020-01-01 00:00:00+00:00'").await.unwrap();
    eventually("it is known to be settled", || async {
        let sql = "SELECT count(*) AS n FROM orders WHERE reconcile_at IS NOT NULL";
        let left = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap().unwrap();
        (left.try_get::<i64>("", "n").unwrap() == 0).then_some(())
    })
    .await;
}
