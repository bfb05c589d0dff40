//! How a step goes wrong: a publisher that loses and dies, and a future that comes to an end before its end.

use std::{
    collections::BTreeMap,
    future::{Future, pending, poll_fn},
    pin::pin,
    sync::{Arc, Mutex},
    task::Poll,
};

use async_trait::async_trait;
use contracts::EventEnvelope;
use messaging::{Outcome, PublishError, Publisher};
use tokio::sync::Notify;
use uuid::Uuid;

use super::steps::{Fact, Label};

/// Drops a future after so many polls, unless it is done by then.
pub(super) async fn cut_off<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| match left.checked_sub(1) {
        None => Poll::Ready(None),
        Some(less) => {
            left = less;
            future.as_mut().poll(context).map(Some)
        }
    })
    .await
}

/// What a relay publishes to: some of it is lost, and the relay may die of it.
pub(super) struct Wire {
    pub(super) labels: BTreeMap<Uuid, Label>,
    pub(super) lost: Vec<Fact>,
    /// Told when the relay has died.
    pub(super) dies: Option<Arc<Notify>>,
    pub(super) published: Published,
}

/// What has left, in order.
pub(super) type Published = Arc<Mutex<Vec<(Fact, EventEnvelope)>>>;

#[async_trait]
impl Publisher for Wire {
    async fn ready(&mut self) {}

    async fn publish(&mut self, window: &[EventEnvelope]) -> Result<Vec<Outcome>, PublishError> {
        let mut outcomes = Vec::new();
        for event in window {
            let order = self.labels.get(&event.order_id).copied().unwrap_or(Label(usize::MAX));
            let fact = Fact { order, event: event.event_type };
            if self.lost.contains(&fact) {
                outcomes.push(Outcome::Refused { reason: "lost".to_owned(), permanent: false });
            } else {
                outcomes.push(Outcome::Accepted);
                self.published.lock().unwrap().push((fact, event.clone()));
            }
        }
        if let Some(died) = &self.dies {
            died.notify_one();
            pending::<()>().await;
        }
        Ok(outcomes)
    }
}
