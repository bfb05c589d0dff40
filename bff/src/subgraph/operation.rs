//! What is sent to a service: one root field with its arguments as variables, and the selection that travels.
//!
//! The text depends on nothing but the shape of the question. Values travel as variables, so a service may cache what
//! it parsed, and no value ever has to be escaped.

use std::fmt::Write;

use async_graphql::{ID, InputType, Name, Value, Variables};
use serde::Serialize;

use crate::selection::Selection;

/// Federation's root field for entities.
const ENTITIES: &str = "_entities";

/// The variable with the keys of the entities.
const KEYS: &str = "keys";

/// The keyword of what changes something.
const MUTATION: &str = "mutation";

/// A request to a service, ready to be sent.
#[derive(Debug, Serialize)]
pub(crate) struct Operation {
    query: String,
    variables: Variables,
    /// The field whose value is the answer.
    #[serde(skip)]
    pub(super) field: &'static str,
    /// What was selected of it.
    #[serde(skip)]
    pub(super) selection: Selection,
    #[serde(skip)]
    mutation: bool,
}

/// A root field, its arguments being collected.
#[derive(Debug)]
pub(crate) struct RootField {
    keyword: &'static str,
    name: &'static str,
    arguments: Vec<(&'static str, String, Value)>,
}

impl Operation {
    /// Reads a field of `Query`.
    pub(crate) fn query(field: &'static str) -> RootField {
        RootField { keyword: "query", name: field, arguments: Vec::new() }
    }

    /// Runs a field of `Mutation`.
    pub(crate) fn mutation(field: &'static str) -> RootField {
        RootField { keyword: MUTATION, name: field, arguments: Vec::new() }
    }

    /// Reads orders by their keys: Federation's way into the graph of another service.
    pub(crate) fn order_entities<'a>(ids: impl IntoIterator<Item = &'a ID>, selection: Selection) -> Self {
        let representation = |id: &ID| {
            let fields = [("__typename", "Order".to_owned()), ("id", id.to_string())];
            Value::Object(fields.into_iter().map(|(name, value)| (Name::new(name), Value::from(value))).collect())
        };
        let mut variables = Variables::default();
        variables.insert(Name::new(KEYS), Value::List(ids.into_iter().map(representation).collect()));
        let query = format!("query($keys:[_Any!]!){{_entities(representations:$keys){{...on Order{selection}}}}}");
        Self { query, variables, field: ENTITIES, selection, mutation: false }
    }

    /// Whether it only reads.
    pub(super) fn is_query(&self) -> bool {
        !self.mutation
    }

    /// How many entities it asks for.
    pub(super) fn keys(&self) -> usize {
        match self.variables.get(KEYS) {
            Some(Value::List(keys)) => keys.len(),
            _ => 0,
        }
    }

    /// The same for the first half of its keys, and for the second.
    pub(super) fn halves(&self) -> (Self, Self) {
        let mut first = match self.variables.get(KEYS) {
            Some(Value::List(keys)) => keys.clone(),
            _ => Vec::new(),
        };
        let second = first.split_off(first.len() / 2);
        let part = |keys| {
            let mut variables = Variables::default();
            variables.insert(Name::new(KEYS), Value::List(keys));
            Self { query: self.query.clone(), variables, selection: self.selection.clone(), ..*self }
        };
        (part(first), part(second))
    }
}

impl RootField {
    /// Adds an argument under the type that it has in our own schema. One that is null or left out is not sent.
    pub(crate) fn argument<T: InputType>(mut self, name: &'static str, value: &T) -> Self {
        let value = without_nulls(value.to_value());
        if value != Value::Null {
            self.arguments.push((name, T::qualified_type_name(), value));
        }
        self
    }

    /// Completes the request with what travels of the field.
    pub(crate) fn select(self, selection: Selection) -> Operation {
        let (mut declared, mut passed) = (String::new(), String::new());
        for (name, graphql_type, _) in &self.arguments {
            // Writing to a string does not fail.
            let _ = write!(declared, "{}${name}:{graphql_type}", if declared.is_empty() { "(" } else { "," });
            let _ = write!(passed, "{}{name}:${name}", if passed.is_empty() { "(" } else { "," });
        }
        if !self.arguments.is_empty() {
            declared.push(')');
            passed.push(')');
        }
        let query = format!("{}{declared}{{{}{passed}{selection}}}", self.keyword, self.name);
        let mut variables = Variables::default();
        for (name, _, value) in self.arguments {
            variables.insert(Name::new(name), value);
        }
        Operation { query, variables, field: self.name, selection, mutation: self.keyword == MUTATION }
    }
}

/// The fields of an input that are null mean the same as those left out, and are sent that way.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .filter(|(_, value)| *value != Value::Null)
                .map(|(name, value)| (name, without_nulls(value)))
                .collect(),
        ),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(operation: &Operation, query: &str, variables: &serde_json::Value) {
        let sent = serde_json::to_value(operation).unwrap();
        assert_eq!(sent, json!({ "query": query, "variables": variables }));
    }

    #[test]
    fn arguments_travel_as_variables_of_their_types() {
        let selection = || Selection::object().with_value("id");
        check(
            &Operation::query("order").argument("id", &ID::from("a\"b")).select(selection()),
            "query($id:ID!){order(id:$id){id}}",
            &json!({ "id": "a\"b" }),
        );
        check(
            &Operation::mutation("m").argument("first", &20).argument("after", &None::<String>).select(selection()),
            "mutation($first:Int!){m(first:$first){id}}",
            &json!({ "first": 20 }),
        );
        check(&Operation::query("all").select(selection()), "query{all{id}}", &json!({}));
    }

    #[test]
    fn entities_are_asked_for_by_their_keys_in_one_request() {
        let ids = [ID::from("1"), ID::from("2")];
        let selection = Selection::object().with("invoice", Selection::object().with_value("amount"));
        check(
            &Operation::order_entities(&ids, selection),
            "query($keys:[_Any!]!){_entities(representations:$keys){...on Order{invoice{amount}}}}",
            &json!({ "keys": [{ "__typename": "Order", "id": "1" }, { "__typename": "Order", "id": "2" }] }),
        );
    }
}
