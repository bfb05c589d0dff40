//! The dead letters: where a message goes that can never be processed, with the reason in its headers.
//!
//! Parking is publishing with confirms to `<queue>.dlq`, and it comes before the acknowledgement: a crash in between
//! leaves the message twice, never not at all. Body and ids stay as they came, so that it can be sent back. Retry
//! queues for what may heal are to live beside this: another verdict, another queue, the same way there.

use bytes::Bytes;
use chrono::SecondsFormat;
use contracts::topology::Queue;
use lapin::{
    BasicProperties,
    types::{FieldTable, ShortString},
};

use super::confirm::Outgoing;
use crate::{Rejection, wire};

/// The most bytes of a sentence in a header.
const ERROR_BYTES: usize = 512;

/// Headers that are dropped on the way. `x-death` and its kin are the broker's book-keeping, from which it concludes
/// things about cycles; `CC` and `BCC` would send copies to further queues.
const NOT_KEPT: [&str; 6] = ["x-death", "x-first-death", "x-last-death", "x-delivery-count", "CC", "BCC"];

/// `body` with its `properties`, on the way to the dead letters of `queue`.
pub(super) fn parked<'a>(
    queue: &Queue,
    properties: &BasicProperties,
    body: &'a Bytes,
    rejection: &Rejection,
) -> Outgoing<'a> {
    Outgoing {
        exchange: ShortString::default(),
        routing_key: wire::short(&queue.dead_letter_name()),
        mandatory: true,
        properties: kept(properties).with_headers(headers(queue, properties.headers().as_ref(), rejection)),
        body,
    }
}

/// The properties of the original, except `expiration`, by which it would vanish from the dead letters, and
/// `user_id`, which the broker compares with the user that publishes.
fn kept(original: &BasicProperties) -> BasicProperties {
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

fn headers(queue: &Queue, original: Option<&FieldTable>, rejection: &Rejection) -> FieldTable {
    let mut headers = FieldTable::default();
    for (name, value) in original.into_iter().flat_map(FieldTable::inner) {
        if !NOT_KEPT.iter().any(|not_kept| name.as_str().starts_with(not_kept)) {
            headers.insert(name.clone(), value.clone());
        }
    }
    let error = &rejection.error[..rejection.error.floor_char_boundary(ERROR_BYTES)];
    wire::header(&mut headers, "x-reason", rejection.reason);
    wire::header(&mut headers, "x-error", error);
    wire::header(&mut headers, "x-original-queue", queue.name);
    wire::header(&mut headers, "x-failed-at", contracts::now().to_rfc3339_opts(SecondsFormat::Millis, true));
    headers
}

#[cfg(test)]
mod tests {
    use contracts::topology::ORDERS;
    use lapin::types::AMQPValue;

    use super::*;

    fn text(headers: &FieldTable, name: &str) -> String {
        match headers.inner().get(name) {
            Some(AMQPValue::LongString(text)) => text.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn a_parked_message_keeps_body_and_ids_and_says_why() {
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
        let body = Bytes::from_static(b"not json");
        let rejection = Rejection { reason: "malformed", error: "é".repeat(400) };

        let parked = parked(&ORDERS, &properties, &body, &rejection);

        assert_eq!((parked.exchange.as_str(), parked.routing_key.as_str(), parked.mandatory), ("", "orders.dlq", true));
        assert_eq!(parked.body, b"not json");
        let kept = &parked.properties;
        assert_eq!(kept.message_id().as_ref().map(ShortString::as_str), Some("their id"));
        assert_eq!(kept.kind().as_ref().map(ShortString::as_str), Some("order.created"));
        assert_eq!((*kept.timestamp(), *kept.delivery_mode()), (Some(7), Some(2)));
        assert_eq!((kept.expiration(), kept.user_id()), (&None, &None));

        let headers = kept.headers().as_ref().unwrap();
        let names: Vec<_> = headers.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(names, ["traceparent", "x-error", "x-failed-at", "x-original-queue", "x-reason"]);
        assert_eq!(text(headers, "x-reason"), "malformed");
        assert_eq!(text(headers, "x-original-queue"), "orders");
        assert_eq!(text(headers, "x-error"), "é".repeat(256));
    }
}
