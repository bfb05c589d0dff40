//! A service in trouble costs its own fields, a bounded time and a bounded part of this process; and when it is well
//! again, so is the API, by itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::eventually;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::{
    service::{Service, Trouble},
    world::{World, bus, errors},
};

const BOTH: &str = r#"{ order(id: "o1") { id invoice { id } } invoices { nodes { id order { amount } } } }"#;

fn whole() -> Value {
    json!({
        "order": { "id": "o1", "invoice": { "id": "i1" } },
        "invoices": { "nodes": [{ "id": "i1", "order": { "amount": 100 } }, { "id": "i2", "order": { "amount": 200 } }] },
    })
}

/// The table of answers: for each trouble of each service the same partial data, and a code that says which it is.
#[tokio::test]
async fn each_trouble_of_each_service_costs_exactly_its_fields() {
    let world = World::start_with(|config| config.api.subgraph_timeout = Duration::from_millis(1500)).await;
    for (trouble, code) in [
        (Trouble::Status(500), "SERVICE_UNAVAILABLE"),
        (Trouble::Silence, "TIMEOUT"),
        (Trouble::NotJson, "INTERNAL"),
        (Trouble::NotDeclared, "INTERNAL"),
        (Trouble::Cut, "SERVICE_UNAVAILABLE"),
        (Trouble::Endless, "INTERNAL"),
    ] {
        world.orders.misbehave(trouble.clone());
        let answer = world.ask(BOTH).await;
        let nodes = json!([{ "id": "i1", "order": null }, { "id": "i2", "order": null }]);
        assert_eq!(answer["data"], json!({ "order": null, "invoices": { "nodes": nodes } }), "{trouble:?}");
        let paths = ["invoices.nodes.0.order", "invoices.nodes.1.order", "order"];
        assert_eq!(errors(&answer), paths.map(|path| format!("{path}: {code} of orders")), "{trouble:?}");
        world.orders.behave();
        assert_eq!(world.data(BOTH).await, whole(), "after {trouble:?}");

        world.invoices.misbehave(trouble.clone());
        let answer = world.ask(BOTH).await;
        assert_eq!(
            answer["data"],
            json!({ "order": { "id": "o1", "invoice": null }, "invoices": null }),
            "{trouble:?}"
        );
        let paths = ["invoices", "order.invoice"];
        assert_eq!(errors(&answer), paths.map(|path| format!("{path}: {code} of invoices")), "{trouble:?}");
        world.invoices.behave();
        assert_eq!(world.data(BOTH).await, whole(), "after {trouble:?}");
    }
}

#[tokio::test]
async fn a_service_that_fails_again_and_again_is_left_alone_until_it_is_well() {
    let world = World::start().await;
    world.invoices.misbehave(Trouble::Status(503));
    let query = r#"{ invoice(id: "i1") { id } }"#;
    for _ in 0..5 {
        assert_eq!(errors(&world.ask(query).await), ["invoice: SERVICE_UNAVAILABLE of invoices"]);
    }
    assert_eq!(world.invoices.take_queries().len(), 5);

    // From now on nobody waits for it, and it is spared; a mutation is not sent either.
    for query in [query, r#"mutation { payInvoice(id: "i1") { invoice { id } } }"#] {
        let answer = world.ask(query).await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "SERVICE_UNAVAILABLE", "{answer}");
    }
    assert_eq!(world.invoices.count_calls(), 0);
    assert_eq!(world.data(r#"{ order(id: "o1") { id } }"#).await, json!({ "order": { "id": "o1" } }));

    world.invoices.behave();
    let healed = eventually("the service is asked again", || async {
        let answer = world.ask(query).await;
        answer.get("errors").is_none().then_some(answer)
    })
    .await;
    assert_eq!(healed, json!({ "data": { "invoice": { "id": "i1" } } }));
}

#[tokio::test]
async fn errors_in_answers_do_not_have_a_service_left_alone() {
    let world = World::start().await;
    world.orders.misbehave(Trouble::Body(json!({
        "data": { "order": null },
        "errors": [{ "message": "no", "path": ["order"], "extensions": { "code": "INTERNAL" } }],
    })));
    for _ in 0..10 {
        assert_eq!(errors(&world.ask(r#"{ order(id: "o1") { id } }"#).await), ["order: INTERNAL of orders"]);
    }
    assert_eq!(world.orders.take_queries().len(), 10);
}

#[tokio::test]
async fn so_many_calls_so_many_wait_and_the_next_is_refused_at_once() {
    let world = World::start_with(|config| {
        (config.api.subgraph_max_calls, config.api.subgraph_max_waiting) = (1, 1);
        config.api.subgraph_timeout = Duration::from_secs(60);
        config.api.request_timeout = Duration::from_secs(60);
    })
    .await;
    eventually("the service was looked at", || async {
        let ready = world.client.get(format!("{}/readyz", world.bff.url())).send().await.unwrap();
        (ready.status() == 200).then_some(())
    })
    .await;
    let gate = world.orders.shut();
    // Three root fields, three different queries: one is called, one waits, one is too many.
    let query = r#"{ a: order(id: "o1") { id } b: order(id: "o2") { id } c: order(id: "o3") { id } }"#;
    let (answer, ()) = tokio::join!(world.ask(query), async {
        eventually("a call has arrived", || async { (world.orders.count_calls() == 1).then_some(()) }).await;
        gate.add_permits(2);
    });
    assert_eq!(answer["data"], json!({ "a": { "id": "o1" }, "b": { "id": "o2" }, "c": null }));
    assert_eq!(errors(&answer), ["c: SERVICE_UNAVAILABLE of orders"]);
}

/// A service that closes each connection after a request, without an answer, `times` times; then it answers. Counts the
/// requests; those for its schema are nobody's business here.
async fn hangs_up(times: usize) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&requests);
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let counter = Arc::clone(&counter);
            tokio::spawn(async move {
                let mut request = String::new();
                while !request.ends_with('}') {
                    let mut part = [0; 4096];
                    let length = connection.read(&mut part).await.unwrap();
                    if length == 0 {
                        return;
                    }
                    request.push_str(std::str::from_utf8(&part[..length]).unwrap());
                }
                if request.contains("_service") || counter.fetch_add(1, Ordering::SeqCst) < times {
                    return;
                }
                let body = r#"{"data":{"order":{"id":"o1"}}}"#;
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                let _ = connection.write_all(answer.as_bytes()).await;
            });
        }
    });
    (port, requests)
}

