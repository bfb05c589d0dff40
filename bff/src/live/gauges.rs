//! How much is going on: numbers that rise and fall with what they count, also when it is aborted.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What live transports hold at this moment. Clones share the numbers.
#[derive(Debug, Clone, Default)]
pub struct LiveGauges {
    /// Open WebSockets.
    pub sockets: Gauge,
    /// Operations that run over WebSockets.
    pub operations: Gauge,
    /// Open event streams (SSE).
    pub event_streams: Gauge,
    /// Subscriptions to orders, over whichever transport.
    pub subscriptions: Gauge,
}

/// A number of things that exist.
#[derive(Debug, Clone, Default)]
pub struct Gauge(Arc<AtomicUsize>);

/// One thing that is counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted(Gauge);

impl Gauge {
    /// The number now.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// Counts one more.
    pub(crate) fn count(&self) -> Counted {
        self.0.fetch_add(1, Ordering::AcqRel);
        Counted(self.clone())
    }

    /// Counts one more, unless there are `limit` already.
    pub(crate) fn count_up_to(&self, limit: usize) -> Option<Counted> {
        let one_more = |number| (number < limit).then_some(number + 1);
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok().map(|_| Counted(self.clone()))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_falls_when_what_it_counts_is_dropped() {
        let gauge = Gauge::default();
        let (one, other) = (gauge.count(), gauge.count_up_to(2));
        assert!(other.is_some() && gauge.count_up_to(2).is_none());
        assert_eq!(gauge.get(), 2);
        drop((one, other));
        assert_eq!(gauge.get(), 0);
    }
}
