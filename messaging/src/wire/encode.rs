//! From an envelope to AMQP properties.

use chrono::SecondsFormat;
use contracts::EventEnvelope;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, LongString, ShortString},
};

use super::names;

/// Survives a restart of the broker.
const PERSISTENT: u8 = 2;

/// The most bytes of a short string (AMQP 0-9-1, section 4.2.5.3).
const SHORT_STRING_BYTES: usize = 255;

/// All metadata of `event`. The same event gives the same properties, whenever it is sent.
pub(crate) fn encode(event: &EventEnvelope) -> BasicProperties {
    BasicProperties::default()
        .with_message_id(short(&event.id.to_string()))
        .with_type(event.event_type.as_str().into())
        // The property has whole seconds; the header below keeps the milliseconds.
        .with_timestamp(u64::try_from(event.occurred_at.timestamp()).unwrap_or_default())
        .with_content_type("application/json".into())
        .with_delivery_mode(PERSISTENT)
        .with_correlation_id(short(&event.order_id.to_string()))
        .with_app_id(short(&event.source))
        .with_headers(headers(event))
}

fn headers(event: &EventEnvelope) -> FieldTable {
    let mut headers = FieldTable::default();
    header(&mut headers, names::SPEC_VERSION, "1.0");
    header(&mut headers, names::ID, event.id.to_string());
    // A source is a URI reference (CloudEvents 1.0.2, section 3.1.2): the service as a path.
    header(&mut headers, names::SOURCE, format!("/{}", event.source));
    header(&mut headers, names::TYPE, event.event_type.as_str());
    header(&mut headers, names::TIME, event.occurred_at.to_rfc3339_opts(SecondsFormat::Millis, true));
    header(&mut headers, names::SUBJECT, event.aggregate_id.to_string());
    header(&mut headers, names::SEQUENCE, event.event_no.to_string());
    for (name, value) in
        [(names::TRACEPARENT, &event.trace_context.traceparent), (names::TRACESTATE, &event.trace_context.tracestate)]
    {
        if let Some(value) = value {
            header(&mut headers, name, value.as_str());
        }
    }
    if event.asks {
        header(&mut headers, names::ASKS, "1");
    }
    headers
}

/// Sets a text header. Long strings are the only text that every AMQP client reads.
pub(crate) fn header(headers: &mut FieldTable, name: &str, value: impl Into<LongString>) {
    headers.insert(short(name), AMQPValue::LongString(value.into()));
}

/// `text` as a short string, cut where it would not fit: the conversion of the client library panics there.
pub(crate) fn short(text: &str) -> ShortString {
    text[..text.floor_char_boundary(SHORT_STRING_BYTES)].into()
}

#[cfg(test)]
mod tests {
    use contracts::{EventType, TraceContext, event_id};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_event_has_the_properties_and_headers_of_the_contract() {
        let order = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
        let event = EventEnvelope {
            id: event_id(order, 1),
            event_type: EventType::OrderCreated,
            source: "orders".into(),
            aggregate_id: order,
            event_no: 1,
            order_id: order,
            occurred_at: "2026-11-21T04:05:06.789Z".parse().unwrap(),
            trace_context: TraceContext {
                traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
                tracestate: Some("vendor=1".into()),
            },
            asks: false,
            body: "{}".into(),
        };
        let properties = encode(&event);
        let text = |value: &Option<ShortString>| value.as_ref().map(|v| v.as_str().to_owned()).unwrap_or_default();
        assert_eq!(text(properties.message_id()), event.id.to_string());
        assert_eq!(text(properties.kind()), "order.created");
        assert_eq!(text(properties.content_type()), "application/json");
        assert_eq!(text(properties.correlation_id()), order.to_string());
        assert_eq!(text(properties.app_id()), "orders");
        assert_eq!(*properties.delivery_mode(), Some(2));
        assert_eq!(*properties.timestamp(), Some(1_795_233_906));

        let headers: Vec<_> = properties
            .headers()
            .iter()
            .flat_map(FieldTable::inner)
            .map(|(name, value)| match value {
                AMQPValue::LongString(value) => format!("{name}={value}"),
                other => panic!("{name} is {other:?}"),
            })
            .collect();
        assert_eq!(
            headers,
            [
                &format!("cloudEvents_id={}", event.id),
                "cloudEvents_sequence=1",
                "cloudEvents_source=/orders",
                "cloudEvents_specversion=1.0",
                &format!("cloudEvents_subject={order}"),
                "cloudEvents_time=2026-11-21T04:05:06.789Z",
                "cloudEvents_type=order.created",
                "traceparent=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "tracestate=vendor=1",
            ]
        );
    }

    #[test]
    fn a_short_string_is_cut_between_characters() {
        assert_eq!(short("orders").as_str(), "orders");
        assert_eq!(short(&"x".repeat(300)).as_str().len(), 255);
        assert_eq!(short(&"é".repeat(200)).as_str().len(), 254);
    }
}
