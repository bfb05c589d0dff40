//! Reading: one invoice, a page of invoices, and the entities for the gateway.

use std::collections::HashMap;

use async_graphql::{
    Context, Error, ErrorExtensions, ID, Object, Result,
    dataloader::{DataLoader, Loader},
};
use chassis::{
    cursor,
    graphql::{ApiError, PageInfo, bad_user_input},
};
use uuid::Uuid;

use super::{
    failure,
    types::{Invoice, InvoiceConnection, InvoiceEdge, InvoiceFilter, InvoiceSort, Order},
};
use crate::{
    entity::{Filter, Key},
    service::InvoiceService,
};

/// Loads invoices by id: all of a request in one statement.
pub(super) struct InvoiceLoader(pub(super) InvoiceService);

impl Loader<Uuid> for InvoiceLoader {
    type Value = crate::invoice::Invoice;
    type Error = Error;

    async fn load(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Self::Value>> {
        let invoices = self.0.find_many(ids).await.map_err(failure)?;
        Ok(invoices.into_iter().map(|invoice| (invoice.id, invoice)).collect())
    }
}

/// Loads the invoices of orders: those of a page in one statement.
pub(super) struct ByOrder(pub(super) InvoiceService);

impl Loader<Uuid> for ByOrder {
    type Value = crate::invoice::Invoice;
    type Error = Error;

    async fn load(&self, order_ids: &[Uuid]) -> Result<HashMap<Uuid, Self::Value>> {
        let invoices = self.0.find_by_orders(order_ids).await.map_err(failure)?;
        Ok(invoices.into_iter().map(|invoice| (invoice.order_id, invoice)).collect())
    }
}

/// The root of all reading.
#[derive(Debug)]
pub struct Query;

#[Object]
impl Query {
    /// One invoice, or null when there is none with this id.
    async fn invoice(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Invoice>> {
        find(ctx, &id).await.transpose()
    }

    /// Invoices, newest first. Pass `pageInfo.endCursor` as `after` for the next page.
    async fn invoices(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many to return, 1 to 100.", default = 20)] first: Option<i32>,
        #[graphql(desc = "A cursor from `pageInfo.endCursor`, used with the same `sort`.")] after: Option<String>,
        filter: Option<InvoiceFilter>,
        #[graphql(default_with = "Some(InvoiceSort::CreatedAtDesc)")] sort: Option<InvoiceSort>,
    ) -> Option<Result<InvoiceConnection>> {
        Some(page(ctx, first, after, filter, sort).await)
    }

    #[graphql(entity)]
    async fn find_invoice_by_id(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Invoice>> {
        let Ok(id) = Uuid::try_parse(&id) else { return None };
        let found = async { ctx.data::<DataLoader<InvoiceLoader>>()?.load_one(id).await };
        found.await.map(|invoice| invoice.map(Invoice::from)).transpose()
    }

    /// Whether the order exists is not for this service to say.
    #[graphql(entity)]
    async fn find_order_by_id(&self, id: ID) -> Order {
        Order { id }
    }
}

/// An id that is no UUID belongs to no invoice.
async fn find(ctx: &Context<'_>, id: &str) -> Result<Option<Invoice>> {
    let Ok(id) = Uuid::try_parse(id) else { return Ok(None) };
    let invoice = ctx.data::<InvoiceService>()?.find(id).await.map_err(failure)?;
    Ok(invoice.map(Invoice::from))
}

async fn page(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<String>,
    filter: Option<InvoiceFilter>,
    sort: Option<InvoiceSort>,
) -> Result<InvoiceConnection> {
    let first = first.unwrap_or(20);
    let limit = usize::try_from(first)
        .ok()
        .filter(|n| (1..=100).contains(n))
        .ok_or_else(|| bad_user_input(format!("first must be 1 to 100, not {first}")))?;
    let sort = sort.unwrap_or(InvoiceSort::CreatedAtDesc);
    let has_previous_page = after.is_some();
    let after: Option<Key> = after
        .map(|text| cursor::decode(sort.name(), &text))
        .transpose()
        .map_err(|e| ApiError::BadCursor(format!("after: {e}")).extend())?;
    let filter = Filter::try_from(filter.unwrap_or_default())?;
    let page = ctx.data::<InvoiceService>()?.list(&filter, sort.into(), after, limit).await.map_err(failure)?;

    let cursors: Vec<String> = page.invoices.iter().map(|i| cursor::encode(sort.name(), &Key::from(i))).collect();
    let nodes: Vec<Invoice> = page.invoices.into_iter().map(Invoice::from).collect();
    let page_info = PageInfo {
        has_previous_page,
        has_next_page: page.has_next,
        start_cursor: cursors.first().cloned(),
        end_cursor: cursors.last().cloned(),
    };
    let edges =
        cursors.into_iter().zip(&nodes).map(|(cursor, node)| InvoiceEdge { cursor, node: node.clone() }).collect();
    Ok(InvoiceConnection { nodes, edges, page_info })
}
