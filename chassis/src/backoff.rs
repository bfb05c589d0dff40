//! Exponential back-off with full jitter: replicas that lost the same broker do not come back in step.

use std::time::Duration;

/// The pauses between attempts: random between nothing and a bound that doubles up to a maximum.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    bound: Duration,
}

impl Backoff {
    /// Starts with pauses up to `first`, ends with pauses up to `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Self { first, max, bound: first }
    }

    /// The next pause.
    pub fn next_pause(&mut self) -> Duration {
        let pause = self.bound.mul_f64(rand::random::<f64>());
        self.bound = (self.bound * 2).min(self.max);
        pause
    }

    /// Back to the shortest pauses, after something worked.
    pub fn reset(&mut self) {
        self.bound = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_under_a_bound_that_doubles_up_to_the_maximum() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(350));
        for bound in [100, 200, 350, 350] {
            assert!(backoff.next_pause() <= Duration::from_millis(bound));
        }
        backoff.reset();
        assert!(backoff.next_pause() <= Duration::from_millis(100));
    }
}
