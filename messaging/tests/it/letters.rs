//! What an operator does with dead letters, on a real broker.

use std::collections::BTreeSet;

use contracts::{
    EventEnvelope,
    EventType::OrderCreated,
    topology::{ORDERS, Queue},
};
use lapin::{BasicProperties, options::BasicRejectOptions};
use messaging::{
    EventBus, Rejection, Verdict,
    rabbitmq::letters::{DeadLetters, Letter},
};
use uuid::Uuid;

use crate::{
    rabbitmq::RabbitWorld,
    support::{Recorder, events, eventually, ids, relay, within},
};

/// Has `events` rejected, all of them.
async fn rejected(world: &RabbitWorld, events: &[EventEnvelope]) {
    let conflict = || Verdict::Reject(Rejection { reason: "conflict", error: "another amount".into() });
    let recorder = Recorder::answering(move |_, batch| Ok(batch.iter().map(|_| conflict()).collect()));
    let subscription = world.bus.subscribe(&ORDERS, recorder.clone());
    relay(world.bus.publisher(), events.to_vec()).await;
    recorder.saw(events).await;
    within("the subscription to stop", subscription.stop()).await;
}

/// The dead letters that are there, given back.
async fn look(world: &RabbitWorld, queue: &'static Queue) -> Vec<Letter> {
    let letters = DeadLetters::connect(world.url()).await.unwrap();
    let mut look = letters.look(queue).await.unwrap();
    let mut found = Vec::new();
    while let Some(letter) = look.next().await.unwrap() {
        found.push(letter);
    }
    look.end().await.unwrap();
    letters.close().await;
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_shows_everything_and_changes_nothing() {
    let Some(world) = RabbitWorld::start().await else { return };
    let window = events(OrderCreated, 3);
    rejected(&world, &window).await;

    // More often than some brokers let a message come back.
    for _ in 0..25 {
        let found = look(&world, &ORDERS).await;
        assert_eq!(found.len(), 3);
        for (letter, event) in found.iter().zip(&window) {
            assert_eq!((letter.id, &letter.body), (event.id, &event.body));
            assert_eq!(letter.order_id.as_deref(), Some(&*event.order_id.to_string()));
            assert_eq!(
                (letter.queue, letter.reason.as_str(), letter.error.as_str()),
                (&ORDERS, "conflict", "another amount")
            );
            assert_eq!(
                (letter.event_type.as_deref(), letter.service.as_deref()),
                (Some("order.created"), Some("tandem"))
            );
            assert!(letter.failed_at.is_some() && letter.retries == 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_that_is_sent_back_arrives_as_it_came_the_first_time() {
    let Some(world) = RabbitWorld::start().await else { return };
    let window = events(OrderCreated, 3);
    rejected(&world, &window).await;

    let letters = DeadLetters::connect(world.url()).await.unwrap();
    let mut look_at = letters.look(&ORDERS).await.unwrap();
    while let Some(letter) = look_at.next().await.unwrap() {
        if letter.id == window[1].id {
            look_at.redrive(&letter).await.unwrap();
        } else if letter.id == window[2].id {
            look_at.discard(&letter).await.unwrap();
        }
    }
    look_at.end().await.unwrap();

    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    recorder.saw(&window[1..2]).await;
    assert_eq!(recorder.seen(), window[1..2]);
    let left = look(&world, &ORDERS).await;
    assert_eq!(left.iter().map(|letter| letter.id).collect::<Vec<_>>(), [window[0].id]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_that_is_cut_short_gives_everything_back() {
    let Some(world) = RabbitWorld::start().await else { return };
    let window = events(OrderCreated, 2);
    rejected(&world, &window).await;

    let letters = DeadLetters::connect(world.url()).await.unwrap();
    let mut cut_short = letters.look(&ORDERS).await.unwrap();
    let held = cut_short.next().await.unwrap().unwrap();
    assert_eq!(look(&world, &ORDERS).await.len(), 1, "the other one is held");
    drop((cut_short, held));
    letters.close().await;

    within("both to be there again", async {
        while look(&world, &ORDERS).await.iter().map(|letter| letter.id).collect::<BTreeSet<_>>() != ids(&window) {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_broker_took_away_and_what_has_no_id_can_be_sent_back_too() {
    let Some(world) = RabbitWorld::start().await else { return };
    world.up().await;
    let order = Uuid::now_v7();
    let body = format!(r#"{{"id":"{order}","amount":100,"customer":{{"id":"c"}}}}"#);
    world.send_to_queue("orders", BasicProperties::default(), body.as_bytes()).await;
    let channel = world.channel().await;
    for _ in 0..51 {
        world.get(&channel, "orders").await.acker.reject(BasicRejectOptions { requeue: true }).await.unwrap();
    }
    let letters = DeadLetters::connect(world.url()).await.unwrap();
    let (look, letter) = within("the dead letter", async {
        loop {
            let mut look = letters.look(&ORDERS).await.unwrap();
            if let Some(letter) = look.next().await.unwrap() {
                break (look, letter);
            }
            look.end().await.unwrap();
        }
    })
    .await;
    assert_eq!((letter.reason.as_str(), letter.queue), ("delivery_limit", &ORDERS));
    assert!(letter.failed_at.is_some());

    look.redrive(&letter).await.unwrap();

    let recorder = Recorder::new();
    world.bus.subscribe(&ORDERS, recorder.clone());
    eventually("it arrives", || recorder.seen().iter().any(|event| event.order_id == order)).await;
}

#[tokio::test]
async fn without_a_broker_an_operator_is_told_at_once() {
    // Nobody listens on the discard port.
    let error = DeadLetters::connect("amqp://u:s3cret@127.0.0.1:9").await.unwrap_err().to_string();
    assert!(error.contains("127.0.0.1:9") && !error.contains("s3cret"), "{error}");
}
