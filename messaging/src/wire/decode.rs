//! From a message to an envelope.
//!
//! Ours come with everything. A plain client that writes to a queue gives only a body: then the routing key or the
//! queue says which event it is, and the body's `id` gives the metadata that our own relay would have given. The
//! rule for what lies between: an AMQP property that is not ours is passed over, since clients use those for their
//! own ends; a CloudEvents header that is there has to be right.

use bytes::Bytes;
use chrono::{DateTime, Datelike, SubsecRound, Utc};
use contracts::{EventEnvelope, EventType, TraceContext, event_id, topology::Queue};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use uuid::Uuid;

use super::{names, short};
use crate::{Rejection, bus::carries};

/// Reads a message that arrived on `queue`.
///
/// # Errors
/// `unexpected_type` when it is no event of this queue; `malformed` when its metadata cannot be read or completed.
pub(crate) fn decode(
    queue: &Queue,
    routing_key: &str,
    properties: &BasicProperties,
    body: Bytes,
) -> Result<EventEnvelope, Rejection> {
    let headers = Headers(properties.headers().as_ref());
    if let Some(version) = headers.text(names::SPEC_VERSION)?
        && !version.starts_with("1.")
    {
        return Err(malformed(format!("CloudEvents version {version:?} is not known here, only 1.x")));
    }
    let event_type = event_type(queue, routing_key, properties, headers)?;

    let correlation_id = uuid_property(properties.correlation_id());
    let aggregate_id = match headers.parsed(names::SUBJECT, "a UUID")? {
        Some(subject) => subject,
        None => match correlation_id.filter(|_| is_of_orders(event_type)) {
            Some(order_id) => order_id,
            None => id_in_body(queue, event_type, &body)?,
        },
    };
    let order_id = match correlation_id {
        Some(order_id) => order_id,
        None if is_of_orders(event_type) => aggregate_id,
        None => return Err(malformed(format!("{event_type} has no order id in its correlation id"))),
    };
    let event_no = match headers.parsed::<i64>(names::SEQUENCE, "a number from 1")? {
        Some(event_no) if event_no >= 1 => event_no,
        Some(event_no) => return Err(malformed(format!("{}: {event_no} is not a number from 1", names::SEQUENCE))),
        None => 1,
    };
    let id = match (uuid_property(properties.message_id()), headers.parsed(names::ID, "a UUID")?) {
        (Some(id), _) | (None, Some(id)) => id,
        (None, None) => event_id(aggregate_id, event_no),
    };
    let occurred_at = match headers.parsed::<DateTime<Utc>>(names::TIME, "a time as of RFC 3339")? {
        Some(time) if has_four_digit_year(&time) => time.trunc_subsecs(3),
        Some(time) => {
            return Err(malformed(format!("the header {} is not a time as of RFC 3339: {time}", names::TIME)));
        }
        None => timestamp(properties).unwrap_or_else(contracts::now),
    };

    Ok(EventEnvelope {
        id,
        event_type,
        source: source(properties, headers, event_type)?,
        aggregate_id,
        event_no,
        order_id,
        occurred_at,
        trace_context: headers.trace_context(),
        // A header that is nobody's but ours: anything else in it is no question.
        asks: matches!(headers.text(names::ASKS), Ok(Some("1"))),
        body,
    })
}

/// Whether the metadata of a message say which event it is, the routing key aside.
pub(crate) fn names_its_type(properties: &BasicProperties) -> bool {
    properties.kind().is_some() || properties.headers().iter().any(|headers| headers.contains_key(names::TYPE))
}

/// The AMQP timestamp, in seconds; some clients write milliseconds or worse.
fn timestamp(properties: &BasicProperties) -> Option<DateTime<Utc>> {
    let seconds = properties.timestamp().as_ref().copied()?.try_into().ok()?;
    DateTime::from_timestamp(seconds, 0).filter(has_four_digit_year)
}

/// RFC 3339 has no other years (section 5.6).
fn has_four_digit_year(time: &DateTime<Utc>) -> bool {
    (0..=9999).contains(&time.year())
}

