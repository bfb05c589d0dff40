//! The contract of a bus: what a publisher, a consumer and their handlers may rely on.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chassis::metrics::Metrics;
use contracts::{EventEnvelope, EventType, topology::Queue};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A way for events to travel between services. Cheap to share; one instance serves a process.
#[async_trait]
pub trait EventBus: Send + Sync + 'static {
    /// The same bus, as the service of `metrics` uses it: what it sends and consumes is counted there.
    fn measured_by(&self, metrics: &Metrics) -> Arc<dyn EventBus>;

    /// A publisher of its own: not shared, since a confirm channel may have only one owner.
    fn publisher(&self) -> Box<dyn Publisher>;

    /// Starts to consume `queue`. Runs, through every outage, until the subscription is stopped.
    fn subscribe(&self, queue: &'static Queue, handler: Arc<dyn Handler>) -> Subscription;

    /// Starts to tell `listener` of every event that is published from now on, to whichever queue it goes. Each listener
    /// of each process hears all of them: this is for showing what happens, not for work that has to be done, since
    /// what is published while nobody listens is not kept.
    fn listen(&self, listener: Arc<dyn Listener>) -> Subscription;

    /// How the bus is now, for `/readyz`.
    fn status(&self) -> BusStatus;

    /// Closes the connections. Stop publishers and subscriptions first.
    async fn close(&self);
}

/// Whether the bus can carry events now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusStatus {
    /// It can.
    Up,
    /// It can, but the broker has queues of another form than ours, which are used as they are.
    Differs(String),
    /// It cannot, or only in part; events wait in the outbox meanwhile.
    Degraded(String),
}

/// Publishes events, a window at a time.
#[async_trait]
pub trait Publisher: Send {
    /// Resolves once publishing has a chance: the relay calls it before it opens a transaction, so that no row is
    /// locked while the broker is away or has blocked us. Pends for as long as that lasts.
    async fn ready(&mut self);

    /// Publishes all of `window` and answers one outcome for each, in order.
    ///
    /// # Errors
    /// When the outcome of the *whole* window is unknown: publish it again later; consumers expect duplicates.
    async fn publish(&mut self, window: &[EventEnvelope]) -> Result<Vec<Outcome>, PublishError>;
}

/// What became of one published event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The bus has it, durably. It may be deleted here.
    Accepted,
    /// The bus did not take it: no queue is bound, the queue is full, or a consumer can never process it.
    Refused {
        /// Why.
        reason: String,
        /// True when another attempt cannot end differently.
        permanent: bool,
    },
}

/// Why a window has no known outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The bus is away, or went away half-way.
    #[error("the bus is unavailable: {0}")]
    Unavailable(String),
    /// No answer within the deadline.
    #[error("no confirmation within {0:?}")]
    Timeout(Duration),
}

/// One message as a consumer sees it.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The event with its metadata. For a message that came without (a plain client wrote to the queue) the
    /// metadata are those that our own relay would have given.
    pub event: EventEnvelope,
    /// True when the bus knows that it was delivered before; false promises nothing.
    pub redelivered: bool,
}

/// Processes the messages of one queue.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Processes a batch in one transaction and answers one verdict for each delivery, in order.
    ///
    /// The batch is acknowledged after this returned `Ok`. A crash in between delivers it again, so a handler must
    /// be idempotent through what it writes.
    ///
    /// # Errors
    /// When nothing was committed: the same batch is given again, whole or in parts, never sent round through the
    /// queue.
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError>;

    /// Whether the store answers. Asked after a batch had to be given back to the broker: as long as it does not,
    /// consuming would only have messages returned again, and each return counts against the broker's delivery limit.
    async fn is_available(&self) -> bool;
}

/// Hears of events as they are published (the *wire tap* of Enterprise Integration Patterns).
///
/// It is called where the bus receives, so it must not block: a listener with work to do hands it on.
pub trait Listener: Send + Sync + 'static {
    /// From here on every event is heard. Called before the first, and again after each interruption, in which events
    /// may have been missed.
    fn listening(&self);

    /// An event was published: once at least, in any order, and perhaps before its consumers have worked on it.
    fn event(&self, event: &EventEnvelope);
}

/// What to do with a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Processed.
    Done,
    /// It changed nothing, for what it tells was known. As good as [`Verdict::Done`], and counted apart.
    Duplicate,
    /// It cannot be processed now, and may be later, for it lacks something that others have yet to bring: again
    /// after a pause, a longer one each time, and to the dead letters when that has happened often enough. In process
    /// it stays in the outbox, which tries it again for ever.
    Later(Rejection),
    /// It can never be processed: to the dead letters, with the reason.
    Reject(Rejection),
}

/// Why a message was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// A stable word to filter by, e.g. `malformed`, `conflict`.
    pub reason: &'static str,
    /// The sentence for whoever looks at it.
    pub error: String,
}

/// Nothing of the batch was committed.
#[derive(Debug, thiserror::Error)]
pub enum HandleError {
    /// The store is away or refuses: hold the batch and back off.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// Another transaction was in the way (deadlock, serialisation): again at once.
    #[error("a conflict with another transaction: {0}")]
    Contended(String),
    /// Something in the batch breaks the transaction, every time: its halves are tried, and theirs, until the one at
    /// fault is alone, which is rejected then.
    #[error("something in the batch is at fault: {0}")]
    Fault(String),
}

/// A running consumer or listener. Dropping it leaves it running; [`Subscription::stop`] ends it.
#[derive(Debug)]
pub struct Subscription {
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Subscription {
    /// Takes no further message, finishes the batch in hand and settles it.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The event types a handler of `queue` has to know.
pub(crate) fn carries(queue: &Queue, event_type: EventType) -> bool {
    queue.events.contains(&event_type)
}