async fn ask_at(port: u16, query: &str) -> Value {
    let url = |port| format!("http://127.0.0.1:{port}").parse().unwrap();
    let config = bff::Config::new(chassis::listen::Listen::anywhere(), url(port), url(9));
    let bff = bff::start(config, bus()).await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.post(format!("{}/graphql", bff.url())).json(&json!({ "query": query }));
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn a_query_whose_connection_failed_is_sent_once_more_and_a_mutation_never() {
    let query = r#"{ order(id: "o1") { id } }"#;
    let (port, requests) = hangs_up(1).await;
    assert_eq!(ask_at(port, query).await, json!({ "data": { "order": { "id": "o1" } } }));
    assert_eq!(requests.load(Ordering::SeqCst), 2);

    let (port, requests) = hangs_up(usize::MAX).await;
    assert_eq!(errors(&ask_at(port, query).await), ["order: SERVICE_UNAVAILABLE of orders"]);
    assert_eq!(requests.load(Ordering::SeqCst), 2);

    let (port, requests) = hangs_up(1).await;
    let answer = ask_at(port, r#"mutation { cancelOrder(id: "o1") { order { id } } }"#).await;
    assert_eq!(errors(&answer), ["cancelOrder: SERVICE_UNAVAILABLE of orders"]);
    assert_eq!(requests.load(Ordering::SeqCst), 1);
}

/// What async-graphql does when one of the entities fails: no data at all, and a path without the index.
fn gives_up_for_o2(call: &crate::service::Call) -> Value {
    let keys = call.variables["keys"].as_array().unwrap();
    if keys.iter().any(|key| key["id"] == "o2") {
        let error =
            json!({ "message": "broken", "path": ["_entities", "invoice"], "extensions": { "code": "INTERNAL" } });
        return json!({ "data": null, "errors": [error] });
    }
    let entities: Vec<_> = keys.iter().map(|_| json!({ "invoice": { "amount": 7 } })).collect();
    json!({ "data": { "_entities": entities } })
}

#[tokio::test]
async fn a_service_that_gives_up_on_all_entities_for_one_is_asked_for_the_others() {
    let world = World::start().await;
    world.invoices.misbehave(Trouble::Answer(gives_up_for_o2));
    let answer = world.ask("{ orders { nodes { id invoice { amount } } } }").await;
    let node = |id: &str, invoice: Value| json!({ "id": id, "invoice": invoice });
    let invoice = || json!({ "amount": 7 });
    let nodes = json!([node("o1", invoice()), node("o2", json!(null)), node("o3", invoice())]);
    assert_eq!(answer["data"], json!({ "orders": { "nodes": nodes } }));
    assert_eq!(errors(&answer), ["orders.nodes.1.invoice: INTERNAL of invoices"]);
    // All three; the first, and the other two; each of these.
    assert_eq!(world.invoices.take_queries().len(), 5);
}

#[tokio::test]
async fn the_search_for_the_one_at_fault_has_an_end() {
    let ids: Vec<String> = (0..100).map(|number| format!("o{number}")).collect();
    let nodes: Value = ids.iter().map(|id| json!({ "id": id })).collect();
    let world = World::of(move |_, _| json!({ "nodes": nodes, "edges": [], "pageInfo": {} }), |_, _| json!(null)).await;
    world.invoices.misbehave(Trouble::Answer(
        |_| json!({ "data": null, "errors": [{ "message": "broken", "path": ["_entities"] }] }),
    ));
    let answer = world.ask("{ orders(first: 100) { nodes { id invoice { amount } } } }").await;
    assert_eq!(errors(&answer).len(), 100);
    assert_eq!(world.invoices.take_queries().len(), 33);

    // A service that is away says so about itself: asking for parts would not help.
    world.invoices.misbehave(Trouble::Answer(|_| {
        let extensions = json!({ "code": "SERVICE_UNAVAILABLE" });
        json!({ "data": null, "errors": [{ "message": "no database", "path": ["_entities"], "extensions": extensions }] })
    }));
    world.ask("{ orders(first: 100) { nodes { id invoice { amount } } } }").await;
    assert_eq!(world.invoices.take_queries().len(), 1);
}

#[tokio::test]
async fn a_service_that_stopped_and_came_back_is_found_again() {
    let mut world = World::start().await;
    assert_eq!(world.data(BOTH).await, whole());
    let port = world.invoices.port;
    world.invoices.go_down().await;
    for _ in 0..10 {
        let answer = world.ask(BOTH).await;
        assert_eq!(answer["data"]["order"], json!({ "id": "o1", "invoice": null }));
        assert_eq!(
            errors(&answer),
            ["invoices", "order.invoice"].map(|p| format!("{p}: SERVICE_UNAVAILABLE of invoices"))
        );
    }
    let _again: Service = world.invoices_again(port).await;
    eventually("it is found", || async {
        let answer = world.ask(BOTH).await;
        (answer == json!({ "data": whole() })).then_some(())
    })
    .await;
}
