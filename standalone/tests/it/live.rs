//! Live updates through the whole system: every subscriber sees what happens, to its end, whatever goes on meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures_util::{SinkExt, StreamExt, future::join_all};
use reqwest::Url;
use sea_orm::{ConnectionTrait, TransactionTrait};
use serde_json::{Value, json};
use testkit::{EventStream, PATIENCE, StreamEvent, World, eventually, proxy::Proxy, world::Settings};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, tungstenite::Message};
use uuid::Uuid;

use crate::reconciling::say_created;

const ALL: &str = "subscription { orderUpdated { id status invoice { status } } }";
const ONE: &str = "subscription($id: ID!) { orderUpdated(id: $id) { id status invoice { status } } }";

/// What a subscriber knows of an order: its status and the invoice's.
type State = (String, Option<String>);

fn state_of(answer: &Value) -> (Uuid, State) {
    assert_eq!(answer.get("errors"), None, "{answer}");
    let order = &answer["data"]["orderUpdated"];
    let text = |value: &Value| value.as_str().map(str::to_lowercase);
    (
        order["id"].as_str().unwrap().parse().unwrap(),
        (text(&order["status"]).unwrap(), text(&order["invoice"]["status"])),
    )
}

/// How far an order and its invoice have come. Neither ever goes back.
fn rank((order, invoice): &State) -> (usize, usize) {
    let place = |list: &[&str], name: &str| list.iter().position(|one| *one == name).unwrap();
    let order = place(&["pending", "paid", "canceled"], order);
    let invoice = match invoice.as_deref() {
        None => 0,
        Some("voided" | "refunded" | "rejected") => 3,
        Some(other) => 1 + place(&["issued", "paid"], other),
    };
    (order, invoice)
}

/// Follows a stream until it has seen every order of `finals` in its final state, and never an older one after a newer.
async fn follow(mut stream: EventStream, mut finals: tokio::sync::watch::Receiver<Option<BTreeMap<Uuid, State>>>) {
    let mut seen: BTreeMap<Uuid, State> = BTreeMap::new();
    let is_final = |seen: &BTreeMap<Uuid, State>, finals: &Option<BTreeMap<Uuid, State>>| {
        finals.as_ref().is_some_and(|finals| finals.iter().all(|(id, state)| seen.get(id) == Some(state)))
    };
    let deadline = tokio::time::Instant::now() + 4 * PATIENCE;
    while !is_final(&seen, &finals.borrow_and_update()) {
        tokio::select! {
            answer = stream.answer() => {
                let (id, state) = state_of(&answer);
                if let Some(before) = seen.get(&id) {
                    let (earlier, later) = (rank(before), rank(&state));
                    assert!(earlier.0 <= later.0 && earlier.1 <= later.1, "{id}: {state:?} after {before:?}");
                }
                seen.insert(id, state);
            }
            changed = finals.changed() => changed.unwrap(),
            () = tokio::time::sleep_until(deadline) => panic!("not every final state was seen"),
        }
    }
}

async fn every_subscriber_sees_the_final_state(subscribers: usize, orders: usize) {
    let world = World::with(Settings { bff_replicas: Some(2), ..Settings::default() }).await;
    let urls = world.bff_urls();
    let (finals, known) = tokio::sync::watch::channel(None);
    let mut streams = Vec::new();
    for index in 0..subscribers {
        streams.push(EventStream::open(&urls[index % urls.len()], ALL, json!({})).await);
    }
    eventually("everybody listens", || async {
        (world.live_gauges().subscriptions.get() == subscribers).then_some(())
    })
    .await;
    // From now on: on a busy machine the first would have waited for the last longer than an answer may take.
    let follow = |stream| follow(stream, known.clone());
    let mut following: tokio::task::JoinSet<()> = streams.into_iter().map(follow).collect();

    let world = &world;
    let lanes = (0..8).map(|lane| async move {
        for index in (lane..orders).step_by(8) {
            let order = world.place(1999).await;
            match index % 5 {
                0 => pay(world, order).await,
                1 => cancel(world, order).await,
                2 => {
                    pay(world, order).await;
                    cancel(world, order).await;
                }
                _ => {}
            }
        }
    });
    join_all(lanes).await;
    let pairs = world.settle().await;
    assert_eq!(pairs.len(), orders);
    let states = pairs.into_iter().map(|(id, pair)| (id, (pair.order, Some(pair.invoice))));
    finals.send_replace(Some(states.collect()));
    while let Some(followed) = following.join_next().await {
        followed.unwrap();
    }
    eventually("nobody is left", || async { (world.live_gauges().subscriptions.get() == 0).then_some(()) }).await;
}

