//! Waiting between attempts, and not talking too much meanwhile.
//!
//! Full jitter: each pause is drawn from zero up to a bound that doubles. Replicas that failed together, because
//! their broker or database went away, do not come back together.

use std::time::Duration;

use tokio::time::Instant;

/// The pauses between attempts that may go on for ever.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    bound: Duration,
}

impl Backoff {
    /// Pauses up to `first`, then up to twice that, and so on up to `most`.
    pub const fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, bound: first }
    }

    /// How long to wait now.
    pub fn next_pause(&mut self) -> Duration {
        let pause = rand::random_range(Duration::ZERO..=self.bound);
        self.bound = (self.bound * 2).min(self.most);
        pause
    }

    /// Begins again with short pauses: what was tried has worked for a while.
    pub fn reset(&mut self) {
        self.bound = self.first;
    }
}

/// Lets the first of a row of equal failures into the log, and then one each thirty seconds: an outage of an hour
/// is some hundred lines and not some ten thousand.
#[derive(Debug, Default)]
pub struct Throttle {
    last: Option<Instant>,
}

impl Throttle {
    const PAUSE: Duration = Duration::from_secs(30);

    /// True when it is time to say it (again).
    pub fn is_due(&mut self) -> bool {
        let now = Instant::now();
        let due = self.last.is_none_or(|last| now.duration_since(last) >= Self::PAUSE);
        if due {
            self.last = Some(now);
        }
        due
    }

    /// The trouble is over: the next one is news.
    pub fn reset(&mut self) {
        self.last = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_never_exceeds_its_bound_and_the_bound_never_the_limit() {
        let (first, most) = (Duration::from_millis(100), Duration::from_secs(3));
        let mut backoff = Backoff::new(first, most);
        for attempt in 0..20 {
            let bound = (first * 2_u32.pow(attempt.min(10))).min(most);
            let pause = backoff.next_pause();
            assert!(pause <= bound, "attempt {attempt}: {pause:?} is more than {bound:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= first);
    }

    /// Full jitter: a pause that only trembled about its bound would still bring everybody back together.
    #[test]
    fn pauses_are_spread_over_the_whole_of_their_bound() {
        let bound = Duration::from_secs(1);
        let mut backoff = Backoff::new(bound, bound);
        let mut tenths = [0; 11];
        for _ in 0..2000 {
            tenths[usize::try_from(backoff.next_pause().as_millis() / 100).unwrap()] += 1;
        }
        // 200 are to be expected in each.
        assert!(tenths[..10].iter().all(|count| (100..350).contains(count)), "{tenths:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_mentioned_at_once_and_then_each_thirty_seconds() {
        let mut throttle = Throttle::default();
        assert!(throttle.is_due());
        assert!(!throttle.is_due());
        tokio::time::advance(Duration::from_secs(29)).await;
        assert!(!throttle.is_due());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(throttle.is_due());
        throttle.reset();
        assert!(throttle.is_due());
    }
}
