//! From a text to a document that may run, as far as that can be said without variables.

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use chassis::graphql::parse;

use crate::{guard::Guard, overlap};

/// Parses a text and checks what holds for each of its operations. The order matters: each step is only safe behind
/// the one before.
pub(super) fn check(text: &str, guard: &Guard) -> Result<ExecutableDocument, ServerError> {
    guard.text(text)?;
    let document = parse(text)?;
    guard.document(&document)?;
    for (_, operation) in document.operations.iter() {
        overlap::check(&operation.node, &document)?;
    }
    Ok(document)
}
