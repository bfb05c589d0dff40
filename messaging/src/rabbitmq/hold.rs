//! The patience with a batch that cannot be settled, because the store or the dead letters are away.
//!
//! The batch stays in hand and is tried again after growing pauses: sent back to the queue it would come round at
//! once, and round again, until the broker's delivery limit took healthy messages for poison. After a minute the
//! channel is given up all the same, for another replica may have a store that answers.

use std::{future::Future, time::Duration};

use chassis::backoff::{Backoff, Throttle};
use contracts::topology::Queue;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::Handler;

/// How long a batch is held. Well below the broker's own patience of half an hour.
const LIMIT: Duration = Duration::from_secs(60);

/// Why a channel is given up.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// We were told to stop.
    Stopped,
    /// The batch could not be settled for too long. The connection is well.
    Held(String),
    /// Something is wrong with the channel or the connection.
    Broken(String),
}

/// Holds one batch.
pub(super) struct Hold<'a> {
    queue: &'a Queue,
    stop: &'a CancellationToken,
    complaints: &'a mut Throttle,
    pauses: Backoff,
    since: Instant,
}

impl<'a> Hold<'a> {
    /// Begins to hold a batch of `queue`.
    pub(super) fn new(queue: &'a Queue, stop: &'a CancellationToken, complaints: &'a mut Throttle) -> Self {
        let pauses = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        Self { queue, stop, complaints, pauses, since: Instant::now() }
    }

    /// Waits before the next attempt; `over` resolves when the connection is gone.
    ///
    /// # Errors
    /// When there should be none: time is up, the connection is gone and the messages with it, or we were stopped.
    pub(super) async fn pause(&mut self, reason: &str, over: impl Future<Output = String>) -> Result<(), End> {
        let queue = self.queue.name;
        if self.complaints.is_due() {
            warn!(queue, "holding a batch of {queue}: {reason}");
        } else {
            debug!(queue, "holding a batch of {queue}: {reason}");
        }
        if self.since.elapsed() >= LIMIT {
            return Err(End::Held(reason.to_owned()));
        }
        tokio::select! {
            () = self.stop.cancelled() => Err(End::Stopped),
            reason = over => Err(End::Broken(reason)),
            () = sleep(self.pauses.next_pause()) => Ok(()),
        }
    }
}

/// Resolves when the store of `handler` answers. Consuming before that would return the messages again each minute, and
/// an outage of an hour would look to the broker like a poisoned queue.
pub(super) async fn store_available(handler: &dyn Handler) {
    let mut pauses = Backoff::new(Duration::from_secs(1), Duration::from_secs(5));
    while !handler.is_available().await {
        sleep(pauses.next_pause()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use contracts::topology::ORDERS;

    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::{Delivery, HandleError, Verdict};

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_given_back_after_a_minute_of_growing_pauses() {
        let (stop, mut complaints) = (CancellationToken::new(), Throttle::default());
        let mut hold = Hold::new(&ORDERS, &stop, &mut complaints);
        let began = Instant::now();
        let mut attempts = 0;
        let end = loop {
            attempts += 1;
            if let Err(end) = hold.pause("disk full", pending()).await {
                break end;
            }
        };
        assert_eq!(end, End::Held("disk full".into()));
        assert!((LIMIT..LIMIT * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert!((15..150).contains(&attempts), "{attempts} attempts within a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_batch_that_is_gone_or_for_a_consumer_that_has_to_stop() {
        let (stop, mut complaints) = (CancellationToken::new(), Throttle::default());
        let mut hold = Hold::new(&ORDERS, &stop, &mut complaints);
        let lost = hold.pause("disk full", ready("connection reset".to_owned())).await;
        assert_eq!(lost, Err(End::Broken("connection reset".into())));
        stop.cancel();
        assert_eq!(hold.pause("disk full", pending()).await, Err(End::Stopped));
    }

    /// Has no store for the first three times that it is asked.
    struct AwayThrice(AtomicUsize);

    #[async_trait]
    impl Handler for AwayThrice {
        async fn handle(&self, _: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
            Err(HandleError::Unavailable("away".into()))
        }

        async fn is_available(&self) -> bool {
            self.0.fetch_add(1, Ordering::SeqCst) >= 3
        }
    }

    #[tokio::test(start_paused = true)]
    async fn consuming_waits_until_the_store_answers() {
        let handler = AwayThrice(AtomicUsize::new(0));
        store_available(&handler).await;
        assert_eq!(handler.0.load(Ordering::SeqCst), 4);
    }
}
