//! What asks for too much is refused, whatever it does to ask; what people and tools ask for is not.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use testkit::{EventStream, StreamEvent, attacks};

use crate::{socket::Socket, world::World};

#[tokio::test]
async fn every_attack_is_refused_and_says_why() {
    let world = World::start().await;
    for attack in attacks::all() {
        let answer = world.send(&attack.body).await;
        let errors = answer["errors"].as_array().unwrap();
        assert_eq!(errors[0]["extensions"]["code"], attack.code, "{}: {}", attack.name, errors[0]);
        assert!(answer.get("data").is_none() && errors.len() <= 50, "{}: {} errors", attack.name, errors.len());
        if attack.code.starts_with("QUERY_TOO") {
            let extensions = &errors[0]["extensions"];
            assert!(extensions["found"].as_u64() > extensions["allowed"].as_u64(), "{}: {answer}", attack.name);
            assert!(extensions["limit"].is_string(), "{}: {answer}", attack.name);
        }
    }
    assert!(world.orders.take_calls().is_empty() && world.invoices.take_calls().is_empty());
}

#[tokio::test]
async fn every_attack_is_refused_over_every_transport() {
    let world = World::start().await;
    let mut socket = Socket::start(world.bff.url()).await;
    for attack in attacks::all() {
        // Which of several errors is the first is not said; its code is, here and by plain HTTP.
        socket.say(json!({ "id": "attack", "type": "subscribe", "payload": attack.body })).await;
        let refusal = socket.hear().await;
        assert_eq!((&refusal["id"], &refusal["type"]), (&json!("attack"), &json!("error")), "{}", attack.name);
        assert_eq!(refusal["payload"][0]["extensions"]["code"], attack.code, "{}: {refusal}", attack.name);

        let mut stream = EventStream::of(world.bff.url(), &attack.body).await;
        let refusal = stream.answer().await;
        assert_eq!(refusal["errors"][0]["extensions"]["code"], attack.code, "{}: {refusal}", attack.name);
        assert!(refusal.get("data").is_none(), "{}: {refusal}", attack.name);
        assert_eq!(stream.next().await, StreamEvent::Complete, "{}", attack.name);
    }
    assert!(world.orders.take_calls().is_empty() && world.invoices.take_calls().is_empty());
    socket.subscribe("other", r#"{ order(id: "o1") { id } }"#).await;
    assert_eq!(socket.hear().await["payload"], json!({ "data": { "order": { "id": "o1" } } }));
}

#[tokio::test]
async fn many_errors_of_a_subscription_are_not_all_told_either() {
    let world = World::start().await;
    let wrong: String = (0..60).map(|n| format!("no{n} ")).collect();
    let query = format!("subscription {{ orderUpdated {{ {wrong} }} }}");
    let answer = EventStream::open(world.bff.url(), &query, json!({})).await.answer().await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 50);
}

#[tokio::test]
async fn more_than_a_hundred_attacks_at_once_harm_nobody() {
    // How long it takes is not the matter here, and a test machine may be slow.
    let world = World::start_with(|config| config.api.subgraph_timeout = Duration::from_secs(30)).await;
    let attacks: Vec<_> = (0..3).flat_map(|_| attacks::all()).collect();
    let refused = join_all(attacks.iter().map(|attack| world.send(&attack.body)));
    let others = join_all((0..20).map(|_| world.ask(r#"{ order(id: "o1") { id } }"#)));
    let (refused, others) = futures_util::join!(refused, others);
    for (answer, attack) in refused.iter().zip(&attacks) {
        assert_eq!(answer["errors"][0]["extensions"]["code"], attack.code, "{}", attack.name);
    }
    for answer in others {
        assert_eq!(answer, json!({ "data": { "order": { "id": "o1" } } }));
    }
}

#[tokio::test]
async fn what_is_no_single_request_is_refused() {
    let world = World::start().await;
    let url = format!("{}/graphql", world.bff.url());
    let post = async |body: String| {
        let request = world.client.post(&url).header("content-type", "application/json").body(body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(post(json!({ "query": "x".repeat(1_000_000) }).to_string()).await, 413);
    assert_eq!(post(json!(vec![json!({ "query": "{ __typename }" }); 500]).to_string()).await, 400);
    let list = json!({ "query": "{ __typename }", "variables": { "v": vec![1; 50_000] } });
    assert_eq!(post(list.to_string()).await, 400);
    // JSON within JSON, deeper than its parser goes.
    assert_eq!(post(format!("{{\"variables\":{}", "[".repeat(100_000))).await, 400);
    assert_eq!(post(format!("{{\"query\":\"{{a}}\",\"variables\":{{\"v\":{}}}}}", "[".repeat(100_000))).await, 400);
}

#[tokio::test]
async fn a_limit_is_set_from_outside() {
    let world = World::start_with(|config| {
        config.api.limits.depth = 2;
        config.api.limits.aliases = 1;
    })
    .await;
    assert_eq!(world.data(r#"{ a: order(id: "o1") { id } }"#).await, json!({ "a": { "id": "o1" } }));
    for (query, message) in [
        (r#"{ order(id: "o1") { invoice { id } } }"#, "3 levels of fields are more than the 2 allowed"),
        (r#"{ a: order(id: "o1") { b: id } }"#, "2 aliases are more than the 1 allowed"),
    ] {
        assert_eq!(world.ask(query).await["errors"][0]["message"], message);
    }
}

#[tokio::test]
async fn introspection_is_answered() {
    let world = World::start().await;
    let data = world.data(testkit::INTROSPECTION).await;
    let names: Vec<_> = data["__schema"]["types"].as_array().unwrap().iter().map(|ty| &ty["name"]).collect();
    assert!(names.contains(&&json!("OrderConnection")), "{names:?}");
}

#[tokio::test]
async fn only_the_first_of_many_errors_are_told() {
    let world = World::start().await;
    let wrong: String = (0..60).map(|n| format!("no{n} ")).collect();
    let answer = world.ask(&format!(r#"{{ order(id: "o1") {{ {wrong} }} }}"#)).await;
    assert_eq!(answer["errors"].as_array().unwrap().len(), 50);
}
