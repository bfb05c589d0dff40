//! Journeys through the whole system, by the APIs that clients use.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::future::join_all;
use serde_json::{Value, json};
use testkit::{World, eventually, world::Settings};
use uuid::Uuid;

const ORDER: &str = "query($id: ID!) {
    order(id: $id) { id amount status customerId timeline { type traceId } invoice { number amount status order { id status } } }
}";

#[tokio::test]
async fn a_repeated_mutation_brings_the_order_with_the_invoice_that_it_has_by_then() {
    let world = World::start().await;
    let create = "mutation { createOrder(input: { amount: 5, idempotencyKey: \"once\" }) {
        order { id status invoice { status amount } } userErrors { code }
    } }";
    let first = world.graphql(create, json!({})).await["data"]["createOrder"].take();
    world.settle().await;
    let again = world.graphql(create, json!({})).await["data"]["createOrder"].take();
    assert_eq!(again["order"]["id"], first["order"]["id"]);
    assert_eq!(again["order"]["invoice"], json!({ "status": "ISSUED", "amount": 5 }));

    let cancel =
        "mutation($id: ID!) { cancelOrder(id: $id) { order { status invoice { status } } userErrors { code } } }";
    let variables = json!({ "id": first["order"]["id"] });
    world.graphql(cancel, variables.clone()).await;
    world.settle().await;
    let canceled = world.graphql(cancel, variables).await;
    let order = json!({ "status": "CANCELED", "invoice": { "status": "VOIDED" } });
    assert_eq!(canceled["data"]["cancelOrder"], json!({ "order": order, "userErrors": [] }));
}

#[tokio::test]
async fn an_order_is_returned_together_with_its_invoice() {
    let world = World::start().await;
    let create = "mutation { createOrder(input: { amount: 1999, customerId: \"ada\" }) { order { id status } userErrors { code } } }";
    let created = world.graphql(create, json!({})).await;
    let id = created["data"]["createOrder"]["order"]["id"].as_str().unwrap().to_owned();
    let order: Uuid = id.parse().unwrap();

    let invoice = world.invoice_of(order, "issued").await;
    world.settle().await;
    let answer = world.graphql(ORDER, json!({ "id": id })).await;
    assert!(answer.get("errors").is_none(), "{answer}");
    let found = &answer["data"]["order"];
    assert_eq!(
        (&found["status"], &found["amount"], &found["customerId"]),
        (&json!("PENDING"), &json!(1999), &json!("ada"))
    );
    assert_eq!((&found["invoice"]["status"], &found["invoice"]["number"]), (&json!("ISSUED"), &invoice["number"]));
    assert_eq!(found["invoice"]["order"], json!({ "id": id, "status": "PENDING" }));

    let pay = "mutation($id: ID!) { payInvoice(id: $id) { invoice { status order { id } } userErrors { code } } }";
    let paid = world.graphql(pay, json!({ "id": invoice["id"] })).await;
    assert_eq!(paid["data"]["payInvoice"]["invoice"], json!({ "status": "PAID", "order": { "id": id } }), "{paid}");
    world.settle().await;
    let cancel =
        "mutation($id: ID!) { cancelOrder(id: $id) { order { status invoice { number } } userErrors { code } } }";
    let canceled = world.graphql(cancel, json!({ "id": id })).await;
    assert_eq!(canceled["data"]["cancelOrder"]["order"]["status"], "CANCELED", "{canceled}");
    assert_eq!(canceled["data"]["cancelOrder"]["order"]["invoice"]["number"], invoice["number"]);
    world.settle().await;

    let answer = world.graphql(ORDER, json!({ "id": id })).await;
    assert_eq!(answer["data"]["order"]["invoice"]["status"], "REFUNDED");
    let mut events: Vec<&str> =
        answer["data"]["order"]["timeline"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(events.first(), Some(&"ORDER_CREATED"));
    events.sort_unstable();
    assert_eq!(
        events,
        ["INVOICE_ISSUED", "INVOICE_PAID", "INVOICE_REFUNDED", "ORDER_CANCELED", "ORDER_CREATED", "ORDER_PAID"]
    );
}

/// 50 clients, 1,000 orders, two replicas of each service where the back end can have them.
#[tokio::test]
async fn every_order_of_many_clients_gets_exactly_one_invoice() {
    let world = World::with(Settings { replicas: Some(2), ..Settings::default() }).await;
    let urls = world.orders_urls();
    let left = Arc::new(AtomicUsize::new(1000));
    let placed = join_all((0..50).map(|client| {
        let (left, url, http) = (Arc::clone(&left), urls[client % urls.len()].clone(), world.http.clone());
        async move {
            let mut ids = Vec::new();
            while let Ok(n) = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
                let body = json!({ "amount": n, "customerId": format!("client-{client}") });
                let response = http.post(format!("{url}/orders")).json(&body).send().await.unwrap();
                assert_eq!(response.status(), 201);
                let order: Value = response.json().await.unwrap();
                ids.push(order["id"].as_str().unwrap().parse::<Uuid>().unwrap());
            }
            ids
        }
    }))
    .await;
    let placed: BTreeSet<Uuid> = placed.into_iter().flatten().collect();
    assert_eq!(placed.len(), 1000);
    let pairs = world.settle().await;
    assert_eq!(pairs.keys().copied().collect::<BTreeSet<_>>(), placed);
    assert!(pairs.values().all(|pair| pair.invoice == "issued"));

    // As clients see them: every invoice once, each for another order.
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let url = format!("{}/invoices?limit=100{cursor}", world.invoices_url());
        let page: Value = world.http.get(url).send().await.unwrap().json().await.unwrap();
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|i| i["orderId"].as_str().unwrap().parse::<Uuid>().unwrap()),
        );
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen.len(), 1000);
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), placed);
}

