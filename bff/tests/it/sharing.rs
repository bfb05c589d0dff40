//! A query that is on its way is not sent again, whoever asks.

use serde_json::json;
use testkit::eventually;

use crate::{socket::Socket, world::World};

const QUERY: &str = r#"{ order(id: "o1") { amount } }"#;

#[tokio::test]
async fn identical_queries_of_many_clients_are_one_call() {
    let world = World::start().await;
    let gate = world.orders.shut();
    let mut sockets = [Socket::start(world.bff.url()).await, Socket::start(world.bff.url()).await];
    for socket in &mut sockets {
        for id in 0..10 {
            socket.subscribe(&id.to_string(), QUERY).await;
        }
        // Said after them, so answered after they have begun.
        socket.say(json!({ "type": "ping" })).await;
        assert_eq!(socket.hear().await["type"], "pong");
    }
    eventually("the call has arrived", || async { (world.orders.count_calls() > 0).then_some(()) }).await;
    gate.add_permits(20);
    for socket in &mut sockets {
        for _ in 0..10 {
            let (next, complete) = (socket.hear().await, socket.hear().await);
            assert_eq!(next["payload"], json!({ "data": { "order": { "amount": 100 } } }));
            assert_eq!(complete["type"], "complete");
        }
    }
    assert_eq!(world.orders.take_queries().len(), 1);
}

#[tokio::test]
async fn who_asked_first_may_go_and_the_others_are_answered() {
    let world = World::start().await;
    let gate = world.orders.shut();
    let mut first = Socket::start(world.bff.url()).await;
    first.subscribe("1", QUERY).await;
    eventually("the call has arrived", || async { (world.orders.count_calls() == 1).then_some(()) }).await;
    let mut second = Socket::start(world.bff.url()).await;
    second.subscribe("1", QUERY).await;
    second.say(json!({ "type": "ping" })).await;
    assert_eq!(second.hear().await["type"], "pong");
    drop(first);
    eventually("the first is gone", || async { (world.gauges.operations.get() == 1).then_some(()) }).await;

    gate.add_permits(2);
    assert_eq!(second.hear().await["payload"], json!({ "data": { "order": { "amount": 100 } } }));
    assert_eq!(world.orders.take_queries().len(), 1);
}

#[tokio::test]
async fn identical_mutations_are_calls_of_their_own() {
    let world = World::start().await;
    let gate = world.orders.shut();
    let mutation = "mutation { createOrder(input: { amount: 1 }) { order { id } } }";
    let (one, other, ()) = tokio::join!(world.ask(mutation), world.ask(mutation), async {
        eventually("both calls have arrived", || async { (world.orders.count_calls() == 2).then_some(()) }).await;
        gate.add_permits(2);
    });
    assert_eq!(one, other);
}

#[tokio::test]
async fn what_is_read_after_a_mutation_was_asked_for_after_it() {
    let world = World::start().await;
    let held = world.orders.shut();
    let mut before = Socket::start(world.bff.url()).await;
    before.subscribe("1", QUERY).await;
    eventually("the query has arrived", || async { (world.orders.count_calls() == 1).then_some(()) }).await;

    // The mutation comes after it and is answered before it.
    world.orders.shut().add_permits(1);
    world.data(r#"mutation { cancelOrder(id: "o1") { order { id } } }"#).await;
    world.orders.shut().add_permits(1);
    world.data(QUERY).await;
    assert_eq!(world.orders.count_calls(), 3);

    held.add_permits(1);
    assert_eq!(before.hear().await["payload"], json!({ "data": { "order": { "amount": 100 } } }));
}
