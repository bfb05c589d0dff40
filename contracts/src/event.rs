//! The events: what happened, stated by the service that decided it, never taken back.
//!
//! The body of `order.created` is the public contract of the queue `orders`; everything else about an event is
//! metadata and travels beside the body ([`EventEnvelope`]). Readers ignore fields they do not know.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::{Amount, CustomerId, TraceContext};

/// Every event of the system; its name is the AMQP routing key and `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventType {
    /// An order was placed.
    OrderCreated,
    /// Its invoice was paid, and the order counts as paid.
    OrderPaid,
    /// The order was canceled, by its customer or because its invoice was rejected.
    OrderCanceled,
    /// The invoice of an order was issued.
    InvoiceIssued,
    /// It was paid.
    InvoicePaid,
    /// Its order was canceled before it was paid.
    InvoiceVoided,
    /// Its order was canceled after it was paid.
    InvoiceRefunded,
    /// A rule forbade the invoice, e.g. the amount limit.
    InvoiceRejected,
}

impl EventType {
    /// All of them, in the order of an order's life.
    pub const ALL: [Self; 8] = [
        Self::OrderCreated,
        Self::InvoiceIssued,
        Self::InvoiceRejected,
        Self::InvoicePaid,
        Self::OrderPaid,
        Self::OrderCanceled,
        Self::InvoiceVoided,
        Self::InvoiceRefunded,
    ];

    /// The name, e.g. `order.created`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrderCreated => "order.created",
            Self::OrderPaid => "order.paid",
            Self::OrderCanceled => "order.canceled",
            Self::InvoiceIssued => "invoice.issued",
            Self::InvoicePaid => "invoice.paid",
            Self::InvoiceVoided => "invoice.voided",
            Self::InvoiceRefunded => "invoice.refunded",
            Self::InvoiceRejected => "invoice.rejected",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = DecodeError;

    fn from_str(name: &str) -> Result<Self, DecodeError> {
        Self::ALL.into_iter().find(|t| t.as_str() == name).ok_or_else(|| DecodeError::UnknownType(name.to_owned()))
    }
}

/// Why a message is not one of our events. Permanent: the same bytes will never become valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The `type` or routing key names no event.
    #[error("unknown event type {0:?}")]
    UnknownType(String),
    /// The type is known, but this queue does not carry it.
    #[error("{0} does not belong in this queue")]
    UnexpectedType(EventType),
    /// The body does not fulfil the contract; says where.
    #[error("{event_type} body: {reason}")]
    Body {
        /// The event that was expected.
        event_type: EventType,
        /// What is wrong with it.
        reason: String,
    },
}

/// The body of an event.
pub trait Event: Serialize + DeserializeOwned {
    /// Its type.
    const TYPE: EventType;

    /// The order it belongs to: the correlation id of the whole flow.
    fn order_id(&self) -> Uuid;

    /// Reads a body.
    ///
    /// # Errors
    /// [`DecodeError::Body`] where it breaks the contract.
    fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        serde_json::from_slice(body).map_err(|e| DecodeError::Body { event_type: Self::TYPE, reason: e.to_string() })
    }
}

/// `order.created`: `{"id","amount","customer":{"id"}}`, the contract of the queue `orders`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreated {
    /// The order.
    pub id: Uuid,
    /// What it costs.
    pub amount: Amount,
    /// Who placed it.
    pub customer: Customer,
}

/// The customer of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Customer {
    /// Their id.
    pub id: CustomerId,
}

macro_rules! order_event {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            /// The order.
            pub id: Uuid,
        }

        impl Event for $name {
            const TYPE: EventType = EventType::$name;

            fn order_id(&self) -> Uuid {
                self.id
            }
        }
    };
}

macro_rules! invoice_event {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// The invoice.
            pub id: Uuid,
            /// The order it belongs to.
            pub order_id: Uuid,
        }

        impl Event for $name {
            const TYPE: EventType = EventType::$name;

            fn order_id(&self) -> Uuid {
                self.order_id
            }
        }
    };
}

impl Event for OrderCreated {
    const TYPE: EventType = EventType::OrderCreated;

    fn order_id(&self) -> Uuid {
        self.id
    }
}

order_event! {
    /// `order.paid`.
    OrderPaid
}
order_event! {
    /// `order.canceled`.
    OrderCanceled
}
invoice_event! {
    /// `invoice.issued`.
    InvoiceIssued
}
invoice_event! {
    /// `invoice.paid`.
    InvoicePaid
}
invoice_event! {
    /// `invoice.voided`.
    InvoiceVoided
}
invoice_event! {
    /// `invoice.refunded`.
    InvoiceRefunded
}
invoice_event! {
    /// `invoice.rejected`.
    InvoiceRejected
}

