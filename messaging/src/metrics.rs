//! What a service sends and consumes, counted the same on every bus. Names as in OpenTelemetry's conventions for messaging.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
    time::Instant,
};

use async_trait::async_trait;
use chassis::{
    label_set, label_value,
    metrics::{Counter, Counters, Histogram, Histograms, Metrics, http::BUCKETS},
};
use contracts::{
    EventEnvelope, EventType,
    topology::{EXCHANGE, Queue},
};

use crate::{Delivery, HandleError, Handler, PublishError, Verdict, trace::destination};

/// How long the bus takes to confirm a window, in seconds. Windows are given up after ten.
const CONFIRM: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Messages that share a transaction.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

label_value! {
    /// Why the bus does not have an event, as far as is known.
    #[derive(PartialOrd, Ord)]
    pub(crate) enum SendError {
        /// No queue took it.
        Returned => "returned",
        /// The broker said no: a queue is full or away.
        Nacked => "nacked",
        /// In process: a consumer did not take it.
        Refused => "refused",
        /// The bus is away, or went away.
        Unavailable => "unavailable",
        /// No answer in time.
        Timeout => "timeout",
    }
}

impl From<&PublishError> for SendError {
    fn from(error: &PublishError) -> Self {
        match error {
            PublishError::Unavailable(_) => Self::Unavailable,
            PublishError::Timeout(_) => Self::Timeout,
        }
    }
}

label_value! {
    /// What became of a message that was consumed.
    pub(crate) enum Consumption {
        /// Processed.
        Ack => "ack",
        /// It waits for another attempt.
        Retry => "retry",
        /// Set aside for an operator.
        DeadLetter => "dead_letter",
        /// Processed before: it changed nothing.
        Duplicate => "duplicate",
    }
}

label_value! {
    /// Why a transaction did not happen.
    enum ProcessError {
        Unavailable => "unavailable",
        Contended => "contended",
        Fault => "fault",
        Panic => "panic",
    }
}

