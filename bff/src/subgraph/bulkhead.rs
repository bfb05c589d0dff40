//! A bulkhead (Nygard, *Release It!*): so many calls to one service at a time, so many that wait, and no more. A service
//! that is slow then costs a bounded part of this process, and who comes too late is told at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Semaphore, SemaphorePermit};

/// The bulkhead of one service.
#[derive(Debug)]
pub(super) struct Bulkhead {
    calls: Semaphore,
    most_calls: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// Nobody may wait any more.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Bulkhead {
    /// For `calls` at a time, and `waiting` more.
    pub(super) fn new(calls: usize, waiting: usize) -> Self {
        Self { calls: Semaphore::new(calls), most_calls: calls, waiting: AtomicUsize::new(0), most_waiting: waiting }
    }

    /// How many calls are on their way.
    pub(super) fn active(&self) -> usize {
        self.most_calls.saturating_sub(self.calls.available_permits())
    }

    /// How many wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Waits for a place; whoever has it may call.
    pub(super) async fn enter(&self) -> Result<SemaphorePermit<'_>, Full> {
        if let Ok(permit) = self.calls.try_acquire() {
            return Ok(permit);
        }
        let _place = Place::take(self)?;
        // It is never closed.
        self.calls.acquire().await.map_err(|_| Full)
    }
}

/// A place among those who wait, also when they go away.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(bulkhead: &'a Bulkhead) -> Result<Self, Full> {
        let one_more = |waiting| (waiting < bulkhead.most_waiting).then_some(waiting + 1);
        let taken = bulkhead.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.map(|_| Self(&bulkhead.waiting)).map_err(|_| Full)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};
    use std::pin::pin;

    use super::*;

    #[tokio::test]
    async fn so_many_call_so_many_wait_and_the_next_is_turned_away() {
        let bulkhead = Bulkhead::new(1, 1);
        let call = bulkhead.enter().await.unwrap();
        let mut waiting = pin!(bulkhead.enter());
        assert!(poll!(&mut waiting).is_pending());
        assert!(matches!(bulkhead.enter().await, Err(Full)));
        drop(call);
        let call = waiting.await.unwrap();
        assert!(bulkhead.enter().now_or_never().is_none(), "the place is free again");
        assert!(bulkhead.enter().now_or_never().is_none(), "and so it is when who waits gives up");
        drop(call);
        assert!(bulkhead.enter().now_or_never().is_some());
    }
}
