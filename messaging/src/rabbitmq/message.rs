//! A message as the broker gave it to us, and what its headers say about its past.

use bytes::Bytes;
use lapin::{BasicProperties, message::Delivery as RawDelivery, types::AMQPValue};

use super::aside::{REDRIVEN_AT, RETRY_COUNT};
use crate::trace::Arrival;

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
    /// Its number on the channel it came on.
    pub(super) delivery_tag: u64,
    pub(super) properties: BasicProperties,
    pub(super) body: Bytes,
}

impl From<RawDelivery> for Message {
    fn from(raw: RawDelivery) -> Self {
        Self {
            exchange: raw.exchange.into(),
            routing_key: raw.routing_key.into(),
            redelivered: raw.redelivered,
            delivery_tag: raw.delivery_tag,
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

    /// How it came: for its span.
    pub(super) fn arrival(&self) -> Arrival {
        // Deliveries that ended without an answer. Only quorum queues count them.
        let returned = self.number("x-delivery-count").unwrap_or_else(|| self.redelivered.into());
        let headers = self.properties.headers().as_ref();
        Arrival {
            delivery: 1 + returned + i64::from(self.retries()),
            tag: i64::try_from(self.delivery_tag).ok(),
            redriven: headers.is_some_and(|headers| headers.contains_key(REDRIVEN_AT)),
        }
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
            delivery_tag: 7,
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
    fn a_span_tells_the_number_of_the_delivery_and_that_somebody_sent_it_back() {
        let arrival = |redelivered, header| {
            let Arrival { delivery, tag, redriven } = message(redelivered, header).arrival();
            assert_eq!(tag, Some(7));
            (delivery, redriven)
        };
        assert_eq!(arrival(false, None), (1, false));
        assert_eq!(arrival(true, None), (2, false));
        assert_eq!(arrival(true, Some(("x-delivery-count", AMQPValue::LongLongInt(3)))), (4, false));
        assert_eq!(arrival(false, Some((RETRY_COUNT, AMQPValue::LongInt(2)))), (3, false));
        assert_eq!(arrival(false, Some((REDRIVEN_AT, AMQPValue::LongString("now".into())))), (1, true));
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
