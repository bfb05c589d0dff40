//! What we rely on in the client library, and what we avoid because of how it is: one test each, so that an upgrade
//! that changes it is noticed. Where one of them fails, the code that it names wants to be read again.
//!
//! Not here, for they are races: that a channel which tasks share mixes its confirms up, and that two acknowledgements
//! may swap. What we do instead is in [`supervision`](crate::supervision).

use std::{collections::BTreeSet, future::ready, pin::pin, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::join_all};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties, Consumer, ErrorKind, Event,
    PublisherConfirm,
    message::DeliveryResult,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use testkit::{TestBroker, proxy::Proxy};
use tokio::{
    net::{TcpListener, TcpStream, lookup_host},
    sync::Barrier,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    support::{eventually, within},
    wiretap::{ACK, PUBLISH, Wiretap},
};

const QUEUE: &str = "queue";
/// How long to look at what should not happen.
const PENDING: Duration = Duration::from_millis(300);

/// A channel on a virtual host of its own, with a queue.
struct Client {
    channel: Channel,
    connection: Connection,
    // Last: the connection goes before its virtual host.
    broker: TestBroker,
}

impl Client {
    async fn start(arguments: FieldTable) -> Option<Self> {
        let broker = TestBroker::start().await?;
        let connection = Connection::connect(broker.url(), ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let durable = QueueDeclareOptions { durable: true, ..Default::default() };
        channel.queue_declare(QUEUE.into(), durable, arguments).await.unwrap();
        Some(Self { channel, connection, broker })
    }

    async fn confirm(&self) {
        self.channel.confirm_select(ConfirmSelectOptions::default()).await.unwrap();
    }

    /// To a queue, with the id of the message, asking for it back when there is no such queue.
    async fn publish(&self, queue: &str, id: usize) -> PublisherConfirm {
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let properties = BasicProperties::default().with_message_id(id.to_string().into()).with_delivery_mode(2);
        self.channel.basic_publish("".into(), queue.into(), options, b"body", properties).await.unwrap()
    }

    async fn consume(&self) -> Consumer {
        let options = BasicConsumeOptions::default();
        self.channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await.unwrap()
    }
}

/// A queue that takes one message and refuses the rest.
fn full_after_one() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments
}

/// `publish` in `rabbitmq/confirm.rs`: which confirm a returned message comes with says nothing, but when all of a
/// window are there, so is each of its returned messages, once, with its id.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_returned_message_has_come_with_the_last_confirm_of_its_window() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    client.confirm().await;
    for window in 0..10 {
        let ids = window * 200..(window + 1) * 200;
        let queue = |id: usize| if id.is_multiple_of(3) { "no such queue" } else { QUEUE };
        let written = join_all(ids.clone().map(|id| client.publish(queue(id), id))).await;

        let mut returned = Vec::new();
        for confirm in join_all(written).await {
            match confirm.unwrap() {
                Confirmation::Ack(None) => {}
                Confirmation::Ack(Some(message)) => {
                    let id = message.delivery.properties.message_id().clone().unwrap();
                    returned.push(id.as_str().parse::<usize>().unwrap());
                }
                other => panic!("{other:?}"),
            }
        }

        let expected: BTreeSet<_> = ids.filter(|id| id.is_multiple_of(3)).collect();
        assert_eq!(returned.len(), expected.len());
        assert_eq!(returned.into_iter().collect::<BTreeSet<_>>(), expected);
    }
}

/// `publish` in `rabbitmq/confirm.rs` awaits each confirm, because only there a refusal shows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_shows_in_its_own_confirm_and_waiting_for_all_of_them_hides_it() {
    let Some(client) = Client::start(full_after_one()).await else { return };
    client.confirm().await;
    assert_eq!(client.publish(QUEUE, 0).await.await.unwrap(), Confirmation::Ack(None));

    for confirm in join_all(join_all((1..20).map(|id| client.publish(QUEUE, id))).await).await {
        assert_eq!(confirm.unwrap(), Confirmation::Nack(None));
    }

    let unawaited = join_all((20..40).map(|id| client.publish(QUEUE, id))).await;
    drop(unawaited);
    assert!(client.channel.wait_for_confirms().await.unwrap().is_empty(), "20 refusals, and no word of them");
}

