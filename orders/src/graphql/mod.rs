//! The GraphQL subgraph of orders (Federation 2). The schema is a promise: it is built from domain values, never
//! from rows, and `contracts/schemas/orders.graphql` is its committed form.

mod loader;
mod mutation;
mod query;
mod subscription;
mod types;

use async_graphql::{Schema, dataloader::DataLoader};
use futures_util::future::BoxFuture;
use tracing::Instrument;

use crate::service::{OrderError, OrderService};

use loader::{OrderLoader, TimelineLoader};
use mutation::Mutation;
use query::Query;
use subscription::Subscription;
use types::UserError;

/// The executable schema.
pub type OrdersSchema = Schema<Query, Mutation, Subscription>;

/// The most fields of one request. GraphiQL's introspection has some 300; each root field is a query to the database.
const MAX_FIELDS: usize = 500;
/// The deepest nesting of one request. GraphiQL's introspection needs 15.
const MAX_DEPTH: usize = 20;

fn build() -> async_graphql::SchemaBuilder<Query, Mutation, Subscription> {
    // No field returns the interface itself, so nothing else would register it.
    Schema::build(Query, Mutation, Subscription)
        .register_output_type::<UserError>()
        .enable_federation()
        .enable_subscription_in_federation()
        .limit_complexity(MAX_FIELDS)
        .limit_depth(MAX_DEPTH)
}

/// Loads in the span of the request, so that a failure is found under its trace.
fn in_this_span(load: BoxFuture<'static, ()>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(load.in_current_span())
}

/// The schema over the use cases.
pub fn schema(orders: OrderService) -> OrdersSchema {
    build()
        .data(DataLoader::new(OrderLoader(orders.clone()), in_this_span))
        .data(DataLoader::new(TimelineLoader(orders.clone()), in_this_span))
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
        OrderError::OtherCustomer => ApiError::Forbidden(format!("filter.customerId {error}")).extend(),
        OrderError::Unavailable(cause) => ApiError::unavailable(&cause).extend(),
        other => ApiError::internal(&other).extend(),
    }
}
