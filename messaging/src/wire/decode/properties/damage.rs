//! A message of ours with some damage: bits that flipped, a body that was cut or nested or says things twice, numbers
//! that fit nowhere, headers of every type that AMQP has. It is read, or refused with a reason, and nothing worse.

use contracts::{
    Event, InvoiceIssued, InvoicePaid, InvoiceRefunded, InvoiceRejected, InvoiceVoided, OrderCanceled, OrderCreated,
};
use proptest::sample::Index;

use super::*;

/// A message of ours, in one of the queues.
fn ours() -> impl Strategy<Value = (&'static Queue, EventEnvelope)> {
    let kinds: Vec<_> = QUEUES.iter().flat_map(|queue| queue.events.iter().map(move |kind| (*queue, *kind))).collect();
    (select(kinds), any::<u128>(), any::<u128>(), 1..100_i64).prop_map(|((queue, event_type), one, other, event_no)| {
        let (id, other) = (Uuid::from_u128(one), Uuid::from_u128(other));
        let (order_id, body) = match event_type {
            EventType::OrderCreated => (id, format!(r#"{{"id":"{id}","amount":42,"customer":{{"id":"c"}}}}"#)),
            _ if is_of_orders(event_type) => (id, format!(r#"{{"id":"{id}"}}"#)),
            _ => (other, format!(r#"{{"id":"{id}","orderId":"{other}"}}"#)),
        };
        let event = EventEnvelope {
            id: event_id(id, event_no),
            event_type,
            source: "orders".to_owned(),
            aggregate_id: id,
            event_no,
            order_id,
            occurred_at: DateTime::UNIX_EPOCH,
            trace_context: TraceContext::default(),
            asks: event_no % 2 == 0,
            body: body.into(),
        };
        (queue, event)
    })
}

/// What may happen to a message on its way from somebody who means well.
#[derive(Debug, Clone)]
enum Damage {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    /// A key that is there already, with another value.
    KeyAgain(&'static str),
    /// The customer, or else everything, so deep within arrays.
    Nest(usize),
    /// Another amount, in the words of JSON.
    Number(&'static str),
    Header(&'static str, AMQPValue),
    NoHeader(&'static str),
    Kind(ShortString),
    MessageId(ShortString),
    CorrelationId(ShortString),
}

fn damage() -> impl Strategy<Value = Damage> {
    let again = [r#""id":null,"#, r#""id":"00000000-0000-0000-0000-000000000000","#, r#""amount":7,"#, r#""x":{},"#];
    let numbers = ["1e400", "-1", "0", "1.0", "42.5", "2147483648", "99999999999999999999999999", "1e-400", "\"42\""];
    prop_oneof![
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        select(again.to_vec()).prop_map(Damage::KeyAgain),
        prop_oneof![1..200_usize, Just(100_000)].prop_map(Damage::Nest),
        select(numbers.to_vec()).prop_map(Damage::Number),
        (select(HEADERS.to_vec()), any_value()).prop_map(|(name, value)| Damage::Header(name, value)),
        select(HEADERS.to_vec()).prop_map(Damage::NoHeader),
        short_text().prop_map(Damage::Kind),
        short_text().prop_map(Damage::MessageId),
        short_text().prop_map(Damage::CorrelationId),
    ]
}

impl Damage {
    fn happen(self, properties: BasicProperties, body: &mut Vec<u8>) -> BasicProperties {
        let replace = |body: &mut Vec<u8>, from: &str, to: &str| {
            *body = String::from_utf8_lossy(body).replacen(from, to, 1).into_bytes();
        };
        let mut headers = properties.headers().clone().unwrap_or_default();
        match self {
            Self::Flip(at, bit) if !body.is_empty() => {
                let at = at.index(body.len());
                body[at] ^= 1 << bit;
            }
            Self::Flip(..) => {}
            Self::Cut(at) => body.truncate(at.index(body.len() + 1)),
            Self::Insert(at, bytes) => {
                let at = at.index(body.len() + 1);
                body.splice(at..at, bytes);
            }
            Self::KeyAgain(entry) => replace(body, "{", &format!("{{{entry}")),
            Self::Nest(depth) => {
                let (open, shut) = ("[".repeat(depth), "]".repeat(depth));
                let customer = r#"{"id":"c"}"#;
                let inner = if body.ends_with(b"}}") { customer } else { "{" };
                replace(body, inner, &format!("{open}{inner}{shut}"));
            }
            Self::Number(number) => replace(body, "42", number),
            Self::Header(name, value) => {
                headers.insert(name.into(), value);
            }
            Self::NoHeader(name) => {
                let mut others = FieldTable::default();
                for (key, value) in headers.inner().iter().filter(|(key, _)| key.as_str() != name) {
                    others.insert(key.clone(), value.clone());
                }
                headers = others;
            }
            Self::Kind(kind) => return properties.with_type(kind),
            Self::MessageId(id) => return properties.with_message_id(id),
            Self::CorrelationId(id) => return properties.with_correlation_id(id),
        }
        properties.with_headers(headers)
    }
}

/// What a handler makes of the body: it is refused, or it says the same when it is written again.
fn is_read_or_refused(event: &EventEnvelope) -> bool {
    fn holds<E: Event + PartialEq>(body: &[u8]) -> bool {
        E::decode(body).is_err() || {
            let read = E::decode(body).unwrap();
            E::decode(&serde_json::to_vec(&read).unwrap()).is_ok_and(|again| again == read)
        }
    }

    match event.event_type {
        EventType::OrderCreated => holds::<OrderCreated>(&event.body),
        EventType::OrderCanceled => holds::<OrderCanceled>(&event.body),
        EventType::InvoiceIssued => holds::<InvoiceIssued>(&event.body),
        EventType::InvoicePaid => holds::<InvoicePaid>(&event.body),
        EventType::InvoiceVoided => holds::<InvoiceVoided>(&event.body),
        EventType::InvoiceRefunded => holds::<InvoiceRefunded>(&event.body),
        EventType::InvoiceRejected => holds::<InvoiceRejected>(&event.body),
        // No queue carries it.
        EventType::OrderPaid => false,
    }
}

fn damaged(event: &EventEnvelope, damages: Vec<Damage>) -> (BasicProperties, Bytes) {
    let mut body = event.body.to_vec();
    let properties = damages.into_iter().fold(encode(event), |properties, damage| damage.happen(properties, &mut body));
    (properties, body.into())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_damaged_message_is_read_or_refused_and_nothing_worse(
        (queue, event) in ours(),
        damages in vec(damage(), 0..4),
    ) {
        let intact = damages.is_empty();
        let (properties, body) = damaged(&event, damages);
        let decoded = decode(queue, event.event_type.as_str(), &properties, body);
        if let Ok(read) = &decoded {
            let again = decode(queue, read.event_type.as_str(), &encode(read), read.body.clone());
            prop_assert_eq!(again.as_ref(), Ok(read));
            prop_assert!(is_read_or_refused(read), "{:?}", read.body);
        }
        if intact {
            prop_assert_eq!(decoded, Ok(event));
        }
    }
}

/// Nor may damage always be fatal, or never.
#[test]
fn damage_is_sometimes_noticed_by_the_envelope_sometimes_by_the_body_and_sometimes_not() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = [0; 3];
    for _ in 0..1000 {
        let ((queue, event), damages) = (ours(), vec(damage(), 1..4)).new_tree(&mut runner).unwrap().current();
        let (properties, body) = damaged(&event, damages);
        let decoded = decode(queue, event.event_type.as_str(), &properties, body);
        let body_is_read = |event: &EventEnvelope| serde_json::from_slice::<serde_json::Value>(&event.body).is_ok();
        seen[decoded.map_or(0, |event| 1 + usize::from(body_is_read(&event)))] += 1;
    }
    assert!(seen.iter().all(|count| *count > 50), "{seen:?}");
}
