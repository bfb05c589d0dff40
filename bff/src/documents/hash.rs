//! The SHA-256 of a document's text, by which clients name it.

use sha2::{Digest, Sha256};

/// A SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DocumentHash([u8; 32]);

impl DocumentHash {
    /// The hash of a text.
    pub(super) fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Reads 64 hexadecimal digits.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
        let value = |digit: u8| char::from(digit).to_digit(16);
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(value(pair[0])? * 16 + value(pair[1])?).ok()?;
        }
        Some(Self(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_that_of_the_text() {
        // The example of Apollo's documentation.
        let text = "ecf4edb46db40b5132295c0291d62fb65d6759a9eedfa4d5d612dd5ec54a6b38";
        assert_eq!(DocumentHash::parse(text), Some(DocumentHash::of("{__typename}")));
        assert_eq!(DocumentHash::parse(&text.to_uppercase()), Some(DocumentHash::of("{__typename}")));
    }

    #[test]
    fn what_is_no_hash_is_none() {
        for text in ["", "ecf4", &"g".repeat(64), &"é".repeat(32), &"0".repeat(65)] {
            assert_eq!(DocumentHash::parse(text), None, "{text}");
        }
    }
}
