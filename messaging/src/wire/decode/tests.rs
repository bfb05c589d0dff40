use contracts::topology::{INVOICES_ORDER_CANCELED, ORDERS, ORDERS_INVOICE_EVENTS};

use super::*;
use crate::wire::{encode, header};

const ORDER: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001);
const INVOICE: Uuid = Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0002);
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn envelope(event_type: EventType, aggregate_id: Uuid) -> EventEnvelope {
    EventEnvelope {
        id: event_id(aggregate_id, 2),
        event_type,
        source: if is_of_orders(event_type) { "orders" } else { "invoices" }.into(),
        aggregate_id,
        event_no: 2,
        order_id: ORDER,
        occurred_at: "2026-11-21T04:05:06.789Z".parse().unwrap(),
        trace_context: TraceContext { traceparent: Some(TRACEPARENT.into()), tracestate: Some("vendor=1".into()) },
        asks: false,
        body: Bytes::from_static(b"\x00 any bytes \xff"),
    }
}

fn body() -> Bytes {
    format!(r#"{{"id":"{ORDER}","amount":100,"customer":{{"id":"c"}}}}"#).into()
}

fn with_headers(headers: &[(&str, &str)]) -> BasicProperties {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        header(&mut table, name, *value);
    }
    BasicProperties::default().with_headers(table)
}

#[track_caller]
fn rejected(queue: &Queue, routing_key: &str, properties: &BasicProperties, body: Bytes) -> (&'static str, String) {
    let rejection = decode(queue, routing_key, properties, body).expect_err("it should be rejected");
    (rejection.reason, rejection.error)
}

#[test]
fn what_was_encoded_comes_back_the_same() {
    for (queue, event_type, aggregate_id) in [
        (&ORDERS, EventType::OrderCreated, ORDER),
        (&INVOICES_ORDER_CANCELED, EventType::OrderCanceled, ORDER),
        (&ORDERS_INVOICE_EVENTS, EventType::InvoicePaid, INVOICE),
    ] {
        for asks in [false, true] {
            let event = EventEnvelope { asks, ..envelope(event_type, aggregate_id) };
            let decoded = decode(queue, event_type.as_str(), &encode(&event), event.body.clone());
            assert_eq!(decoded, Ok(event));
        }
    }
}

#[test]
fn a_bare_body_gets_the_metadata_that_our_relay_would_have_given() {
    let before = contracts::now();
    let event = decode(&ORDERS, "orders", &BasicProperties::default(), body()).unwrap();
    assert!((before..=contracts::now()).contains(&event.occurred_at));
    assert_eq!(
        event,
        EventEnvelope {
            id: event_id(ORDER, 1),
            event_type: EventType::OrderCreated,
            source: "orders".into(),
            aggregate_id: ORDER,
            event_no: 1,
            order_id: ORDER,
            occurred_at: event.occurred_at,
            trace_context: TraceContext::default(),
            asks: false,
            body: body(),
        }
    );
}

#[test]
fn properties_that_a_plain_client_uses_for_itself_are_passed_over() {
    let properties = BasicProperties::default()
        .with_message_id("42".into())
        .with_correlation_id("request 7".into())
        .with_timestamp(1_700_000_000);
    let event = decode(&ORDERS, "orders", &properties, body()).unwrap();
    assert_eq!((event.id, event.order_id, event.event_no), (event_id(ORDER, 1), ORDER, 1));
    assert_eq!(event.occurred_at.timestamp(), 1_700_000_000);
}

#[test]
fn a_timestamp_that_is_no_time_is_passed_over() {
    let before = contracts::now();
    // Milliseconds where seconds belong, and more than any calendar has.
    for timestamp in [1_700_000_000_000, u64::MAX] {
        let properties = BasicProperties::default().with_timestamp(timestamp);
        assert!(decode(&ORDERS, "orders", &properties, body()).unwrap().occurred_at >= before, "{timestamp}");
    }
}

#[test]
fn the_type_comes_from_the_property_then_the_header_then_the_routing_key_then_the_queue() {
    let header = |name: &str| {
        with_headers(&[("cloudEvents_type", name), ("cloudEvents_subject", &INVOICE.to_string())])
            .with_correlation_id(short_id())
    };
    fn short_id() -> ShortString {
        ORDER.to_string().into()
    }
    let event_type = |properties, routing_key: &str| {
        decode(&ORDERS_INVOICE_EVENTS, routing_key, &properties, Bytes::new()).map(|event| event.event_type)
    };
    let by_property = header("invoice.paid").with_type("invoice.voided".into());
    assert_eq!(event_type(by_property, "invoice.issued"), Ok(EventType::InvoiceVoided));
    assert_eq!(event_type(header("invoice.paid"), "invoice.issued"), Ok(EventType::InvoicePaid));
    let by_key = with_headers(&[("cloudEvents_subject", &INVOICE.to_string())]).with_correlation_id(short_id());
    assert_eq!(event_type(by_key, "invoice.issued"), Ok(EventType::InvoiceIssued));
    assert_eq!(
        decode(&ORDERS, "orders", &BasicProperties::default(), body()).map(|event| event.event_type),
        Ok(EventType::OrderCreated)
    );
}