/// Payment and cancellation of the same order at the same time: one of them wins, money is conserved.
#[tokio::test]
async fn pay_and_cancel_may_race() {
    let world = World::with(Settings { replicas: Some(2), ..Settings::default() }).await;
    let orders = join_all((1..=60).map(|amount| world.place(amount))).await;
    world.settle().await;
    join_all(orders.iter().enumerate().map(|(index, order)| {
        let world = &world;
        async move {
            let invoice = world.invoice_of(*order, "issued").await;
            let pay =
                world.http.post(format!("{}/invoices/{}/pay", world.invoices_url(), invoice["id"].as_str().unwrap()));
            let cancel = world.http.post(format!("{}/orders/{order}/cancel", world.orders_url()));
            let (first, second) = if index % 2 == 0 { (pay, cancel) } else { (cancel, pay) };
            let (first, second) = tokio::join!(first.send(), second.send());
            for response in [first.unwrap(), second.unwrap()] {
                assert!([200, 409].contains(&response.status().as_u16()), "{response:?}");
            }
        }
    }))
    .await;
    let pairs = world.settle().await;
    assert!(pairs.values().all(|pair| pair.order == "canceled"), "{pairs:?}");
    assert!(pairs.values().all(|pair| ["voided", "refunded"].contains(&pair.invoice.as_str())));
}

#[tokio::test]
async fn without_invoices_every_order_comes_with_its_own_error() {
    let mut world = World::start().await;
    for amount in 1..=3 {
        world.place(amount).await;
    }
    world.settle().await;
    world.stop_invoices().await;
    let query = "{ orders { nodes { id amount invoice { status } } } }";
    let answer = world.graphql(query, json!({})).await;
    let nodes = answer["data"]["orders"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3, "{answer}");
    let errors = answer["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 3, "{answer}");
    for (index, node) in nodes.iter().enumerate() {
        assert!(node["invoice"].is_null() && node["amount"].is_i64());
        let path = json!(["orders", "nodes", index, "invoice"]);
        let error = errors.iter().find(|error| error["path"] == path).unwrap();
        assert_eq!(error["extensions"]["code"], "SERVICE_UNAVAILABLE");
        assert_eq!(error["extensions"]["service"], "invoices");
        let text = error.to_string();
        assert!(!text.contains("localhost") && !text.contains("127.0.0.1"), "{text}");
    }
    // Creating goes on; the invoice comes when the service does.
    let order = world.place(4).await;
    world.start_invoices().await;
    world.invoice_of(order, "issued").await;
    assert_eq!(world.settle().await.len(), 4);
}

/// The caller's trace reaches the invoice, over HTTP, the outbox row and the bus, and the timeline shows it.
#[tokio::test]
async fn one_trace_runs_from_the_request_to_the_invoice() {
    testkit::otlp::trace_this_process();
    let world = World::start().await;
    let trace_id = Uuid::new_v4().simple().to_string();
    let body = json!({ "query": "mutation { createOrder(input: { amount: 5 }) { order { id } } }" });
    let request = world
        .http
        .post(format!("{}/graphql", world.bff_url()))
        .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .json(&body);
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    let id = answer["data"]["createOrder"]["order"]["id"].clone();
    let timeline = eventually("the invoice is in the timeline", || async {
        let answer = world.graphql(ORDER, json!({ "id": id })).await;
        let timeline = answer["data"]["order"]["timeline"].as_array().unwrap().clone();
        (timeline.len() == 2).then_some(timeline)
    })
    .await;
    for (event, expected) in timeline.iter().zip(["ORDER_CREATED", "INVOICE_ISSUED"]) {
        assert_eq!((&event["type"], &event["traceId"]), (&json!(expected), &json!(trace_id)));
    }
}