/// The id of the `event_no`-th event of an aggregate: reproducible, so that sending one again is a duplicate and
/// never a second event (UUID version 5, RFC 9562 section 5.5, the aggregate as name space).
pub fn event_id(aggregate_id: Uuid, event_no: i64) -> Uuid {
    Uuid::new_v5(&aggregate_id, event_no.to_string().as_bytes())
}

/// An event with its metadata, as it waits in the outbox and as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventEnvelope {
    /// [`event_id`] of the aggregate and the number: the AMQP `message_id`.
    pub id: Uuid,
    /// What happened.
    pub event_type: EventType,
    /// The service that says so.
    pub source: String,
    /// Whose state changed: an order or an invoice.
    pub aggregate_id: Uuid,
    /// 1, 2, 3… for each aggregate.
    pub event_no: i64,
    /// The order of the flow it belongs to.
    pub order_id: Uuid,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// The trace it happened in.
    pub trace_context: TraceContext,
    /// It is said again by somebody who waits for an answer: a receiver to whom it is no news answers with its own
    /// latest event of the flow, where it would otherwise keep silent. An answer never asks.
    pub asks: bool,
    /// The exact bytes: sent again, they are the same.
    pub body: Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every sample ever committed is still read: `contracts/events/<type>.<n>.json`.
    #[test]
    fn every_committed_sample_is_still_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/events");
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let stem = path.file_stem().unwrap().to_str().unwrap();
            let event_type: EventType = stem.rsplit_once('.').unwrap().0.parse().unwrap();
            decode_any(event_type, &std::fs::read(&path).unwrap()).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            seen.push(event_type);
        }
        for event_type in EventType::ALL {
            assert!(seen.contains(&event_type), "no sample of {event_type} in {folder}");
        }
    }

    fn decode_any(event_type: EventType, body: &[u8]) -> Result<Uuid, DecodeError> {
        match event_type {
            EventType::OrderCreated => OrderCreated::decode(body).map(|e| e.order_id()),
            EventType::OrderPaid => OrderPaid::decode(body).map(|e| e.order_id()),
            EventType::OrderCanceled => OrderCanceled::decode(body).map(|e| e.order_id()),
            EventType::InvoiceIssued => InvoiceIssued::decode(body).map(|e| e.order_id()),
            EventType::InvoicePaid => InvoicePaid::decode(body).map(|e| e.order_id()),
            EventType::InvoiceVoided => InvoiceVoided::decode(body).map(|e| e.order_id()),
            EventType::InvoiceRefunded => InvoiceRefunded::decode(body).map(|e| e.order_id()),
            EventType::InvoiceRejected => InvoiceRejected::decode(body).map(|e| e.order_id()),
        }
    }

    #[test]
    fn order_created_has_exactly_the_body_of_the_contract() {
        let event = OrderCreated {
            id: Uuid::nil(),
            amount: Amount::try_from(100).unwrap(),
            customer: Customer { id: "customer-123".parse().unwrap() },
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"id":"00000000-0000-0000-0000-000000000000","amount":100,"customer":{"id":"customer-123"}}"#
        );
    }

    #[test]
    fn a_body_that_breaks_the_contract_is_refused_with_its_reason() {
        let id = Uuid::nil();
        for (body, reason) in [
            ("not json".to_owned(), "expected"),
            (r#"{"amount":1,"customer":{"id":"c"}}"#.to_owned(), "missing field `id`"),
            (format!(r#"{{"id":"{id}","customer":{{"id":"c"}}}}"#), "missing field `amount`"),
            (format!(r#"{{"id":"{id}","amount":0,"customer":{{"id":"c"}}}}"#), "1 to 2147483647"),
            (format!(r#"{{"id":"{id}","amount":9000000000,"customer":{{"id":"c"}}}}"#), "1 to 2147483647"),
            (format!(r#"{{"id":"{id}","amount":1,"customer":{{"id":""}}}}"#), "empty"),
            (format!(r#"{{"id":"{id}","amount":1}}"#), "missing field `customer`"),
            (r#"{"orderId":"x","totalAmount":1}"#.to_owned(), "missing field"),
        ] {
            let error = OrderCreated::decode(body.as_bytes()).expect_err(&body).to_string();
            assert!(error.contains(reason), "{body}: {error}");
        }
    }

    #[test]
    fn an_event_id_is_reproducible_and_differs_by_number() {
        let order = Uuid::from_u128(7);
        assert_eq!(event_id(order, 1), event_id(order, 1));
        assert_ne!(event_id(order, 1), event_id(order, 2));
    }
}
