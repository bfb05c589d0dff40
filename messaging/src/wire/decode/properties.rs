//! Bytes and headers of any kind: `decode` never panics, and what it accepts is an event that travels on unchanged.
//!
//! Here from parts, most of them right, or else hardly a message would get past the first of them; in [`damage`] from
//! a message of ours that was damaged, which comes further. A case that fails is kept in `proptest-regressions/`:
//! commit it.

mod damage;

use contracts::topology::QUEUES;
use lapin::types::{ByteArray, DecimalValue, FieldArray, LongString};
use proptest::{collection::vec, option, prelude::*, sample::select, strategy::ValueTree};

use super::*;
use crate::wire::encode;

const HEADERS: [&str; 9] = [
    names::SPEC_VERSION,
    names::ID,
    names::SOURCE,
    names::TYPE,
    names::TIME,
    names::SUBJECT,
    names::SEQUENCE,
    names::TRACEPARENT,
    names::TRACESTATE,
];

fn id() -> impl Strategy<Value = String> {
    any::<u128>().prop_map(|id| Uuid::from_u128(id).to_string())
}

fn event_type_name() -> impl Strategy<Value = String> {
    select(EventType::ALL.to_vec()).prop_map(|event_type| event_type.to_string())
}

/// Any instant that the library can tell, leap seconds included.
fn time() -> impl Strategy<Value = String> {
    let (first, last) = (DateTime::<Utc>::MIN_UTC.timestamp(), DateTime::<Utc>::MAX_UTC.timestamp());
    let seconds = prop_oneof![0..4_000_000_000_i64, first..=last];
    let instant = (seconds, 0..1_000_000_000_u32)
        .prop_filter_map("a time", |(seconds, nanos)| DateTime::from_timestamp(seconds, nanos))
        .prop_map(|time| time.to_rfc3339());
    let odd = select(vec!["2026-11-21T04:05:06.789+02:00", "2026-12-31T23:59:60.9999Z"]).prop_map(str::to_owned);
    prop_oneof![instant, odd]
}

/// A right value for this header.
fn right_text(header: &'static str) -> BoxedStrategy<String> {
    match header {
        names::SPEC_VERSION => select(vec!["1.0", "1.1"]).prop_map(str::to_owned).boxed(),
        names::ID | names::SUBJECT => id().boxed(),
        names::TYPE => event_type_name().boxed(),
        names::TIME => time().boxed(),
        names::SEQUENCE => prop_oneof![1..100_i64, 1..i64::MAX].prop_map(|number| number.to_string()).boxed(),
        names::TRACEPARENT => {
            (any::<u128>(), any::<u64>()).prop_map(|(trace, span)| format!("00-{trace:032x}-{span:016x}-01")).boxed()
        }
        _ => ".{0,300}".boxed(),
    }
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![id(), event_type_name(), time(), ".{0,300}", Just(String::new())]
}

/// A header as any client may send it: mostly a right one.
fn header() -> impl Strategy<Value = (String, AMQPValue)> {
    let right = |name| right_text(name).prop_map(move |text| (name.to_owned(), AMQPValue::LongString(text.into())));
    let name = prop_oneof![select(HEADERS.to_vec()).prop_map(str::to_owned), ".{0,40}"];
    prop_oneof![30 => select(HEADERS.to_vec()).prop_flat_map(right), 1 => (name, any_value())]
}

