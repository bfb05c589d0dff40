//! What only a broker can do to us: messages from strangers, closed connections, queues of another kind or gone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use contracts::{
    EventType::{OrderCreated, OrderPaid},
    TraceContext, event_id,
    topology::{INVOICES_ORDER_CANCELED, ORDERS},
};
use lapin::{
    BasicProperties, Channel, Connection, ConnectionProperties,
    message::BasicGetMessage,
    options::{BasicGetOptions, BasicPublishOptions, BasicRejectOptions, QueueDeclareOptions, QueueDeleteOptions},
    types::{AMQPValue, FieldTable},
};
use messaging::{BusStatus, EventBus, Outcome, Rejection, Verdict, rabbitmq::RabbitMq};
use testkit::TestBroker;
use uuid::Uuid;

use crate::support::{Ear, Recorder, event, events, eventually, relay, relay_with, within};

/// A bus and a plain client on a virtual host of their own.
pub(crate) struct RabbitWorld {
    pub(crate) bus: RabbitMq,
    client: Connection,
    // Last: the bus and the client go before their virtual host.
    broker: TestBroker,
}

impl RabbitWorld {
    /// `None` when no broker is set up.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_on(TestBroker::start().await?).await.into()
    }

    pub(crate) async fn start_on(broker: TestBroker) -> Self {
        let bus = RabbitMq::connect(broker.url()).unwrap();
        Self { bus, client: plain_client(&broker).await, broker }
    }

    pub(crate) fn url(&self) -> &str {
        self.broker.url()
    }

    pub(crate) async fn channel(&self) -> Channel {
        self.client.create_channel().await.unwrap()
    }

    /// Waits until the bus says that it is up.
    pub(crate) async fn up(&self) {
        eventually("the bus to be up", || self.bus.status() == BusStatus::Up).await;
    }

    /// Waits for a message in `queue`, and takes it.
    pub(crate) async fn dead_letter(&self, queue: &str) -> BasicGetMessage {
        self.get(&self.channel().await, queue).await
    }

    /// Waits for a message in `queue`, and has it in hand for as long as `channel` is open.
    pub(crate) async fn get(&self, channel: &Channel, queue: &str) -> BasicGetMessage {
        within("a message", async {
            loop {
                if let Some(message) = channel.basic_get(queue.into(), BasicGetOptions::default()).await.unwrap() {
                    return message;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }

    /// What any AMQP client can do: a body to a queue.
    pub(crate) async fn send_to_queue(&self, queue: &str, properties: BasicProperties, body: &[u8]) {
        let options = BasicPublishOptions::default();
        self.channel().await.basic_publish("".into(), queue.into(), options, body, properties).await.unwrap();
    }
}

async fn plain_client(broker: &TestBroker) -> Connection {
    Connection::connect(broker.url(), ConnectionProperties::default()).await.unwrap()
}

async fn declare_plain(channel: &Channel, queue: &str, arguments: FieldTable) -> lapin::Result<lapin::Queue> {
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, arguments).await
}

fn text(headers: &FieldTable, name: &str) -> String {
    match headers.inner().get(name) {
        Some(AMQPValue::LongString(text)) => text.to_string(),
        other => panic!("{name}: {other:?}"),
    }
}

/// Ends the test where there is no broker.
macro_rules! broker_or_skip {
    ($start:expr) => {
        match $start.await {
            Some(started) => started,
            None => return,
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bare_body_from_a_plain_client_is_an_event() {
    let world = broker_or_skip!(RabbitWorld::start());
    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    world.up().await;
    let order = Uuid::now_v7();
    let body = format!(r#"{{"id":"{order}","amount":100,"customer":{{"id":"c"}}}}"#);

    world.send_to_queue("orders", BasicProperties::default(), body.as_bytes()).await;

    eventually("the message", || recorder.seen().len() == 1).await;
    let event = recorder.seen().remove(0);
    assert_eq!((event.id, event.event_type, event.order_id), (event_id(order, 1), OrderCreated, order));
    assert_eq!((event.source.as_str(), event.event_no), ("orders", 1));
    assert_eq!(event.trace_context, TraceContext::default());
    assert_eq!(event.body, body.as_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_message_goes_to_the_dead_letters_as_it_came() {
    let world = broker_or_skip!(RabbitWorld::start());
    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    world.up().await;
    let theirs = BasicProperties::default().with_message_id("their id".into()).with_expiration("60000".into());

    world.send_to_queue("orders", theirs, b"not json").await;
    let created = event(OrderCreated);
    relay(world.bus.publisher(), vec![created.clone()]).await;

    let letter = world.dead_letter("orders.dlq").await;
    assert_eq!(letter.data, b"not json");
    assert_eq!(letter.properties.message_id().as_ref().map(|id| id.as_str()), Some("their id"));
    assert_eq!(letter.properties.expiration(), &None, "a dead letter does not expire");
    let headers = letter.properties.headers().clone().unwrap();
    assert_eq!(text(&headers, "x-reason"), "malformed");
    assert_eq!(text(&headers, "x-original-queue"), "orders");
    assert!(text(&headers, "x-error").contains("order.created has no order id"), "{headers:?}");
    assert!(text(&headers, "x-failed-at").ends_with('Z'));
    recorder.saw(&[created]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_are_plain_so_that_others_may_declare_them_too() {
    let world = broker_or_skip!(RabbitWorld::start());
    world.up().await;
    for queue in ["orders", "orders.dlq", "invoices.order-canceled", "orders.invoice-events"] {
        declare_plain(&world.channel().await, queue, FieldTable::default()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_another_kind_is_used_as_it_is_and_reported() {
    let broker = broker_or_skip!(TestBroker::start());
    let client = plain_client(&broker).await;
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(100_000));
    declare_plain(&client.create_channel().await.unwrap(), "orders", arguments).await.unwrap();

    let world = RabbitWorld::start_on(broker).await;
    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    let created = event(OrderCreated);
    relay(world.bus.publisher(), vec![created.clone()]).await;

    recorder.saw(&[created]).await;
    let BusStatus::Differs(difference) = world.bus.status() else { panic!("it should be reported") };
    assert!(difference.contains("x-max-length") && difference.contains("'orders'"), "{difference}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_the_broker_closes_comes_back_and_nothing_is_lost() {
    let world = broker_or_skip!(RabbitWorld::start());
    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    world.up().await;
    // Publishes for as long as connections are being closed, and a little longer.
    let closed = Arc::new(AtomicBool::new(false));
    let mut publisher = world.bus.publisher();
    let publishing = tokio::spawn({
        let closed = Arc::clone(&closed);
        async move {
            let mut published = Vec::new();
            loop {
                let last = closed.load(Ordering::SeqCst);
                let window = events(OrderCreated, 50);
                let outcomes = relay_with(&mut *publisher, window.clone()).await;
                assert_eq!(outcomes, vec![Outcome::Accepted; 50]);
                published.extend(window);
                if last {
                    return published;
                }
            }
        }
    });

    // Both of ours, and the plain client's.
    world.broker.close_connections(3).await;
    closed.store(true, Ordering::SeqCst);

    let published = within("everything to be published", publishing).await.unwrap();
    recorder.saw(&published).await;
    world.up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_that_dies_is_replaced_before_anybody_needs_it() {
    let world = broker_or_skip!(RabbitWorld::start());
    world.up().await;

    // Both of ours, and the plain client's.
    let closed = world.broker.close_connections(3).await;

    within("two new connections", async {
        while world.broker.connections().await.difference(&closed).count() < 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    world.up().await;
    let window = [event(OrderCreated)];
    assert_eq!(world.bus.publisher().publish(&window).await, Ok(vec![Outcome::Accepted]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_whose_connection_dies_is_told_so_and_hears_again() {
    let world = broker_or_skip!(RabbitWorld::start());
    let listening = RabbitMq::connect_to_listen(world.url(), "test").unwrap();
    let ear = Arc::new(Ear::default());
    let subscription = listening.listen(ear.clone());
    eventually("the listener to hear", || ear.begun() == 1).await;
    assert_eq!(listening.status(), BusStatus::Up);

    // Both of ours, the one that listens, and the plain client's.
    world.broker.close_connections(4).await;
    eventually("the listener to hear again", || ear.begun() == 2).await;
    world.up().await;
    let paid = event(OrderPaid);
    relay(world.bus.publisher(), vec![paid.clone()]).await;
    eventually("the event to be heard", || ear.heard() == [paid.clone()]).await;

    within("the listener to stop", subscription.stop()).await;
    listening.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_comes_back_with_its_consumer() {
    let world = broker_or_skip!(RabbitWorld::start());
    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    let before = event(OrderCreated);
    relay(world.bus.publisher(), vec![before.clone()]).await;
    recorder.saw(std::slice::from_ref(&before)).await;

    world.channel().await.queue_delete("orders".into(), QueueDeleteOptions::default()).await.unwrap();

    let after = event(OrderCreated);
    relay(world.bus.publisher(), vec![after.clone()]).await;
    recorder.saw(&[before, after]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_queue_takes_is_refused_and_its_neighbours_are_accepted() {
    let world = broker_or_skip!(RabbitWorld::start());
    world.up().await;
    let mut publisher = world.bus.publisher();
    world.channel().await.queue_delete("orders".into(), QueueDeleteOptions::default()).await.unwrap();
    let (created, paid) = (event(OrderCreated), event(OrderPaid));
    let canceled = event(contracts::EventType::OrderCanceled);

    let outcomes = publisher.publish(&[canceled.clone(), created.clone(), paid]).await.unwrap();

    assert_eq!((&outcomes[0], &outcomes[2]), (&Outcome::Accepted, &Outcome::Accepted));
    let Outcome::Refused { reason, permanent: false } = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.contains("NO_ROUTE"), "{reason}");

    // The queue is declared again, with nobody there to consume it, and takes the event then.
    assert_eq!(relay(publisher, vec![created.clone()]).await, [Outcome::Accepted]);
    let (orders, cancellations) = (Recorder::new(), Recorder::new());
    world.bus.subscribe(&ORDERS, orders.clone());
    world.bus.subscribe(&INVOICES_ORDER_CANCELED, cancellations.clone());
    orders.saw(&[created]).await;
    cancellations.saw(&[canceled]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_nothing_waits_but_the_publisher() {
    // Nobody listens on the discard port.
    let bus = RabbitMq::connect("amqp://localhost:9").unwrap();
    let subscription = bus.subscribe(&ORDERS, Recorder::new());
    let mut publisher = bus.publisher();

    assert!(matches!(bus.status(), BusStatus::Degraded(_)));
    assert!(tokio::time::timeout(Duration::from_millis(50), publisher.ready()).await.is_err());
    let error = publisher.publish(&[event(OrderCreated)]).await.unwrap_err();
    assert!(error.to_string().starts_with("the bus is unavailable"), "{error}");
    within("the subscription to stop", subscription.stop()).await;
    within("the bus to close", bus.close()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_heal_ends_among_the_dead_letters_and_says_how_often_it_was_tried() {
    let world = broker_or_skip!(RabbitWorld::start());
    let later = || Verdict::Later(Rejection { reason: "unknown_order", error: "there is no order".into() });
    let recorder = Recorder::answering(move |_, batch| Ok(batch.iter().map(|_| later()).collect()));
    world.bus.subscribe(&ORDERS, recorder.clone());
    let created = event(OrderCreated);

    relay(world.bus.publisher(), vec![created.clone()]).await;

    let letter = world.dead_letter("orders.dlq").await;
    assert_eq!(recorder.calls().len(), 7, "the first time and six more");
    assert_eq!(letter.data, created.body);
    assert_eq!(letter.properties.message_id().as_ref().unwrap().as_str(), created.id.to_string());
    let headers = letter.properties.headers().as_ref().unwrap();
    assert_eq!(text(headers, "x-reason"), "retries_exhausted");
    assert!(text(headers, "x-error").starts_with("unknown_order after 6 retries"));
    assert_eq!(text(headers, "x-service"), "tandem");
    assert_eq!(headers.inner().get("x-retry-count"), Some(&AMQPValue::LongInt(6)));
    let death = headers.inner().keys().find(|name| name.as_str().contains("death"));
    assert_eq!(death, None, "the broker's book-keeping is not carried along");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_there_when_consumers_went_down_is_handled_alone() {
    let world = broker_or_skip!(RabbitWorld::start());
    let (suspect, others) = (event(OrderCreated), events(OrderCreated, 20));
    relay(world.bus.publisher(), vec![suspect.clone()]).await;
    for _ in 0..3 {
        // A consumer that goes down with the message in hand.
        let channel = world.channel().await;
        world.get(&channel, "orders").await;
        channel.close(200, "down".into()).await.unwrap();
    }
    relay(world.bus.publisher(), others.clone()).await;

    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());

    recorder.saw(&[vec![suspect.clone()], others].concat()).await;
    let calls = recorder.calls();
    let with_it: Vec<_> =
        calls.iter().filter(|call| call.iter().any(|delivery| delivery.event.id == suspect.id)).collect();
    assert!(with_it.iter().all(|call| call.len() == 1), "it was handled together with others: {with_it:?}");
    assert!(calls.iter().any(|call| call.len() > 1), "the others were handled together");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_consumer_survives_is_taken_away_by_the_broker_and_kept() {
    let world = broker_or_skip!(RabbitWorld::start());
    let created = event(OrderCreated);
    relay(world.bus.publisher(), vec![created.clone()]).await;
    let channel = world.channel().await;
    for _ in 0..51 {
        let message = world.get(&channel, "orders").await;
        message.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
    }

    let letter = world.dead_letter("orders.dlq").await;

    assert_eq!(letter.data, created.body);
    assert_eq!(text(letter.properties.headers().as_ref().unwrap(), "x-first-death-reason"), "delivery_limit");
}