label_set! {
    struct Sent { destination: Arc<str>, error_type: Option<SendError> }
}
label_set! {
    struct Consumed { destination: &'static str, outcome: Consumption }
}
label_set! {
    struct Processed { destination: &'static str, error_type: Option<ProcessError> }
}
label_set! {
    struct OfQueue { destination: &'static str }
}
label_set! {
    struct OfType { destination: Arc<str> }
}

/// What a bus counts its messages with: registered once there are any, for a process that only listens has none.
#[derive(Debug)]
pub(crate) struct Measuring {
    metrics: Metrics,
    messaging: OnceLock<MessagingMetrics>,
}

impl Measuring {
    /// In the metrics of a service.
    pub(crate) fn of(metrics: &Metrics) -> Self {
        Self { metrics: metrics.clone(), messaging: OnceLock::new() }
    }

    /// For a bus that nobody measures.
    pub(crate) fn unread() -> Self {
        Self::of(&Metrics::new("nobody"))
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    pub(crate) fn messaging(&self) -> &MessagingMetrics {
        self.messaging.get_or_init(|| MessagingMetrics::register(&self.metrics))
    }
}

/// What is counted of the messages of one service. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct MessagingMetrics {
    sent: Counters<Sent>,
    returned: Counters<OfType>,
    confirm: Histogram,
    consumed: Counters<Consumed>,
    process_duration: Histograms<Processed>,
    batch_size: Histograms<OfQueue>,
    redeliveries: Counters<OfQueue>,
}

impl MessagingMetrics {
    fn register(metrics: &Metrics) -> Self {
        Self {
            sent: metrics.counters(
                "messaging_client_sent_messages_total",
                "Events that were given to the bus, once for each attempt",
            ),
            returned: metrics.counters(
                "messaging_publish_returned_total",
                "Events that the broker sent back because no queue is bound to their type",
            ),
            confirm: metrics.histogram(
                "messaging_publisher_confirm_seconds",
                "Time until the bus has taken responsibility for a window of events",
                CONFIRM,
            ),
            consumed: metrics.counters(
                "messaging_client_consumed_messages_total",
                "Messages of a queue that were settled, by what became of them",
            ),
            process_duration: metrics.histograms(
                "messaging_process_duration_seconds",
                "Time of a transaction of a consumer, for all messages that share it",
                BUCKETS,
            ),
            batch_size: metrics.histograms(
                "messaging_process_batch_size",
                "Messages that share a transaction of a consumer",
                BATCHES,
            ),
            redeliveries: metrics.counters(
                "messaging_redeliveries_total",
                "Messages that the broker had given to somebody before, who did not settle them",
            ),
        }
    }

    /// Counts a window whose outcome is known: for each event why it was not taken, if it was not.
    pub(crate) fn sent(&self, window: &[EventEnvelope], errors: &[Option<SendError>], began: Instant) {
        self.confirm.observe(began.elapsed().as_secs_f64());
        self.count(window.iter().zip(errors.iter().copied()).map(|(event, error)| (event.event_type, error)));
    }

    /// Counts a window whose outcome is not known.
    pub(crate) fn failed(&self, window: &[EventEnvelope], error: &PublishError) {
        self.count(window.iter().map(|event| (event.event_type, Some(error.into()))));
    }

    /// One look-up for all of a kind: a window has up to a thousand events of a few kinds.
    fn count(&self, events: impl Iterator<Item = (EventType, Option<SendError>)>) {
        let mut kinds: BTreeMap<_, u64> = BTreeMap::new();
        for kind in events {
            *kinds.entry(kind).or_default() += 1;
        }
        for ((event_type, error_type), count) in kinds {
            let destination: Arc<str> = destination(EXCHANGE, event_type.as_str(), "").into();
            if error_type == Some(SendError::Returned) {
                self.returned.get_or_create(&OfType { destination: Arc::clone(&destination) }).inc_by(count);
            }
            self.sent.get_or_create(&Sent { destination, error_type }).inc_by(count);
        }
    }

    /// Those of one queue. From now on each of its outcomes is a series, so that the first is seen as a step.
    pub(crate) fn of(&self, queue: &'static Queue) -> QueueMetrics {
        let destination = queue.name;
        let consumed = |outcome| self.consumed.get_or_create_owned(&Consumed { destination, outcome });
        QueueMetrics {
            destination,
            ack: consumed(Consumption::Ack),
            retry: consumed(Consumption::Retry),
            dead_letter: consumed(Consumption::DeadLetter),
            duplicate: consumed(Consumption::Duplicate),
            processed: self.process_duration.get_or_create_owned(&Processed { destination, error_type: None }),
            process_duration: self.process_duration.clone(),
            batch_size: self.batch_size.get_or_create_owned(&OfQueue { destination }),
            redeliveries: self.redeliveries.get_or_create_owned(&OfQueue { destination }),
        }
    }
}

/// What is counted of the messages of one queue. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct QueueMetrics {
    destination: &'static str,
    ack: Counter,
    retry: Counter,
    dead_letter: Counter,
    duplicate: Counter,
    processed: Histogram,
    process_duration: Histograms<Processed>,
    batch_size: Histogram,
    redeliveries: Counter,
}

impl QueueMetrics {
    /// Counts a message that is settled.
    pub(crate) fn consumed(&self, outcome: Consumption) {
        match outcome {
            Consumption::Ack => &self.ack,
            Consumption::Retry => &self.retry,
            Consumption::DeadLetter => &self.dead_letter,
            Consumption::Duplicate => &self.duplicate,
        }
        .inc();
    }

    /// Counts messages that came again.
    pub(crate) fn redelivered(&self, count: usize) {
        self.redeliveries.inc_by(count as u64);
    }

    /// `handler`, with each of its transactions measured.
    pub(crate) fn around(&self, handler: Arc<dyn Handler>) -> Arc<dyn Handler> {
        Arc::new(Measured { handler, metrics: self.clone() })
    }

    fn observe(&self, began: Instant, error: Option<ProcessError>) {
        let seconds = began.elapsed().as_secs_f64();
        match error {
            None => self.processed.observe(seconds),
            error_type => {
                let labels = Processed { destination: self.destination, error_type };
                self.process_duration.get_or_create(&labels).observe(seconds);
            }
        }
    }
}

/// A handler whose transactions are measured: inside the span of the transaction, so that an exemplar leads to it.
struct Measured {
    handler: Arc<dyn Handler>,
    metrics: QueueMetrics,
}

#[async_trait]
impl Handler for Measured {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        self.metrics.batch_size.observe(batch.len() as f64);
        let mut timing = Timing { metrics: &self.metrics, began: Instant::now(), error: Some(ProcessError::Panic) };
        let answer = self.handler.handle(batch).await;
        timing.error = match &answer {
            Ok(_) => None,
            Err(HandleError::Unavailable(_)) => Some(ProcessError::Unavailable),
            Err(HandleError::Contended(_)) => Some(ProcessError::Contended),
            Err(HandleError::Fault(_)) => Some(ProcessError::Fault),
        };
        answer
    }

    async fn is_available(&self) -> bool {
        self.handler.is_available().await
    }
}

/// Observed when it is dropped, which a panic does as well.
struct Timing<'a> {
    metrics: &'a QueueMetrics,
    began: Instant,
    error: Option<ProcessError>,
}

impl Drop for Timing<'_> {
    fn drop(&mut self) {
        self.metrics.observe(self.began, self.error);
    }
}
