//! Reads the present state of orders, for all subscribers with the same token and the same selection together.
//!
//! Invariant: an answer was read after it was asked for. A question that comes while a reading is on its way waits for
//! the next one, since the present one may have passed the change already; so nobody takes an old state for the answer
//! to a new event, and of two answers about one order the later is never the older. Questions about the same order
//! share a reading, and many orders share two calls: a hundred subscribers cost the services no more than one.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_graphql::ID;
use chassis::{identity::Caller, propagation};
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, info_span};
use uuid::Uuid;

use super::Source;
use crate::{
    schema::Order,
    selection::Selection,
    subgraph::{ErrorKind, SubgraphError},
};

/// How many orders are read at once: as many as two calls carry comfortably.
const BATCH: usize = 50;

/// The present state of one order; `None` when there is no such order, or it is somebody else's.
pub(super) type Answer = Result<Option<Arc<Order>>, SubgraphError>;

/// Reads orders with one selection.
pub(super) struct Reader {
    source: Source,
    caller: Caller,
    selection: Selection,
    waiting: Mutex<Waiting>,
    tasks: TaskTracker,
}

#[derive(Default)]
struct Waiting {
    questions: BTreeMap<Uuid, Vec<oneshot::Sender<Answer>>>,
    /// A task works on them.
    in_work: bool,
}

impl Reader {
    /// Reads `selection` at `source` for `caller`, in `tasks`.
    pub(super) fn new(source: Source, caller: Caller, selection: Selection, tasks: TaskTracker) -> Self {
        Self { source, caller, selection, waiting: Mutex::default(), tasks }
    }

    /// Reads an order, from now on.
    pub(super) async fn read(self: Arc<Self>, id: Uuid) -> Answer {
        let (answer, answered) = oneshot::channel();
        let begin = {
            let mut waiting = self.lock();
            waiting.questions.entry(id).or_default().push(answer);
            !std::mem::replace(&mut waiting.in_work, true)
        };
        if begin {
            let reader = Arc::clone(&self);
            self.tasks.spawn(reader.work());
        }
        // The task answers everybody, unless it is cut off with the process.
        answered.await.unwrap_or(Err(SubgraphError { service: "orders", kind: ErrorKind::Unavailable }))
    }

    /// Reads until nobody waits any more.
    async fn work(self: Arc<Self>) {
        let broken_off = BrokenOff(&self);
        while let Some(batch) = self.next_batch() {
            let ids: Vec<ID> = batch.iter().map(|(id, _)| ID::from(id.to_string())).collect();
            let span = info_span!(parent: None, "read updates", orders = ids.len() as i64);
            propagation::set_root(&span, crate::NAME);
            let composer = self.source.composer(&self.caller);
            let answers = composer.orders_by_id(&ids, self.selection.clone()).instrument(span).await;
            for ((_, waiting), answer) in batch.into_iter().zip(answers) {
                let answer = answer.map(|order| order.map(Arc::new));
                for one in waiting {
                    // Whoever went away needs none.
                    let _ = one.send(answer.clone());
                }
            }
        }
        std::mem::forget(broken_off);
    }

    /// The questions of the next reading; `None` when there are none, and then nobody works any more.
    fn next_batch(&self) -> Option<Vec<(Uuid, Vec<oneshot::Sender<Answer>>)>> {
        let mut waiting = self.lock();
        let mut batch = Vec::new();
        while batch.len() < BATCH
            && let Some((id, mut senders)) = waiting.questions.pop_first()
        {
            senders.retain(|sender| !sender.is_closed());
            if !senders.is_empty() {
                batch.push((id, senders));
            }
        }
        waiting.in_work = !batch.is_empty();
        (!batch.is_empty()).then_some(batch)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes way for the next task when one ends in a panic; forgotten when it ends well.
struct BrokenOff<'a>(&'a Reader);

impl Drop for BrokenOff<'_> {
    fn drop(&mut self) {
        self.0.lock().in_work = false;
    }
}
