//! What the services promise each other: values, events, topology and schemas. Data only, no I/O.
//!
//! A change here is a change of contract: additive, or a new version beside the old one. The samples in
//! `contracts/events/` are parsed by the tests for ever, so that an old message is never refused by a new build.

pub mod broker;
mod event;
mod time;
pub mod topology;
mod trace_context;
mod value;

/// The GraphQL schemas of the services, as this build knows them. The service's own tests hold each file to its code.
pub mod schemas {
    /// The subgraph of orders.
    pub const ORDERS: &str = include_str!("../schemas/orders.graphql");
    /// The subgraph of invoices.
    pub const INVOICES: &str = include_str!("../schemas/invoices.graphql");
}

pub use event::{
    Customer, DecodeError, Event, EventEnvelope, EventType, InvoiceIssued, InvoicePaid, InvoiceRefunded,
    InvoiceRejected, InvoiceVoided, OrderCanceled, OrderCreated, OrderPaid, event_id,
};
pub use time::now;
pub use trace_context::TraceContext;
pub use value::{Amount, CustomerId, InvalidValue};
