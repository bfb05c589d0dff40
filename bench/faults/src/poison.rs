//! Poison: messages in `orders` that no handler can ever process, each with a token to know it by.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable, ShortString},
};
use rand::{RngExt, rngs::StdRng};
use serde_json::json;
use uuid::Uuid;

use crate::broker::Message;

/// How many kinds there are.
pub(crate) const KINDS: usize = 14;

/// A token, found again in the body of a dead letter: `poison-` and a UUID.
const PREFIX: &str = "poison-";

/// One message of each kind. `invoiced` are orders that have an invoice, for the kind that contradicts it.
pub(crate) fn every_kind(random: &mut StdRng, invoiced: &[(Uuid, i64)]) -> Vec<(String, Message)> {
    (0..KINDS).filter_map(|kind| one(kind, random, invoiced)).collect()
}

fn one(kind: usize, random: &mut StdRng, invoiced: &[(Uuid, i64)]) -> Option<(String, Message)> {
    let token = format!("{PREFIX}{}", Uuid::from_u128(random.random()));
    let id = Uuid::from_u128(random.random());
    let customer = json!({ "id": token });
    let named = BasicProperties::default()
        .with_delivery_mode(2)
        .with_type("order.created".into())
        .with_message_id(ShortString::from(token.as_str()));
    let (properties, body) = match kind {
        // No JSON.
        0 => (named, format!("{{ {token}").into_bytes()),
        // Nor properties, nor headers.
        1 => (BasicProperties::default(), format!("{token}: an order, please").into_bytes()),
        // No id.
        2 => (named, json!({ "amount": 1, "customer": customer }).to_string().into_bytes()),
        // An amount that no order can have.
        3 => (named, json!({ "id": id, "amount": 9_000_000_000_i64, "customer": customer }).to_string().into_bytes()),
        // A field of another type.
        4 => (named, json!({ "id": id, "amount": "1", "customer": customer }).to_string().into_bytes()),
        // An event that does not exist.
        5 => {
            let body = json!({ "id": id, "amount": 1, "customer": customer }).to_string().into_bytes();
            (named.with_type("order.exploded".into()), body)
        }
        // An event of another queue.
        6 => (named.with_type("order.canceled".into()), json!({ "id": id, "token": token }).to_string().into_bytes()),
        // Bytes that are no text.
        7 => (named, [token.as_bytes(), &[0xff, 0xfe, 0x80]].concat()),
        // Another amount than the invoice has.
        8 => {
            let (order, amount) = invoiced.get(random.random_range(0..invoiced.len().max(1)))?;
            (
                named,
                json!({ "id": order, "amount": amount % 1000 + 1001, "customer": customer }).to_string().into_bytes(),
            )
        }
        // Nested deeper than a parser should follow.
        9 => (named, format!("{}{token}", "[".repeat(100_000)).into_bytes()),
        // No amount.
        10 => (named, json!({ "id": id, "customer": customer }).to_string().into_bytes()),
        // An amount that is none.
        11 => (named, json!({ "id": id, "amount": 0, "customer": customer }).to_string().into_bytes()),
        // A version of the envelope that is not known yet.
        12 => {
            let body = json!({ "id": id, "amount": 1, "customer": customer }).to_string().into_bytes();
            let mut headers = FieldTable::default();
            headers.insert("cloudEvents_specversion".into(), AMQPValue::LongString("2.0".into()));
            (named.with_headers(headers), body)
        }
        // 10 MiB.
        _ => (named, format!("{token} {}", "x".repeat(10 << 20)).into_bytes()),
    };
    Some((token, Message { queue: "orders".to_owned(), properties, body }))
}

/// The token in a body, if there is one.
pub(crate) fn token_in(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let start = text.find(PREFIX)?;
    text.get(start..start + PREFIX.len() + 36).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn every_kind_has_its_own_token_and_is_known_by_it() {
        let messages = every_kind(&mut StdRng::seed_from_u64(7), &[(Uuid::nil(), 5)]);
        assert_eq!(messages.len(), KINDS);
        for (token, message) in &messages {
            assert_eq!(token_in(&message.body).as_ref(), Some(token));
        }
        assert_eq!(messages.iter().map(|(token, _)| token).collect::<BTreeSet<_>>().len(), KINDS);
        assert_eq!(token_in(b"{\"id\":1}"), None);
    }

    #[test]
    fn without_an_invoice_nothing_contradicts_one() {
        assert_eq!(every_kind(&mut StdRng::seed_from_u64(7), &[]).len(), KINDS - 1);
    }
}
