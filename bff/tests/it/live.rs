//! Updates of orders, told by a bus of the test and read from stand-ins that can show any state.

use std::sync::{Arc, Mutex};

use contracts::{EventEnvelope, EventType, TraceContext, event_id};
use serde_json::{Value, json};
use testkit::{EventStream, StreamEvent, eventually};
use uuid::Uuid;

use crate::{
    service::Trouble,
    world::{World, errors},
};

/// The states of one order and its invoice, as the services would show them now.
#[derive(Clone)]
struct Order {
    id: Uuid,
    state: Arc<Mutex<(&'static str, Option<&'static str>)>>,
    amount: Arc<Mutex<i32>>,
    steps: Arc<Mutex<Vec<&'static str>>>,
}

impl Order {
    fn new() -> Self {
        Self {
            id: Uuid::now_v7(),
            state: Arc::new(Mutex::new(("PENDING", None))),
            amount: Arc::new(Mutex::new(1)),
            steps: Arc::default(),
        }
    }

    fn becomes(&self, order: &'static str, invoice: Option<&'static str>) {
        *self.state.lock().unwrap() = (order, invoice);
    }

    /// Both services, with this order and no other.
    async fn world(&self) -> World {
        let (orders, invoices) = (self.clone(), self.clone());
        let entities = |variables: &Value, entity: &dyn Fn(&str) -> Value| -> Value {
            variables["keys"].as_array().unwrap().iter().map(|key| entity(key["id"].as_str().unwrap())).collect()
        };
        World::of(
            move |field, variables| match field {
                "_entities" => entities(variables, &|id| match *id == orders.id.to_string() {
                    true => json!({ "id": id, "status": orders.state.lock().unwrap().0,
                        "amount": *orders.amount.lock().unwrap(),
                        // A megabyte, for who wants to be slow.
                        "customerId": "x".repeat(1024 * 1024),
                        "timeline": orders.steps.lock().unwrap().iter().map(|step| json!({ "type": step })).collect::<Value>(),
                    }),
                    false => Value::Null,
                }),
                _ => json!({ "nodes": [], "pageInfo": { "hasNextPage": false, "endCursor": null } }),
            },
            move |_, variables| {
                entities(variables, &|_| {
                    let status = invoices.state.lock().unwrap().1;
                    json!({ "invoice": status.map(|status| json!({ "status": status })) })
                })
            },
        )
        .await
    }
}

/// Publishes an event about an order; which one says nothing about its state.
async fn publish(world: &World, order: Uuid) {
    assert_eq!(publish_as(EventType::OrderPaid, world, order).await, Ok(vec![messaging::Outcome::Accepted]));
}

async fn publish_as(
    event_type: EventType,
    world: &World,
    order: Uuid,
) -> Result<Vec<messaging::Outcome>, messaging::PublishError> {
    let event = EventEnvelope {
        id: event_id(order, 1),
        event_type,
        source: "orders".into(),
        aggregate_id: order,
        event_no: 1,
        asks: false,
        order_id: order,
        occurred_at: contracts::now(),
        trace_context: TraceContext::default(),
        body: "{}".into(),
    };
    world.bus.publisher().publish(&[event]).await
}

const ONE: &str = "subscription($id: ID!) { orderUpdated(id: $id) { id status invoice { status } } }";

async fn watch(world: &World, order: Uuid) -> EventStream {
    EventStream::open(world.bff.url(), ONE, json!({ "id": order })).await
}

fn state(answer: &Value) -> (&str, Option<&str>) {
    let order = &answer["data"]["orderUpdated"];
    (order["status"].as_str().unwrap_or("none"), order["invoice"]["status"].as_str())
}

