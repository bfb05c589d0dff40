//! One subscriber: which orders it has to read, what it has shown, and what comes next.
//!
//! Invariants: at most [`PARALLEL`] readings at a time, one for each order; what has still to be read is a set, so a
//! thousand changes of one order are one reading; nothing happens while the client does not take what it is given, and
//! then changes wait in the feed, which drops them at some point and says so. An order is never shown in a state behind
//! the one that was shown before: statuses only ever rise (see the saga in ARCHITECTURE.md).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use async_graphql::{Error, ErrorExtensions};
use chassis::backoff::Backoff;
use futures_util::{
    FutureExt, StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, FuturesUnordered},
};
use tokio::{
    sync::broadcast::{Receiver, error::RecvError},
    time::{Sleep, sleep},
};
use uuid::Uuid;

use super::{
    Counted,
    feed::{Change, Feed},
    reader::{Answer, Reader},
};
use crate::schema::{Order, OrderEventType, Progress};

/// How many orders a subscriber reads at the same time.
const PARALLEL: usize = 64;

/// How many orders may wait to be read. With more, the changes stay in the feed.
const PENDING: usize = 10_000;

/// Of how many orders a subscriber remembers what it has shown.
const REMEMBERED: usize = 1_000;

/// How often a timeline is read for the sake of one event.
const READINGS: u32 = 8;

/// Which orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    One(Uuid),
    All,
}

/// Why an order is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It may have changed.
    News,
    /// What was read last could not be shown as it should be, or is not the end: a service did not answer, or answered
    /// with the past, or there is more to come that no event tells of.
    Again,
}

/// The updates of one subscriber.
pub(super) struct Updates {
    scope: Scope,
    feed: Arc<Feed>,
    changes: Receiver<Change>,
    reader: Arc<Reader>,
    pending: BTreeMap<Uuid, Cause>,
    in_hand: BTreeMap<Uuid, Cause>,
    readings: FuturesUnordered<BoxFuture<'static, (Uuid, Answer)>>,
    shown: Shown,
    /// The news that brought an order to be read, until its timeline has them.
    awaited: BTreeMap<Uuid, Awaited>,
    again: BTreeSet<Uuid>,
    pauses: Backoff,
    pause: Option<Pin<Box<Sleep>>>,
    over: bool,
    _counted: Counted,
}

/// What the subscriber is told of an order that is not there.
pub(super) fn not_found() -> Error {
    Error::new("there is no order with this id").extend_with(|_, extensions| extensions.set("code", "ORDER_NOT_FOUND"))
}

impl Updates {
    /// Those that `changes` tell of; with a scope of one order, its present state first.
    pub(super) fn new(
        scope: Scope,
        feed: Arc<Feed>,
        changes: Receiver<Change>,
        reader: Arc<Reader>,
        counted: Counted,
    ) -> Self {
        let pending = match scope {
            Scope::One(id) => BTreeMap::from([(id, Cause::News)]),
            Scope::All => BTreeMap::new(),
        };
        Self {
            scope,
            feed,
            changes,
            reader,
            pending,
            in_hand: BTreeMap::new(),
            readings: FuturesUnordered::new(),
            shown: Shown::default(),
            awaited: BTreeMap::new(),
            again: BTreeSet::new(),
            pauses: Backoff::new(Duration::from_millis(250), Duration::from_secs(10)),
            pause: None,
            over: false,
            _counted: counted,
        }
    }

