//! What a service answered: data and errors, brought together by their paths.
//!
//! An object is built only when the service reports no error at it or inside it, and when it holds all that was
//! selected. So an object is whole or an error, and no null stands for something that failed.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::{
    error::{ErrorKind, GraphqlError, SubgraphError},
    operation::Operation,
};
use crate::selection::Selection;

/// The body of an answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    #[serde(default)]
    data: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) errors: Vec<GraphqlError>,
}

/// A value that is not what was asked for, and in what way. Goes to the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The service says why.
    Reported(GraphqlError),
    /// Nobody says why.
    Unexplained(String),
}

impl Answer {
    /// The value of the field that `operation` asked for; `None` where the service says that there is nothing.
    pub(super) fn into_object<T: DeserializeOwned>(mut self, operation: &Operation) -> Result<Option<T>, Flaw> {
        let value = self.data.as_mut().and_then(|data| data.remove(operation.field));
        let place = [Value::from(operation.field)];
        decode(value, &operation.selection, self.error_at(&place))
    }

    /// The entities, each with its own fate.
    pub(super) fn into_entities<T: DeserializeOwned>(
        mut self,
        operation: &Operation,
        count: usize,
    ) -> Vec<Result<Option<T>, Flaw>> {
        let entities = match self.data.as_mut().and_then(|data| data.remove(operation.field)) {
            Some(Value::Array(entities)) if entities.len() == count => entities.into_iter().map(Some).collect(),
            Some(Value::Array(entities)) if self.errors.is_empty() => {
                let flaw = format!("{} entities for {count} keys", entities.len());
                return (0..count).map(|_| Err(Flaw::Unexplained(flaw.clone()))).collect();
            }
            // The service gave up on all of them: then no entity has a value of its own.
            _ => (0..count).map(|_| None).collect::<Vec<_>>(),
        };
        let decode = |(index, entity)| {
            let place = [Value::from(operation.field), Value::from(index)];
            decode(entity, &operation.selection, self.error_at(&place))
        };
        entities.into_iter().enumerate().map(decode).collect()
    }

    /// Whether the service has given up on all entities for a reason that may be that of some: there is no list, and the
    /// errors are about entities, not about the service.
    pub(super) fn gives_up_on_all(&self, operation: &Operation) -> bool {
        let has_list = self.data.as_ref().is_some_and(|data| data.get(operation.field).is_some_and(Value::is_array));
        let is_about_entities = |error: &GraphqlError| {
            error.path.first().is_some_and(|place| place == operation.field)
                && matches!(ErrorKind::from(error.clone()), ErrorKind::Graphql(_))
        };
        !has_list && !self.errors.is_empty() && self.errors.iter().all(is_about_entities)
    }

    /// The error for a place: one above it, at it or inside it. One without a path is for every place.
    fn error_at(&self, place: &[Value]) -> Option<&GraphqlError> {
        self.errors.iter().find(|error| error.path.iter().zip(place).all(|(a, b)| a == b))
    }
}

fn decode<T: DeserializeOwned>(
    value: Option<Value>,
    selection: &Selection,
    error: Option<&GraphqlError>,
) -> Result<Option<T>, Flaw> {
    if let Some(error) = error {
        return Err(Flaw::Reported(error.clone()));
    }
    match value {
        None => Err(Flaw::Unexplained("the field itself is missing".to_owned())),
        Some(Value::Null) => Ok(None),
        Some(value) => match selection.missing_in(&value) {
            Some(path) => Err(Flaw::Unexplained(format!("{path} is missing"))),
            None => serde_json::from_value(value).map(Some).map_err(|e| Flaw::Unexplained(e.to_string())),
        },
    }
}

impl Flaw {
    /// The error that takes the value's place.
    pub(super) fn into_error(self, service: &'static str) -> SubgraphError {
        let kind = match self {
            Self::Reported(error) => error.into(),
            Self::Unexplained(_) => ErrorKind::BadAnswer,
        };
        SubgraphError { service, kind }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entities(answer: Value) -> Vec<Result<Option<Value>, String>> {
        let answer: Answer = serde_json::from_value(answer).unwrap();
        let operation = Operation::order_entities([], Selection::object().with_value("amount"));
        let entities = answer.into_entities(&operation, 3).into_iter();
        entities
            .map(|entity| {
                entity.map_err(|flaw| match flaw {
                    Flaw::Reported(error) => error.message,
                    Flaw::Unexplained(text) => text,
                })
            })
            .collect()
    }

    #[test]
    fn each_entity_has_its_own_fate() {
        let answer = json!({
            "data": { "_entities": [{ "amount": 1 }, null, { "amount": null }] },
            "errors": [{ "message": "broken", "path": ["_entities", 2, "amount"] }],
        });
        assert_eq!(entities(answer), [Ok(Some(json!({ "amount": 1 }))), Ok(None), Err("broken".to_owned())]);
    }

    #[test]
    fn an_error_above_the_entities_is_the_fate_of_all() {
        let all = |message: &str| vec![Err(message.to_owned()); 3];
        for path in [json!([]), json!(["_entities"])] {
            for data in [json!(null), json!({}), json!({ "_entities": null })] {
                let answer = json!({ "data": data, "errors": [{ "message": "broken", "path": path }] });
                assert_eq!(entities(answer), all("broken"));
            }
        }
        assert_eq!(entities(json!({ "errors": [{ "message": "no path" }] })), all("no path"));
        assert_eq!(entities(json!({ "data": { "_entities": [] } })), all("0 entities for 3 keys"));
        assert_eq!(entities(json!({ "data": null })), all("the field itself is missing"));
        assert_eq!(entities(json!({})), all("the field itself is missing"));
    }

    #[test]
    fn what_lacks_a_selected_field_is_no_entity() {
        let answer = json!({ "data": { "_entities": [{}, { "amount": 1 }, { "amount": 2 }] } });
        assert_eq!(entities(answer)[0], Err("amount is missing".to_owned()));
    }
}
