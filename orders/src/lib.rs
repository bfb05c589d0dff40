//! The orders service: places and cancels orders, and follows what becomes of their invoices.
//!
//! It owns its database and knows no other service: it states facts as events and listens to those of others.
//! A request walks [`rest`] or [`graphql`] → [`service`] → [`saga`] and [`order`] (rules) → `entity` (statements);
//! an event walks `consumer` → [`service`] and on as above.

pub mod config;
mod consumer;
pub mod entity;
pub mod graphql;
mod housekeeping;
mod metrics;
pub mod openapi;
pub mod order;
pub mod rest;
pub mod saga;
pub mod service;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use chassis::{
    background::keep_running,
    docs,
    health::{self, CheckResult, Readiness},
    metrics::Metrics,
    service::RunningService,
};
use contracts::topology::{self, Queue};
use messaging::{BusStatus, EventBus, Handler};
use outbox::{DatabaseUrl, Outbox, Reconciler, Relay};
use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;

pub use config::Config;

use crate::{consumer::InvoiceEvents, service::OrderService};

/// The name of the service: the source of its events.
pub const NAME: &str = "orders";

/// The queues that it consumes.
pub const QUEUES: &[&Queue] = &[&topology::ORDERS_INVOICE_EVENTS];

/// What it does with the messages of its queues.
pub fn consumers(orders: OrderService) -> [(&'static Queue, Arc<dyn Handler>); 1] {
    [(&topology::ORDERS_INVOICE_EVENTS, Arc::new(InvoiceEvents(orders)))]
}

/// Starts the service on its database and the bus, and answers when it accepts requests.
///
/// # Errors
/// When it cannot listen, or the settings do not describe a database. A database or a broker that is away is no
/// error: the service is unready until the first is there, and works without the second.
pub async fn start(config: Config, bus: Arc<dyn EventBus>) -> anyhow::Result<RunningService> {
    let default_customer = config.default_customer();
    let database_url: DatabaseUrl =
        config.database_url.context("DATABASE_URL is not set")?.expose_secret().parse().context("DATABASE_URL")?;
    let authenticator = config.identity.authenticator()?;
    if config.default_customer_id.is_some() && !authenticator.is_open() {
        tracing::warn!("DEFAULT_CUSTOMER_ID is not used: an order belongs to the customer of the token");
    }
    let host = config.listen.host.clone();
    let listener = config.listen.bind()?;
    let metrics_listener = config.metrics.bind(&host)?;
    let metrics = Metrics::new(NAME);
    let bus = bus.measured_by(&metrics);
    let db = outbox::connect(&database_url, NAME).await.with_context(|| format!("cannot open {database_url}"))?;
    let outbox = Outbox::measured(db.clone(), &metrics);
    let orders = OrderService::new(outbox.clone(), default_customer, config.reconcile_after).measured_by(&metrics);

    let readiness = Arc::new(readiness(&outbox, &bus));
    let subgraph = Router::new().route("/graphql", chassis::graphql::endpoint(graphql::schema(orders.clone())));
    let routes = authenticator
        .protect(rest::routes(orders.clone()))
        .merge(authenticator.protect_subgraph(subgraph))
        .merge(health::routes(Arc::clone(&readiness)))
        .merge(docs::routes(&openapi::document()));
    let relay = Relay::start(&outbox, &bus);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let housekeeping = tokio::spawn(async move {
        keep_running("housekeeping", || housekeeping::run(outbox.clone(), stopped.clone())).await;
    });
    let asking = orders.clone();
    let reconciler = Reconciler::start(&metrics, config.reconcile_after, Arc::clone(&bus), move || {
        let orders = asking.clone();
        async move { orders.reconcile().await }
    });
    let [subscription] = consumers(orders).map(|(queue, handler)| bus.subscribe(queue, handler));
    Ok(RunningService::start(&metrics, listener, routes, readiness)
        .with_metrics_on(metrics_listener)
        .on_stop(|| subscription.stop())
        .on_stop(|| reconciler.stop())
        .on_stop(|| relay.stop())
        .on_stop(|| async move {
            stop.cancel();
            let _ = housekeeping.await;
        })
        .on_stop(|| async move {
            let _ = db.close().await;
        }))
}

/// Ready with a reachable database at the newest schema. The broker is reported only: the outbox absorbs its outage.
fn readiness(outbox: &Outbox, bus: &Arc<dyn EventBus>) -> Readiness {
    let (db, broker, topology) = (outbox.db().clone(), Arc::clone(bus), Arc::clone(bus));
    Readiness::default()
        .check("database", move || {
            let db = db.clone();
            async move {
                match migration::pending(&db, migration::Schema::Orders).await {
                    Ok(pending) if pending.is_empty() => CheckResult::Ok,
                    Ok(_) => CheckResult::Failed("migrations are missing"),
                    Err(_) => CheckResult::Failed("unreachable"),
                }
            }
        })
        .check("broker", move || {
            let status = broker.status();
            async move { if matches!(status, BusStatus::Degraded(_)) { CheckResult::Degraded } else { CheckResult::Ok } }
        })
        // Events travel, but without the limits, or the safety, of the queues as they should be.
        .check("topology", move || {
            let status = topology.status();
            async move { if matches!(status, BusStatus::Differs(_)) { CheckResult::Degraded } else { CheckResult::Ok } }
        })
}
