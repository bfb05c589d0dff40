//! The GraphQL subgraph of invoices (Federation 2). The schema is a promise: it is built from domain values, never
//! from rows, and `contracts/schemas/invoices.graphql` is its committed form.

mod loader;
mod mutation;
mod query;
mod types;

use async_graphql::{EmptySubscription, Schema, dataloader::DataLoader};
use futures_util::future::BoxFuture;
use tracing::Instrument;

use crate::service::{InvoiceError, InvoiceService};

use loader::{ByOrder, InvoiceLoader};
use mutation::Mutation;
use query::Query;
use types::UserError;

/// The executable schema.
pub type InvoicesSchema = Schema<Query, Mutation, EmptySubscription>;

/// The most fields of one request. GraphiQL's introspection has some 300; each root field is a query to the database.
const MAX_FIELDS: usize = 500;
/// The deepest nesting of one request. GraphiQL's introspection needs 15.
const MAX_DEPTH: usize = 20;

fn build() -> async_graphql::SchemaBuilder<Query, Mutation, EmptySubscription> {
    // No field returns the interface itself, so nothing else would register it.
    Schema::build(Query, Mutation, EmptySubscription)
        .register_output_type::<UserError>()
        .enable_federation()
        .limit_complexity(MAX_FIELDS)
        .limit_depth(MAX_DEPTH)
}

/// Loads in the span of the request, so that a failure is found under its trace.
fn in_this_span(load: BoxFuture<'static, ()>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(load.in_current_span())
}

/// The schema over the use cases.
pub fn schema(invoices: InvoiceService) -> InvoicesSchema {
    build()
        .data(DataLoader::new(InvoiceLoader(invoices.clone()), in_this_span))
        .data(DataLoader::new(ByOrder(invoices.clone()), in_this_span))
        .data(invoices)
        .finish()
}

/// The schema as text, with Federation's directives.
pub fn sdl() -> String {
    build().finish().sdl_with_options(chassis::graphql::subgraph_sdl_options())
}

/// The top-level error of a failure that is nobody's input.
fn failure(error: InvoiceError) -> async_graphql::Error {
    use async_graphql::ErrorExtensions;
    use chassis::graphql::ApiError;
    match error {
        InvoiceError::Unavailable(cause) => ApiError::unavailable(&cause).extend(),
        other => ApiError::internal(&other).extend(),
    }
}
