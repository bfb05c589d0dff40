//! The last net: asks again where an answer never came.
//!
//! At-least-once delivery rests on the broker keeping what it has confirmed. A purged queue, a lost volume or a
//! binding that somebody removed breaks that, and then no retry helps: both sides believe that they are done. So
//! whoever waits for an answer says again, after a while, what it is waiting for an answer to: the same event, under
//! the same id, with [`asks`](contracts::EventEnvelope::asks) set, and the receiver answers with its own latest event
//! even if it has heard it all before. Everything said again is a duplicate by construction, so asking too often costs
//! work and never correctness. (ADR 0012.)
//!
//! A service marks what waits with the time of the next look, here a [`Patience`] later, then after twice as long each
//! time: an order that nobody ever pays is asked after a few times a day, not every minute.

use std::{future::Future, num::ParseIntError, str::FromStr, sync::Arc, time::Duration};

use chassis::backoff::Throttle;
use chrono::{DateTime, TimeDelta, Utc};
use messaging::{BusStatus, EventBus};
use sea_orm::DbErr;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The most that is asked after in one transaction.
pub const BATCH: u64 = 500;
/// Between two full batches: at most a hundred questions a second from a replica, however much there is to ask.
const BETWEEN_BATCHES: Duration = Duration::from_secs(5);
/// How often to look when there is little to ask.
const LOOK: Duration = Duration::from_secs(30);
/// The longest time between two questions about the same thing.
const RAREST: TimeDelta = TimeDelta::hours(6);

/// How long to wait for an answer before asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience(Duration);

impl Patience {
    /// For tests and embedding; settings are read with [`FromStr`].
    pub const fn new(patience: Duration) -> Self {
        Self(patience)
    }

    /// When to ask for the first time, about something that waits since `since`.
    pub fn first(self, since: DateTime<Utc>) -> DateTime<Utc> {
        since + self.0
    }

    /// When to ask again, now that it was asked at `now`: after as long as it has waited already.
    pub fn next(self, since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        let least = TimeDelta::from_std(self.0).unwrap_or(RAREST);
        now + (now - since).clamp(least, RAREST.max(least))
    }

    /// How often to look for what is due: short against the patience, so that it means what it says.
    fn look(self) -> Duration {
        (self.0 / 10).clamp(Duration::from_millis(50), LOOK)
    }
}

impl Default for Patience {
    /// Ten minutes: far more than a message needs, and than most outages last.
    fn default() -> Self {
        Self(Duration::from_secs(600))
    }
}

/// A patience that cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a number of seconds from 1 to 86400")]
pub struct InvalidPatience(String);

impl FromStr for Patience {
    type Err = InvalidPatience;

    /// Reads whole seconds, 1 to 86400.
    fn from_str(text: &str) -> Result<Self, InvalidPatience> {
        match text.parse().map_err(|_: ParseIntError| InvalidPatience(text.to_owned()))? {
            seconds @ 1..=86_400 => Ok(Self(Duration::from_secs(seconds))),
            _ => Err(InvalidPatience(text.to_owned())),
        }
    }
}

/// What one pass did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pass {
    /// How many it asked after.
    pub asked: u64,
    /// How many of those should have had an answer long ago: it, or the question, was lost.
    pub overdue: u64,
}

/// A running reconciler. Dropping it leaves it running; [`Reconciler::stop`] ends it.
#[derive(Debug)]
pub struct Reconciler {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Reconciler {
    /// Starts to run `pass`, which asks after at most [`BATCH`] things that are due, again and again.
    pub fn start<F, Fut>(source: &'static str, patience: Patience, bus: Arc<dyn EventBus>, pass: F) -> Self
    where
        F: Fn() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Pass, DbErr>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(source, patience, bus, pass, stop.clone()));
        Self { stop, task }
    }

    /// Ends after the pass in hand.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

async fn run<F, Fut>(source: &'static str, patience: Patience, bus: Arc<dyn EventBus>, pass: F, stop: CancellationToken)
where
    F: Fn() -> Fut + Send,
    Fut: Future<Output = Result<Pass, DbErr>> + Send,
{
    let mut failures = Throttle::default();
    let mut pause = patience.look();
    loop {
        // Jitter: replicas that started together do not look together.
        let pause_now = pause.mul_f64(rand::random_range(0.5..=1.0));
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause_now) => {}
        }
        pause = patience.look();
        // While nothing travels everything waits, and nothing is lost.
        if matches!(bus.status(), BusStatus::Degraded(_)) {
            continue;
        }
        match pass().await {
            Ok(Pass { asked, overdue }) => {
                failures.reset();
                if overdue > 0 {
                    tracing::warn!(asked, overdue, "{source} told the bus again of {overdue} without an answer");
                } else if asked > 0 {
                    tracing::debug!(asked, "{source} asked again after {asked}");
                }
                if asked >= BATCH {
                    pause = pause.min(BETWEEN_BATCHES);
                }
            }
            Err(error) if failures.is_due() => {
                tracing::warn!(%error, "{source} cannot ask again for now: {error}");
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_less_and_less_often() {
        let patience = Patience::default();
        let since = DateTime::UNIX_EPOCH;
        let mut asked = patience.first(since);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = patience.next(since, asked);
            pauses.push((next - asked).num_minutes());
            asked = next;
        }
        assert_eq!(patience.first(since) - since, TimeDelta::minutes(10));
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 360, 360]);
    }

    /// A clock that was put back does not make it ask without a pause.
    #[test]
    fn it_never_asks_twice_within_its_patience() {
        let patience = Patience::new(Duration::from_secs(60));
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(patience.next(now + TimeDelta::hours(1), now) - now, TimeDelta::minutes(1));
    }

    #[test]
    fn a_patience_that_cannot_be_meant_is_named() {
        assert_eq!("600".parse(), Ok(Patience::default()));
        for wrong in ["0", "-1", "1.5", "86401", "ten", ""] {
            let error = wrong.parse::<Patience>().unwrap_err().to_string();
            assert_eq!(error, format!("{wrong:?} is not a number of seconds from 1 to 86400"));
        }
    }
}
