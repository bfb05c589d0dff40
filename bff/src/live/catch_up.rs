//! Finds the orders that were placed while the bus was away.
//!
//! A subscriber to one order reads it again after an interruption, and one to all orders looks at those that changed
//! lately. Neither knows of an order whose first event was missed: those are listed here, once for all subscribers, and
//! told like any change.

use std::{sync::Arc, time::Duration};

use chassis::{backoff::Backoff, graphql::DateTime};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::sleep,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Source,
    feed::{Change, Feed},
};
use crate::subgraph::SubgraphError;

/// The most pages that are looked at, of a hundred orders each.
const PAGES: usize = 20;

/// The clocks of the services and of this process may differ by so much.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// Works until `stop`.
pub(super) async fn run(feed: Arc<Feed>, mut changes: Receiver<Change>, source: Source, stop: CancellationToken) {
    let _ = stop
        .run_until_cancelled(async move {
            loop {
                match changes.recv().await {
                    // Of what was missed here, an interruption would matter.
                    Ok(Change::Interrupted) | Err(RecvError::Lagged(_)) => {
                        // Who is not there yet reads what it needs when it comes.
                        if let Some(gap) = feed.take_gap().filter(|_| feed.has_others()) {
                            catch_up(&feed, gap, &source).await;
                        }
                    }
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        })
        .await;
}

async fn catch_up(feed: &Feed, gap: DateTime, source: &Source) {
    let since = DateTime(gap.0 - CLOCK_SKEW);
    let mut pauses = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
    loop {
        match placed_since(source, since).await {
            Ok(orders) => return orders.into_iter().for_each(|order| feed.tell(order, None)),
            // The orders service is away as well.
            Err(_) => sleep(pauses.next_pause()).await,
        }
    }
}

/// The newest orders that were placed since then.
async fn placed_since(source: &Source, since: DateTime) -> Result<Vec<Uuid>, SubgraphError> {
    let (mut found, mut after) = (Vec::new(), None);
    for _ in 0..PAGES {
        let page = source.composer().placed_since(since, after.take()).await?;
        found.extend(page.ids.iter().filter_map(|id| Uuid::try_parse(id).ok()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(found)
}
