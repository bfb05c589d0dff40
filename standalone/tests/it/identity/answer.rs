//! Answers in a few words: whose orders and invoices are in them, and how they were refused. What is not in the words is
//! compared byte for byte where it counts, with the answer to a question about nothing.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Response;
use serde_json::Value;

use super::system::System;

/// Who owns which order and which invoice.
pub(crate) struct Owners(BTreeMap<String, String>);

impl Owners {
    pub(crate) async fn of(system: &System) -> Self {
        let query = "{ orders(first: 100) { nodes { id customerId invoice { id } } } }";
        let answer = system.graphql(system.world.bff_url(), Some(&system.issuer.operator()), query).await;
        let answer: Value = answer.json().await.unwrap();
        let mut owners = BTreeMap::new();
        for order in answer["data"]["orders"]["nodes"].as_array().unwrap() {
            let owner = order["customerId"].as_str().unwrap();
            for id in [&order["id"], &order["invoice"]["id"]].into_iter().filter_map(Value::as_str) {
                owners.insert(id.to_owned(), owner.to_owned());
            }
        }
        assert!(owners.len() < 200, "more than a page");
        Self(owners)
    }

    fn owner(&self, object: &Value) -> String {
        let id = object["id"].as_str().unwrap_or_default();
        self.0.get(id).cloned().unwrap_or_else(|| format!("somebody's {object}"))
    }

    fn set(&self, objects: &Value) -> String {
        let owners: BTreeSet<String> = objects.as_array().unwrap().iter().map(|object| self.owner(object)).collect();
        format!("{{{}}}", Vec::from_iter(owners).join(" "))
    }

    /// The value of a field: its owner, with what is joined to it in parentheses.
    fn value(&self, value: &Value) -> String {
        if let Value::Array(items) = value {
            return format!("[{}]", items.iter().map(|item| self.value(item)).collect::<Vec<_>>().join(" "));
        }
        let Value::Object(fields) = value else { return value.to_string() };
        if let Some(nodes) = fields.get("nodes") {
            return self.set(nodes);
        }
        if let Some(errors) = fields.get("userErrors").and_then(Value::as_array) {
            let codes: Vec<_> = errors.iter().map(|error| error["code"].as_str().unwrap()).collect();
            let object = fields.get("order").or(fields.get("invoice")).unwrap();
            return if codes.is_empty() { self.value(object) } else { codes.join(" ") };
        }
        let owner = if fields.contains_key("id") { self.owner(value) } else { String::new() };
        match fields.get("order").or(fields.get("invoice")) {
            Some(joined) => format!("{owner}({})", self.value(joined)),
            None => owner,
        }
    }

    /// A GraphQL answer: its one field, and the codes of its errors.
    pub(crate) fn graphql(&self, answer: &Value) -> String {
        let field = answer["data"].as_object().and_then(|data| data.values().next());
        let errors = answer["errors"].as_array().into_iter().flatten();
        let codes = errors.map(|error| error["extensions"]["code"].as_str().unwrap_or("no code").to_owned());
        let words: Vec<String> = field.map(|field| self.value(field)).into_iter().chain(codes).collect();
        words.join(" ")
    }

    /// An answer to REST: its status, and whose it is or what was wrong.
    pub(crate) async fn rest(&self, response: Response) -> String {
        let status = response.status().as_u16();
        let replayed = if response.headers().contains_key("idempotency-replayed") { " replayed" } else { "" };
        let body: Value = response.json().await.unwrap();
        if let Some(code) = body["code"].as_str() {
            let pointers = body["errors"].as_array().into_iter().flatten();
            let pointers: Vec<_> = pointers.map(|error| error["pointer"].as_str().unwrap()).collect();
            return [vec![status.to_string().as_str(), code], pointers].concat().join(" ");
        }
        match body.get("items") {
            Some(items) => format!("{status} {}", self.set(items)),
            None => format!("{status} {}{replayed}", body["customerId"].as_str().unwrap()),
        }
    }
}
