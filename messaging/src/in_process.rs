//! The bus inside one process: no broker, the same promises.
//!
//! `publish` answers after a subscriber of every bound queue has settled the event, so nothing is ever in flight that
//! only memory knows of: what is not settled stays in the outbox, which is the durable queue here. The price is that
//! a publisher waits for its consumers, and that an event without its consumer stays where it is.
//!
//! A subscription is a task that takes one batch at a time, as on a broker; subscriptions to the same queue take turns.
//! Listeners are told before the subscribers are, as on a broker, whose queues get an event whether or not it is worked
//! on; an event that is published again is heard again.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use chassis::metrics::Metrics;
use contracts::{
    EventEnvelope,
    topology::{EXCHANGE, QUEUES, Queue},
};
use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    BusStatus, Delivery, EventBus, Handler, Listener, Outcome, PublishError, Publisher, Subscription, Verdict,
    bisection::{self, Incoming},
    bus::carries,
    handling::Unsettled,
    metrics::{Consumption, Measuring, MessagingMetrics, QueueMetrics, SendError},
    trace::{self, Arrival, destination},
};

/// The value of `messaging.system` on its spans.
const SYSTEM: &str = "in_process";

/// The most events that a handler gets at once: as many as from the broker.
const BATCH: usize = 500;

/// Events between services that share a process.
#[derive(Debug)]
pub struct InProcessBus {
    subscribers: Arc<Subscribers>,
    listeners: Arc<Listeners>,
    measuring: Measuring,
}

impl InProcessBus {
    /// A bus without subscribers.
    pub fn new() -> Self {
        Self { subscribers: Arc::default(), listeners: Arc::default(), measuring: Measuring::unread() }
    }
}

impl Default for InProcessBus {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl EventBus for InProcessBus {
    fn measured_by(&self, metrics: &Metrics) -> Arc<dyn EventBus> {
        let (subscribers, listeners) = (Arc::clone(&self.subscribers), Arc::clone(&self.listeners));
        Arc::new(Self { subscribers, listeners, measuring: Measuring::of(metrics) })
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(InProcessPublisher {
            subscribers: Arc::clone(&self.subscribers),
            listeners: Arc::clone(&self.listeners),
            metrics: self.measuring.messaging().clone(),
        })
    }

    fn subscribe(&self, queue: &'static Queue, handler: Arc<dyn Handler>) -> Subscription {
        let (jobs, inbox) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        tasks.spawn(subscriber(queue, handler, self.measuring.messaging().of(queue), inbox, stop.clone()));
        self.subscribers.add(queue, jobs);
        Subscription { stop, tasks }
    }

    fn listen(&self, listener: Arc<dyn Listener>) -> Subscription {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        // Under the lock, so that no event comes before it.
        let mut listeners = self.listeners.lock();
        listener.listening();
        listeners.push((listener, stop.clone()));
        Subscription { stop, tasks }
    }

    fn status(&self) -> BusStatus {
        BusStatus::Up
    }

    async fn close(&self) {
        self.subscribers.lock().clear();
        self.listeners.lock().clear();
    }
}

/// A batch on its way to a subscriber, and where the answer goes.
#[derive(Debug)]
struct Job {
    batch: Arc<[Delivery]>,
    answer: oneshot::Sender<Result<Vec<Verdict>, Unsettled>>,
}

/// The inboxes of the subscribers of each queue, by its name, the next in turn first.
#[derive(Debug, Default)]
struct Subscribers(Mutex<HashMap<&'static str, Vec<mpsc::Sender<Job>>>>);

impl Subscribers {
    fn lock(&self) -> MutexGuard<'_, HashMap<&'static str, Vec<mpsc::Sender<Job>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, queue: &Queue, inbox: mpsc::Sender<Job>) {
        self.lock().entry(queue.name).or_default().push(inbox);
    }

    /// The one whose turn it is; `None` when nobody has subscribed, or nobody any more.
    fn next(&self, queue: &Queue) -> Option<mpsc::Sender<Job>> {
        let mut subscribers = self.lock();
        let inboxes = subscribers.get_mut(queue.name)?;
        inboxes.retain(|inbox| !inbox.is_closed());
        let next = inboxes.first().cloned()?;
        inboxes.rotate_left(1);
        Some(next)
    }

    /// Has `batch` settled by one subscriber of `queue`.
    async fn settle(&self, queue: &Queue, batch: Arc<[Delivery]>) -> Result<Vec<Verdict>, PublishError> {
        // One that stops between here and its answer leaves the batch to the next.
        while let Some(inbox) = self.next(queue) {
            let (answer, answered) = oneshot::channel();
            if inbox.send(Job { batch: Arc::clone(&batch), answer }).await.is_err() {
                continue;
            }
            if let Ok(settled) = answered.await {
                return settled.map_err(|Unsettled(why)| PublishError::Unavailable(format!("{}: {why}", queue.name)));
            }
        }
        Err(PublishError::Unavailable(format!("nobody consumes the queue {}", queue.name)))
    }
}

/// Who hears of every event, until they are stopped.
#[derive(Default)]
struct Listeners(Mutex<Vec<(Arc<dyn Listener>, CancellationToken)>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Vec<(Arc<dyn Listener>, CancellationToken)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, window: &[EventEnvelope]) {
        let mut listeners = self.lock();
        listeners.retain(|(_, stop)| !stop.is_cancelled());
        for (listener, _) in listeners.iter() {
            window.iter().for_each(|event| listener.event(event));
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} listeners", self.lock().len())
    }
}

