//! An event on the wire: [`EventEnvelope`](contracts::EventEnvelope) to AMQP properties and headers, and back.
//!
//! The body is the contract and is not touched. Everything else travels twice: as AMQP properties, for people who
//! look into a queue, and as CloudEvents headers (binary content mode), for programs that know nothing of us.
//! Pure functions: `encode` cannot fail, and `decode` answers bytes of any kind with an envelope or a rejection.

mod decode;
mod encode;

pub(crate) use decode::{decode, names_its_type};
pub(crate) use encode::{encode, header, short};

/// The headers that are written and read. The prefix is that of the CloudEvents AMQP binding 1.0.2, section 3.1.
mod names {
    pub(super) const SPEC_VERSION: &str = "cloudEvents_specversion";
    pub(super) const ID: &str = "cloudEvents_id";
    pub(super) const SOURCE: &str = "cloudEvents_source";
    pub(super) const TYPE: &str = "cloudEvents_type";
    pub(super) const TIME: &str = "cloudEvents_time";
    pub(super) const SUBJECT: &str = "cloudEvents_subject";
    pub(super) const SEQUENCE: &str = "cloudEvents_sequence";
    /// `1` on an event that is said again and asks for an answer; on no other.
    pub(super) const ASKS: &str = "x-reconcile";
    pub(super) const TRACEPARENT: &str = "traceparent";
    pub(super) const TRACESTATE: &str = "tracestate";
}
