//! What every bus promises. Each test is given a bus and never asks which one it is.

use std::{
    collections::BTreeSet,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use contracts::{
    EventEnvelope,
    EventType::{InvoicePaid, OrderCanceled, OrderCreated, OrderPaid},
    TraceContext,
    topology::{INVOICES_ORDER_CANCELED, ORDERS, ORDERS_INVOICE_EVENTS},
};
use messaging::{Delivery, EventBus, HandleError, Handler, Outcome, Rejection, Subscription, Verdict};
use uuid::Uuid;

use crate::{
    rabbitmq::RabbitWorld,
    support::{Ear, Gate, Recorder, done, event, events, eventually, ids, relay, relay_with, within},
};

/// A bus, and a look at what it has set aside.
pub(crate) enum World {
    InProcess(messaging::in_process::InProcessBus),
    RabbitMq(Box<RabbitWorld>),
}

impl World {
    fn bus(&self) -> &dyn EventBus {
        match self {
            Self::InProcess(bus) => bus,
            Self::RabbitMq(world) => &world.bus,
        }
    }

    /// The ids of the events that can never be processed: refused for good, or among the dead letters.
    async fn set_aside(&self, published: &[EventEnvelope], outcomes: &[Outcome]) -> BTreeSet<Uuid> {
        match self {
            Self::InProcess(_) => {
                let refused = |outcome: &Outcome| matches!(outcome, Outcome::Refused { permanent: true, .. });
                published.iter().zip(outcomes).filter(|(_, o)| refused(o)).map(|(event, _)| event.id).collect()
            }
            Self::RabbitMq(world) => {
                let letter = world.dead_letter("orders.dlq").await;
                BTreeSet::from([letter.properties.message_id().as_ref().unwrap().as_str().parse().unwrap()])
            }
        }
    }

    async fn close(self) {
        self.bus().close().await;
    }
}

/// Runs the tests on the bus in process, and on RabbitMQ where there is one.
macro_rules! on_every_bus {
    ($($test:ident)*) => {
        mod in_process {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let world = super::World::InProcess(messaging::in_process::InProcessBus::new());
                super::$test(&world).await;
                world.close().await;
            })*
        }

        mod on_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(world) = crate::rabbitmq::RabbitWorld::start().await {
                    let world = super::World::RabbitMq(Box::new(world));
                    super::$test(&world).await;
                    world.close().await;
                }
            })*
        }
    };
}

on_every_bus! {
    an_event_reaches_its_queue_and_no_other
    everything_of_an_event_arrives_unchanged
    a_batch_that_failed_is_given_again
    a_panic_neither_loses_nor_blocks
    a_rejected_event_is_set_aside_and_its_neighbours_are_not
    the_one_that_breaks_the_transaction_is_set_aside_and_its_neighbours_are_not
    the_one_that_panics_again_is_set_aside_and_its_neighbours_are_not
    what_may_heal_comes_again_until_it_has
    what_is_published_before_its_consumer_exists_arrives
    a_stopped_subscription_finishes_its_batch_and_takes_no_more
    competing_consumers_share_the_events_and_miss_none
    a_large_window_arrives_whole
    publishers_may_work_side_by_side
    a_publisher_that_gives_up_cuts_no_work_in_half
    an_event_without_a_queue_is_accepted
    an_empty_window_is_nothing
    every_listener_hears_every_event_as_it_was_published
    a_listener_hears_what_nobody_works_on_yet
    a_stopped_listener_hears_no_more
}

async fn an_event_reaches_its_queue_and_no_other(world: &World) {
    let (created, canceled, invoices) = (Recorder::new(), Recorder::new(), Recorder::new());
    world.bus().subscribe(&ORDERS, created.clone());
    world.bus().subscribe(&INVOICES_ORDER_CANCELED, canceled.clone());
    world.bus().subscribe(&ORDERS_INVOICE_EVENTS, invoices.clone());
    let window = [OrderCreated, OrderCanceled, InvoicePaid].map(event);

    relay(world.bus().publisher(), window.to_vec()).await;

    for (recorder, expected) in [&created, &canceled, &invoices].into_iter().zip(&window) {
        recorder.saw(std::slice::from_ref(expected)).await;
    }
}

