//! Every message that was published, held against `contracts/asyncapi.yaml`: the schema of its payload and that of
//! its headers, and the AMQP properties that repeat them.
//!
//! The file is what other teams are told; nothing of this code's own knowledge of events is used here.

use std::collections::BTreeMap;

use anyhow::Context;
use jsonschema::{Draft, Validator};
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use serde_json::{Map, Value, json};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../contracts/asyncapi.yaml");

/// What each event has to look like, by its name.
#[derive(Debug)]
pub(crate) struct Contract {
    messages: BTreeMap<String, Message>,
}

#[derive(Debug)]
struct Message {
    payload: Validator,
    headers: Validator,
}

impl Contract {
    /// Reads the file.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(FILE).context(FILE)?;
        let document: Value = serde_saphyr::from_str(&text).context(FILE)?;
        let components = &document["components"];
        let mut messages = BTreeMap::new();
        for (key, message) in components["messages"].as_object().context("no messages in asyncapi.yaml")? {
            let schema = |part: &str| {
                // References in the document begin at its root.
                let schema = json!({ "$ref": format!("#/components/messages/{key}/{part}"), "components": components });
                let options = jsonschema::options().with_draft(Draft::Draft202012).should_validate_formats(true);
                options.build(&schema).map_err(|error| anyhow::anyhow!("the {part} of {key}: {error}"))
            };
            let name = message["name"].as_str().with_context(|| format!("{key} has no name"))?.to_owned();
            messages.insert(name, Message { payload: schema("payload")?, headers: schema("headers")? });
        }
        Ok(Self { messages })
    }

    /// What is wrong with a message that was published under `routing_key`; empty when nothing is.
    pub(crate) fn deviations(&self, routing_key: &str, properties: &BasicProperties, body: &[u8]) -> Vec<String> {
        let Some(message) = self.messages.get(routing_key) else {
            return vec![format!("{routing_key:?} is no event of the contract")];
        };
        let mut wrong = Vec::new();
        match serde_json::from_slice(body) {
            Ok(payload) => wrong.extend(message.payload.iter_errors(&payload).map(|error| error.to_string())),
            Err(error) => wrong.push(format!("the body is no JSON: {error}")),
        }
        let headers = properties.headers().as_ref().map(json_of).unwrap_or_default();
        let header = |name: &str| headers.get(name).and_then(Value::as_str).map(str::to_owned);
        let repeated = [
            ("message_id", properties.message_id(), header("cloudEvents_id")),
            ("type", properties.kind(), header("cloudEvents_type")),
        ];
        for (name, property, header) in repeated {
            let property = property.as_ref().map(ToString::to_string);
            if property.is_none() || property != header {
                wrong.push(format!("{name} is {property:?}, and the header {header:?}"));
            }
        }
        if properties.content_type().as_ref().map(|kind| kind.as_str()) != Some("application/json") {
            wrong.push(format!("content_type is {:?}", properties.content_type()));
        }
        let headers = Value::Object(headers);
        wrong.extend(message.headers.iter_errors(&headers).map(|error| format!("headers: {error}")));
        wrong
    }
}

/// Headers as JSON. Of AMQP's types those that an event may have; others become their notation, which is no string
/// that a schema knows.
fn json_of(headers: &FieldTable) -> Map<String, Value> {
    let value = |value: &AMQPValue| match value {
        AMQPValue::LongString(text) => json!(text.to_string()),
        AMQPValue::ShortString(text) => json!(text.as_str()),
        AMQPValue::Boolean(is) => json!(is),
        AMQPValue::LongInt(number) => json!(number),
        AMQPValue::LongLongInt(number) => json!(number),
        other => json!({ "amqp": format!("{other:?}") }),
    };
    headers.inner().iter().map(|(name, is)| (name.to_string(), value(is))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190b5a8-7c1e-7d3a-9f00-000000000001";

    /// An `order.created` that is well.
    fn created() -> (Value, Value) {
        let headers = json!({
            "cloudEvents_specversion": "1.0",
            "cloudEvents_id": ID,
            "cloudEvents_source": "/orders",
            "cloudEvents_type": "order.created",
            "cloudEvents_time": "2026-11-21T10:00:00.000Z",
            "cloudEvents_subject": ID,
            "cloudEvents_sequence": "1",
        });
        (json!({ "id": ID, "amount": 5, "customer": { "id": "c" } }), headers)
    }

    fn deviations(routing_key: &str, body: &[u8], headers: &Value) -> Vec<String> {
        let mut table = FieldTable::default();
        for (name, value) in headers.as_object().unwrap() {
            table.insert(name.as_str().into(), AMQPValue::LongString(value.as_str().unwrap().into()));
        }
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_message_id(ID.into())
            .with_type("order.created".into())
            .with_headers(table);
        Contract::read().unwrap().deviations(routing_key, &properties, body)
    }

    #[test]
    fn an_event_as_it_should_be() {
        let (body, headers) = created();
        assert_eq!(deviations("order.created", body.to_string().as_bytes(), &headers), [""; 0]);
    }

    #[test]
    fn every_committed_sample_fits_and_no_event_is_without_one() {
        let contract = Contract::read().unwrap();
        for (name, message) in &contract.messages {
            let path = format!("{}/../../contracts/events/{name}.1.json", env!("CARGO_MANIFEST_DIR"));
            let sample = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
            assert!(message.payload.is_valid(&sample), "{name}");
        }
    }

    #[test]
    fn what_deviates_is_named() {
        let deviates = |word: &str, change: fn(&mut Value, &mut Value)| {
            let (mut body, mut headers) = created();
            change(&mut body, &mut headers);
            let wrong = deviations("order.created", body.to_string().as_bytes(), &headers);
            assert!(wrong.iter().any(|wrong| wrong.contains(word)), "{word} is not in {wrong:?}");
        };
        deviates("amount", |body, _| drop(body.as_object_mut().unwrap().remove("amount")));
        deviates("minimum", |body, _| body["amount"] = json!(0));
        deviates("uuid", |body, _| body["id"] = json!("seven"));
        deviates("cloudEvents_time", |_, headers| drop(headers.as_object_mut().unwrap().remove("cloudEvents_time")));
        deviates("date-time", |_, headers| headers["cloudEvents_time"] = json!("yesterday"));
        deviates("order.created", |_, headers| headers["cloudEvents_type"] = json!("order.paid"));
        deviates("message_id", |_, headers| headers["cloudEvents_id"] = json!("0190b5a8-7c1e-7d3a-9f00-000000000002"));
        let (body, headers) = created();
        assert!(!deviations("order.exploded", body.to_string().as_bytes(), &headers).is_empty());
        assert!(!deviations("order.created", b"{", &headers).is_empty());
    }
}
