//! What the tests stand on: databases, brokers, the whole system, captured spans.
//!
//! The same tests run on both back ends, and none of them asks which: `TEST_DATABASE_URL` and `TEST_BROKER_URL`
//! choose PostgreSQL and RabbitMQ, without them it is SQLite and the in-process bus. Every test has its own database
//! and its own virtual host, so all of them run side by side. Nothing here sleeps for luck: waiting is always for a
//! condition, with a deadline.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on says so and fails"
)]

pub mod attacks;
pub mod broker;
pub mod database;
pub mod event_stream;
pub mod otlp;
pub mod processes;
pub mod proxy;
pub mod roles;
pub mod scrape;
pub mod secrets;
pub mod socket;
pub mod tls;
pub mod tokens;
mod wait;
pub mod waterfall;
pub mod world;

pub use broker::TestBroker;
pub use database::TestDatabase;
pub use event_stream::{EventStream, StreamEvent};
pub use scrape::Scrape;
pub use socket::Socket;
pub use wait::{PATIENCE, eventually};
pub use world::World;

/// The introspection query that tools send.
pub const INTROSPECTION: &str = include_str!("introspection.graphql");

/// Holds a schema that the code prints against its committed file in `contracts`. `UPDATE_SCHEMAS=1` rewrites the file:
/// the difference is then what a reviewer reads.
pub fn assert_schema(file: &str, printed: &str) {
    assert_contract(&format!("schemas/{file}"), printed);
}

/// The same for the description of a REST API.
pub fn assert_openapi(file: &str, printed: &str) {
    assert_contract(&format!("openapi/{file}"), printed);
}

/// Holds the list of metrics that the code prints against `docs/metrics.md`. `UPDATE_METRICS=1` rewrites the file.
pub fn assert_metrics_document(printed: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    if std::env::var_os("UPDATE_METRICS").is_some() {
        std::fs::write(path, printed).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap() == printed,
        "docs/metrics.md is not what the code registers; see the difference after \
         UPDATE_METRICS=1 cargo test -p standalone --test it metrics::catalogue"
    );
}

fn assert_contract(file: &str, printed: &str) {
    let path = format!("{}/../contracts/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        std::fs::write(&path, printed).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(
        committed == printed,
        "contracts/{file} is not what the code prints; see the difference after \
         UPDATE_SCHEMAS=1 cargo test -p orders -p invoices -p bff schema"
    );
}
