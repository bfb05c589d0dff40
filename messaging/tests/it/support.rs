//! What the tests share: events, a relay, handlers that remember, and waiting for a condition.

use std::{
    collections::BTreeSet,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use contracts::{EventEnvelope, EventType, TraceContext, event_id};
use messaging::{Delivery, HandleError, Handler, Listener, Outcome, Publisher, Verdict};
use tokio::{sync::Semaphore, time::timeout};
use uuid::Uuid;

/// For anything that is expected to happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The first event of a new aggregate.
pub(crate) fn event(event_type: EventType) -> EventEnvelope {
    let aggregate_id = Uuid::now_v7();
    EventEnvelope {
        id: event_id(aggregate_id, 1),
        event_type,
        source: "orders".into(),
        aggregate_id,
        event_no: 1,
        order_id: aggregate_id,
        occurred_at: contracts::now(),
        trace_context: TraceContext::default(),
        asks: false,
        body: Bytes::from(format!(r#"{{"id":"{aggregate_id}","amount":100,"customer":{{"id":"c"}}}}"#)),
    }
}

/// Some of them.
pub(crate) fn events(event_type: EventType, count: usize) -> Vec<EventEnvelope> {
    (0..count).map(|_| event(event_type)).collect()
}

/// Their ids.
pub(crate) fn ids<'a>(events: impl IntoIterator<Item = &'a EventEnvelope>) -> BTreeSet<Uuid> {
    events.into_iter().map(|event| event.id).collect()
}

/// Publishes as the outbox does: what is not accepted is published again, what can never be is set aside. Answers the
/// last outcome of each event, in order.
pub(crate) async fn relay(mut publisher: Box<dyn Publisher>, events: Vec<EventEnvelope>) -> Vec<Outcome> {
    relay_with(&mut *publisher, events).await
}

/// The same, with a publisher that is needed again.
pub(crate) async fn relay_with(publisher: &mut dyn Publisher, events: Vec<EventEnvelope>) -> Vec<Outcome> {
    let mut outcomes = vec![None; events.len()];
    within("every event to be accepted or set aside", async {
        loop {
            let open: Vec<_> = (0..events.len()).filter(|i| outcomes[*i].is_none()).collect();
            if open.is_empty() {
                break;
            }
            publisher.ready().await;
            let window: Vec<_> = open.iter().map(|i| events[*i].clone()).collect();
            if let Ok(answers) = publisher.publish(&window).await {
                assert_eq!(answers.len(), window.len());
                for (i, answer) in open.into_iter().zip(answers) {
                    if !matches!(answer, Outcome::Refused { permanent: false, .. }) {
                        outcomes[i] = Some(answer);
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    outcomes.into_iter().map(Option::unwrap).collect()
}

/// Awaits `future`, but not for ever.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.unwrap_or_else(|_| panic!("waited {DEADLINE:?} for {what}"))
}

/// Waits until `condition` holds.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    within(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

type Answer = Result<Vec<Verdict>, HandleError>;
type Answering = dyn Fn(usize, &[Delivery]) -> Answer + Send + Sync;

/// A handler that remembers what it was given, and answers as it was told to.
pub(crate) struct Recorder {
    calls: Mutex<Vec<Vec<Delivery>>>,
    answer: Box<Answering>,
}

impl Recorder {
    /// One that is done with everything.
    pub(crate) fn new() -> Arc<Self> {
        Self::answering(|_, batch| done(batch))
    }

    /// One that answers by the number of the call, from 0, and the batch.
    pub(crate) fn answering(answer: impl Fn(usize, &[Delivery]) -> Answer + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { calls: Mutex::default(), answer: Box::new(answer) })
    }

    /// The batches so far, in order.
    pub(crate) fn calls(&self) -> Vec<Vec<Delivery>> {
        self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// The events so far, in order.
    pub(crate) fn seen(&self) -> Vec<EventEnvelope> {
        self.calls().into_iter().flatten().map(|delivery| delivery.event).collect()
    }

    /// Waits until every one of `expected` was given, and checks that nothing else was.
    pub(crate) async fn saw(&self, expected: &[EventEnvelope]) {
        eventually("all events to arrive", || {
            self.seen().len() >= expected.len() && ids(&self.seen()) == ids(expected)
        })
        .await;
    }
}

#[async_trait]
impl Handler for Recorder {
    async fn handle(&self, batch: &[Delivery]) -> Answer {
        let call = {
            let mut calls = self.calls.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            calls.push(batch.to_vec());
            calls.len() - 1
        };
        (self.answer)(call, batch)
    }

    async fn is_available(&self) -> bool {
        true
    }
}

/// All of a batch is done.
pub(crate) fn done(batch: &[Delivery]) -> Answer {
    Ok(vec![Verdict::Done; batch.len()])
}

/// A handler that stands still in the middle of its work until it is let go.
pub(crate) struct Gate {
    /// One permit for each batch that has begun.
    pub(crate) begun: Semaphore,
    /// One permit lets one batch end.
    pub(crate) open: Semaphore,
    /// What has ended.
    pub(crate) ended: Mutex<BTreeSet<Uuid>>,
}

impl Gate {
    /// One that is shut.
    pub(crate) fn shut() -> Arc<Self> {
        Arc::new(Self { begun: Semaphore::new(0), open: Semaphore::new(0), ended: Mutex::default() })
    }

    /// Waits until a batch has begun.
    pub(crate) async fn wait_begun(&self) {
        within("a batch to begin", self.begun.acquire()).await.unwrap().forget();
    }
}

#[async_trait]
impl Handler for Gate {
    async fn handle(&self, batch: &[Delivery]) -> Answer {
        self.begun.add_permits(1);
        self.open.acquire().await.unwrap().forget();
        self.ended.lock().unwrap().extend(batch.iter().map(|delivery| delivery.event.id));
        done(batch)
    }

    async fn is_available(&self) -> bool {
        true
    }
}

/// A listener that remembers what it heard.
#[derive(Default)]
pub(crate) struct Ear {
    begun: Mutex<usize>,
    heard: Mutex<Vec<EventEnvelope>>,
}

impl Ear {
    /// How often it was told that it hears everything from then on.
    pub(crate) fn begun(&self) -> usize {
        *self.begun.lock().unwrap()
    }

    /// The events so far, in order.
    pub(crate) fn heard(&self) -> Vec<EventEnvelope> {
        self.heard.lock().unwrap().clone()
    }
}

impl Listener for Ear {
    fn listening(&self) {
        *self.begun.lock().unwrap() += 1;
    }

    fn event(&self, event: &EventEnvelope) {
        self.heard.lock().unwrap().push(event.clone());
    }
}
