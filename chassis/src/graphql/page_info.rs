//! `PageInfo` of the Relay connection specification, shared by both subgraphs.

use async_graphql::SimpleObject;

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
