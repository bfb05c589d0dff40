//! What the three GraphQL schemas share: the endpoint and what it needs of a schema, the scalar for instants, the page info and the error codes.

mod date_time;
mod endpoint;
mod error;
mod media_type;
mod operation;
mod page;
mod parameters;
mod placeholder;
mod service;
mod span;
mod typename;

pub use date_time::DateTime;
pub use endpoint::{complete_codes, endpoint, is_refusal, respond};
pub use error::{ApiError, bad_user_input};
pub use operation::{complete_variables, operation, operation_name, parse, request_error};
pub use page::{PageInfo, PageRequest};
pub use parameters::{read_json, read_request, request_from};
pub use placeholder::{add_placeholders, remove_placeholders};
pub use service::GraphqlService;
pub use span::in_operation_span;

use async_graphql::SDLExportOptions;

/// The question for the schema of a subgraph (Federation's `_service`), as our BFF asks it.
pub const SCHEMA_QUESTION: &str = r#"{"query":"{_service{sdl}}"}"#;

/// How a subgraph's SDL is printed, everywhere the same: with Federation's directives, fields in the order of the
/// code.
pub fn subgraph_sdl_options() -> SDLExportOptions {
    SDLExportOptions::new().federation().include_specified_by()
}
