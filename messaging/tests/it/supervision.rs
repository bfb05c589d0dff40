//! What the bus says on the wire, and what it does when the broker is in need.

use std::collections::BTreeSet;

use contracts::{EventType::OrderCreated, topology::ORDERS};
use messaging::{BusStatus, EventBus, Outcome, rabbitmq::RabbitMq};
use testkit::{TestBroker, proxy::Proxy};
use tokio::time::{Duration, timeout};

use crate::{
    support::{Recorder, event, events, eventually, relay, within},
    wiretap::{ACK, CONSUME, PUBLISH, QOS, TUNE_OK, Wiretap},
};

const PUBLISHING: &str = "tandem publishing";
const CONSUMING: &str = "tandem consuming";

async fn tapped() -> Option<(RabbitMq, Wiretap, TestBroker)> {
    let broker = TestBroker::start().await?;
    let tap = Wiretap::on(&broker).await;
    let bus = RabbitMq::connect(&tap.url).unwrap();
    eventually("the bus to be up", || bus.status() == BusStatus::Up).await;
    Some((bus, tap, broker))
}

/// Half of it is the pause between two heartbeats, and after twice as much the peer is given up (AMQP 0-9-1, 4.2.7).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_connections_agree_on_a_heartbeat_of_ten_seconds() {
    let Some((_bus, tap, _broker)) = tapped().await else { return };
    for name in [PUBLISHING, CONSUMING] {
        let [wire] = &tap.wires(name)[..] else { panic!("one connection for {name}") };
        let [tuned] = &wire.said(TUNE_OK)[..] else { panic!("tuned once") };
        // The largest channel, two bytes; the largest frame, four; the heartbeat, two.
        assert_eq!(tuned.arguments(TUNE_OK).unwrap()[6..], 10_u16.to_be_bytes());
    }
}

/// The relay waits in `ready`, before it locks a row; consumers go on, on a connection of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_has_blocked_us_is_reported_and_spared_and_consumers_go_on() {
    let Some((bus, tap, broker)) = tapped().await else { return };
    let recorder = Recorder::new();
    bus.subscribe(&ORDERS, recorder.clone());
    let mut publisher = bus.publisher();
    assert_eq!(publisher.publish(&[event(OrderCreated)]).await.unwrap(), [Outcome::Accepted]);
    let wire = tap.wires(PUBLISHING).remove(0);

    wire.block();

    eventually("the block to be known", || matches!(bus.status(), BusStatus::Degraded(_))).await;
    let BusStatus::Degraded(why) = bus.status() else { panic!("{:?}", bus.status()) };
    assert!(why.contains("blocked publishing: low disk"), "{why}");
    assert!(timeout(Duration::from_millis(100), publisher.ready()).await.is_err(), "ready, while it is blocked");
    let published = wire.said(PUBLISH).len();
    let error = publisher.publish(&[event(OrderCreated)]).await.unwrap_err();
    assert!(error.to_string().contains("low disk"), "{error}");
    assert_eq!(wire.said(PUBLISH).len(), published, "nothing was written");
    let elsewhere = RabbitMq::connect(broker.url()).unwrap();
    let others = events(OrderCreated, 10);
    relay(elsewhere.publisher(), others.clone()).await;
    eventually("the consumer to go on", || recorder.seen().len() == 11).await;

    wire.unblock();

    within("the broker to be ready", publisher.ready()).await;
    assert_eq!(bus.status(), BusStatus::Up);
    assert_eq!(publisher.publish(&[event(OrderCreated)]).await.unwrap(), [Outcome::Accepted]);
    assert_eq!(tap.wires(PUBLISHING).len(), 1, "on the same connection");
}

/// Confirms of a channel with two owners get mixed up, so each publisher has one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_publisher_has_a_channel_of_its_own() {
    let Some((bus, tap, _broker)) = tapped().await else { return };
    let mut publishers = [bus.publisher(), bus.publisher(), bus.publisher()];

    for publisher in &mut publishers {
        publisher.publish(&events(OrderCreated, 20)).await.unwrap();
    }

    let channels: Vec<u16> = tap.wires(PUBLISHING)[0].said(PUBLISH).iter().map(|frame| frame.channel()).collect();
    let (first, second, third) = (&channels[..20], &channels[20..40], &channels[40..]);
    for own in [first, second, third] {
        assert_eq!(own.iter().collect::<BTreeSet<_>>().len(), 1, "{channels:?}");
    }
    assert_eq!(channels.iter().collect::<BTreeSet<_>>().len(), 3, "{channels:?}");
}

/// Two acknowledgements on their way may swap, so a batch has one; and a consumer without a limit buffers the queue.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_limits_its_prefetch_first_and_acknowledges_a_batch_at_once() {
    let Some((bus, tap, _broker)) = tapped().await else { return };
    let window = events(OrderCreated, 300);
    relay(bus.publisher(), window.clone()).await;
    let recorder = Recorder::new();

    let subscription = bus.subscribe(&ORDERS, recorder.clone());
    recorder.saw(&window).await;
    subscription.stop().await;

    let wire = tap.wires(CONSUMING).remove(0);
    let acknowledgements = wire.said(ACK);
    assert_eq!(acknowledgements.len(), recorder.calls().len());
    // The tag, eight bytes; then whether all before it are meant, too.
    assert!(acknowledgements.iter().all(|frame| frame.arguments(ACK).unwrap()[8] == 1));
    let [consume] = &wire.said(CONSUME)[..] else { panic!("one consumer") };
    let limits = wire.said(QOS);
    let [limit] = &limits[..] else { panic!("one limit: {limits:?}") };
    assert_eq!(limit.channel(), consume.channel());
    // The size, four bytes; the count, two.
    assert_eq!(limit.arguments(QOS).unwrap()[4..6], 500_u16.to_be_bytes());
}

/// Nobody answers the goodbye either: a socket that waited for that would be there for as long as the broker hangs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_to_a_broker_that_has_fallen_silent_is_closed_all_the_same() {
    let Some(broker) = TestBroker::start().await else { return };
    let proxy = Proxy::to(broker.address()).await;
    let bus = RabbitMq::connect(&broker.url().replace(broker.address(), &proxy.address().to_string())).unwrap();
    eventually("the bus to be up", || bus.status() == BusStatus::Up).await;
    assert_eq!(proxy.open(), 2, "one to publish, one to consume");

    proxy.silence();
    within("the bus to close", bus.close()).await;

    eventually("the sockets to be closed", || proxy.open() == 0).await;
}
