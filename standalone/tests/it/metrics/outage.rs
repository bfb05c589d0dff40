//! What an outage looks like in the metrics, while it lasts and after.

use testkit::{Scrape, World, eventually, world::Settings};

use crate::outages::proxy_of;

const ORDERS: (&str, &str) = ("service", "orders");
const DEPTH: &str = "outbox_unpublished_messages";
const AGE: &str = "outbox_oldest_unpublished_age_seconds";

/// The first scrape for which something is true.
async fn scrape(world: &World, what: &str, is: impl Fn(&Scrape) -> bool) -> Scrape {
    eventually(what, || async {
        let scrape = world.scrape().await;
        is(&scrape).then_some(scrape)
    })
    .await
}

/// Where there is a broker it is cut off; where there is none, nobody consumes: either way events wait.
#[tokio::test]
async fn while_events_wait_their_number_and_their_age_grow_and_afterwards_both_are_zero() {
    let broker = proxy_of("TEST_BROKER_URL", 5672).await;
    let broker_address = broker.as_ref().map(|proxy| proxy.address());
    let mut world = World::with(Settings { broker_address, ..Settings::default() }).await;
    world.place(1).await;
    world.settle().await;
    let connections = broker.as_ref().map(|_| ["publishing", "consuming"]);
    for role in connections.into_iter().flatten() {
        let before = world.scrape().await;
        assert_eq!(before.value("amqp_connection_up", &[ORDERS, ("role", role)]), Some(1.0));
        assert_eq!(before.value("amqp_reconnects_total", &[ORDERS, ("role", role)]), Some(0.0));
        let queue = [ORDERS, ("queue", "orders.invoice-events")];
        assert_eq!(before.value("amqp_queue_consumers", &queue), Some(1.0), "{}", before.text);
        assert_eq!(before.label_values("amqp_queue_messages", "queue").len(), 15);
    }

    match &broker {
        Some(proxy) => proxy.cut().await,
        None => world.stop_invoices().await,
    }
    for amount in 2..=4 {
        world.place(amount).await;
    }
    let waiting = scrape(&world, "three events wait", |scrape| scrape.value(DEPTH, &[ORDERS]) == Some(3.0)).await;
    let age = waiting.value(AGE, &[ORDERS]).unwrap();
    let later = scrape(&world, "they have waited longer", |scrape| scrape.value(AGE, &[ORDERS]).unwrap() > age).await;
    assert!(later.value("saga_oldest_pending_age_seconds", &[ORDERS]).is_some());
    if broker.is_some() {
        assert_eq!(later.sum("amqp_connection_up", &[]), 0.0);
        // Nothing is known of the queues, so nothing is said.
        let blind = scrape(&world, "the queues cannot be read", |scrape| {
            scrape.sum("metrics_collection_errors_total", &[ORDERS, ("collector", "queues")]) > 0.0
        });
        assert_eq!(blind.await.value("amqp_queue_messages", &[ORDERS, ("queue", "orders.invoice-events")]), None);
    } else {
        let failed = later.sum("outbox_publish_failures_total", &[ORDERS, ("error_type", "unavailable")]);
        assert!(failed > 0.0, "nothing failed");
    }

    match &broker {
        Some(proxy) => proxy.restore().await,
        None => world.start_invoices().await,
    }
    world.settle().await;
    let after = scrape(&world, "nothing waits", |scrape| scrape.value(DEPTH, &[ORDERS]) == Some(0.0)).await;
    assert_eq!(after.value(AGE, &[ORDERS]), Some(0.0));
    assert_eq!(after.value("order_to_invoice_seconds_count", &[ORDERS]), Some(4.0));
    for role in connections.into_iter().flatten() {
        let labels = [ORDERS, ("role", role)];
        assert_eq!(after.value("amqp_connection_up", &labels), Some(1.0));
        assert!(after.value("amqp_reconnects_total", &labels).unwrap() >= 1.0);
    }
}

#[tokio::test]
async fn without_a_database_what_is_in_it_is_left_out_and_the_rest_is_there() {
    let database = proxy_of("TEST_DATABASE_URL", 5432).await;
    let database_address = database.as_ref().map(|proxy| proxy.address());
    let world = World::with(Settings { database_address, ..Settings::default() }).await;
    world.place(1).await;
    world.settle().await;
    assert_eq!(world.scrape().await.value(DEPTH, &[ORDERS]), Some(0.0));
    // Without a server there is nothing to cut.
    let Some(proxy) = database else { return };

    proxy.cut().await;
    let away = scrape(&world, "it cannot be read", |scrape| {
        let failed = |collector| scrape.sum("metrics_collection_errors_total", &[ORDERS, ("collector", collector)]);
        failed("outbox") > 0.0 && failed("saga") > 0.0
    });
    let away = away.await;
    for name in [DEPTH, AGE, "saga_oldest_pending_age_seconds"] {
        assert_eq!(away.value(name, &[ORDERS]), None, "{name}");
    }
    assert_eq!(away.value("orders_created_total", &[ORDERS]), Some(1.0));

    proxy.restore().await;
    scrape(&world, "it is read again", |scrape| scrape.value(DEPTH, &[ORDERS]) == Some(0.0)).await;
}
