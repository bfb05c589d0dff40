//! Two fields under one response key must be the same field with the same arguments: the answer has only one place
//! for both (GraphQL specification, "Field Selection Merging").
//!
//! The library checks this too, but does not look into named fragments. Without the check here, `{ x: order(id: "1")
//! { id } ...F }` with another order under `x` in the fragment would be answered with one of the two.

use std::collections::BTreeMap;

use async_graphql::{
    Name, Pos, ServerError,
    parser::types::{ExecutableDocument, Field, OperationDefinition, SelectionSet},
};

use chassis::graphql::request_error;

use crate::selection::{Fragments, collect_fields};

/// Refuses two fields of `operation` that cannot both be answered.
///
/// Every field of this API returns a concrete type, so all fields of an object can meet and each pair counts. The
/// document has passed the guard: in one with fragments that spread themselves, this would not end.
pub(crate) fn check(operation: &OperationDefinition, document: &ExecutableDocument) -> Result<(), ServerError> {
    check_sets(vec![&operation.selection_set.node], &document.fragments)
}

/// Checks the selection sets of one object, and what is below them.
fn check_sets(sets: Vec<&SelectionSet>, fragments: &Fragments) -> Result<(), ServerError> {
    let mut groups: BTreeMap<&Name, Vec<&Field>> = BTreeMap::new();
    for field in collect_fields(sets, fragments) {
        let key = field.response_key();
        let group = groups.entry(&key.node).or_default();
        if group.first().is_some_and(|first| !is_same(first, field)) {
            let message = format!("{:?} stands for two different fields; give one an alias", key.node.as_str());
            return Err(refusal(message, key.pos));
        }
        group.push(field);
    }
    groups
        .into_values()
        .try_for_each(|group| check_sets(group.into_iter().map(|field| &field.selection_set.node).collect(), fragments))
}

/// The same field, its arguments in whichever order.
fn is_same(a: &Field, b: &Field) -> bool {
    a.name == b.name
        && a.arguments.len() == b.arguments.len()
        && a.arguments.iter().all(|(name, value)| b.get_argument(&name.node) == Some(value))
}

fn refusal(message: String, place: Pos) -> ServerError {
    request_error("GRAPHQL_VALIDATION_FAILED", message, Some(place))
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::{parse_query, types::DocumentOperations};

    use super::*;

    fn refused(document: &str) -> Option<String> {
        let parsed = parse_query(document).unwrap();
        let DocumentOperations::Single(operation) = &parsed.operations else { panic!("one operation") };
        check(&operation.node, &parsed).err().map(|error| error.message)
    }

    #[test]
    fn the_same_field_may_be_selected_in_two_places() {
        for document in [
            "{ x: o(a: 1, b: $v) { id } ...F } fragment F on Q { x: o(b: $v, a: 1) { p { q } } }",
            "{ a: o(id: 1) { id } b: o(id: 2) { id } }",
            "{ o { ...F ...F } } fragment F on O { o { id } }",
        ] {
            assert_eq!(refused(document), None, "{document}");
        }
    }

    #[test]
    fn two_different_fields_may_not_share_a_key() {
        for document in [
            "{ x: o { id } x: p { id } }",
            "{ x: o(id: 1) { id } x: o(id: 2) { id } }",
            "{ x: o(id: 1) { id } x: o { id } }",
            "{ x: o(id: 1) { id } ...F } fragment F on Q { x: o(id: 2) { id } }",
            "{ o { p { x: id } } ...F } fragment F on Q { o { ...G } } fragment G on O { p { x: y } }",
        ] {
            let message = "\"x\" stands for two different fields; give one an alias";
            assert_eq!(refused(document).as_deref(), Some(message), "{document}");
        }
    }
}
