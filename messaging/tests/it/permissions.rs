//! The permissions that we ship: enough for each service, and not for the work of another.
//!
//! What RabbitMQ wants for each operation was found out here: nothing for looking at a queue that exists, `read` on a
//! queue to consume, `write` on an exchange to publish, the topic permission for the routing key, and `write` on
//! `amq.default` for publishing to a queue by its name, which is how a message gets to the dead letters.

use std::sync::Arc;

use contracts::{
    EventType::{InvoicePaid, OrderCanceled, OrderCreated},
    topology::{EXCHANGE, INVOICES_ORDER_CANCELED, ORDERS, ORDERS_INVOICE_EVENTS},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties, ErrorKind,
    options::{
        BasicConsumeOptions, BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueBindOptions,
        QueueDeclareOptions, QueueDeleteOptions, QueuePurgeOptions,
    },
    types::FieldTable,
};
use messaging::{BusStatus, EventBus, Outcome, Rejection, Verdict, rabbitmq::RabbitMq};
use testkit::TestBroker;

use crate::{
    rabbitmq::RabbitWorld,
    support::{Ear, Recorder, event, eventually, ids, relay},
};

/// Each service on a bus with its own user, on a topology that an administrator has declared.
struct Services {
    orders: RabbitMq,
    invoices: RabbitMq,
    bff: RabbitMq,
    urls: [String; 3],
    // Last: the buses go before their virtual host. Its bus is the administrator's.
    admin: RabbitWorld,
}

impl Services {
    async fn start() -> Option<Self> {
        let broker = TestBroker::start().await?;
        let urls = broker.users().await;
        let admin = RabbitWorld::start_on(broker).await;
        admin.up().await;
        let [orders, invoices] = [&urls[0], &urls[1]].map(|url| RabbitMq::connect(url).unwrap());
        let bff = RabbitMq::connect_to_listen(&urls[2], "bff").unwrap();
        for bus in [&orders, &invoices, &bff] {
            eventually("the bus to be up", || bus.status() == BusStatus::Up).await;
        }
        Some(Self { orders, invoices, bff, urls, admin })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_can_do_its_work() {
    let Some(services) = Services::start().await else { return };
    let (created, canceled, invoices) = (Recorder::new(), Recorder::new(), Recorder::new());
    let ear = Arc::new(Ear::default());
    services.bff.listen(ear.clone());
    eventually("the bff to hear", || ear.begun() == 1).await;
    services.invoices.subscribe(&ORDERS, created.clone());
    services.invoices.subscribe(&INVOICES_ORDER_CANCELED, canceled.clone());
    services.orders.subscribe(&ORDERS_INVOICE_EVENTS, invoices.clone());
    let [order, cancellation, invoice] = [OrderCreated, OrderCanceled, InvoicePaid].map(event);

    let sent = relay(services.orders.publisher(), vec![order.clone(), cancellation.clone()]).await;
    let answered = relay(services.invoices.publisher(), vec![invoice.clone()]).await;

    assert_eq!([sent, answered].concat(), vec![Outcome::Accepted; 3]);
    let all = [order.clone(), cancellation.clone(), invoice.clone()];
    for (recorder, event) in [(created, order), (canceled, cancellation), (invoices, invoice)] {
        recorder.saw(&[event]).await;
    }
    eventually("the bff to hear all", || ids(&ear.heard()) == ids(&all)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_service_can_set_a_message_aside() {
    let Some(services) = Services::start().await else { return };
    let refuse = || {
        Recorder::answering(|_, batch| {
            Ok(vec![Verdict::Reject(Rejection { reason: "conflict", error: "no".into() }); batch.len()])
        })
    };
    services.invoices.subscribe(&ORDERS, refuse());
    services.orders.subscribe(&ORDERS_INVOICE_EVENTS, refuse());

    relay(services.orders.publisher(), vec![event(OrderCreated)]).await;
    relay(services.invoices.publisher(), vec![event(InvoicePaid)]).await;

    services.admin.dead_letter("orders.dlq").await;
    services.admin.dead_letter("orders.invoice-events.dlq").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topology_that_is_not_there_yet_is_waited_for() {
    let Some(broker) = TestBroker::start().await else { return };
    let [orders, ..] = broker.users().await;
    let bus = RabbitMq::connect(&orders).unwrap();
    let missing =
        |status| matches!(status, BusStatus::Degraded(why) if why.contains("NOT_FOUND") && why.contains(EXCHANGE));
    eventually("the bus to miss the exchange", || missing(bus.status())).await;

    let admin = RabbitWorld::start_on(broker).await;
    admin.up().await;

    eventually("the bus to be up", || bus.status() == BusStatus::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn none_can_do_the_work_of_another_nor_change_the_topology() {
    let Some(services) = Services::start().await else { return };
    let [orders, invoices, bff] = services.urls.each_ref();

    for (url, routing_key) in [
        (orders, "invoice.paid"),
        (invoices, "order.created"),
        (invoices, "order.canceled"),
        (bff, "order.created"),
        (bff, "invoice.paid"),
    ] {
        refused(url, &format!("publishing {routing_key}"), async |channel| publish(&channel, routing_key).await).await;
    }
    for (url, queue) in [
        (orders, "orders"),
        (orders, "invoices.order-canceled"),
        (invoices, "orders.invoice-events"),
        (orders, "orders.dlq"),
        (invoices, "orders.dlq"),
        (bff, "orders"),
        (bff, "invoices.order-canceled"),
        (bff, "orders.invoice-events"),
        (bff, "orders.dlq"),
    ] {
        refused(url, &format!("consuming {queue}"), async |channel| {
            let options = BasicConsumeOptions::default();
            channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await.map(drop)
        })
        .await;
        refused(url, &format!("taking from {queue}"), async |channel| {
            channel.basic_get(queue.into(), BasicGetOptions::default()).await.map(drop)
        })
        .await;
        refused(url, &format!("purging {queue}"), async |channel| {
            channel.queue_purge(queue.into(), QueuePurgeOptions::default()).await.map(drop)
        })
        .await;
    }
    for url in [orders, invoices, bff] {
        for queue in ["orders", "orders.invoice-events", "a queue of mine"] {
            refused(url, &format!("declaring {queue}"), async |channel| {
                let options = QueueDeclareOptions { durable: true, ..Default::default() };
                channel.queue_declare(queue.into(), options, FieldTable::default()).await.map(drop)
            })
            .await;
        }
        refused(url, "deleting a queue", async |channel| {
            channel.queue_delete("orders.invoice-events".into(), QueueDeleteOptions::default()).await.map(drop)
        })
        .await;
        refused(url, "binding a queue", async |channel| {
            let (queue, key) = ("orders.invoice-events".into(), "order.created".into());
            channel.queue_bind(queue, EXCHANGE.into(), key, QueueBindOptions::default(), FieldTable::default()).await
        })
        .await;
    }
}

/// Tries on a channel of its own, which the broker closes, and expects the broker to refuse.
async fn refused(url: &str, what: &str, attempt: impl AsyncFnOnce(Channel) -> lapin::Result<()>) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let error = attempt(connection.create_channel().await.unwrap()).await.expect_err(what);
    let ErrorKind::ProtocolError(error) = error.kind() else { panic!("{what}: {error}") };
    assert_eq!(error.get_id(), 403, "{what}: {error}");
    connection.close(200, "".into()).await.unwrap();
}

async fn publish(channel: &Channel, routing_key: &str) -> lapin::Result<()> {
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    channel.basic_publish(EXCHANGE.into(), routing_key.into(), options, b"{}", properties).await?.await.map(drop)
}
