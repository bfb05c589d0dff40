//! What a request may ask for. The guard stands before everything that walks a document, validation included: a small
//! document can mean a large one, since a fragment that spreads another twice doubles it at each level.
//!
//! Three steps, each linear in what it reads: the text before it is parsed ([`Guard::text`]), the parsed document
//! ([`Guard::document`]) and the variables ([`Guard::variables`]). What passes is small enough for everything after
//! it, even where that goes through each fragment as often as it is spread.

mod limits;
mod size;
mod tokens;

use async_graphql::{ErrorExtensionValues, ServerError, Value, Variables, parser::types::ExecutableDocument};
use chassis::graphql::request_error;

pub use limits::Limits;
pub(crate) use size::DocumentSize;
use tokens::Tokens;

/// Holds requests to the limits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Guard {
    limits: Limits,
}

/// More than is read before anybody knows what it means.
const TOO_LARGE: &str = "QUERY_TOO_LARGE";
/// A document that asks for more than it may.
const TOO_COMPLEX: &str = "QUERY_TOO_COMPLEX";

/// How deep brackets of any kind may be nested in a text. The parser calls itself at each.
const MAX_NESTING: u64 = 64;
/// How long a name may be, in bytes. One that the schema does not know is compared with those that it knows, character
/// by character.
const MAX_NAME: u64 = 256;

impl Guard {
    /// A guard that allows this much.
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits }
    }

    /// Checks a text before it is parsed.
    ///
    /// # Errors
    /// `QUERY_TOO_LARGE`, naming the limit.
    pub(crate) fn text(&self, text: &str) -> Result<(), ServerError> {
        self.bytes(text)?;
        let tokens = Tokens::count(text);
        within(TOO_LARGE, "tokens", tokens.count, self.limits.tokens.into())?;
        within(TOO_LARGE, "nested brackets", tokens.nesting, MAX_NESTING)?;
        within(TOO_LARGE, "bytes in a name", tokens.longest_name, MAX_NAME)
    }

    /// Checks the length of a text. Part of [`Guard::text`], for who has work to do before.
    ///
    /// # Errors
    /// `QUERY_TOO_LARGE`, naming the limit.
    pub(crate) fn bytes(&self, text: &str) -> Result<(), ServerError> {
        within(TOO_LARGE, "bytes", text.len() as u64, self.limits.document_bytes.into())
    }

    /// Checks a document as if every fragment stood wherever it is spread, and answers how large that is.
    ///
    /// # Errors
    /// `QUERY_TOO_COMPLEX`, naming the limit; `GRAPHQL_VALIDATION_FAILED` for fragments that spread themselves, and
    /// for a `__typename` with arguments or fields, which validation does not look at.
    pub(crate) fn document(&self, document: &ExecutableDocument) -> Result<DocumentSize, ServerError> {
        size::check(document, &self.limits)
    }

    /// Checks how much the variables hold: each place that uses one may copy it.
    ///
    /// # Errors
    /// `QUERY_TOO_LARGE`, naming the limit.
    pub(crate) fn variables(&self, variables: &Variables) -> Result<(), ServerError> {
        let values = variables.values().map(values_in).sum();
        within(TOO_LARGE, "values in variables", values, self.limits.variable_values.into())
    }
}

/// How many values a value consists of, itself included. It came as JSON, whose parser allows 128 levels.
fn values_in(value: &Value) -> u64 {
    match value {
        Value::List(items) => 1 + items.iter().map(values_in).sum::<u64>(),
        Value::Object(fields) => 1 + fields.values().map(values_in).sum::<u64>(),
        _ => 1,
    }
}

/// Refuses more than is allowed, saying what was counted, what was found and what may be.
fn within(code: &str, what: &str, found: u64, allowed: u64) -> Result<(), ServerError> {
    if found <= allowed {
        return Ok(());
    }
    let mut error = request_error(code, format!("{found} {what} are more than the {allowed} allowed"), None);
    let extensions: &mut ErrorExtensionValues = error.extensions.get_or_insert_default();
    extensions.set("limit", what);
    extensions.set("found", found);
    extensions.set("allowed", allowed);
    Err(error)
}

#[cfg(test)]
mod tests {
    use async_graphql::value;

    use super::*;

    #[test]
    fn a_refusal_names_the_limit_what_was_found_and_what_is_allowed() {
        let error = within(TOO_LARGE, "tokens", 1001, 1000).unwrap_err();
        assert_eq!(error.message, "1001 tokens are more than the 1000 allowed");
        let extensions = serde_json::to_value(error.extensions).unwrap();
        let expected =
            serde_json::json!({ "code": "QUERY_TOO_LARGE", "limit": "tokens", "found": 1001, "allowed": 1000 });
        assert_eq!(extensions, expected);
        assert!(within(TOO_LARGE, "tokens", 1000, 1000).is_ok());
    }

    #[test]
    fn every_value_in_the_variables_counts() {
        let guard = Guard::new(Limits { variable_values: 6, ..Limits::default() });
        let variables = |value| Variables::from_value(value);
        assert!(guard.variables(&variables(value!({ "a": 1, "b": [1, 2, { "c": null }] }))).is_ok());
        let error = guard.variables(&variables(value!({ "a": 1, "b": [1, 2, { "c": [] }], "d": "" }))).unwrap_err();
        assert_eq!(error.message, "7 values in variables are more than the 6 allowed");
    }
}
