//! Loaders: what many fields of one request ask for, read by one statement.

use std::collections::HashMap;

use async_graphql::{Error, Result, dataloader::Loader};
use uuid::Uuid;

use super::failure;
use crate::{order::HistoryEntry, service::OrderService};

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