async fn pay(world: &World, order: Uuid) {
    let invoice = world.invoice_of(order, "issued").await;
    let url = format!("{}/invoices/{}/pay", world.invoices_url(), invoice["id"].as_str().unwrap());
    world.http.post(url).send().await.unwrap().error_for_status().unwrap();
}

async fn cancel(world: &World, order: Uuid) {
    let url = format!("{}/orders/{order}/cancel", world.orders_url());
    world.http.post(url).send().await.unwrap().error_for_status().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_subscriber_sees_the_final_state_of_every_order_and_never_an_older_after_a_newer() {
    every_subscriber_sees_the_final_state(100, 200).await;
}

/// The same in full, a minute or two: `cargo test -p standalone --test it -- --ignored a_hundred`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute or two"]
async fn a_hundred_subscribers_see_the_final_state_of_a_thousand_orders() {
    every_subscriber_sees_the_final_state(100, 1000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_received_and_then_its_invoice_by_each_replica() {
    let world = World::with(Settings { bff_replicas: Some(2), ..Settings::default() }).await;
    let mut streams = Vec::new();
    for url in world.bff_urls() {
        streams.push(EventStream::open(&url, ALL, json!({})).await);
    }
    eventually("both listen", || async { (world.live_gauges().subscriptions.get() == 2).then_some(()) }).await;
    listening(&world).await;

    let order = world.place(100).await;
    for stream in &mut streams {
        let invoiced = ("pending".to_owned(), Some("issued".to_owned()));
        loop {
            let (id, state) = state_of(&stream.answer().await);
            assert_eq!(id, order);
            if state == invoiced {
                break;
            }
            assert_eq!(state, ("pending".to_owned(), None));
        }
    }
}

/// Waits until every BFF hears the bus.
async fn listening(world: &World) {
    for url in world.bff_urls() {
        eventually("the bff hears the bus", || async {
            let ready: Value = world.http.get(format!("{url}/readyz")).send().await.unwrap().json().await.unwrap();
            (ready["checks"]["broker"] == "ok").then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_subscribes_late_begins_with_the_present_state() {
    let world = World::start().await;
    let order = world.place(100).await;
    world.settle().await;
    let mut stream = EventStream::open(world.bff_url(), ONE, json!({ "id": order })).await;
    assert_eq!(state_of(&stream.answer().await), (order, ("pending".to_owned(), Some("issued".to_owned()))));

    let other = world.place(200).await;
    pay(&world, other).await;
    pay(&world, order).await;
    // Whatever comes is of this order, and the last of it is paid.
    loop {
        let (id, state) = state_of(&stream.answer().await);
        assert_eq!(id, order);
        if state == ("paid".to_owned(), Some("paid".to_owned())) {
            break;
        }
    }

    let mut nobody = EventStream::open(world.bff_url(), ONE, json!({ "id": Uuid::now_v7() })).await;
    let answer = nobody.answer().await;
    assert_eq!(answer["errors"][0]["extensions"]["code"], "ORDER_NOT_FOUND", "{answer}");
    assert_eq!(nobody.next().await, StreamEvent::Complete);
}

/// What the bff did not hear while its connection was away is read when it is back. On the bus in process there is
/// nothing to cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_the_bff_was_cut_off_is_seen_afterwards() {
    let Ok(url) = std::env::var("TEST_BROKER_URL") else { return };
    let url: Url = url.parse().unwrap();
    let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(5672));
    let proxy = Proxy::to(&target).await;
    let settings = Settings { bff_broker_address: Some(proxy.address()), ..Settings::default() };
    let world = World::with(settings).await;
    listening(&world).await;
    let known = world.place(100).await;
    world.settle().await;
    let mut one = EventStream::open(world.bff_url(), ONE, json!({ "id": known })).await;
    let mut all = EventStream::open(world.bff_url(), ALL, json!({})).await;
    assert_eq!(state_of(&one.answer().await).1.1.as_deref(), Some("issued"));
    eventually("both listen", || async { (world.live_gauges().subscriptions.get() == 2).then_some(()) }).await;

    proxy.cut().await;
    pay(&world, known).await;
    let missed = world.place(200).await;
    let pairs = world.settle().await;
    assert_eq!(pairs[&known].order, "paid");
    proxy.restore().await;

    assert_eq!(state_of(&one.answer().await), (known, ("paid".to_owned(), Some("paid".to_owned()))));
    let mut expected = BTreeSet::from([known, missed]);
    while !expected.is_empty() {
        let (id, state) = state_of(&all.answer().await);
        let pair = &pairs[&id];
        assert_eq!(state, (pair.order.clone(), Some(pair.invoice.clone())));
        expected.remove(&id);
    }
}

/// An order whose cancellation came to invoices before it did: they say at once that its invoice is void, and show it
/// when the order arrives as well, of which they say nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_invoice_of_an_order_that_was_overtaken_by_its_cancellation_is_seen() {
    let world = World::start().await;
    listening(&world).await;
    let order = world.place(10).await;
    world.settle().await;
    // As if the order had never arrived.
    world.invoices_db().execute_unprepared("DELETE FROM invoices").await.unwrap();
    cancel(&world, order).await;
    eventually("the cancellation was heard and told", || async {
        let told = world.waiting().await == (0, 0) && world.pairs().await[&order].replica == "voided";
        told.then_some(())
    })
    .await;
    let mut stream = EventStream::open(world.bff_url(), ONE, json!({ "id": order })).await;
    assert_eq!(state_of(&stream.answer().await), (order, ("canceled".to_owned(), None)));

    // It arrives, and nothing can be written for as long as it takes the bff to read what it hears of.
    let held = world.invoices_db().begin().await.unwrap();
    held.execute_unprepared("UPDATE invoices SET version = version").await.unwrap();
    let mut all = EventStream::open(world.bff_url(), ALL, json!({})).await;
    eventually("it listens", || async { (world.live_gauges().subscriptions.get() == 2).then_some(()) }).await;
    let seen = async {
        assert_eq!(state_of(&all.answer().await), (order, ("canceled".to_owned(), None)));
        held.commit().await.unwrap();
        let voided = (order, ("canceled".to_owned(), Some("voided".to_owned())));
        assert_eq!([state_of(&stream.answer().await), state_of(&all.answer().await)], [voided.clone(), voided]);
    };
    tokio::join!(say_created(&world, order), seen);
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open_socket(url: &str) -> Socket {
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let mut request = format!("{}/graphql/ws", url.replacen("http", "ws", 1)).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "graphql-transport-ws".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket.send(Message::text(r#"{"type":"connection_init"}"#)).await.unwrap();
    assert_eq!(heard(&mut socket).await, Message::text(r#"{"type":"connection_ack"}"#));
    let subscribe = json!({ "id": "1", "type": "subscribe", "payload": { "query": ALL } });
    socket.send(Message::text(subscribe.to_string())).await.unwrap();
    socket
}

async fn heard(socket: &mut Socket) -> Message {
    timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_aborted_streams_leave_nothing() {
    let world = World::start().await;
    let gauges = world.live_gauges();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let counts =
        || [&gauges.sockets, &gauges.operations, &gauges.event_streams, &gauges.subscriptions].map(|g| g.get());
    let mut before = None;
    // The first round warms up what stays: connections between the services, pools.
    for round in 0..11 {
        let sockets = join_all((0..50).map(|_| open_socket(world.bff_url()))).await;
        let streams = join_all((0..50).map(|_| EventStream::open(world.bff_url(), ALL, json!({})))).await;
        eventually("all of them run", || async { (counts() == [50, 50, 50, 100]).then_some(()) }).await;
        world.place(100).await;
        // No word of farewell.
        drop((sockets, streams));
        eventually(&format!("all of them have ended in round {round}"), || async {
            (counts() == [0; 4]).then_some(())
        })
        .await;
        match before {
            None => {
                world.settle().await;
                before = Some(alive() + 8);
            }
            Some(before) => {
                eventually("their tasks have ended", || async { (alive() <= before).then_some(()) }).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopping_process_ends_streams_and_sockets_in_their_own_words() {
    let mut world = World::start().await;
    let mut socket = open_socket(world.bff_url()).await;
    let mut stream = EventStream::open(world.bff_url(), ALL, json!({})).await;
    eventually("both listen", || async { (world.live_gauges().subscriptions.get() == 2).then_some(()) }).await;

    let began = tokio::time::Instant::now();
    let (_, event, message) = tokio::join!(world.stop_bff(), stream.next(), heard(&mut socket));

    assert_eq!(event, StreamEvent::Complete);
    let Message::Close(Some(frame)) = message else { panic!("{message:?}") };
    assert_eq!(u16::from(frame.code), 1001);
    // Cut off they would be after 8 s, and the whole service after 20.
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
}