/// `next_batch` in `rabbitmq/consumer.rs` takes an error and an end alike for the end of the generation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_that_the_broker_closes_ends_its_stream_with_an_error() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    let mut deliveries = client.consume().await;

    client.channel.basic_ack(4711, BasicAckOptions::default()).await.unwrap();

    let error = within("the error", deliveries.next()).await.expect("an item").expect_err("an error");
    assert!(matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == 406), "{error}");
    assert!(within("the end", deliveries.next()).await.is_none());
    assert!(client.connection.status().connected(), "the connection lives on");
}

/// The same place: nothing but the end says that the queue is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_is_deleted_ends_its_stream_without_an_error() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    let mut deliveries = client.consume().await;

    let other = client.connection.create_channel().await.unwrap();
    other.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await.unwrap();

    assert!(within("the end", deliveries.next()).await.is_none());
    assert!(client.channel.status().connected(), "the channel lives on");
}

/// `settle` in `rabbitmq/consumer.rs` counts an acknowledgement only when the answer is `true`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_that_comes_too_late_is_no_error_but_false() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    client.publish(QUEUE, 1).await;
    let mut deliveries = client.consume().await;
    let delivery = within("the delivery", deliveries.next()).await.unwrap().unwrap();
    let acker = delivery.acker.clone();

    client.channel.close(200, "".into()).await.unwrap();

    assert!(!acker.ack(BasicAckOptions::default()).await.unwrap(), "it was given back, not acknowledged");
}

/// `HEARTBEAT_SECONDS` in `rabbitmq/uri.rs`: a peer that is silent is gone after two of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_peer_is_noticed_after_two_heartbeats() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    let (address, silence) = silenceable(client.broker.address()).await;
    let url = format!("{}?heartbeat=1", client.broker.url().replace(client.broker.address(), &address));
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();

    silence.cancel();

    let since = Instant::now();
    eventually("the connection to end", || !connection.status().connected()).await;
    let lasted = since.elapsed();
    assert!(lasted > Duration::from_millis(900), "after {lasted:?}, too early to be the heartbeat");
    assert!(lasted < Duration::from_secs(10), "after {lasted:?}");
}

/// `wait_blocked` in `rabbitmq/confirm.rs`, and the two connections of `rabbitmq/mod.rs`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_connection_writes_nothing_until_it_is_unblocked() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    let tap = Wiretap::on(&client.broker).await;
    let properties = ConnectionProperties::default().with_connection_name("tapped".into());
    let connection = Connection::connect(&tap.url, properties).await.unwrap();
    let client = Client { channel: connection.create_channel().await.unwrap(), connection, broker: client.broker };
    client.confirm().await;
    client.publish(QUEUE, 1).await.await.unwrap();
    let mut deliveries = client.consume().await;
    let delivery = within("the delivery", deliveries.next()).await.unwrap().unwrap();
    let wire = tap.wires("tapped").remove(0);

    wire.block();
    eventually("the block", || client.connection.status().blocked()).await;
    let mut publish = Box::pin(client.publish(QUEUE, 2));
    let mut acknowledge = Box::pin(delivery.ack(BasicAckOptions::default()));
    assert!(timeout(PENDING, &mut publish).await.is_err(), "it was written");
    assert!(timeout(PENDING, &mut acknowledge).await.is_err(), "it was written");
    assert_eq!((wire.said(PUBLISH).len(), wire.said(ACK).len()), (1, 0));

    wire.unblock();
    within("the confirm", async { publish.await.await.unwrap() }).await;
    assert!(within("the acknowledgement", acknowledge).await.unwrap());
}