#[tokio::test]
async fn a_service_that_answers_with_the_past_shows_nobody_an_older_state() {
    let order = Order::new();
    let world = order.world().await;
    order.becomes("PAID", Some("PAID"));
    let mut stream = watch(&world, order.id).await;
    assert_eq!(state(&stream.answer().await), ("PAID", Some("PAID")));

    order.becomes("PENDING", Some("PAID"));
    world.orders.take_calls();
    publish(&world, order.id).await;
    eventually("the past was read", || async { (!world.orders.take_calls().is_empty()).then_some(()) }).await;
    order.becomes("CANCELED", Some("ISSUED"));
    eventually("another past was read", || async { (!world.orders.take_calls().is_empty()).then_some(()) }).await;
    order.becomes("CANCELED", Some("REFUNDED"));
    // Without another event: it is read again until it is not the past.
    assert_eq!(state(&stream.answer().await), ("CANCELED", Some("REFUNDED")));
}

/// A cancellation that overtook its order: invoices say that it is void before they show it, and show it without a word.
#[tokio::test]
async fn the_invoice_of_a_canceled_order_is_seen_when_it_appears() {
    let order = Order::new();
    let world = order.world().await;
    order.becomes("CANCELED", None);
    let mut late = watch(&world, order.id).await;
    let all = "subscription { orderUpdated { status invoice { status } } }";
    let mut early = EventStream::open(world.bff.url(), all, json!({})).await;
    eventually("both listen", || async { (world.gauges.subscriptions.get() == 2).then_some(()) }).await;
    publish(&world, order.id).await;
    for stream in [&mut late, &mut early] {
        assert_eq!(state(&stream.answer().await), ("CANCELED", None));
    }

    order.becomes("CANCELED", Some("VOIDED"));
    for stream in [&mut late, &mut early] {
        assert_eq!(state(&stream.answer().await), ("CANCELED", Some("VOIDED")));
    }
}

#[tokio::test]
async fn an_event_that_changes_nothing_says_nothing() {
    let order = Order::new();
    let world = order.world().await;
    let mut stream = watch(&world, order.id).await;
    assert_eq!(state(&stream.answer().await), ("PENDING", None));
    world.orders.take_calls();
    for _ in 0..3 {
        publish(&world, order.id).await;
        eventually("it was read", || async { (!world.orders.take_calls().is_empty()).then_some(()) }).await;
    }
    order.becomes("PENDING", Some("ISSUED"));
    publish(&world, order.id).await;
    assert_eq!(state(&stream.answer().await), ("PENDING", Some("ISSUED")));
}

#[tokio::test]
async fn what_a_service_could_not_say_is_sent_when_it_can() {
    let order = Order::new();
    let world = order.world().await;
    order.becomes("PENDING", Some("ISSUED"));
    world.invoices.misbehave(Trouble::Status(500));
    let mut stream = watch(&world, order.id).await;
    let partial = stream.answer().await;
    assert_eq!(state(&partial), ("PENDING", None));
    assert_eq!(errors(&partial), ["orderUpdated.invoice: SERVICE_UNAVAILABLE of invoices"]);

    world.invoices.behave();
    let whole = stream.answer().await;
    assert_eq!(state(&whole), ("PENDING", Some("ISSUED")));
    assert_eq!(errors(&whole), Vec::<String>::new());
}

#[tokio::test]
async fn who_subscribes_while_orders_are_away_is_told_and_served_later() {
    let order = Order::new();
    let world = order.world().await;
    world.orders.misbehave(Trouble::Status(503));
    let mut stream = watch(&world, order.id).await;
    let answer = stream.answer().await;
    assert_eq!(
        (&answer["data"], errors(&answer)),
        (&json!(null), vec!["orderUpdated: SERVICE_UNAVAILABLE of orders".to_owned()])
    );

    world.orders.behave();
    assert_eq!(state(&stream.answer().await), ("PENDING", None));
}

