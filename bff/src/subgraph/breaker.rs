//! A circuit breaker (Nygard, *Release It!*): a service that fails again and again is left alone for a while, so that
//! clients get their partial answers at once instead of each waiting for a timeout, and the service can get up.
//!
//! Closed, calls go through, and [`TRIPS`] failures in a row open it. Open, no call goes through for a pause that doubles
//! each time. Then it is half open: one call is let through as a probe; its success closes the breaker, its failure opens
//! it again. What counts as a failure is for the caller to say: no connection, no answer in time, a 5xx. An answer with
//! GraphQL errors is an answer.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::metrics::BreakerState;

/// So many failures in a row open the breaker.
const TRIPS: u32 = 5;

/// The first pause.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The breaker of one service.
#[derive(Debug)]
pub(super) struct Breaker {
    service: &'static str,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { until: Instant, pause: Duration },
    HalfOpen { pause: Duration },
}

/// A call that may be made. To be told how it ended; one that was given up says nothing about the service.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    breaker: &'a Breaker,
    /// Whether it is the probe, on which everything depends.
    probe: bool,
}

impl Breaker {
    /// A closed one.
    pub(super) fn new(service: &'static str) -> Self {
        Self { service, state: Mutex::new(State::Closed { failures: 0 }) }
    }

    /// Whether a call may be made now.
    pub(super) fn permit(&self) -> Option<Permit<'_>> {
        let mut state = self.lock();
        match *state {
            State::Closed { .. } => Some(Permit { breaker: self, probe: false }),
            State::Open { until, pause } if Instant::now() >= until => {
                *state = State::HalfOpen { pause };
                Some(Permit { breaker: self, probe: true })
            }
            State::Open { .. } | State::HalfOpen { .. } => None,
        }
    }

    /// How it is. Open also when its pause is over and nobody has called since.
    pub(super) fn state(&self) -> BreakerState {
        match *self.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The service answered.
    pub(super) fn succeeded(mut self) {
        let service = self.breaker.service;
        let mut state = self.breaker.lock();
        match *state {
            State::Closed { .. } => *state = State::Closed { failures: 0 },
            State::HalfOpen { .. } if self.probe => {
                *state = State::Closed { failures: 0 };
                tracing::info!(subgraph = service, "{service} answers again");
            }
            // A call from before: the probe decides.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
        drop(state);
        self.probe = false;
    }

    /// The service failed.
    pub(super) fn failed(mut self) {
        let service = self.breaker.service;
        let mut state = self.breaker.lock();
        let now = Instant::now();
        match *state {
            State::Closed { failures } if failures + 1 < TRIPS => *state = State::Closed { failures: failures + 1 },
            State::Closed { .. } => {
                *state = State::Open { until: now + PAUSE, pause: PAUSE };
                tracing::warn!(
                    subgraph = service,
                    "{service} failed {TRIPS} times in a row and is left alone for {PAUSE:?}"
                );
            }
            State::HalfOpen { pause } if self.probe => {
                let pause = (2 * pause).min(LONGEST_PAUSE);
                *state = State::Open { until: now + pause, pause };
                tracing::debug!(subgraph = service, "{service} still fails and is left alone for {pause:?}");
            }
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
        drop(state);
        self.probe = false;
    }
}

/// A probe whose caller went away has proved nothing: the next call is the probe.
impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe {
            let mut state = self.breaker.lock();
            if let State::HalfOpen { pause } = *state {
                *state = State::Open { until: Instant::now(), pause };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn fail(breaker: &Breaker, times: u32) {
        for _ in 0..times {
            breaker.permit().unwrap().failed();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn five_failures_in_a_row_open_it_and_a_success_starts_the_count_again() {
        let breaker = Breaker::new("test");
        fail(&breaker, TRIPS - 1);
        breaker.permit().unwrap().succeeded();
        fail(&breaker, TRIPS - 1);
        assert!(breaker.permit().is_some());
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&breaker, 1);
        assert!(breaker.permit().is_none());
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_pause_one_probe_decides() {
        let breaker = Breaker::new("test");
        fail(&breaker, TRIPS);
        advance(PAUSE).await;
        let probe = breaker.permit().unwrap();
        assert!(breaker.permit().is_none(), "one at a time");
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        probe.failed();
        advance(PAUSE).await;
        assert!(breaker.permit().is_none(), "the pause has doubled");
        advance(PAUSE).await;
        breaker.permit().unwrap().succeeded();
        fail(&breaker, TRIPS - 1);
        assert!(breaker.permit().is_some(), "closed, and the count begins again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_leaves_its_place_to_the_next() {
        let breaker = Breaker::new("test");
        fail(&breaker, TRIPS);
        advance(PAUSE).await;
        drop(breaker.permit().unwrap());
        let probe = breaker.permit().unwrap();
        assert!(breaker.permit().is_none());
        probe.succeeded();
        assert!(breaker.permit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_it_opened_changes_nothing() {
        let breaker = Breaker::new("test");
        let (late, later) = (breaker.permit().unwrap(), breaker.permit().unwrap());
        fail(&breaker, TRIPS);
        late.succeeded();
        later.failed();
        assert!(breaker.permit().is_none());
        advance(PAUSE).await;
        assert!(breaker.permit().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_has_an_end() {
        let breaker = Breaker::new("test");
        fail(&breaker, TRIPS);
        for _ in 0..20 {
            advance(LONGEST_PAUSE).await;
            breaker.permit().unwrap().failed();
        }
        advance(LONGEST_PAUSE).await;
        assert!(breaker.permit().is_some());
    }
}
