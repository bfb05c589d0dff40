//! From a text to a document that may run, as far as that can be said without variables.

use async_graphql::{ServerError, parser::types::ExecutableDocument};
use chassis::graphql::{add_placeholders, parse};

use crate::{
    guard::{DocumentSize, Guard},
    overlap,
};

/// A document that passed the guard.
#[derive(Debug)]
pub(crate) struct Document {
    /// As it is executed.
    pub(crate) executable: ExecutableDocument,
    /// Whether placeholders must be taken out of its answer.
    pub(crate) has_placeholders: bool,
    /// How much it asks for.
    pub(crate) size: DocumentSize,
}

impl Document {
    /// Parses a text and checks what holds for each of its operations. The order matters: each step is only safe behind
    /// the one before.
    pub(super) fn check(text: &str, guard: &Guard) -> Result<Self, ServerError> {
        guard.text(text)?;
        let mut executable = parse(text)?;
        let size = guard.document(&executable)?;
        for (_, operation) in executable.operations.iter() {
            overlap::check(&operation.node, &executable)?;
        }
        let has_placeholders = add_placeholders(&mut executable);
        Ok(Self { executable, has_placeholders, size })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guard::Limits;

    /// Pieces that documents are made of, and what breaks them.
    const PIECES: [&str; 38] = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ":",
        "!",
        "=",
        "$",
        "@",
        "&",
        "|",
        "...",
        "..",
        "-",
        "\"",
        "\"\"\"",
        "\\",
        "\\\"\"\"",
        "#",
        "\n",
        "\r",
        ",",
        "\u{feff}",
        "é",
        "\0",
        "1",
        "1.5e",
        "0x",
        "on",
        "query",
        "mutation",
        "fragment",
        "F",
        "a",
        "__typename",
        "true",
    ];

    proptest! {
        #[test]
        fn no_text_is_a_match_for_it(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60), spaced: bool) {
            let text = pieces.join(if spaced { " " } else { "" });
            // Whether it is a document is not the matter: there is an answer, and it is a sentence.
            if let Err(error) = Document::check(&text, &Guard::default()) {
                prop_assert!(!error.message.is_empty() && !error.message.contains('\n'), "{text:?}: {error:?}");
            }
        }

        #[test]
        fn no_brackets_are_a_match_for_it(open in "[\\[{(]", times in 0..10_000_usize, head in "(\\{ a|query|\\{ a\\(b: |query\\(\\$a: )") {
            let guard = Guard::new(Limits { document_bytes: 131_072, tokens: 10_000, ..Limits::default() });
            prop_assert!(Document::check(&(head + &open.repeat(times)), &guard).is_err());
        }
    }
}