#[tokio::test]
async fn an_order_that_is_not_there_ends_its_subscription() {
    let order = Order::new();
    let world = order.world().await;
    for id in [json!(Uuid::now_v7()), json!("nothing")] {
        let mut stream = EventStream::open(world.bff.url(), ONE, json!({ "id": id })).await;
        let answer = stream.answer().await;
        assert_eq!(answer["errors"][0]["extensions"]["code"], "ORDER_NOT_FOUND", "{answer}");
        assert_eq!(stream.next().await, StreamEvent::Complete);
    }
}

#[tokio::test]
async fn subscribers_with_one_selection_share_a_reading() {
    const SUBSCRIBERS: usize = 20;
    let order = Order::new();
    let world = order.world().await;
    let mut streams = Vec::new();
    for _ in 0..SUBSCRIBERS {
        let mut stream = watch(&world, order.id).await;
        assert_eq!(state(&stream.answer().await), ("PENDING", None));
        streams.push(stream);
    }
    world.orders.take_calls();
    order.becomes("PENDING", Some("ISSUED"));
    publish(&world, order.id).await;
    for stream in &mut streams {
        assert_eq!(state(&stream.answer().await), ("PENDING", Some("ISSUED")));
    }
    // One for all who asked in time, and one for those who asked while it was on its way.
    let calls = world.orders.take_calls().len();
    assert!((1..=2).contains(&calls), "{calls} calls for {SUBSCRIBERS} subscribers");
}

#[tokio::test]
async fn only_the_selected_fields_and_the_statuses_travel() {
    let order = Order::new();
    let world = order.world().await;
    let query =
        "subscription($id: ID!) { u: orderUpdated(id: $id) { __typename ...F } } fragment F on Order { amount }";
    let mut stream = EventStream::open(world.bff.url(), query, json!({ "id": order.id })).await;
    let answer = stream.answer().await;
    assert_eq!(answer, json!({ "data": { "u": { "__typename": "Order", "amount": 1 } } }));
    let expected = "query($keys:[_Any!]!){_entities(representations:$keys){...on Order{amount id status}}}";
    assert_eq!(world.orders.take_queries(), [expected]);
    assert_eq!(world.invoices.take_queries().len(), 0);
}

#[tokio::test]
async fn an_event_stream_is_not_a_way_around_what_http_forbids() {
    let world = Order::new().world().await;
    let get = |query: &str| {
        let url = reqwest::Url::parse_with_params(&format!("{}/graphql", world.bff.url()), [("query", query)]).unwrap();
        world.client.get(url).header("accept", "text/event-stream").send()
    };
    let refused = get(r#"mutation { cancelOrder(id: "1") { order { id } } }"#).await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"POST".parse().unwrap()));
    assert_eq!(world.orders.take_queries().iter().filter(|query| query.starts_with("mutation")).count(), 0);

    let invalid = get("{ nothing }").await.unwrap();
    let text = invalid.text().await.unwrap();
    assert!(
        text.starts_with("event: next\ndata: {\"errors\":[") && text.contains("GRAPHQL_VALIDATION_FAILED"),
        "{text}"
    );
    assert!(text.trim_end().ends_with("event: complete\ndata:") && !text.contains("\"data\":null"), "{text}");

    let url = format!("{}/graphql", world.bff.url());
    let form = world.client.post(&url).header("accept", "text/event-stream").header("content-type", "text/plain");
    assert_eq!(form.body(r#"{"query":"{ __typename }"}"#).send().await.unwrap().status(), 415);

    // Who takes JSON too gets it for everything that has one answer.
    let both = "application/json, text/event-stream";
    let query = json!({ "query": "{ __typename }" });
    let answer = world.client.post(&url).header("accept", both).json(&query).send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
}

/// The npm client `urql` asks for everything like this.
#[tokio::test]
async fn who_takes_json_as_well_gets_a_stream_of_subscriptions_only() {
    let order = Order::new();
    let world = order.world().await;
    let url = format!("{}/graphql", world.bff.url());
    let both = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed";
    let post = |body: String| {
        let request = world.client.post(&url).header("accept", both).header("content-type", "application/json");
        request.body(body).send()
    };
    let kind = |answer: &reqwest::Response| answer.headers()["content-type"].to_str().unwrap().to_owned();
    for (body, status, expected) in [
        (json!({ "query": "{ __typename }" }).to_string(), 200, "application/graphql-response+json; charset=utf-8"),
        (json!({ "query": "{ nothing }" }).to_string(), 400, "application/graphql-response+json; charset=utf-8"),
        (
            json!({ "query": "subscription { a b }" }).to_string(),
            400,
            "application/graphql-response+json; charset=utf-8",
        ),
        ("[]".to_owned(), 400, "application/problem+json"),
        ("{".to_owned(), 400, "application/problem+json"),
        (" ".repeat(200_000), 413, "application/problem+json"),
    ] {
        let answer = post(body.clone()).await.unwrap();
        assert_eq!((answer.status().as_u16(), kind(&answer).as_str()), (status, expected), "{:.60}", body);
    }
    let watched = post(json!({ "query": ONE, "variables": { "id": order.id } }).to_string()).await.unwrap();
    assert_eq!((watched.status().as_u16(), kind(&watched).as_str()), (200, "text/event-stream"));

    let by_get = reqwest::Url::parse_with_params(&url, [("query", "mutation { cancelOrder(id: 1) { __typename } }")]);
    let refused = world.client.get(by_get.unwrap()).header("accept", both).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), &refused.headers()["allow"]), (405, &"POST".parse().unwrap()));
    assert!(world.orders.take_queries().iter().all(|query| !query.starts_with("mutation")));
}

