//! Reading: one order, a page of orders, and the entity for the gateway.

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
    types::{Order, OrderConnection, OrderEdge, OrderFilter, OrderSort},
};
use crate::{
    entity::{Filter, Key},
    order::HistoryEntry,
    service::OrderService,
};

/// Loads orders for `_entities`: all of a request in one statement.
pub(super) struct OrderLoader(pub(super) OrderService);

impl Loader<Uuid> for OrderLoader {
    type Value = crate::order::Order;
    type Error = Error;

    async fn load(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Self::Value>> {
        let orders = self.0.find_many(ids).await.map_err(failure)?;
        Ok(orders.into_iter().map(|order| (order.id, order)).collect())
    }
}

/// Loads timelines: those of a page in one statement.
pub(super) struct TimelineLoader(pub(super) OrderService);

impl Loader<Uuid> for TimelineLoader {
    type Value = Vec<HistoryEntry>;
    type Error = Error;

    async fn load(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Self::Value>> {
        let mut timelines: HashMap<Uuid, Self::Value> = HashMap::new();
        for entry in self.0.timelines(ids).await.map_err(failure)? {
            timelines.entry(entry.order_id).or_default().push(entry);
        }
        Ok(timelines)
    }
}

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
        let found = async { ctx.data::<DataLoader<OrderLoader>>()?.load_one(id).await };
        found.await.map(|order| order.map(Order::from)).transpose()
    }
}

/// An id that is no UUID belongs to no order.
async fn find(ctx: &Context<'_>, id: &str) -> Result<Option<Order>> {
    let Ok(id) = Uuid::try_parse(id) else { return Ok(None) };
    let order = ctx.data::<OrderService>()?.find(id).await.map_err(failure)?;
    Ok(order.map(Order::from))
}

async fn page(
    ctx: &Context<'_>,
    first: Option<i32>,
    after: Option<String>,
    filter: Option<OrderFilter>,
    sort: Option<OrderSort>,
) -> Result<OrderConnection> {
    let first = first.unwrap_or(20);
    let limit = usize::try_from(first)
        .ok()
        .filter(|n| (1..=100).contains(n))
        .ok_or_else(|| bad_user_input(format!("first must be 1 to 100, not {first}")))?;
    let sort = sort.unwrap_or(OrderSort::CreatedAtDesc);
    let has_previous_page = after.is_some();
    let after: Option<Key> = after
        .map(|text| cursor::decode(sort.name(), &text))
        .transpose()
        .map_err(|e| ApiError::BadCursor(format!("after: {e}")).extend())?;
    let filter = Filter::from(filter.unwrap_or_default());
    let page = ctx.data::<OrderService>()?.list(&filter, sort.into(), after, limit).await.map_err(failure)?;

    let cursors: Vec<String> = page.orders.iter().map(|o| cursor::encode(sort.name(), &Key::from(o))).collect();
    let nodes: Vec<Order> = page.orders.into_iter().map(Order::from).collect();
    let page_info = PageInfo {
        has_previous_page,
        has_next_page: page.has_next,
        start_cursor: cursors.first().cloned(),
        end_cursor: cursors.last().cloned(),
    };
    let edges =
        cursors.into_iter().zip(&nodes).map(|(cursor, node)| OrderEdge { cursor, node: node.clone() }).collect();
    Ok(OrderConnection { nodes, edges, page_info })
}
