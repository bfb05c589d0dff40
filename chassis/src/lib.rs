//! How one of our processes lives: telemetry, metrics, HTTP, health, problem+json, GraphQL over HTTP, the description of REST,
//! start and stop.
//!
//! Nothing here knows an order or an invoice. A service hands over its routes, its readiness checks and what it runs
//! beside them, and gets a [`service::RunningService`] that knows its address and can be stopped.

pub mod background;
pub mod backoff;
pub mod cursor;
pub mod docs;
pub mod etag;
pub mod failpoint;
pub mod graphql;
pub mod health;
pub mod healthcheck;
pub mod http;
pub mod identity;
pub mod listen;
pub mod metrics;
pub mod page;
pub mod pages;
pub mod problem;
pub mod propagation;
mod server_span;
pub mod service;
pub mod telemetry;
