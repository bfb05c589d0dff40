//! What goes on: live updates show nobody another's orders, and end with the token that they began with.

use serde_json::{Value, json};
use testkit::{
    EventStream, Socket, StreamEvent,
    tokens::{claims_but, now},
};

use super::system::System;

const UPDATES: &str = "subscription { orderUpdated { customerId } }";

impl System {
    /// A socket of somebody who has this token.
    async fn socket(&self, token: &str) -> Socket {
        let mut socket = Socket::open(self.world.bff_url()).await;
        let payload = json!({ "Authorization": format!("Bearer {token}") });
        socket.say(json!({ "type": "connection_init", "payload": payload })).await;
        assert_eq!(socket.hear().await["type"], "connection_ack");
        socket
    }

    async fn stream(&self, token: &str) -> EventStream {
        let body = json!({ "query": UPDATES });
        EventStream::try_of(self.world.bff_url(), &body, Some(token)).await.unwrap()
    }

    /// Waits until so many subscriptions are heard by the bus.
    async fn subscribed(&self, count: usize) {
        testkit::eventually("the subscriptions have begun", || async {
            (self.world.live_gauges().subscriptions.get() == count).then_some(())
        })
        .await;
    }

    /// A token that the leeway for clocks lets live for some more seconds.
    fn short_lived(&self) -> String {
        self.issuer.sign(&claims_but("ada", "exp", json!(now() - 21)))
    }
}

fn customer(answer: &Value) -> &str {
    answer["data"]["orderUpdated"]["customerId"].as_str().unwrap()
}

/// Two who have selected the same share nothing: each hears of their own orders only, an operator of all.
#[tokio::test]
async fn updates_of_all_orders_are_those_of_ones_own() {
    let system = System::start().await;
    let (ada, bob, operator) = (system.issuer.customer("ada"), system.issuer.customer("bob"), system.issuer.operator());
    let (mut of_ada, mut of_bob, mut of_all) =
        (system.stream(&ada).await, system.stream(&bob).await, system.stream(&operator).await);
    let mut socket = system.socket(&bob).await;
    socket.subscribe("1", UPDATES).await;
    system.subscribed(4).await;

    // With its invoice each time: several events of each, in turns.
    for _ in 0..3 {
        system.place("ada").await;
        system.place("bob").await;
    }
    for _ in 0..3 {
        assert_eq!(customer(&of_ada.answer().await), "ada");
        assert_eq!(customer(&of_bob.answer().await), "bob");
        assert_eq!(customer(&socket.hear().await["payload"]), "bob");
    }
    let mut heard = std::collections::BTreeSet::new();
    while heard.len() < 2 {
        heard.insert(customer(&of_all.answer().await).to_owned());
    }
}

#[tokio::test]
async fn a_socket_ends_with_its_token() {
    let system = System::start().await;
    let mut socket = system.socket(&system.short_lived()).await;
    socket.subscribe("1", UPDATES).await;
    assert_eq!(socket.closed().await, (4403, "Forbidden: the token has expired".to_owned()));
    system.subscribed(0).await;
}

#[tokio::test]
async fn a_token_that_has_expired_since_the_socket_was_opened_begins_nothing() {
    let system = System::start().await;
    let bearer = format!("Bearer {}", system.short_lived());
    let headers = [("sec-websocket-protocol", "graphql-transport-ws"), ("authorization", bearer.as_str())];
    let opening = testkit::socket::opening(system.world.bff_url(), "/graphql/ws", &headers);
    let mut socket = Socket::with(opening).await.unwrap();
    let expired = system.short_lived();
    testkit::eventually("the token has expired", || async {
        let answer = system.graphql(system.world.bff_url(), Some(&expired), "{ __typename }").await;
        (answer.status() == 401).then_some(())
    })
    .await;
    socket.say(json!({ "type": "connection_init" })).await;
    assert_eq!(socket.closed().await, (4403, "Forbidden: the token has expired".to_owned()));
}

#[tokio::test]
async fn an_event_stream_ends_with_its_token_and_says_so() {
    let system = System::start().await;
    let mut stream = system.stream(&system.short_lived()).await;
    let last = stream.answer().await;
    let error = &last["errors"][0];
    assert_eq!(
        (&error["extensions"]["code"], &error["message"]),
        (&json!("UNAUTHENTICATED"), &json!("the token has expired"))
    );
    assert_eq!(stream.next().await, StreamEvent::Complete);
    system.subscribed(0).await;
}

/// Who comes with another token of the same customer is another client: what goes on for one does not for the other.
#[tokio::test]
async fn the_end_of_one_token_is_not_the_end_of_another() {
    let system = System::start().await;
    let mut stays = system.stream(&system.issuer.customer("ada")).await;
    let mut ends = system.stream(&system.short_lived()).await;
    system.subscribed(2).await;
    while ends.next().await != StreamEvent::Complete {}
    system.place("ada").await;
    assert_eq!(customer(&stays.answer().await), "ada");
}
