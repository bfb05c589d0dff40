//! Setting a message aside: among the dead letters, or into a pause before it is tried again.
//!
//! To set aside is to publish, with confirms, to one of the queues beside `<queue>`, and it comes before the
//! acknowledgement: a crash in between leaves the message twice, never not at all. Body and ids stay as they came,
//! so that it can be sent back. How often it was tried is counted by us, in a header of our own: what the broker
//! counts differs between its versions.

use chrono::SecondsFormat;
use contracts::{EventType, topology::Queue};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};

use super::{confirm::Outgoing, message::Message};
use crate::{Rejection, wire};

/// The word to filter by.
pub(super) const REASON: &str = "x-reason";
/// The sentence for whoever looks at it.
pub(super) const ERROR: &str = "x-error";
/// The queue that it was consumed from.
pub(super) const ORIGINAL_QUEUE: &str = "x-original-queue";
/// How often it was tried again.
pub(super) const RETRY_COUNT: &str = "x-retry-count";
/// Who consumed it.
pub(super) const SERVICE: &str = "x-service";
/// When it was set aside.
pub(super) const FAILED_AT: &str = "x-failed-at";

/// When an operator sent it back. It stays on the message also when that has to wait again: what comes of it has no place
/// in the trace of the first attempt.
pub(super) const REDRIVEN_AT: &str = "x-redriven-at";

/// All that a message is given when it is set aside.
pub(super) const HEADERS: [&str; 6] = [REASON, ERROR, ORIGINAL_QUEUE, RETRY_COUNT, SERVICE, FAILED_AT];

/// The reason of a message that was tried again often enough.
const RETRIES_EXHAUSTED: &str = "retries_exhausted";

/// The most bytes of a sentence in a header.
const ERROR_BYTES: usize = 512;

/// Headers that are dropped on the way. `x-death` and its kin are the broker's book-keeping, from which it concludes
/// things about cycles; `CC` and `BCC` would send copies to further queues.
const NOT_KEPT: [&str; 6] = ["x-death", "x-first-death", "x-last-death", "x-delivery-count", "CC", "BCC"];

/// Whose messages are set aside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    pub(super) queue: &'static Queue,
    pub(super) service: &'static str,
}

impl Origin {
    /// A message on the way to the dead letters.
    pub(super) fn dead<'a>(&self, message: &'a Message, rejection: &Rejection) -> Outgoing<'a> {
        self.aside(message, &self.queue.dead_letter_name(), rejection, message.retries())
    }

    /// Whether there is another pause for a message.
    pub(super) fn may_wait(&self, message: &Message) -> bool {
        self.queue.retry_after(message.retries()).is_some()
    }

    /// A message on the way into its next pause; to the dead letters, if it had all of them.
    pub(super) fn later<'a>(&self, message: &'a Message, rejection: &Rejection) -> Outgoing<'a> {
        let retries = message.retries();
        match self.queue.retry_after(retries) {
            Some(name) => self.aside(message, &name, rejection, retries + 1),
            None => {
                let error = format!("{} after {retries} retries: {}", rejection.reason, rejection.error);
                self.dead(message, &Rejection { reason: RETRIES_EXHAUSTED, error })
            }
        }
    }

    fn aside<'a>(&self, message: &'a Message, to: &str, rejection: &Rejection, retries: u32) -> Outgoing<'a> {
        let mut headers = kept_headers(&message.properties);
        let error = &rejection.error[..rejection.error.floor_char_boundary(ERROR_BYTES)];
        wire::header(&mut headers, REASON, rejection.reason);
        wire::header(&mut headers, ERROR, error);
        wire::header(&mut headers, ORIGINAL_QUEUE, self.queue.name);
        wire::header(&mut headers, SERVICE, self.service);
        wire::header(&mut headers, FAILED_AT, contracts::now().to_rfc3339_opts(SecondsFormat::Millis, true));
        headers.insert(RETRY_COUNT.into(), AMQPValue::LongInt(i32::try_from(retries).unwrap_or(i32::MAX)));
        let mut properties = kept(&message.properties);
        // It comes back under the name of the queue, so what only the routing key told is written down.
        if !wire::names_its_type(&message.properties) && message.routing_key.parse::<EventType>().is_ok() {
            properties = properties.with_type(wire::short(&message.routing_key));
        }
        to_queue(to, properties.with_headers(headers), &message.body)
    }
}

/// A message straight to a queue, which has to be there.
pub(super) fn to_queue<'a>(queue: &str, properties: BasicProperties, body: &'a [u8]) -> Outgoing<'a> {
    Outgoing { exchange: ShortString::default(), routing_key: wire::short(queue), mandatory: true, properties, body }
}

/// The properties of the original, except `expiration`, by which it would vanish where it is kept, and `user_id`,
/// which the broker compares with the user that publishes.
pub(super) fn kept(original: &BasicProperties) -> BasicProperties {
    let mut kept = BasicProperties::default().with_delivery_mode(2);
    type Setter = fn(BasicProperties, ShortString) -> BasicProperties;
    let texts: [(&Option<ShortString>, Setter); 8] = [
        (original.content_type(), BasicProperties::with_content_type),
        (original.content_encoding(), BasicProperties::with_content_encoding),
        (original.correlation_id(), BasicProperties::with_correlation_id),
        (original.reply_to(), BasicProperties::with_reply_to),
        (original.message_id(), BasicProperties::with_message_id),
        (original.kind(), BasicProperties::with_type),
        (original.app_id(), BasicProperties::with_app_id),
        (original.cluster_id(), BasicProperties::with_cluster_id),
    ];
    for (value, set) in texts {
        if let Some(value) = value {
            kept = set(kept, value.clone());
        }
    }
    if let Some(timestamp) = original.timestamp() {
        kept = kept.with_timestamp(*timestamp);
    }
    if let Some(priority) = original.priority() {
        kept = kept.with_priority(*priority);
    }
    kept
}