/// The `type` property, else the CloudEvents type, else the routing key, else the only one the queue carries.
fn event_type(
    queue: &Queue,
    routing_key: &str,
    properties: &BasicProperties,
    headers: Headers<'_>,
) -> Result<EventType, Rejection> {
    let named = match properties.kind() {
        Some(kind) => Some(kind.as_str()),
        None => headers.text(names::TYPE)?,
    };
    let event_type = match (named, routing_key.parse(), queue.events) {
        (Some(name), _, _) => name.parse().map_err(|error: contracts::DecodeError| unexpected(error.to_string()))?,
        (None, Ok(event_type), _) => event_type,
        (None, Err(_), [only]) => *only,
        (None, Err(_), _) => {
            return Err(unexpected(format!(
                "neither its properties nor its routing key {routing_key:?} name an event"
            )));
        }
    };
    if carries(queue, event_type) {
        Ok(event_type)
    } else {
        Err(unexpected(format!("{event_type} does not belong in the queue {}", queue.name)))
    }
}

/// The order's id, from the body. Only where the queue leaves no doubt that `id` is the id of an order.
fn id_in_body(queue: &Queue, event_type: EventType, body: &[u8]) -> Result<Uuid, Rejection> {
    #[derive(serde::Deserialize)]
    struct Identified {
        id: Uuid,
    }

    if queue.events.len() != 1 || !is_of_orders(event_type) {
        return Err(malformed(format!("{event_type} has no aggregate id in {}", names::SUBJECT)));
    }
    match serde_json::from_slice::<Identified>(body) {
        Ok(body) => Ok(body.id),
        Err(error) => {
            Err(malformed(format!("{event_type} has no order id, neither beside its body nor in it: {error}")))
        }
    }
}

/// The service that says so. A message without comes from a client that took the place of that service.
fn source(properties: &BasicProperties, headers: Headers<'_>, event_type: EventType) -> Result<String, Rejection> {
    let named = match properties.app_id() {
        Some(app_id) => Some(app_id.as_str()),
        None => headers.text(names::SOURCE)?.map(|source| source.trim_start_matches('/')),
    };
    let source = named.unwrap_or(if is_of_orders(event_type) { "orders" } else { "invoices" });
    // No longer than the property that it travels on in.
    Ok(short(source).to_string())
}

/// True when the aggregate that changed is an order.
fn is_of_orders(event_type: EventType) -> bool {
    match event_type {
        EventType::OrderCreated | EventType::OrderPaid | EventType::OrderCanceled => true,
        EventType::InvoiceIssued
        | EventType::InvoicePaid
        | EventType::InvoiceVoided
        | EventType::InvoiceRefunded
        | EventType::InvoiceRejected => false,
    }
}

fn uuid_property(value: &Option<ShortString>) -> Option<Uuid> {
    value.as_ref()?.as_str().parse().ok()
}

fn malformed(error: String) -> Rejection {
    Rejection { reason: "malformed", error }
}

fn unexpected(error: String) -> Rejection {
    Rejection { reason: "unexpected_type", error }
}

/// The headers of a message, which may have none.
#[derive(Clone, Copy)]
struct Headers<'a>(Option<&'a FieldTable>);

impl<'a> Headers<'a> {
    /// A text header; `None` when it is not there.
    fn text(self, name: &str) -> Result<Option<&'a str>, Rejection> {
        match self.0.and_then(|headers| headers.inner().get(name)) {
            None | Some(AMQPValue::Void) => Ok(None),
            Some(AMQPValue::ShortString(text)) => Ok(Some(text.as_str())),
            Some(AMQPValue::LongString(text)) => match std::str::from_utf8(text.as_bytes()) {
                Ok(text) => Ok(Some(text)),
                Err(error) => Err(malformed(format!("the header {name} is not UTF-8: {error}"))),
            },
            Some(other) => Err(malformed(format!("the header {name} is no text but {}", other.get_type()))),
        }
    }

    /// A text header that stands for something else.
    fn parsed<T: std::str::FromStr>(self, name: &str, what: &str) -> Result<Option<T>, Rejection> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(malformed(format!("the header {name} is not {what}: {text:?}"))),
        }
    }

    /// The trace it continues. Telemetry never costs a message: what is not valid is left out.
    fn trace_context(self) -> TraceContext {
        let text = |name| self.text(name).ok().flatten().map(str::to_owned);
        let context = TraceContext { traceparent: text(names::TRACEPARENT), tracestate: text(names::TRACESTATE) };
        if context.trace_id().is_some() { context } else { TraceContext::default() }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
