//! What the contracts export for programs that are not Rust.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests too")]

mod topology_export;
