//! How state and event commit together: the transactional outbox.
//!
//! Invariant: an event is a row in the service's own database, written in the transaction that changed the state it
//! tells of, and it is deleted only after the bus accepted it. A crash in between means the event is sent twice,
//! never zero times; consumers cope because their writes are idempotent. What the bus accepted and lost all the same is
//! said again by the [`reconciler`].
//!
//! Write with [`UnitOfWork`], deliver with [`Relay`]. Pattern: "Transactional outbox" with a polling publisher
//! (microservices.io), with lanes so that several relays keep the order of each aggregate.

mod backlog;
mod batch;
mod database;
mod failure;
mod metrics;
pub mod parked;
pub mod reconciler;
mod relay;
mod row;
mod statement;
mod unit_of_work;

pub use batch::{padded, portions};
pub use database::{DatabaseUrl, InvalidDatabaseUrl, connect};
pub use failure::DbFailure;
pub use reconciler::{Patience, Reconciler};
pub use relay::{Relay, RelayError};
pub use statement::{Connection, Place, Transaction, statement};
pub use unit_of_work::{Outbox, Said, UnitOfWork, says_nothing_of, server_time};

/// How many lanes there are: aggregates in different lanes may be relayed at the same time.
/// The rows of `outbox_lane` that the migration made.
const LANES: u8 = 16;
