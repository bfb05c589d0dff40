//! The GraphQL subgraph of orders (Federation 2). The schema is a promise: it is built from domain values, never
//! from rows, and `contracts/schemas/orders.graphql` is its committed form.

mod loader;
mod mutation;
mod query;
mod types;

use async_graphql::{EmptySubscription, Schema, dataloader::DataLoader};

use crate::service::{OrderError, OrderService};

use loader::{OrderLoader, TimelineLoader};
use mutation::Mutation;
use query::Query;
use types::UserError;

/// The executable schema.
pub type OrdersSchema = Schema<Query, Mutation, EmptySubscription>;

fn build() -> async_graphql::SchemaBuilder<Query, Mutation, EmptySubscription> {
    // No field returns the interface itself, so nothing else would register it.
    Schema::build(Query, Mutation, EmptySubscription).register_output_type::<UserError>().enable_federation()
}

/// The schema over the use cases.
pub fn schema(orders: OrderService) -> OrdersSchema {
    build()
        .data(DataLoader::new(OrderLoader(orders.clone()), tokio::spawn))
        .data(DataLoader::new(TimelineLoader(orders.clone()), tokio::spawn))
        .data(orders)
        .finish()
}

/// The schema as text, with Federation's directives.
pub fn sdl() -> String {
    build().finish().sdl_with_options(chassis::graphql::subgraph_sdl_options())
}

/// The top-level error of a failure that is nobody's input.
fn failure(error: OrderError) -> async_graphql::Error {
    use async_graphql::ErrorExtensions;
    use chassis::graphql::ApiError;
    match error {
        OrderError::Unavailable(cause) => ApiError::unavailable(&cause).extend(),
        other => ApiError::internal(&other).extend(),
    }
}