/// `watch` in `rabbitmq/link.rs` is the only listener of its connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_listeners_share_the_events_and_neither_has_them_all() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    let tap = Wiretap::on(&client.broker).await;
    let properties = ConnectionProperties::default().with_connection_name("tapped".into());
    let connection = Connection::connect(&tap.url, properties).await.unwrap();
    let moods = |event: &Event| ready(matches!(event, Event::ConnectionBlocked(_) | Event::ConnectionUnblocked));
    let mut one = pin!(connection.events_listener().filter(moods));
    let mut other = pin!(connection.events_listener().filter(moods));
    let wire = tap.wires("tapped").remove(0);

    for _ in 0..5 {
        wire.block();
        wire.unblock();
    }

    // Ten events, and twenty would be told.
    for _ in 0..10 {
        within("an event", async {
            tokio::select! {
                event = one.next() => event.unwrap(),
                event = other.next() => event.unwrap(),
            }
        })
        .await;
    }
    assert!(timeout(PENDING, one.next()).await.is_err() && timeout(PENDING, other.next()).await.is_err());
}

/// `CONNECT` in `rabbitmq/generation.rs`: nobody else gives up on a peer that takes the connection and says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connecting_has_no_deadline_of_its_own() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("amqp://{}?connection_timeout=10", silent.local_addr().unwrap());
    let connecting = Connection::connect(&url, ConnectionProperties::default());
    assert!(timeout(PENDING, connecting).await.is_err(), "it has ended");
}

/// [`Generation`](../../src/rabbitmq/generation.rs) leaves recovery off, and so may take an end for the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_lost_is_lost_for_good_and_closing_it_is_an_error_at_once() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    let proxy = Proxy::to(client.broker.address()).await;
    let url = client.broker.url().replace(client.broker.address(), &proxy.address().to_string());
    let connection = Connection::connect(&url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    let confirm = channel.confirm_select(ConfirmSelectOptions::default());
    within("confirms", confirm).await.unwrap();

    proxy.cut().await;
    eventually("the end", || !connection.status().connected()).await;
    proxy.restore().await;

    assert!(within("an answer", connection.create_channel()).await.is_err());
    assert!(within("an answer", connection.close(200, "bye".into())).await.is_err());
    assert!(!connection.status().connected() && !connection.status().reconnecting());
}

/// `next_batch` in `rabbitmq/consumer.rs` reads the stream: of a delegate there may be many at work, in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn delegates_do_not_wait_for_each_other() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    client.confirm().await;
    for id in 0..2 {
        client.publish(QUEUE, id).await.await.unwrap();
    }
    // The first one waits for the second one.
    let meeting = Arc::new(Barrier::new(3));
    let met = Arc::clone(&meeting);
    client.consume().await.set_delegate(move |_: DeliveryResult| {
        let meeting = Arc::clone(&met);
        async move {
            meeting.wait().await;
        }
    });
    within("both at the same time", meeting.wait()).await;
}

/// `PREFETCH` in `rabbitmq/consumer.rs`: without a limit the library takes whatever there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_limit_a_consumer_that_stands_still_takes_the_whole_queue() {
    let Some(client) = Client::start(FieldTable::default()).await else { return };
    client.confirm().await;
    join_all(join_all((0..500).map(|id| client.publish(QUEUE, id))).await).await;
    let left = async |channel: &Channel| {
        let passive = QueueDeclareOptions { passive: true, durable: true, ..Default::default() };
        channel.queue_declare(QUEUE.into(), passive, FieldTable::default()).await.unwrap().message_count()
    };

    let limited = client.connection.create_channel().await.unwrap();
    limited.basic_qos(10, BasicQosOptions::default()).await.unwrap();
    let consumer = limited
        .basic_consume(QUEUE.into(), "".into(), BasicConsumeOptions::default(), FieldTable::default())
        .await
        .unwrap();
    within("ten to be taken", async {
        while left(&client.channel).await != 490 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    let unlimited = client.consume().await;
    within("the rest to be taken", async {
        while left(&client.channel).await != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    drop((consumer, unlimited));
}

/// A way to the broker that stays open and carries nothing any more once the token is cancelled.
async fn silenceable(broker: &str) -> (String, CancellationToken) {
    let broker = lookup_host(broker).await.unwrap().next().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silence = CancellationToken::new();
    let silent = silence.clone();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(broker).await.unwrap();
        tokio::select! {
            _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
            () = silent.cancelled() => std::future::pending().await,
        }
    });
    (address, silence)
}