/// Takes batches and answers them until it is told to stop; the one in hand is finished.
async fn subscriber(
    queue: &'static Queue,
    handler: Arc<dyn Handler>,
    metrics: QueueMetrics,
    mut inbox: mpsc::Receiver<Job>,
    stop: CancellationToken,
) {
    let handler = metrics.around(handler);
    loop {
        let job = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            job = inbox.recv() => job,
        };
        let Some(Job { batch, answer }) = job else { return };
        let batch: Vec<_> = batch
            .iter()
            .map(|delivery| Incoming {
                delivery: delivery.clone(),
                destination: destination(EXCHANGE, delivery.event.event_type.as_str(), queue.name),
                arrival: Arrival::FIRST,
            })
            .collect();
        let settled = bisection::settle(SYSTEM, queue, &handler, &batch).await.map(|settled| settled.verdicts);
        for verdict in settled.iter().flatten() {
            metrics.consumed(match verdict {
                Verdict::Done => Consumption::Ack,
                Verdict::Duplicate => Consumption::Duplicate,
                Verdict::Later(_) => Consumption::Retry,
                Verdict::Reject(_) => Consumption::DeadLetter,
            });
        }
        // A publisher that has gone away publishes again, and the handler knows a duplicate when it sees one.
        let _ = answer.send(settled);
    }
}

/// Publishes by waiting for the subscribers.
#[derive(Debug)]
struct InProcessPublisher {
    subscribers: Arc<Subscribers>,
    listeners: Arc<Listeners>,
    metrics: MessagingMetrics,
}

#[async_trait]
impl Publisher for InProcessPublisher {
    /// At once: there is no connection that could be away.
    async fn ready(&mut self) {}

    async fn publish(&mut self, window: &[EventEnvelope]) -> Result<Vec<Outcome>, PublishError> {
        let spans: Vec<_> = window.iter().map(|event| trace::publish_span(SYSTEM, event)).collect();
        self.listeners.tell(window);
        let began = Instant::now();
        let queues = join_all(QUEUES.map(|queue| self.to_queue(queue, window))).await;
        let mut outcomes = vec![Outcome::Accepted; window.len()];
        for settled in queues {
            let verdicts = settled.inspect_err(|error| {
                spans.iter().for_each(|span| trace::record_unknown_outcome(span, error));
                self.metrics.failed(window, error);
            })?;
            for (position, verdict) in verdicts {
                refuse(&mut outcomes[position], verdict);
            }
        }
        for ((span, event), outcome) in spans.iter().zip(window).zip(&outcomes) {
            trace::record_outcome(span, event, outcome);
        }
        let refused = |outcome: &Outcome| (*outcome != Outcome::Accepted).then_some(SendError::Refused);
        self.metrics.sent(window, &outcomes.iter().map(refused).collect::<Vec<_>>(), began);
        Ok(outcomes)
    }
}

/// What a verdict means where there is no queue to set a message aside in: the event stays in the outbox with the
/// reason, parked if it can never be processed. Of several verdicts that counts for most.
fn refuse(outcome: &mut Outcome, verdict: Verdict) {
    let (rejection, permanent) = match verdict {
        Verdict::Done | Verdict::Duplicate => return,
        Verdict::Later(rejection) => (rejection, false),
        Verdict::Reject(rejection) => (rejection, true),
    };
    if !matches!(outcome, Outcome::Refused { permanent: true, .. }) {
        *outcome = Outcome::Refused { reason: format!("{}: {}", rejection.reason, rejection.error), permanent };
    }
}

impl InProcessPublisher {
    /// Gives one queue its part of the window; answers verdicts by position in the window.
    async fn to_queue(
        &self,
        queue: &'static Queue,
        window: &[EventEnvelope],
    ) -> Result<Vec<(usize, Verdict)>, PublishError> {
        let (positions, deliveries): (Vec<usize>, Vec<Delivery>) = window
            .iter()
            .enumerate()
            .filter(|(_, event)| carries(queue, event.event_type))
            .map(|(position, event)| (position, Delivery { event: event.clone(), redelivered: false }))
            .unzip();
        let mut verdicts = Vec::with_capacity(positions.len());
        for batch in deliveries.chunks(BATCH) {
            verdicts.extend(self.subscribers.settle(queue, batch.into()).await?);
        }
        Ok(positions.into_iter().zip(verdicts).collect())
    }
}
