//! The GraphQL subgraph of invoices (Federation 2). The schema is a promise: it is built from domain values, never
//! from rows, and `contracts/schemas/invoices.graphql` is its committed form.

mod loader;
mod mutation;
mod query;
mod types;

use async_graphql::{EmptySubscription, Schema, dataloader::DataLoader};

use crate::service::{InvoiceError, InvoiceService};

use loader::{ByOrder, InvoiceLoader};
use mutation::Mutation;
use query::Query;
use types::UserError;

/// The executable schema.
pub type InvoicesSchema = Schema<Query, Mutation, EmptySubscription>;

fn build() -> async_graphql::SchemaBuilder<Query, Mutation, EmptySubscription> {
    // No field returns the interface itself, so nothing else would register it.
    Schema::build(Query, Mutation, EmptySubscription).register_output_type::<UserError>().enable_federation()
}

/// The schema over the use cases.
pub fn schema(invoices: InvoiceService) -> InvoicesSchema {
    build()
        .data(DataLoader::new(InvoiceLoader(invoices.clone()), tokio::spawn))
        .data(DataLoader::new(ByOrder(invoices.clone()), tokio::spawn))
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
