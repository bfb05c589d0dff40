//! The GraphQL API: orders and invoices composed into one graph.
//!
//! A request comes over one of the transports (plain HTTP by `chassis`, the others in `transport/`) to `entry.rs`,
//! which has its document found in `documents/` and measured by `guard/`. It is resolved by the typed schema in
//! `schema/`, which holds what `compose/` fetched from the services through `subgraph/`. `selection.rs` says what of
//! the client's selection travels. `live/` hears the event bus and says what has changed. `pages/` serves the console
//! and the playground. There is no database and no domain rule here, and no service's code: only URLs, schemas,
//! answers, and the news that there was an event.

mod compose;
mod config;
mod documents;
mod entry;
mod guard;
mod live;
mod metrics;
mod overlap;
mod pages;
mod readiness;
mod schema;
mod selection;
mod subgraph;
mod transport;

use std::sync::Arc;

use chassis::{graphql, health, metrics::Metrics, service::RunningService};
use messaging::EventBus;

use compose::Subgraphs;
pub use config::{ApiConfig, Config, LiveConfig};
use documents::Documents;
use entry::Entry;
use guard::Guard;
pub use guard::Limits;
use live::Live;
pub use live::{Gauge, LiveGauges};
use metrics::FieldMetrics;
pub use pages::{PagesConfig, TraceUrl, is_browser};
use subgraph::{CallMetrics, Subgraph};
pub use transport::Origins;
use transport::Transports;

/// The name of the service.
pub const NAME: &str = "bff";

/// Starts the API. It listens at once, and is ready when each service was seen to be compatible once. `bus` says when
/// there is something new; without its broker only live updates wait.
///
/// # Errors
/// When the address cannot be had, or the trusted documents cannot be read; the error names which.
pub async fn start(config: Config, bus: Arc<dyn EventBus>) -> anyhow::Result<RunningService> {
    let authenticator = config.identity.authenticator()?;
    let api = config.api;
    let guard = Guard::new(api.limits);
    let documents = match &api.trusted_documents {
        Some(manifest) => Documents::trusted(manifest, &guard)?,
        None => Documents::any(guard.clone()),
    };
    let http = subgraph::http_client()?;
    let limits = subgraph::Limits {
        timeout: api.subgraph_timeout,
        calls: api.subgraph_max_calls,
        waiting: api.subgraph_max_waiting,
    };
    let metrics = Metrics::new(NAME);
    let calls = CallMetrics::register(&metrics);
    let subgraph = |name, url| Subgraph::new(name, url, http.clone(), limits, &calls);
    let subgraphs = Arc::new(Subgraphs {
        orders: subgraph("orders", &config.orders_url),
        invoices: subgraph("invoices", &config.invoices_url),
        fields: FieldMetrics::register(&metrics),
    });
    subgraph::look_at(&[&subgraphs.orders, &subgraphs.invoices], &metrics);
    metrics::look_at_live(&api.live.gauges, &metrics);

    let host = config.listen.host.clone();
    let listener = config.listen.bind()?;
    let metrics_listener = config.metrics.bind(&host)?;
    let bus = bus.measured_by(&metrics);
    let (readiness, watch) = readiness::watch(&subgraphs, &bus);
    let timeout = api.request_timeout;
    let (live, listening) = Live::start(&bus, Arc::clone(&subgraphs), timeout, api.live.gauges.clone());
    let entry = Entry::new(schema::api(), subgraphs, live, documents, guard, &metrics, timeout);
    let transports = Transports::new(entry.clone(), authenticator, api.live, api.origins);
    let routes = transports.routes(graphql::endpoint(entry)).merge(health::routes(Arc::clone(&readiness)));
    let routes = routes.merge(pages::routes(&api.pages));
    let ending = transports.clone();
    Ok(RunningService::start(&metrics, listener, routes, readiness)
        .with_metrics_on(metrics_listener)
        .on_drain(move || ending.end())
        .on_stop(|| async move { transports.ended().await })
        .on_stop(|| listening.stop())
        .on_stop(|| async move { watch.stop().await }))
}

/// The schema that clients see, as text. `contracts/schemas/bff.graphql` is a copy of it.
pub fn sdl() -> String {
    schema::sdl()
}
