//! Loaders: what many fields of one request ask for, read by one statement.

use std::collections::HashMap;

use async_graphql::{Error, Result, dataloader::Loader};
use chassis::identity::Identity;
use uuid::Uuid;

use super::failure;
use crate::{order::HistoryEntry, service::OrderService};

/// Loads orders for `_entities`: all of a caller in one statement. What is loaded together may be of several requests,
/// so each question says who asks it.
pub(super) struct OrderLoader(pub(super) OrderService);

impl Loader<(Identity, Uuid)> for OrderLoader {
    type Value = crate::order::Order;
    type Error = Error;

    async fn load(&self, questions: &[(Identity, Uuid)]) -> Result<HashMap<(Identity, Uuid), Self::Value>> {
        let mut by_caller: HashMap<&Identity, Vec<Uuid>> = HashMap::new();
        for (caller, id) in questions {
            by_caller.entry(caller).or_default().push(*id);
        }
        let mut found = HashMap::new();
        for (caller, ids) in by_caller {
            let orders = self.0.find_many(caller, &ids).await.map_err(failure)?;
            found.extend(orders.into_iter().map(|order| ((caller.clone(), order.id), order)));
        }
        Ok(found)
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
