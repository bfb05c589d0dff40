//! The orders service, driven through its APIs.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

mod docs;
mod following;
mod graphql;
mod idempotency;
mod input;
mod paging;
mod readiness;
mod secrets;
mod starting;
