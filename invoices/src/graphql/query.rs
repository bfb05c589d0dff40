//! Reading: one invoice, a page of invoices, and the entities for the gateway.

use async_graphql::{Context, ID, Object, Result, dataloader::DataLoader};
use chassis::{cursor, graphql::PageRequest, identity::caller_of};
use uuid::Uuid;

use super::{
    failure,
    loader::InvoiceLoader,
    types::{Invoice, InvoiceConnection, InvoiceEdge, InvoiceFilter, InvoiceSort, Order},
};
use crate::{
    entity::{Filter, Key},
    service::InvoiceService,
};

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
        let found = async {
            let caller = caller_of(ctx)?.identity.clone();
            ctx.data::<DataLoader<InvoiceLoader>>()?.load_one((caller, id)).await
        };
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
    let invoice = ctx.data::<InvoiceService>()?.find(&caller_of(ctx)?.identity, id).await.map_err(failure)?;
    Ok(invoice.map(Invoice::from))
}

async fn page(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<String>,
    filter: Option<InvoiceFilter>,
    sort: Option<InvoiceSort>,
) -> Result<InvoiceConnection> {
    let sort = sort.unwrap_or(InvoiceSort::CreatedAtDesc);
    let request = PageRequest::check(first, after, sort.name())?;
    let filter = Filter::try_from(filter.unwrap_or_default())?;
    let invoices = ctx.data::<InvoiceService>()?;
    let caller = &caller_of(ctx)?.identity;
    let page =
        invoices.list(caller, &filter, sort.into(), request.after.clone(), request.limit).await.map_err(failure)?;

    let cursors: Vec<String> = page.invoices.iter().map(|i| cursor::encode(sort.name(), &Key::from(i))).collect();
    let page_info = request.info(&cursors, page.has_next);
    let nodes: Vec<Invoice> = page.invoices.into_iter().map(Invoice::from).collect();
    let edges =
        cursors.into_iter().zip(&nodes).map(|(cursor, node)| InvoiceEdge { cursor, node: node.clone() }).collect();
    Ok(InvoiceConnection { nodes, edges, page_info })
}