    /// As a stream.
    pub(super) fn into_stream(self) -> BoxStream<'static, async_graphql::Result<Arc<Order>>> {
        stream::unfold(self, |mut updates| async move { updates.next().await.map(|update| (update, updates)) }).boxed()
    }

    /// The next update; `None` when there will be none.
    async fn next(&mut self) -> Option<async_graphql::Result<Arc<Order>>> {
        while !self.over {
            self.begin_readings();
            tokio::select! {
                // In this order: what is read next should know of every change so far.
                biased;
                change = self.changes.recv(), if self.pending.len() < PENDING => match change {
                    Ok(Change::Order(id, step)) => self.note(id, step),
                    Ok(Change::Interrupted) | Err(RecvError::Lagged(_)) => self.look_at_everything(),
                    Err(RecvError::Closed) => return None,
                },
                Some((id, answer)) = self.readings.next() => {
                    let cause = self.in_hand.remove(&id).unwrap_or(Cause::News);
                    if let Some(update) = self.settle(id, cause, answer) {
                        return Some(update);
                    }
                }
                () = wait(&mut self.pause) => {
                    self.pause = None;
                    for id in std::mem::take(&mut self.again) {
                        self.pending.entry(id).or_insert(Cause::Again);
                    }
                }
            }
        }
        None
    }

    fn begin_readings(&mut self) {
        let free = PARALLEL.saturating_sub(self.in_hand.len());
        let ready = self.pending.keys().filter(|id| !self.in_hand.contains_key(id)).take(free);
        for id in ready.copied().collect::<Vec<_>>() {
            if let Some(cause) = self.pending.remove(&id) {
                self.in_hand.insert(id, cause);
                self.readings.push(Arc::clone(&self.reader).read(id).map(move |answer| (id, answer)).boxed());
            }
        }
    }

    fn note(&mut self, id: Uuid, step: Option<OrderEventType>) {
        if self.scope == Scope::All || self.scope == Scope::One(id) {
            self.pending.insert(id, Cause::News);
            if self.awaited.len() < PENDING {
                self.awaited.entry(id).or_default().steps.extend(step);
            }
        }
    }

    /// Changes were missed, and nobody knows which.
    fn look_at_everything(&mut self) {
        match self.scope {
            Scope::One(id) => self.note(id, None),
            Scope::All => self.pending.extend(self.feed.recent().into_iter().map(|id| (id, Cause::News))),
        }
    }

    /// What the subscriber is told after a reading, if anything.
    fn settle(&mut self, id: Uuid, cause: Cause, answer: Answer) -> Option<async_graphql::Result<Arc<Order>>> {
        let order = match answer {
            Ok(Some(order)) => order,
            Ok(None) => {
                self.awaited.remove(&id);
                // Of all orders, one that is not there is nobody's.
                self.over = matches!(self.scope, Scope::One(_));
                return self.over.then(|| Err(not_found()));
            }
            Err(error) => {
                // Where it is the first answer, the client should not wait in silence.
                let first = cause == Cause::News && self.scope == Scope::One(id) && self.shown.get(id).is_none();
                self.read_again(id);
                return first.then(|| Err(error.to_client()));
            }
        };
        let partial = order.is_partial();
        let progress = order.progress();
        let before = self.shown.get(id);
        if before.is_some_and(|(_, shown)| progress.is_behind(shown)) {
            self.read_again(id);
            return None;
        }
        let same = before.is_some_and(|(shown, _)| **shown == *order);
        if partial || order.awaits_invoice() || self.awaits_more(id, &order) {
            self.read_again(id);
        } else if self.again.is_empty() {
            self.pauses.reset();
        }
        // A part that is still away was told before.
        if same || partial && cause == Cause::Again {
            return None;
        }
        self.shown.insert(id, Arc::clone(&order), progress);
        Some(Ok(order))
    }

    /// Whether the timeline of an order lacks what is known to have happened. Orders hear of what invoices say at the same
    /// time as we do, so it may be a moment behind; and what came too late to matter is never in it.
    fn awaits_more(&mut self, id: Uuid, order: &Order) -> bool {
        let Some(awaited) = self.awaited.get_mut(&id) else { return false };
        awaited.readings += 1;
        let more = !order.has_steps(&awaited.steps) && awaited.readings < READINGS;
        if !more {
            self.awaited.remove(&id);
        }
        more
    }

    /// After a pause, since what is wrong will not be right at once.
    fn read_again(&mut self, id: Uuid) {
        if self.again.len() < PENDING {
            self.again.insert(id);
        }
        if self.pause.is_none() {
            self.pause = Some(Box::pin(sleep(self.pauses.next_pause())));
        }
    }
}

async fn wait(pause: &mut Option<Pin<Box<Sleep>>>) {
    match pause {
        Some(pause) => pause.await,
        None => std::future::pending().await,
    }
}

/// What an order's timeline has to show.
#[derive(Default)]
struct Awaited {
    steps: BTreeSet<OrderEventType>,
    /// How often it was looked for.
    readings: u32,
}

/// What a subscriber has seen of the orders that it saw last. The orders themselves belong to all who saw them.
#[derive(Default)]
struct Shown {
    orders: BTreeMap<Uuid, (Arc<Order>, Progress)>,
    /// The first to be forgotten first.
    line: VecDeque<Uuid>,
}

impl Shown {
    fn get(&self, id: Uuid) -> Option<&(Arc<Order>, Progress)> {
        self.orders.get(&id)
    }

    fn insert(&mut self, id: Uuid, order: Arc<Order>, progress: Progress) {
        let progress = match self.orders.get(&id) {
            Some((_, before)) => progress.at_least(before),
            None => {
                self.line.push_back(id);
                progress
            }
        };
        self.orders.insert(id, (order, progress));
        while self.line.len() > REMEMBERED {
            if let Some(oldest) = self.line.pop_front() {
                self.orders.remove(&oldest);
            }
        }
    }
}
