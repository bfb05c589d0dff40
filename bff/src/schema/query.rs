//! The root fields that read. Each hands its arguments and its selection to the composer and has nothing else to say.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result};

use super::{
    invoice::{Invoice, InvoiceConnection, InvoiceFilter, InvoiceSort},
    once::once,
    order::{Order, OrderConnection, OrderFilter, OrderSort},
};
use crate::compose::List;

/// How many objects a page has where the client does not say.
const PAGE: i32 = 20;

/// The root of queries.
pub(crate) struct Query;

// `first` is optional although it has a default: with a plain `i32` a client that leaves out the *variable* would be
// refused.
#[Object]
impl Query {
    /// One order, or null when there is none with this id.
    async fn order(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Arc<Order>>> {
        once(ctx, |compose, selection| async move { compose.order(id, selection).await }).await
    }

    /// Orders, newest first. Pass `pageInfo.endCursor` as `after` for the next page.
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many to return, 1 to 100.", default_with = "Some(PAGE)")] first: Option<i32>,
        #[graphql(desc = "A cursor from `pageInfo.endCursor`, used with the same `sort`.")] after: Option<String>,
        filter: Option<OrderFilter>,
        #[graphql(default_with = "Some(OrderSort::CreatedAtDesc)")] sort: Option<OrderSort>,
    ) -> Option<Result<Arc<OrderConnection>>> {
        let list = List { first: first.unwrap_or(PAGE), after, filter, sort: sort.unwrap_or(OrderSort::CreatedAtDesc) };
        once(ctx, |compose, selection| async move { compose.orders(list, selection).await }).await
    }

    /// One invoice, or null when there is none with this id.
    async fn invoice(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Arc<Invoice>>> {
        once(ctx, |compose, selection| async move { compose.invoice(id, selection).await }).await
    }

    /// Invoices, newest first. Pass `pageInfo.endCursor` as `after` for the next page.
    async fn invoices(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many to return, 1 to 100.", default_with = "Some(PAGE)")] first: Option<i32>,
        #[graphql(desc = "A cursor from `pageInfo.endCursor`, used with the same `sort`.")] after: Option<String>,
        filter: Option<InvoiceFilter>,
        #[graphql(default_with = "Some(InvoiceSort::CreatedAtDesc)")] sort: Option<InvoiceSort>,
    ) -> Option<Result<Arc<InvoiceConnection>>> {
        let list =
            List { first: first.unwrap_or(PAGE), after, filter, sort: sort.unwrap_or(InvoiceSort::CreatedAtDesc) };
        once(ctx, |compose, selection| async move { compose.invoices(list, selection).await }).await
    }
}
