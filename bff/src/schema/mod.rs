//! The API schema: what a client sees. It is the schema composed from the two subgraphs, and a test holds it to that.
//!
//! Nullability follows the network: what is fetched from a service on its own is nullable, what comes inside one
//! object is not. So a service that is down nulls exactly its fields. The objects hold what [`crate::compose`] has
//! fetched for them; resolving one never waits.

mod fetched;
mod invoice;
mod mutation;
mod once;
mod order;
mod page;
mod payload;
mod query;
mod subscription;

use async_graphql::{SDLExportOptions, Schema};

pub(crate) use fetched::{Asked, Joined};
pub(crate) use invoice::{Invoice, InvoiceConnection, InvoiceFilter, InvoiceSort};
pub(crate) use mutation::Mutation;
pub(crate) use once::RequestState;
pub(crate) use order::{Order, OrderConnection, OrderEventType, OrderFilter, OrderSort, Progress};
pub(crate) use page::{Page, PageInfo};
pub(crate) use payload::{CancelOrderPayload, CreateOrderInput, CreateOrderPayload, PayInvoicePayload};
pub(crate) use query::Query;
pub(crate) use subscription::Subscription;

/// The schema with its resolvers.
pub(crate) type ApiSchema = Schema<Query, Mutation, Subscription>;

/// Builds the schema. It carries no data and no extension: what a request needs comes with the request, and any
/// extension would put every field on the library's slow path.
pub(crate) fn api() -> ApiSchema {
    Schema::build(Query, Mutation, Subscription).register_output_type::<payload::UserError>().finish()
}

/// The schema as text: types by name, fields in the order of the code.
///
/// The library ends with the built-in directives and the names of the roots, which every reader of GraphQL knows, and
/// writes some arguments in one line.
pub(crate) fn sdl() -> String {
    let options = SDLExportOptions::new().include_specified_by().use_space_ident();
    let sdl = api().sdl_with_options(options).replace(",    ", ",\n    ");
    let end = sdl.rfind("}\n\n").map_or(sdl.len(), |last_type| last_type + 2);
    sdl[..end].to_owned()
}
