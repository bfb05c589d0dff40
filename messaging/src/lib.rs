//! How an event travels: [`EventBus`] and its two implementations, [`rabbitmq`] and [`in_process`].
//!
//! The promise of both: at-least-once delivery, no order across events, and `publish` answers only when the bus has
//! taken responsibility. On RabbitMQ that is the broker's confirm; in process it is the commit of every subscriber,
//! so the outbox stays the durable queue. `tests/it/bus_contract.rs` holds both to it.
//!
//! Nobody publishes here directly: code appends to the outbox, and its relay publishes.

mod batch;
mod bisection;
mod bus;
mod handling;
pub mod in_process;
mod metrics;
pub mod rabbitmq;
mod trace;
mod wire;

pub use batch::Decoded;
pub use bus::{
    BusStatus, Delivery, EventBus, HandleError, Handler, Listener, Outcome, PublishError, Publisher, Rejection,
    Subscription, Verdict,
};
