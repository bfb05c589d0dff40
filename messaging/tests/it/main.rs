//! The tests of messaging against its public interface.
//!
//! `bus_contract` is one suite that both buses have to pass; `rabbitmq` has what only a broker can do to us. Both
//! need nothing but Rust; with `TEST_BROKER_URL` set they run against that broker too, and then fail without it.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "helpers of tests are tests too")]

mod bus_contract;
mod lapin_contract;
mod letters;
mod permissions;
mod rabbitmq;
mod setup;
mod supervision;
mod support;
mod wiretap;
