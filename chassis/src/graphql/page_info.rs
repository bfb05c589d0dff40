//! `PageInfo` of the Relay connection specification, shared by both subgraphs.

use async_graphql::SimpleObject;

/// Where a page begins and ends, and whether there is more.
#[derive(Debug, Clone, PartialEq, Eq, SimpleObject)]
#[graphql(shareable)]
#[allow(missing_docs)]
pub struct PageInfo {
    pub has_previous_page: bool,
    pub has_next_page: bool,
    pub start_cursor: Option<String>,
    pub end_cursor: Option<String>,
}