async fn everything_of_an_event_arrives_unchanged(world: &World) {
    let recorder = Recorder::new();
    world.bus().subscribe(&ORDERS_INVOICE_EVENTS, recorder.clone());
    let mut paid = event(InvoicePaid);
    paid.source = "invoices".into();
    paid.order_id = Uuid::now_v7();
    paid.event_no = 7;
    paid.body = b"\x00 bytes that are \xff no text"[..].into();
    paid.trace_context = TraceContext {
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        tracestate: Some("vendor=1".into()),
    };

    relay(world.bus().publisher(), vec![paid.clone()]).await;

    recorder.saw(std::slice::from_ref(&paid)).await;
    assert_eq!(recorder.seen(), [paid]);
}

async fn a_batch_that_failed_is_given_again(world: &World) {
    let recorder = Recorder::answering(|call, batch| match call {
        0 => Err(HandleError::Unavailable("the database is away".into())),
        1 => Err(HandleError::Contended("deadlock".into())),
        _ => done(batch),
    });
    world.bus().subscribe(&ORDERS, recorder.clone());
    let created = event(OrderCreated);

    let outcomes = relay(world.bus().publisher(), vec![created.clone()]).await;

    assert_eq!(outcomes, [Outcome::Accepted]);
    eventually("the third attempt", || recorder.calls().len() == 3).await;
    assert_eq!(ids(&recorder.seen()), ids([&created]));
}

async fn a_panic_neither_loses_nor_blocks(world: &World) {
    let recorder = Recorder::answering(|call, batch| {
        assert!(call > 0, "the panic that this test wants");
        done(batch)
    });
    world.bus().subscribe(&ORDERS, recorder.clone());
    let (first, second) = (event(OrderCreated), event(OrderCreated));

    relay(world.bus().publisher(), vec![first.clone()]).await;
    relay(world.bus().publisher(), vec![second.clone()]).await;

    recorder.saw(&[first, second]).await;
    assert!(recorder.calls().len() >= 2, "the first call ended in a panic");
}

async fn a_rejected_event_is_set_aside_and_its_neighbours_are_not(world: &World) {
    let window = events(OrderCreated, 3);
    let poison = window[1].id;
    let recorder = Recorder::answering(move |_, batch| {
        let verdict = |id| match id == poison {
            true => Verdict::Reject(Rejection { reason: "conflict", error: "another amount".into() }),
            false => Verdict::Done,
        };
        Ok(batch.iter().map(|delivery| verdict(delivery.event.id)).collect())
    });
    world.bus().subscribe(&ORDERS, recorder.clone());

    let outcomes = relay(world.bus().publisher(), window.clone()).await;

    recorder.saw(&window).await;
    assert_eq!(world.set_aside(&window, &outcomes).await, BTreeSet::from([poison]));
    let after = event(OrderCreated);
    relay(world.bus().publisher(), vec![after.clone()]).await;
    recorder.saw(&[window, vec![after]].concat()).await;
    assert_eq!(recorder.seen().len(), 4, "nothing is given twice");
}

async fn the_one_that_breaks_the_transaction_is_set_aside_and_its_neighbours_are_not(world: &World) {
    let fault = || Err(HandleError::Fault("value out of range".into()));
    the_one_is_set_aside(world, fault).await;
}

async fn the_one_that_panics_again_is_set_aside_and_its_neighbours_are_not(world: &World) {
    the_one_is_set_aside(world, || panic!("the panic that this test wants")).await;
}

/// One of ten `breaks` every transaction that it is in.
async fn the_one_is_set_aside(
    world: &World,
    breaks: impl Fn() -> Result<Vec<Verdict>, HandleError> + Send + Sync + 'static,
) {
    let window = events(OrderCreated, 10);
    let poison = window[6].id;
    let done_with = Arc::new(Mutex::new(BTreeSet::new()));
    let recorder = Recorder::answering({
        let done_with = Arc::clone(&done_with);
        move |_, batch| {
            if batch.iter().any(|delivery| delivery.event.id == poison) {
                return breaks();
            }
            done_with.lock().unwrap().extend(batch.iter().map(|delivery| delivery.event.id));
            done(batch)
        }
    });
    let outcomes = publish_then_subscribe_and_settle(world, &window, recorder).await;

    assert_eq!(world.set_aside(&window, &outcomes).await, BTreeSet::from([poison]));
    let healthy: Vec<_> = window.iter().filter(|event| event.id != poison).collect();
    eventually("its neighbours to be done", || *done_with.lock().unwrap() == ids(healthy.iter().copied())).await;
}

