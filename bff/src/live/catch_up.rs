//! Finds the orders that were placed while the bus was away.
//!
//! A subscriber to one order reads it again after an interruption, and one to all orders looks at those that changed
//! lately. Neither knows of an order whose first event was missed: those are listed here, once for all subscribers of one
//! token, and told like any change. This process has no token of its own, and needs none: nobody could be shown what no
//! subscriber's token finds.

use std::{sync::Arc, time::Duration};

use chassis::{backoff::Backoff, graphql::DateTime, identity::Caller};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Source,
    feed::{Change, Feed},
    readers::Readers,
};
use crate::subgraph::{ErrorKind, SubgraphError};

/// The most pages that are looked at for one token, of a hundred orders each.
const PAGES: usize = 20;

/// The clocks of the services and of this process may differ by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Looks for what was missed.
pub(super) struct CatchUp {
    pub(super) feed: Arc<Feed>,
    pub(super) readers: Arc<Readers>,
    pub(super) source: Source,
}

impl CatchUp {
    /// Works until `stop`.
    pub(super) async fn run(self, mut changes: Receiver<Change>, stop: CancellationToken) {
        let _ = stop
            .run_until_cancelled(async move {
                loop {
                    match changes.recv().await {
                        // Of what was missed here, an interruption would matter.
                        Ok(Change::Interrupted) | Err(RecvError::Lagged(_)) if self.feed.has_others() => {
                            self.catch_up().await;
                        }
                        Ok(_) | Err(RecvError::Lagged(_)) => {}
                        Err(RecvError::Closed) => return,
                    }
                }
            })
            .await;
    }

    async fn catch_up(&self) {
        let since = DateTime(self.feed.heard_until().0 - CLOCK_SKEW);
        for caller in self.readers.callers() {
            let mut pauses = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
            loop {
                match self.placed_since(&caller, since).await {
                    Ok(orders) => break orders.into_iter().for_each(|order| self.feed.tell(order, None)),
                    // Its time is over, and with it the subscriptions.
                    Err(SubgraphError { kind: ErrorKind::Unauthenticated, .. }) => break,
                    // The orders service is away as well.
                    Err(_) => sleep(pauses.next_pause()).await,
                }
            }
        }
    }

    /// The newest orders that were placed since then and that `caller` may see.
    async fn placed_since(&self, caller: &Caller, since: DateTime) -> Result<Vec<Uuid>, SubgraphError> {
        let (mut found, mut after) = (Vec::new(), None);
        for _ in 0..PAGES {
            let page = self.source.composer(caller).placed_since(since, after.take()).await?;
            found.extend(page.ids.iter().filter_map(|id| Uuid::try_parse(id).ok()));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(found)
    }
}
