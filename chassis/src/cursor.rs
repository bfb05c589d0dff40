//! Keyset cursors: where a page ended, as an opaque text.
//!
//! A cursor holds the sort it was made for and the sort key of the last item. A page then starts right after that
//! key, on the index, however many items came or went in the meantime.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike, Utc};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};

/// A text that is not one of our cursors, or one of another sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCursor {
    /// It was not made here.
    #[error("{0:?} is not a cursor; use the one that came with the last page")]
    Malformed(String),
    /// It belongs to another sort.
    #[error("this cursor belongs to the sort {made_for}, not to {used_with}")]
    OtherSort {
        /// The sort that it was made for.
        made_for: String,
        /// The sort that it was used with.
        used_with: String,
    },
}

/// Makes a cursor for `sort` that points behind `key`.
pub fn encode<K: Serialize>(sort: &str, key: &K) -> String {
    // Keys are numbers, instants and ids: they always serialize.
    let json = serde_json::to_vec(&(sort, key)).unwrap_or_default();
    URL_SAFE_NO_PAD.encode(json)
}

/// Reads a cursor.
///
/// # Errors
/// [`BadCursor`] when it was not made by [`encode`] for this sort.
pub fn decode<K: DeserializeOwned>(sort: &str, cursor: &str) -> Result<K, BadCursor> {
    let malformed = || BadCursor::Malformed(cursor.chars().take(80).collect());
    let json = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| malformed())?;
    let (made_for, key): (String, serde_json::Value) = serde_json::from_slice(&json).map_err(|_| malformed())?;
    if made_for != sort {
        return Err(BadCursor::OtherSort { made_for: made_for.chars().take(40).collect(), used_with: sort.to_owned() });
    }
    serde_json::from_value(key).map_err(|_| malformed())
}

/// For the instant of a key: only what a database can hold, since a cursor may have been made by hand.
///
/// # Errors
/// When the year is not 1970 to 9999.
pub fn plausible_instant<'de, D: Deserializer<'de>>(deserializer: D) -> Result<DateTime<Utc>, D::Error> {
    let instant = DateTime::<Utc>::deserialize(deserializer)?;
    if (1970..=9999).contains(&instant.year()) {
        Ok(instant)
    } else {
        Err(de::Error::custom("an instant that was never"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_its_key_and_only_for_its_sort() {
        let cursor = encode("AMOUNT_ASC", &(5, "id"));
        assert_eq!(decode::<(i32, String)>("AMOUNT_ASC", &cursor), Ok((5, "id".to_owned())));
        assert!(matches!(decode::<(i32, String)>("AMOUNT_DESC", &cursor), Err(BadCursor::OtherSort { .. })));
        for garbage in ["", "x", "!!!", "bnVsbA", &encode("AMOUNT_ASC", &"other key")] {
            assert!(
                matches!(decode::<(i32, String)>("AMOUNT_ASC", garbage), Err(BadCursor::Malformed(_))),
                "{garbage}"
            );
        }
    }
}
