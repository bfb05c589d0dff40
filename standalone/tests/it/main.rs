//! The whole system: its model, its journeys, and its process.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod demo;
mod first_run;
mod identity;
mod journeys;
mod least_privilege;
mod live;
mod metrics;
mod one_trace;
mod outages;
mod process;
mod reconciling;
mod saga_model;
mod saga_stores;
mod telemetry;
mod tls;
