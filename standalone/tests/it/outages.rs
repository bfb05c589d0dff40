//! The broker and the database go away and come back; nothing is restarted, nothing is lost.
//!
//! A proxy in front of each server cuts the services off. Without servers there is nothing to cut: an embedded
//! system runs the same journeys undisturbed.

use std::{sync::Arc, time::Duration};

use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use testkit::{World, eventually, proxy::Proxy, world::Settings};
use tokio::time::Instant;

pub(crate) async fn proxy_of(variable: &str, default_port: u16) -> Option<Arc<Proxy>> {
    let url: Url = std::env::var(variable).ok()?.parse().unwrap();
    let target = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(default_port));
    Some(Proxy::to(&target).await)
}

#[tokio::test]
async fn without_a_broker_orders_are_still_placed_and_every_invoice_comes_later() {
    let broker = proxy_of("TEST_BROKER_URL", 5672).await;
    let broker_address = broker.as_ref().map(|proxy| proxy.address());
    let world = World::with(Settings { broker_address, ..Settings::default() }).await;
    world.place(1).await;
    world.settle().await;

    if let Some(proxy) = &broker {
        proxy.cut().await;
    }
    for amount in 2..=50 {
        let began = Instant::now();
        world.place(amount).await;
        // "At once": not after some timeout of the broker's client.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
    if let Some(proxy) = &broker {
        eventually("the broker is reported, and not required", || async {
            let ready = world.http.get(format!("{}/readyz", world.orders_url())).send().await.unwrap();
            assert_eq!(ready.status(), StatusCode::OK);
            (ready.json::<Value>().await.unwrap()["checks"]["broker"] == "degraded").then_some(())
        })
        .await;
        proxy.restore().await;
    }
    assert_eq!(world.settle().await.len(), 50);
}

#[tokio::test]
async fn without_a_database_requests_are_refused_and_afterwards_everything_goes_on() {
    let database = proxy_of("TEST_DATABASE_URL", 5432).await;
    let database_address = database.as_ref().map(|proxy| proxy.address());
    let world = World::with(Settings { database_address, ..Settings::default() }).await;
    world.place(1).await;
    world.settle().await;
    let Some(proxy) = database else { return };

    proxy.cut().await;
    let url = world.orders_url();
    let refused = world.http.post(format!("{url}/orders")).json(&json!({ "amount": 2 })).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let problem: Value = refused.json().await.unwrap();
    assert_eq!(problem["code"], "SERVICE_UNAVAILABLE");
    let text = problem.to_string();
    assert!(!text.contains("127.0.0.1") && !text.contains("postgres"), "{text}");
    let live = world.http.get(format!("{url}/livez")).send().await.unwrap();
    let ready = world.http.get(format!("{url}/readyz")).send().await.unwrap();
    assert_eq!((live.status(), ready.status()), (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE));
    let answer = world.graphql("{ orders { nodes { id } } }", json!({})).await;
    assert_eq!(
        (&answer["data"], &answer["errors"][0]["extensions"]["service"]),
        (&json!({ "orders": null }), &json!("orders"))
    );

    proxy.restore().await;
    eventually("orders are placed again", || async {
        let request = world.http.post(format!("{url}/orders")).json(&json!({ "amount": 3 }));
        (request.send().await.unwrap().status() == StatusCode::CREATED).then_some(())
    })
    .await;
    let pairs = world.settle().await;
    assert!(pairs.len() >= 2, "{pairs:?}");
}