fn any_value() -> impl Strategy<Value = AMQPValue> {
    prop_oneof![
        text().prop_map(|text| AMQPValue::LongString(text.into())),
        short_text().prop_map(AMQPValue::ShortString),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::LongString(LongString::from(bytes))),
        any::<i64>().prop_map(AMQPValue::LongLongInt),
        any::<f64>().prop_map(AMQPValue::Double),
        any::<bool>().prop_map(AMQPValue::Boolean),
        any::<i8>().prop_map(AMQPValue::ShortShortInt),
        any::<u8>().prop_map(AMQPValue::ShortShortUInt),
        any::<i16>().prop_map(AMQPValue::ShortInt),
        any::<u16>().prop_map(AMQPValue::ShortUInt),
        any::<i32>().prop_map(AMQPValue::LongInt),
        any::<u32>().prop_map(AMQPValue::LongUInt),
        any::<f32>().prop_map(AMQPValue::Float),
        any::<(u8, u32)>().prop_map(|(scale, value)| AMQPValue::DecimalValue(DecimalValue { scale, value })),
        any::<u64>().prop_map(AMQPValue::Timestamp),
        vec(any::<u8>(), 0..40).prop_map(|bytes| AMQPValue::ByteArray(ByteArray::from(bytes))),
        Just(AMQPValue::Void),
    ]
    .prop_recursive(6, 32, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|values| AMQPValue::FieldArray(FieldArray::from(values))),
            vec((short_text(), inner), 0..4).prop_map(|entries| {
                let mut table = FieldTable::default();
                for (name, value) in entries {
                    table.insert(name, value);
                }
                AMQPValue::FieldTable(table)
            }),
        ]
    })
}

fn headers() -> impl Strategy<Value = FieldTable> {
    vec(header(), 0..9).prop_map(|headers| {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert(crate::wire::short(&name), value);
        }
        table
    })
}

/// A short string holds 255 bytes.
fn short_text() -> impl Strategy<Value = ShortString> {
    text().prop_map(|text| crate::wire::short(&text))
}

fn properties() -> impl Strategy<Value = BasicProperties> {
    let short = || option::of(short_text());
    let kind = option::of(prop_oneof![9 => event_type_name().prop_map(ShortString::from), 1 => short_text()]);
    (option::of(headers()), kind, short(), short(), short(), option::of(any::<u64>())).prop_map(
        |(headers, kind, message_id, correlation_id, app_id, timestamp)| {
            let mut properties = BasicProperties::default();
            type Setter = fn(BasicProperties, ShortString) -> BasicProperties;
            let texts: [(Option<ShortString>, Setter); 4] = [
                (kind, BasicProperties::with_type),
                (message_id, BasicProperties::with_message_id),
                (correlation_id, BasicProperties::with_correlation_id),
                (app_id, BasicProperties::with_app_id),
            ];
            for (text, set) in texts {
                if let Some(text) = text {
                    properties = set(properties, text);
                }
            }
            if let Some(headers) = headers {
                properties = properties.with_headers(headers);
            }
            if let Some(timestamp) = timestamp {
                // Half of them near our time, half of them anywhere.
                let timestamp = if timestamp % 2 == 0 { timestamp % 4_000_000_000 } else { timestamp };
                properties = properties.with_timestamp(timestamp);
            }
            properties
        },
    )
}

fn body() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        vec(any::<u8>(), 0..200).prop_map(Bytes::from),
        id().prop_map(|id| Bytes::from(format!(r#"{{"id":"{id}","amount":1,"customer":{{"id":"c"}}}}"#))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn what_is_accepted_travels_on_unchanged(
        queue in select(QUEUES.to_vec()),
        routing_key in text(),
        properties in properties(),
        body in body(),
    ) {
        if let Ok(event) = decode(queue, &routing_key, &properties, body) {
            let again = decode(queue, event.event_type.as_str(), &encode(&event), event.body.clone());
            prop_assert_eq!(again, Ok(event));
        }
    }
}

/// Without this the property above could be true of nothing.
#[test]
fn a_good_part_of_the_cases_is_accepted() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for _ in 0..1000 {
        let case = (select(QUEUES.to_vec()), text(), properties(), body());
        let (queue, routing_key, properties, body) = case.new_tree(&mut runner).unwrap().current();
        accepted += usize::from(decode(queue, &routing_key, &properties, body).is_ok());
    }
    assert!(accepted > 20, "only {accepted} of 1000");
}