async fn what_may_heal_comes_again_until_it_has(world: &World) {
    let late = event(OrderCreated);
    let id = late.id;
    let recorder = Recorder::answering(move |call, batch| {
        let later = Verdict::Later(Rejection { reason: "unknown_order", error: "there is no order".into() });
        let verdict =
            |delivery: &Delivery| if delivery.event.id == id && call < 3 { later.clone() } else { Verdict::Done };
        Ok(batch.iter().map(verdict).collect())
    });
    world.bus().subscribe(&ORDERS, recorder.clone());

    assert_eq!(relay(world.bus().publisher(), vec![late.clone()]).await, [Outcome::Accepted]);

    eventually("the fourth attempt", || recorder.calls().len() >= 4).await;
    let seen = recorder.seen();
    assert!(seen.iter().all(|event| *event == late), "it comes as it came the first time: {seen:?}");
}

async fn what_is_published_before_its_consumer_exists_arrives(world: &World) {
    let recorder = Recorder::new();
    let window = events(OrderCreated, 20);

    publish_then_subscribe(world, &window, recorder.clone()).await;

    recorder.saw(&window).await;
    assert_eq!(recorder.seen().len(), 20, "nothing is given twice");
}

async fn a_stopped_subscription_finishes_its_batch_and_takes_no_more(world: &World) {
    let gate = Gate::shut();
    let subscription = world.bus().subscribe(&ORDERS, gate.clone());
    let (first, second) = (event(OrderCreated), event(OrderCreated));
    let first_relay = tokio::spawn(relay(world.bus().publisher(), vec![first.clone()]));
    gate.wait_begun().await;
    let second_relay = tokio::spawn(relay(world.bus().publisher(), vec![second.clone()]));

    let mut stop = pin!(subscription.stop());
    let early = tokio::time::timeout(Duration::from_millis(50), &mut stop).await;
    assert!(early.is_err(), "it waits for the batch in hand");
    gate.open.add_permits(2);
    within("the subscription to stop", stop).await;

    assert_eq!(*gate.ended.lock().unwrap(), ids([&first]), "one batch ended, and no other began");
    let successor = Recorder::new();
    world.bus().subscribe(&ORDERS, successor.clone());
    let outcomes = [first_relay.await.unwrap(), second_relay.await.unwrap()].concat();
    assert_eq!(outcomes, [Outcome::Accepted, Outcome::Accepted]);
    successor.saw(&[second]).await;
}

async fn competing_consumers_share_the_events_and_miss_none(world: &World) {
    let (one, other) = (Recorder::new(), Recorder::new());
    world.bus().subscribe(&ORDERS, one.clone());
    world.bus().subscribe(&ORDERS, other.clone());

    let mut all = Vec::new();
    within("both to get their share", async {
        while all.len() < 200 || one.seen().is_empty() || other.seen().is_empty() {
            let window = events(OrderCreated, 10);
            relay(world.bus().publisher(), window.clone()).await;
            all.extend(window);
        }
    })
    .await;

    let seen = || [one.seen(), other.seen()].concat();
    eventually("all events to arrive", || seen().len() >= all.len()).await;
    assert_eq!(ids(&seen()), ids(&all));
}

async fn a_large_window_arrives_whole(world: &World) {
    let recorder = Recorder::new();
    let window = events(OrderCreated, 1000);

    let subscription = publish_then_subscribe(world, &window, recorder.clone()).await;

    recorder.saw(&window).await;
    let largest = recorder.calls().iter().map(Vec::len).max();
    assert!(largest <= Some(500), "a transaction has its limit, but one batch had {largest:?}");

    within("the subscription to stop", subscription.stop()).await;
    let successor = Recorder::new();
    world.bus().subscribe(&ORDERS, successor.clone());
    let after = event(OrderCreated);
    relay(world.bus().publisher(), vec![after.clone()]).await;
    eventually("the next event", || ids(&successor.seen()).contains(&after.id)).await;
    assert_eq!(ids(&successor.seen()), ids([&after]), "what was settled is not given again");
}

