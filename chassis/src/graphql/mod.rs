//! What the three GraphQL schemas share: the endpoint, the scalar for instants, the page info and the error codes.

mod date_time;
mod endpoint;
mod error;
mod page;

pub use date_time::DateTime;
pub use endpoint::{complete_codes, endpoint, is_refusal, read_request, syntax_error};
pub use error::{ApiError, bad_user_input};
pub use page::{PageInfo, PageRequest};

use async_graphql::SDLExportOptions;

/// How a subgraph's SDL is printed, everywhere the same: with Federation's directives, fields in the order of the
/// code.
pub fn subgraph_sdl_options() -> SDLExportOptions {
    SDLExportOptions::new().federation().include_specified_by()
}
