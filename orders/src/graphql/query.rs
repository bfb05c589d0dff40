//! Reading: one order, a page of orders, and the entity for the gateway.

use async_graphql::{Context, ID, Object, Result, dataloader::DataLoader};
use chassis::{cursor, graphql::PageRequest, identity::caller_of};
use uuid::Uuid;

use super::{
    failure,
    loader::OrderLoader,
    types::{Order, OrderConnection, OrderEdge, OrderFilter, OrderSort},
};
use crate::{
    entity::{Filter, Key},
    service::OrderService,
};

/// The root of all reading.
#[derive(Debug)]
pub struct Query;

#[Object]
impl Query {
    /// One order, or null when there is none with this id.
    async fn order(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Order>> {
        find(ctx, &id).await.transpose()
    }

    /// Orders, newest first. Pass `pageInfo.endCursor` as `after` for the next page.
    async fn orders(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "How many to return, 1 to 100.", default = 20)] first: Option<i32>,
        #[graphql(desc = "A cursor from `pageInfo.endCursor`, used with the same `sort`.")] after: Option<String>,
        filter: Option<OrderFilter>,
        #[graphql(default_with = "Some(OrderSort::CreatedAtDesc)")] sort: Option<OrderSort>,
    ) -> Option<Result<OrderConnection>> {
        Some(page(ctx, first, after, filter, sort).await)
    }

    #[graphql(entity)]
    async fn find_order_by_id(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Order>> {
        let Ok(id) = Uuid::try_parse(&id) else { return None };
        let found = async {
            let caller = caller_of(ctx)?.identity.clone();
            ctx.data::<DataLoader<OrderLoader>>()?.load_one((caller, id)).await
        };
        found.await.map(|order| order.map(Order::from)).transpose()
    }
}

/// An id that is no UUID belongs to no order.
async fn find(ctx: &Context<'_>, id: &str) -> Result<Option<Order>> {
    let Ok(id) = Uuid::try_parse(id) else { return Ok(None) };
    let order = ctx.data::<OrderService>()?.find(&caller_of(ctx)?.identity, id).await.map_err(failure)?;
    Ok(order.map(Order::from))
}

async fn page(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<String>,
    filter: Option<OrderFilter>,
    sort: Option<OrderSort>,
) -> Result<OrderConnection> {
    let sort = sort.unwrap_or(OrderSort::CreatedAtDesc);
    let request = PageRequest::check(first, after, sort.name())?;
    let filter = Filter::try_from(filter.unwrap_or_default())?;
    let orders = ctx.data::<OrderService>()?;
    let caller = &caller_of(ctx)?.identity;
    let page =
        orders.list(caller, &filter, sort.into(), request.after.clone(), request.limit).await.map_err(failure)?;

    let cursors: Vec<String> = page.orders.iter().map(|o| cursor::encode(sort.name(), &Key::from(o))).collect();
    let page_info = request.info(&cursors, page.has_next);
    let nodes: Vec<Order> = page.orders.into_iter().map(Order::from).collect();
    let edges =
        cursors.into_iter().zip(&nodes).map(|(cursor, node)| OrderEdge { cursor, node: node.clone() }).collect();
    Ok(OrderConnection { nodes, edges, page_info })
}
