//! The parameters of a list over REST: how much, and from where.

use serde::de::DeserializeOwned;

use crate::{cursor, problem::FieldError};

/// The most items of a page.
pub const LIMIT: usize = 100;

/// The items of a page when nobody says how many.
pub const DEFAULT: usize = 20;

/// Reads `?limit` and `?cursor`, which has to be one for `sort`. What is wrong with them goes to `invalid`, and what is
/// returned then is of no use.
pub fn read<K: DeserializeOwned>(
    limit: Option<&str>,
    cursor: Option<&str>,
    sort: &str,
    invalid: &mut Vec<FieldError>,
) -> (usize, Option<K>) {
    let limit = match limit {
        None => DEFAULT,
        Some(text) => text.parse().ok().filter(|n| (1..=LIMIT).contains(n)).unwrap_or_else(|| {
            invalid.push(FieldError::new("?limit", format!("must be 1 to {LIMIT}, not {text:?}")));
            0
        }),
    };
    let after = cursor.and_then(|text| {
        cursor::decode(sort, text).map_err(|e| invalid.push(FieldError::new("?cursor", e.to_string()))).ok()
    });
    (limit, after)
}
