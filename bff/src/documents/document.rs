//! From a text to a document that may run, as far as that can be said without variables.

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use chassis::graphql::{add_placeholders, parse};

use crate::{guard::Guard, overlap};

/// A document that passed the guard.
#[derive(Debug)]
pub(crate) struct Document {
    /// As it is executed.
    pub(crate) executable: ExecutableDocument,
    /// Whether placeholders must be taken out of its answer.
    pub(crate) has_placeholders: bool,
}

impl Document {
    /// Parses a text and checks what holds for each of its operations. The order matters: each step is only safe behind
    /// the one before.
    pub(super) fn check(text: &str, guard: &Guard) -> Result<Self, ServerError> {
        guard.text(text)?;
        let mut executable = parse(text)?;
        guard.document(&executable)?;
        for (_, operation) in executable.operations.iter() {
            overlap::check(&operation.node, &executable)?;
        }
        let has_placeholders = add_placeholders(&mut executable);
        Ok(Self { executable, has_placeholders })
    }
}