async fn publishers_may_work_side_by_side(world: &World) {
    let recorder = Recorder::new();
    world.bus().subscribe(&ORDERS, recorder.clone());
    let all = events(OrderCreated, 400);

    let relays: Vec<_> =
        all.chunks(100).map(|part| tokio::spawn(relay(world.bus().publisher(), part.to_vec()))).collect();
    for relay in relays {
        relay.await.unwrap();
    }

    recorder.saw(&all).await;
}

async fn a_publisher_that_gives_up_cuts_no_work_in_half(world: &World) {
    let gate = Gate::shut();
    world.bus().subscribe(&ORDERS, gate.clone());
    let created = event(OrderCreated);
    let relay = tokio::spawn(relay(world.bus().publisher(), vec![created.clone()]));
    gate.wait_begun().await;

    relay.abort();
    let _ = relay.await;
    gate.open.add_permits(1);

    eventually("the work to end", || *gate.ended.lock().unwrap() == ids([&created])).await;
}

async fn an_event_without_a_queue_is_accepted(world: &World) {
    let outcomes = relay(world.bus().publisher(), vec![event(OrderPaid)]).await;
    assert_eq!(outcomes, [Outcome::Accepted]);
}

async fn an_empty_window_is_nothing(world: &World) {
    let mut publisher = world.bus().publisher();
    within("the bus to be ready", publisher.ready()).await;
    assert_eq!(publisher.publish(&[]).await, Ok(vec![]));
}

async fn every_listener_hears_every_event_as_it_was_published(world: &World) {
    for queue in [&ORDERS, &ORDERS_INVOICE_EVENTS] {
        world.bus().subscribe(queue, Recorder::new());
    }
    let (one, _) = listen(world).await;
    let (other, _) = listen(world).await;
    let window = [OrderCreated, OrderPaid, InvoicePaid].map(event);

    relay(world.bus().publisher(), window.to_vec()).await;

    for ear in [one, other] {
        eventually("every event to be heard", || window.iter().all(|event| ear.heard().contains(event))).await;
        assert_eq!(ear.begun(), 1);
    }
}

async fn a_listener_hears_what_nobody_works_on_yet(world: &World) {
    let (ear, _) = listen(world).await;
    let created = event(OrderCreated);
    let mut publisher = world.bus().publisher();
    within("the bus to be ready", publisher.ready()).await;
    let _ = publisher.publish(std::slice::from_ref(&created)).await;
    eventually("the event to be heard", || ear.heard() == [created.clone()]).await;
}

async fn a_stopped_listener_hears_no_more(world: &World) {
    let (stopped, subscription) = listen(world).await;
    let (ear, _) = listen(world).await;
    within("the listener to stop", subscription.stop()).await;
    let paid = event(OrderPaid);
    relay(world.bus().publisher(), vec![paid.clone()]).await;
    eventually("the event to be heard", || ear.heard() == [paid.clone()]).await;
    assert_eq!(stopped.heard(), []);
}

/// A listener that hears everything from now on.
async fn listen(world: &World) -> (Arc<Ear>, Subscription) {
    let ear = Arc::new(Ear::default());
    let subscription = world.bus().listen(ear.clone());
    eventually("the listener to hear", || ear.begun() == 1).await;
    (ear, subscription)
}

/// Publishes while nobody consumes, so that all of it is one batch. Answers what became of each in the end.
async fn publish_then_subscribe_and_settle(
    world: &World,
    window: &[EventEnvelope],
    handler: Arc<dyn Handler>,
) -> Vec<Outcome> {
    let mut publisher = world.bus().publisher();
    within("the bus to be ready", publisher.ready()).await;
    let first = publisher.publish(window).await;
    world.bus().subscribe(&ORDERS, handler);
    match first {
        Ok(outcomes) => outcomes,
        Err(_) => relay_with(&mut *publisher, window.to_vec()).await,
    }
}

/// Publishes while nobody consumes, and again what was not accepted once somebody does.
async fn publish_then_subscribe(world: &World, window: &[EventEnvelope], handler: Arc<dyn Handler>) -> Subscription {
    let mut publisher = world.bus().publisher();
    within("the bus to be ready", publisher.ready()).await;
    let first = publisher.publish(window).await;
    let subscription = world.bus().subscribe(&ORDERS, handler);
    let accepted = vec![Outcome::Accepted; window.len()];
    if first.as_ref() != Ok(&accepted) {
        assert_eq!(relay_with(&mut *publisher, window.to_vec()).await, accepted);
    }
    subscription
}
