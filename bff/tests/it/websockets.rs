//! The protocol over WebSockets: what runs, what is refused, and with which code a connection is closed.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::{EventStream, eventually};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::{
    service::Trouble,
    socket::{Socket, opening},
    world::World,
};

const WATCH: &str = "subscription { orderUpdated { id } }";

#[tokio::test]
async fn queries_and_mutations_run_over_a_socket() {
    let world = World::start().await;
    let mut socket = Socket::start(world.bff.url()).await;
    socket.subscribe("q", r#"{ order(id: "o1") { amount } }"#).await;
    let data = json!({ "data": { "order": { "amount": 100 } } });
    assert_eq!(socket.hear().await, json!({ "id": "q", "type": "next", "payload": data }));
    assert_eq!(socket.hear().await, json!({ "id": "q", "type": "complete" }));

    // The id is free again.
    socket.subscribe("q", r#"mutation { cancelOrder(id: "o2") { order { id } } }"#).await;
    assert_eq!(socket.hear().await["payload"]["data"]["cancelOrder"]["order"]["id"], "o2");
    assert_eq!(socket.hear().await["type"], "complete");

    world.orders.misbehave(Trouble::Status(500));
    socket.subscribe("p", r#"{ order(id: "o1") { amount } }"#).await;
    let partial = socket.hear().await;
    assert_eq!((&partial["type"], &partial["payload"]["data"]), (&json!("next"), &json!({ "order": null })));
    assert_eq!(partial["payload"]["errors"][0]["extensions"]["code"], "SERVICE_UNAVAILABLE");
}

#[tokio::test]
async fn what_plain_http_refuses_is_refused_over_a_socket_and_costs_no_other_operation() {
    let world = World::start().await;
    let mut socket = Socket::start(world.bff.url()).await;
    socket.subscribe("live", WATCH).await;
    for (query, code) in [
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{ order(", "GRAPHQL_PARSE_FAILED"),
        (
            "{ x: orders { __typename } ...F } fragment F on Query { x: invoices { __typename } }",
            "GRAPHQL_VALIDATION_FAILED",
        ),
        ("subscription { orderUpdated { id } b: orderUpdated { id } }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        socket.subscribe("bad", query).await;
        let error = socket.hear().await;
        assert_eq!((&error["id"], &error["type"]), (&json!("bad"), &json!("error")), "{error}");
        assert_eq!(error["payload"][0]["extensions"]["code"], code, "{error}");

        let answer = EventStream::open(world.bff.url(), query, json!({})).await.answer().await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], code, "{answer}");
        if !query.starts_with("subscription") {
            assert_eq!(world.ask(query).await["errors"], answer["errors"], "{query}");
        }
    }
    assert_eq!(world.gauges.operations.get(), 1);
    socket.say(json!({ "type": "ping", "payload": { "n": 1 } })).await;
    assert_eq!(socket.hear().await, json!({ "type": "pong", "payload": { "n": 1 } }));
}

/// What is said to a new socket, and with which code it is closed.
async fn check(said: &[Value], code: u16) {
    let world = World::start().await;
    let mut socket = Socket::open(world.bff.url()).await;
    for message in said {
        match message.as_str() {
            Some(text) => socket.send(Message::text(text)).await,
            None => socket.say(message.clone()).await,
        }
    }
    if said.first() == Some(&json!({ "type": "connection_init" })) {
        assert_eq!(socket.hear().await["type"], "connection_ack");
    }
    let (closed, reason) = socket.closed().await;
    assert_eq!(closed, code, "{said:?}: {reason}");
    eventually("nothing is left of it", || async {
        (world.gauges.sockets.get() + world.gauges.operations.get() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn each_breach_of_the_protocol_has_its_close_code() {
    let init = || json!({ "type": "connection_init" });
    let subscribe = || json!({ "id": "1", "type": "subscribe", "payload": { "query": WATCH } });
    check(&[json!("no JSON")], 4400).await;
    check(&[json!({ "type": "start", "id": "1" })], 4400).await;
    check(&[init(), json!({ "type": "subscribe", "payload": { "query": WATCH } })], 4400).await;
    check(&[subscribe()], 4401).await;
    check(&[init(), subscribe(), subscribe()], 4409).await;
    check(&[init(), init()], 4429).await;
}

#[tokio::test]
async fn a_binary_message_is_none() {
    let world = World::start().await;
    let mut socket = Socket::start(world.bff.url()).await;
    socket.send(Message::binary(b"{}".to_vec())).await;
    assert_eq!(socket.closed().await.0, 4400);
}

#[tokio::test]
async fn a_message_above_the_limit_closes_the_socket() {
    let world = World::start_with(|config| config.api.live.max_message_bytes = 1000).await;
    let mut socket = Socket::start(world.bff.url()).await;
    socket.subscribe("1", &format!("{{ __typename }} #{}", "x".repeat(2000))).await;
    assert_eq!(socket.closed().await, (1009, "A message may have 1000 bytes".to_owned()));
}

#[tokio::test]
async fn who_never_begins_is_closed() {
    let world = World::start_with(|config| config.api.live.init_timeout = Duration::from_millis(100)).await;
    let mut socket = Socket::open(world.bff.url()).await;
    assert_eq!(socket.closed().await.0, 4408);
    // Who has begun is not.
    let mut socket = Socket::start(world.bff.url()).await;
    socket.subscribe("1", "{ __typename }").await;
    assert_eq!(socket.hear().await["payload"]["data"]["__typename"], "Query");
}

#[tokio::test]
async fn only_one_subprotocol_is_spoken() {
    let world = World::start().await;
    for headers in [vec![], vec![("sec-websocket-protocol", "graphql-ws")]] {
        // A client that asks for another is not content with none either, so it says none is selected in its own way.
        match Socket::with(opening(world.bff.url(), "/graphql/ws", &headers)).await {
            Ok(mut socket) => assert_eq!(socket.closed().await.0, 4406),
            Err(error) => assert!(error.to_string().to_lowercase().contains("subprotocol"), "{error}"),
        }
    }
    let both = [("sec-websocket-protocol", "graphql-ws, graphql-transport-ws")];
    let mut socket = Socket::with(opening(world.bff.url(), "/graphql", &both)).await.unwrap();
    socket.say(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.hear().await["type"], "connection_ack");
}

#[tokio::test]
async fn a_page_of_another_origin_opens_no_socket() {
    let world = World::start_with(|config| config.api.origins = "https://shop.example".parse().unwrap()).await;
    let own = world.bff.url().to_owned();
    let open = async |origin: &str| {
        let headers = [("sec-websocket-protocol", "graphql-transport-ws"), ("origin", origin)];
        match Socket::with(opening(world.bff.url(), "/graphql/ws", &headers)).await {
            Ok(_) => 101,
            Err(tungstenite::Error::Http(answer)) => answer.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(open("https://shop.example").await, 101);
    assert_eq!(open(&own).await, 101);
    assert_eq!(open("https://evil.example").await, 403);
    assert_eq!(open("null").await, 403);
}

#[tokio::test]
async fn there_are_so_many_sockets_and_no_more() {
    let world = World::start_with(|config| config.api.live.max_sockets = 2).await;
    let sockets = [Socket::start(world.bff.url()).await, Socket::start(world.bff.url()).await];
    let headers = [("sec-websocket-protocol", "graphql-transport-ws")];
    let refused = Socket::with(opening(world.bff.url(), "/graphql/ws", &headers)).await.err().unwrap();
    let tungstenite::Error::Http(answer) = refused else { panic!("{refused}") };
    assert_eq!((answer.status().as_u16(), &answer.headers()["retry-after"]), (503, &"5".parse().unwrap()));
    drop(sockets);
    eventually("there is room again", || async { (world.gauges.sockets.get() == 0).then_some(()) }).await;
    Socket::start(world.bff.url()).await;
}

#[tokio::test]
async fn a_socket_runs_so_many_operations_and_no_more() {
    let world = World::start_with(|config| config.api.live.max_operations = 2).await;
    let mut socket = Socket::start(world.bff.url()).await;
    socket.subscribe("1", WATCH).await;
    socket.subscribe("2", WATCH).await;
    socket.subscribe("3", WATCH).await;
    let error = socket.hear().await;
    assert_eq!((&error["id"], &error["type"]), (&json!("3"), &json!("error")));
    assert_eq!(error["payload"][0]["extensions"]["code"], "TOO_MANY_OPERATIONS");
    socket.say(json!({ "id": "1", "type": "complete" })).await;
    eventually("it has ended", || async { (world.gauges.operations.get() == 1).then_some(()) }).await;
    socket.subscribe("3", "{ __typename }").await;
    assert_eq!(socket.hear().await["payload"]["data"]["__typename"], "Query");
}

#[tokio::test]
async fn a_client_that_answers_no_ping_is_let_go_and_one_that_does_stays() {
    let world = World::start_with(|config| config.api.live.ping_interval = Duration::from_millis(200)).await;
    let mut attentive = Socket::start(world.bff.url()).await;
    attentive.subscribe("1", WATCH).await;
    let mut silent = Socket::start(world.bff.url()).await;
    silent.subscribe("1", WATCH).await;
    // The client library answers pings while it reads: one reads, the other does not.
    let reading = tokio::spawn(async move { attentive.ends().await });
    eventually("the silent one is gone", || async { (world.gauges.sockets.get() == 1).then_some(()) }).await;
    silent.ends().await;
    assert!(!reading.is_finished());
    reading.abort();
}

#[tokio::test]
async fn without_an_upgrade_the_address_says_what_it_is_for() {
    let world = World::start().await;
    let answer = world.client.get(format!("{}/graphql/ws", world.bff.url())).send().await.unwrap();
    assert!(answer.status().is_client_error());
    assert!(answer.text().await.unwrap().contains("graphql-transport-ws"));
}
