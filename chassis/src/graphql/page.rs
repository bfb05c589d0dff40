//! What every connection has in common (Relay's cursor connections, forward only): its arguments, checked, and its
//! `PageInfo`.

use async_graphql::{ErrorExtensions, Result, SimpleObject};
use serde::de::DeserializeOwned;

use super::{ApiError, bad_user_input};
use crate::cursor;

/// The size of a page where none is asked for. The schemas print it as the default of `first`.
const DEFAULT_SIZE: i32 = 20;

// Where a page begins and ends, and whether there is more. No description in the schema: Relay's specification has it.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(shareable)]
#[allow(missing_docs, reason = "a doc comment would become a description in the schema")]
pub struct PageInfo {
    pub has_previous_page: bool,
    pub has_next_page: bool,
    pub start_cursor: Option<String>,
    pub end_cursor: Option<String>,
}

/// The arguments of a connection, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<K> {
    /// How many to return, 1 to 100.
    pub limit: usize,
    /// Where the page before ended.
    pub after: Option<K>,
}

impl<K: DeserializeOwned> PageRequest<K> {
    /// Checks `first` and `after`. `sort` is the name that the cursor must have been made for.
    ///
    /// # Errors
    /// `BAD_USER_INPUT` and `BAD_CURSOR`, naming the argument, its value and what is allowed.
    pub fn check(first: Option<i32>, after: Option<String>, sort: &str) -> Result<Self> {
        let first = first.unwrap_or(DEFAULT_SIZE);
        let limit = usize::try_from(first)
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| bad_user_input(format!("first must be 1 to 100, not {first}")))?;
        let after = after
            .map(|text| cursor::decode(sort, &text))
            .transpose()
            .map_err(|e| ApiError::BadCursor(format!("after: {e}")).extend())?;
        Ok(Self { limit, after })
    }

    /// What the page with these cursors says of itself.
    pub fn info(&self, cursors: &[String], has_next_page: bool) -> PageInfo {
        PageInfo {
            has_previous_page: self.after.is_some(),
            has_next_page,
            start_cursor: cursors.first().cloned(),
            end_cursor: cursors.last().cloned(),
        }
    }
}
