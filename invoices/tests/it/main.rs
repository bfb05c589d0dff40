//! The invoices service, driven through the bus and its APIs.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod api;
mod consuming;
mod docs;
mod secrets;
