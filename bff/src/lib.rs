//! The GraphQL API: orders and invoices composed into one graph.
//!
//! A request comes in through `entry.rs`, is checked and resolved by the typed schema in `schema/`, which holds what
//! `compose/` fetched from the services through `subgraph/`. `selection.rs` says what of the client's selection
//! travels. There is no database and no domain rule here, and no service's code: only URLs, schemas and answers.

mod compose;
mod config;
mod documents;
mod entry;
mod guard;
mod overlap;
mod readiness;
mod schema;
mod selection;
mod subgraph;

use std::sync::Arc;

use axum::Router;
use chassis::{graphql, health, service::RunningService};

use compose::Subgraphs;
pub use config::Config;
use documents::Documents;
use entry::Entry;
use guard::Guard;
pub use guard::Limits;
use subgraph::Subgraph;

/// Starts the API. It listens at once, and is ready when each service has answered once.
///
/// # Errors
/// When the address cannot be had, or the trusted documents cannot be read; the error names which.
pub async fn start(config: Config) -> anyhow::Result<RunningService> {
    let guard = Guard::new(config.limits);
    let documents = match &config.trusted_documents {
        Some(manifest) => Documents::trusted(manifest, &guard)?,
        None => Documents::any(guard.clone()),
    };
    let http = subgraph::http_client()?;
    let subgraph = |name, url| Subgraph::new(name, url, http.clone(), config.subgraph_timeout);
    let subgraphs = Arc::new(Subgraphs {
        orders: subgraph("orders", &config.orders_url),
        invoices: subgraph("invoices", &config.invoices_url),
    });

    let listener = config.listen.bind()?;
    let (readiness, watch) = readiness::watch(&subgraphs);
    let entry = Entry::new(schema::api(), subgraphs, documents, guard, config.request_timeout);
    let routes =
        Router::new().route("/graphql", graphql::endpoint(entry)).merge(health::routes(Arc::clone(&readiness)));
    Ok(RunningService::start("bff", listener, routes, readiness).on_stop(|| async move { watch.stop().await }))
}

/// The schema that clients see, as text. `contracts/schemas/bff.graphql` is a copy of it.
pub fn sdl() -> String {
    schema::sdl()
}