/// The headers of the original without those that are not kept, and without ours, of the last time.
pub(super) fn kept_headers(original: &BasicProperties) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in original.headers().iter().flat_map(FieldTable::inner) {
        let ours = HEADERS.contains(&name.as_str());
        if !ours && !NOT_KEPT.iter().any(|not_kept| name.as_str().starts_with(not_kept)) {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use contracts::topology::{ORDERS, ORDERS_INVOICE_EVENTS};

    use super::*;

    const ORIGIN: Origin = Origin { queue: &ORDERS, service: "invoices" };

    fn message(routing_key: &str, properties: BasicProperties) -> Message {
        Message {
            exchange: String::new(),
            routing_key: routing_key.to_owned(),
            redelivered: false,
            delivery_tag: 1,
            properties,
            body: Bytes::from_static(b"not json"),
        }
    }

    fn rejection() -> Rejection {
        Rejection { reason: "unknown_order", error: "there is no order 7".into() }
    }

    fn text(outgoing: &Outgoing<'_>, name: &str) -> String {
        match outgoing.properties.headers().as_ref().unwrap().inner().get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn a_dead_letter_keeps_body_and_ids_and_says_why() {
        let mut original = FieldTable::default();
        for name in ["traceparent", "x-death", "x-first-death-queue", "x-last-death-reason", "x-delivery-count", "CC"] {
            wire::header(&mut original, name, "kept?");
        }
        let properties = BasicProperties::default()
            .with_message_id("their id".into())
            .with_type("order.created".into())
            .with_timestamp(7)
            .with_expiration("1000".into())
            .with_user_id("somebody".into())
            .with_delivery_mode(1)
            .with_headers(original);
        let message = message("orders", properties);

        let dead = ORIGIN.dead(&message, &Rejection { reason: "malformed", error: "é".repeat(400) });

        assert_eq!((dead.exchange.as_str(), dead.routing_key.as_str(), dead.mandatory), ("", "orders.dlq", true));
        assert_eq!(dead.body, b"not json");
        let kept = &dead.properties;
        assert_eq!(kept.message_id().as_ref().map(ShortString::as_str), Some("their id"));
        assert_eq!(kept.kind().as_ref().map(ShortString::as_str), Some("order.created"));
        assert_eq!((*kept.timestamp(), *kept.delivery_mode()), (Some(7), Some(2)));
        assert_eq!((kept.expiration(), kept.user_id()), (&None, &None));

        let headers = kept.headers().as_ref().unwrap();
        let mut expected = [&["traceparent"][..], &HEADERS].concat();
        expected.sort_unstable();
        assert_eq!(headers.inner().keys().map(ShortString::as_str).collect::<Vec<_>>(), expected);
        assert_eq!(text(&dead, REASON), "malformed");
        assert_eq!(text(&dead, ORIGINAL_QUEUE), "orders");
        assert_eq!(text(&dead, SERVICE), "invoices");
        assert_eq!(text(&dead, ERROR), "é".repeat(256));
        assert_eq!(headers.inner().get(RETRY_COUNT), Some(&AMQPValue::LongInt(0)));
    }

    #[test]
    fn what_may_heal_goes_from_pause_to_pause_and_then_to_the_dead_letters() {
        let mut properties = BasicProperties::default();
        let mut queues = Vec::new();
        let last = loop {
            let message = message("orders", properties);
            let later = ORIGIN.later(&message, &rejection());
            queues.push(later.routing_key.to_string());
            assert_eq!(ORIGIN.may_wait(&message), later.routing_key.as_str() != "orders.dlq");
            if later.routing_key.as_str() == "orders.dlq" {
                assert_eq!(text(&later, ERROR), "unknown_order after 6 retries: there is no order 7");
                break text(&later, REASON);
            }
            properties = later.properties;
        };
        let long = "orders.retry.300s";
        assert_eq!(queues, ["orders.retry.5s", "orders.retry.30s", long, long, long, long, "orders.dlq"]);
        assert_eq!(last, "retries_exhausted");
    }

    #[test]
    fn a_type_that_only_the_routing_key_told_is_written_down() {
        let origin = Origin { queue: &ORDERS_INVOICE_EVENTS, service: "orders" };
        let named = BasicProperties::default().with_type("invoice.paid".into());
        for (routing_key, properties, expected) in [
            ("invoice.issued", BasicProperties::default(), Some("invoice.issued")),
            ("invoice.issued", named, Some("invoice.paid")),
            ("orders.invoice-events", BasicProperties::default(), None),
        ] {
            let message = message(routing_key, properties);
            let later = origin.later(&message, &rejection());
            assert_eq!(later.properties.kind().as_ref().map(ShortString::as_str), expected, "{routing_key}");
        }
    }
}