#[test]
fn a_message_that_is_no_event_of_the_queue_is_unexpected() {
    let typed = |name: &str| BasicProperties::default().with_type(name.into());
    let (reason, error) = rejected(&ORDERS, "orders", &typed("order.shipped"), body());
    assert_eq!((reason, error.as_str()), ("unexpected_type", r#"unknown event type "order.shipped""#));

    let (reason, error) = rejected(&ORDERS, "order.canceled", &BasicProperties::default(), body());
    assert_eq!((reason, error.as_str()), ("unexpected_type", "order.canceled does not belong in the queue orders"));

    let bare = BasicProperties::default();
    let (reason, error) = rejected(&ORDERS_INVOICE_EVENTS, "orders.invoice-events", &bare, body());
    assert_eq!(reason, "unexpected_type");
    assert!(error.contains("neither its properties nor its routing key"), "{error}");
}

#[test]
fn a_message_without_ids_is_malformed_and_the_sentence_says_what_is_missing() {
    for (body, expected) in [
        ("not json", "neither beside its body nor in it: expected"),
        (r#"{"orderId":"x"}"#, "missing field `id`"),
        (r#"{"id":7}"#, "invalid type"),
        (r#"{"id":"seven"}"#, "UUID parsing failed"),
        ("", "EOF"),
        ("\u{feff}{}", "expected value"),
    ] {
        let (reason, error) = rejected(&ORDERS, "orders", &BasicProperties::default(), body.to_owned().into());
        assert_eq!(reason, "malformed");
        assert!(error.contains(expected), "{body:?}: {error}");
    }

    let paid = BasicProperties::default().with_type("invoice.paid".into());
    let (reason, error) = rejected(&ORDERS_INVOICE_EVENTS, "", &paid, body());
    assert_eq!((reason, error.as_str()), ("malformed", "invoice.paid has no aggregate id in cloudEvents_subject"));

    let paid = with_headers(&[("cloudEvents_subject", &INVOICE.to_string())]).with_type("invoice.paid".into());
    let (reason, error) = rejected(&ORDERS_INVOICE_EVENTS, "", &paid, body());
    assert_eq!((reason, error.as_str()), ("malformed", "invoice.paid has no order id in its correlation id"));
}

#[test]
fn a_cloudevents_header_that_is_there_has_to_be_right() {
    for (name, value, expected) in [
        ("cloudEvents_specversion", "2.0", "CloudEvents version \"2.0\""),
        ("cloudEvents_subject", "order 7", "not a UUID"),
        ("cloudEvents_id", "7", "not a UUID"),
        ("cloudEvents_sequence", "seven", "not a number from 1"),
        ("cloudEvents_sequence", "0", "not a number from 1"),
        ("cloudEvents_time", "yesterday", "not a time as of RFC 3339"),
        ("cloudEvents_time", "+12026-11-21T04:05:06Z", "not a time as of RFC 3339"),
    ] {
        let (reason, error) = rejected(&ORDERS, "orders", &with_headers(&[(name, value)]), body());
        assert_eq!(reason, "malformed", "{name}");
        assert!(error.contains(expected), "{name}: {error}");
    }

    let mut headers = FieldTable::default();
    header(&mut headers, "cloudEvents_type", b"\xff\xfe".to_vec());
    let (reason, error) = rejected(&ORDERS, "orders", &BasicProperties::default().with_headers(headers), body());
    assert_eq!(reason, "malformed");
    assert!(error.contains("cloudEvents_type is not UTF-8"), "{error}");

    let mut headers = FieldTable::default();
    headers.insert("cloudEvents_sequence".into(), AMQPValue::LongInt(1));
    let (_, error) = rejected(&ORDERS, "orders", &BasicProperties::default().with_headers(headers), body());
    assert!(error.contains("is no text but"), "{error}");
}

#[test]
fn a_trace_that_is_not_valid_is_left_out() {
    for traceparent in ["", "garbage", "00-00000000000000000000000000000000-00f067aa0ba902b7-01", "\u{0}"] {
        let properties = with_headers(&[("traceparent", traceparent), ("tracestate", "vendor=1")]);
        let event = decode(&ORDERS, "orders", &properties, body()).unwrap();
        assert_eq!(event.trace_context, TraceContext::default(), "{traceparent:?}");
    }
    let mut headers = FieldTable::default();
    header(&mut headers, "traceparent", b"\xff".to_vec());
    let properties = BasicProperties::default().with_headers(headers);
    assert_eq!(decode(&ORDERS, "orders", &properties, body()).unwrap().trace_context, TraceContext::default());
}