#[tokio::test]
async fn the_timeline_is_read_until_it_has_what_was_heard() {
    let order = Order::new();
    let world = order.world().await;
    let query = "subscription($id: ID!) { orderUpdated(id: $id) { timeline { t: type } } }";
    let mut stream = EventStream::open(world.bff.url(), query, json!({ "id": order.id })).await;
    let timeline = |answer: Value| answer["data"]["orderUpdated"]["timeline"].clone();
    assert_eq!(timeline(stream.answer().await), json!([]));

    // Heard here before the orders service has worked on it. Nobody works on it in this test, so it is not accepted.
    world.orders.take_calls();
    let _ = publish_as(EventType::InvoiceIssued, &world, order.id).await;
    eventually("it was read too early", || async { (!world.orders.take_calls().is_empty()).then_some(()) }).await;
    order.steps.lock().unwrap().push("INVOICE_ISSUED");
    assert_eq!(timeline(stream.answer().await), json!([{ "t": "INVOICE_ISSUED" }]));
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_up_nobody_and_sees_the_last_state_in_the_end() {
    const CHANGES: i32 = 60;
    let order = Order::new();
    let world = order.world().await;
    let large = "subscription($id: ID!) { orderUpdated(id: $id) { amount customerId } }";
    let mut slow = EventStream::open(world.bff.url(), large, json!({ "id": order.id })).await;
    let small = "subscription($id: ID!) { orderUpdated(id: $id) { amount } }";
    let mut quick = EventStream::open(world.bff.url(), small, json!({ "id": order.id })).await;
    let amount = |answer: &Value| answer["data"]["orderUpdated"]["amount"].as_i64().unwrap();
    assert_eq!(amount(&quick.answer().await), 1);

    for change in 2..=CHANGES {
        *order.amount.lock().unwrap() = change;
        publish(&world, order.id).await;
        assert_eq!(amount(&quick.answer().await), i64::from(change));
    }

    let mut seen = Vec::new();
    while seen.last() != Some(&i64::from(CHANGES)) {
        seen.push(amount(&slow.answer().await));
    }
    assert!(seen.is_sorted(), "{seen:?}");
    assert!(seen.len() < 40, "what nobody took is not kept: {} of {CHANGES} changes were", seen.len());
}
