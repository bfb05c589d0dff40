//! A message as the broker gave it to us, and what its headers say about its past.

use bytes::Bytes;
use lapin::{BasicProperties, message::Delivery as RawDelivery, types::AMQPValue};

use super::aside::RETRY_COUNT;

/// How often a delivery of a message may have ended without an answer before it is handled alone. A crash counts for
/// everything that was prefetched, so after a restart or two healthy messages still travel in batches; one that
/// brings the process down takes no neighbour along to the broker's own limit, which is far above.
const SUSPICIOUS: i64 = 3;

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) exchange: String,
    pub(super) routing_key: String,
    pub(super) redelivered: bool,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl From<RawDelivery> for Message {
    fn from(raw: RawDelivery) -> Self {
        Self {
            exchange: raw.exchange.into(),
            routing_key: raw.routing_key.into(),
            redelivered: raw.redelivered,
            properties: raw.properties,
            body: raw.data.into(),
        }
    }
}

impl Message {
    /// How often we have tried it again after a pause.
    pub(super) fn retries(&self) -> u32 {
        self.number(RETRY_COUNT).and_then(|retries| u32::try_from(retries).ok()).unwrap_or(0)
    }

    /// Whether it may be what brought a consumer down. Quorum queues count; a classic queue knows only whether a
    /// message was given before.
    pub(super) fn is_suspicious(&self) -> bool {
        self.number("x-delivery-count").map_or(self.redelivered, |count| count >= SUSPICIOUS)
    }

    /// A header that is a number, of whatever width.
    fn number(&self, name: &str) -> Option<i64> {
        match self.properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::ShortShortInt(number) => Some((*number).into()),
            AMQPValue::ShortShortUInt(number) => Some((*number).into()),
            AMQPValue::ShortInt(number) => Some((*number).into()),
            AMQPValue::ShortUInt(number) => Some((*number).into()),
            AMQPValue::LongInt(number) => Some((*number).into()),
            AMQPValue::LongUInt(number) => Some((*number).into()),
            AMQPValue::LongLongInt(number) => Some(*number),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use lapin::types::FieldTable;

    use super::*;

    fn message(redelivered: bool, header: Option<(&str, AMQPValue)>) -> Message {
        let mut headers = FieldTable::default();
        if let Some((name, value)) = header {
            headers.insert(name.into(), value);
        }
        Message {
            exchange: String::new(),
            routing_key: "orders".to_owned(),
            redelivered,
            properties: BasicProperties::default().with_headers(headers),
            body: Bytes::new(),
        }
    }

    #[test]
    fn a_message_is_suspicious_after_three_bad_ends_or_where_nobody_counts_after_one() {
        let counted = |count| Some(("x-delivery-count", AMQPValue::LongLongInt(count)));
        for (redelivered, header, suspicious) in
            [(false, None, false), (true, None, true), (true, counted(2), false), (true, counted(3), true)]
        {
            assert_eq!(message(redelivered, header.clone()).is_suspicious(), suspicious, "{redelivered} {header:?}");
        }
    }

    #[test]
    fn retries_are_read_from_any_number_and_nothing_else() {
        for (value, retries) in [
            (AMQPValue::LongInt(4), 4),
            (AMQPValue::ShortShortUInt(2), 2),
            (AMQPValue::LongLongInt(-1), 0),
            (AMQPValue::LongString("3".into()), 0),
        ] {
            assert_eq!(message(false, Some((RETRY_COUNT, value.clone()))).retries(), retries, "{value:?}");
        }
    }
}
