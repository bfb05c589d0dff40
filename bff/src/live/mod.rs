//! Live updates: `orderUpdated`, fed by the event bus.
//!
//! An event says only that an order has changed; what it looks like now is read from the services, order and invoice
//! together, with what the subscriber selected. So events may come twice, late or in any order: a subscriber sees the
//! present state, and never an older one after a newer.
//!
//! `feed.rs` hears the bus and tells every subscriber at once; a slow one is never waited for. `updates.rs` is one
//! subscriber: which orders it has to read, and what it has shown. `reader.rs` reads, for all subscribers with the same
//! token and selection together (`readers.rs`): an order that is somebody else's is, for them, not there.
//! `catch_up.rs` finds what an interruption of the bus has hidden.

mod catch_up;
mod feed;
mod gauges;
mod reader;
mod readers;
mod updates;

use std::{sync::Arc, time::Duration};

use async_graphql::ID;
use chassis::identity::Caller;
use futures_util::stream::BoxStream;
use messaging::{EventBus, Subscription};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    compose::{Composer, Subgraphs},
    schema::Order,
    selection::Selection,
};
use catch_up::CatchUp;
use feed::Feed;
pub(crate) use gauges::Counted;
pub use gauges::{Gauge, LiveGauges};
use reader::Reader;
use readers::Readers;
use updates::{Scope, Updates};

/// What all live updates of a process share.
#[derive(Clone)]
pub(crate) struct Live(Arc<Shared>);

struct Shared {
    feed: Arc<Feed>,
    readers: Arc<Readers>,
    source: Source,
    gauges: LiveGauges,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Where the present state is read.
#[derive(Clone)]
pub(crate) struct Source {
    subgraphs: Arc<Subgraphs>,
    timeout: Duration,
}

impl Source {
    /// For one reading on behalf of `caller`, which may take as long as a request.
    fn composer(&self, caller: &Caller) -> Composer {
        Composer::new(Arc::clone(&self.subgraphs), Instant::now() + self.timeout, caller.clone()).alone()
    }
}

/// The connection to the bus. To be stopped with the process.
pub(crate) struct Listening {
    subscription: Subscription,
    live: Live,
}

impl Live {
    /// Begins to listen to `bus`. Reads at `subgraphs`, within `timeout` each time.
    pub(crate) fn start(
        bus: &Arc<dyn EventBus>,
        subgraphs: Arc<Subgraphs>,
        timeout: Duration,
        gauges: LiveGauges,
    ) -> (Self, Listening) {
        let feed = Arc::new(Feed::default());
        let source = Source { subgraphs, timeout };
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let readers = Arc::new(Readers::default());
        let catching_up = CatchUp { feed: Arc::clone(&feed), readers: Arc::clone(&readers), source: source.clone() };
        tasks.spawn(catching_up.run(feed.changes(), stop.clone()));
        let live = Self(Arc::new(Shared { feed, readers, source, gauges, tasks, stop }));
        let subscription = bus.listen(Arc::clone(&live.0.feed) as _);
        (live.clone(), Listening { subscription, live })
    }

    /// The updates of one order, its present state first; of all orders of the caller, from now on, where `id` is `None`.
    pub(crate) fn updates(
        &self,
        caller: &Caller,
        id: Option<ID>,
        selection: Selection,
    ) -> BoxStream<'static, async_graphql::Result<Arc<Order>>> {
        let scope = match id.map(|id| Uuid::try_parse(&id)) {
            None => Scope::All,
            Some(Ok(id)) => Scope::One(id),
            // What is no UUID is the id of no order.
            Some(Err(_)) => return Box::pin(futures_util::stream::iter([Err(updates::not_found())])),
        };
        // Heard first and read then, so that no change falls in between.
        let changes = self.0.feed.changes();
        let counted = self.0.gauges.subscriptions.count();
        Updates::new(scope, Arc::clone(&self.0.feed), changes, self.reader(caller, selection), counted).into_stream()
    }

    /// The one reader of this selection for this caller.
    fn reader(&self, caller: &Caller, selection: Selection) -> Arc<Reader> {
        // What tells how far an order has come is read whether or not the subscriber asked for it.
        let mut selection = selection.with_value("status");
        for (field, mark) in [("invoice", "status"), ("timeline", "type")] {
            if selection.get_mut(field).is_some() {
                selection = selection.with(field, Selection::object().with_value(mark));
            }
        }
        self.0.readers.get_or_insert(caller, selection, |caller, selection| {
            Reader::new(self.0.source.clone(), caller, selection, self.0.tasks.clone())
        })
    }
}

impl Listening {
    /// Stops to listen; subscribers end with their transports.
    pub(crate) async fn stop(self) {
        self.subscription.stop().await;
        self.live.0.stop.cancel();
        self.live.0.tasks.close();
        self.live.0.tasks.wait().await;
    }
}
