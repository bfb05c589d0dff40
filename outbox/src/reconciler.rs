//! The last net: asks again where an answer never came.
//!
//! At-least-once delivery rests on the broker keeping what it has confirmed. A purged queue, a lost volume or a
//! binding that somebody removed breaks that, and then no retry helps: both sides believe that they are done. So
//! whoever waits for an answer says again, after a while, what it is waiting for an answer to: the same event, under
//! the same id, with [`asks`](contracts::EventEnvelope::asks) set, and the receiver answers with its own latest event
//! even if it has heard it all before. Everything said again is a duplicate by construction, so asking too often costs
//! work and never correctness. (ADR 0012.)
//!
//! A service marks what waits with the time of the next question, a [`Patience`] later at first, then when it has waited
//! four times as long, and after a month no more: an order that nobody ever pays is asked after half a dozen times.

use std::{future::Future, num::ParseIntError, str::FromStr, sync::Arc, time::Duration};

use chassis::{
    background::keep_running,
    backoff::Throttle,
    metrics::{Counter, Metrics},
};
use chrono::{DateTime, TimeDelta, Utc};
use messaging::{BusStatus, EventBus};
use sea_orm::DbErr;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The most that is asked after in one transaction.
pub const BATCH: u64 = 500;
/// Between two full batches: at most a hundred a second from a replica, however much there is to ask.
const BETWEEN_BATCHES: Duration = Duration::from_secs(5);
/// How often to look when there is little to ask.
const LOOK: Duration = Duration::from_secs(30);
/// What has waited for longer is given up: nobody answers, or nobody pays.
const GIVEN_UP: TimeDelta = TimeDelta::days(30);

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

    /// When to ask again, now that it was asked at `now`: when it has waited four times as long. `None` when it was the
    /// last time.
    pub fn next(self, since: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let waited = (now - since).max(TimeDelta::zero());
        let least = TimeDelta::from_std(self.0).unwrap_or(GIVEN_UP);
        (waited < GIVEN_UP).then(|| now + (waited * 3).max(least))
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
    /// How many it looked at: those whose time to ask had come.
    pub looked_at: u64,
    /// How many it asked after.
    pub asked: u64,
    /// How many of those should have had an answer long ago. It, or what it answers, was lost, or the other service does
    /// not get to it.
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
    pub fn start<F, Fut>(metrics: &Metrics, patience: Patience, bus: Arc<dyn EventBus>, pass: F) -> Self
    where
        F: Fn() -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Pass, DbErr>> + Send + 'static,
    {
        let (source, counted) = (metrics.service(), Counted::register(metrics));
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let begin = move || {
                let (counted, pass) = (counted.clone(), pass.clone());
                run(source, patience, Arc::clone(&bus), counted, pass, stopped.clone())
            };
            keep_running("a reconciler", begin).await;
        });
        Self { stop, task }
    }

    /// Ends after the pass in hand.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// What all passes did.
#[derive(Clone)]
struct Counted {
    looked_at: Counter,
    asked: Counter,
    overdue: Counter,
    failures: Counter,
}

impl Counted {
    fn register(metrics: &Metrics) -> Self {
        Self {
            looked_at: metrics.counter(
                "reconciler_looked_at_total",
                "Things whose time had come to ask after, some of which had been settled meanwhile",
            ),
            asked: metrics
                .counter("reconciler_asked_total", "Things that were asked after: their event was said again"),
            overdue: metrics.counter(
                "reconciler_overdue_total",
                "Of those, the ones that should have had an answer long ago: something was lost, or somebody is stuck",
            ),
            failures: metrics.counter("reconciler_failures_total", "Passes that the database did not let happen"),
        }
    }

    fn count(&self, pass: Pass) {
        self.looked_at.inc_by(pass.looked_at);
        self.asked.inc_by(pass.asked);
        self.overdue.inc_by(pass.overdue);
    }
}

async fn run<F, Fut>(
    source: &'static str,
    patience: Patience,
    bus: Arc<dyn EventBus>,
    counted: Counted,
    pass: F,
    stop: CancellationToken,
) where
    F: Fn() -> Fut + Send,
    Fut: Future<Output = Result<Pass, DbErr>> + Send,
{
    let mut failures = Throttle::default();
    let mut pause = patience.look();
    loop {
        // Jitter: replicas that started together do not look together.
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause.mul_f64(rand::random_range(1.0..=1.5))) => {}
        }
        pause = patience.look();
        // While nothing travels everything waits, and nothing is lost.
        if matches!(bus.status(), BusStatus::Degraded(_)) {
            continue;
        }
        match pass().await {
            Ok(done @ Pass { asked, overdue, .. }) => {
                failures.reset();
                counted.count(done);
                pause = pause_after(done, patience);
                if overdue > 0 {
                    tracing::warn!(asked, overdue, "{source} asked again after {overdue} that are overdue");
                } else if asked > 0 {
                    tracing::debug!(asked, "{source} asked again after {asked}");
                }
            }
            Err(error) => {
                counted.failures.inc();
                if failures.is_due() {
                    tracing::warn!(%error, "{source} cannot ask again for now: {error}");
                }
            }
        }
    }
}

/// Full batches follow each other, but slowly.
fn pause_after(done: Pass, patience: Patience) -> Duration {
    if done.asked >= BATCH { BETWEEN_BATCHES } else { patience.look() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backlog_is_asked_after_slowly_however_short_the_patience_is() {
        for patience in [Patience::default(), Patience::new(Duration::from_millis(100))] {
            let pause = |asked| pause_after(Pass { asked, ..Pass::default() }, patience);
            assert_eq!(pause(BATCH), Duration::from_secs(5));
            assert_eq!(pause(BATCH - 1), patience.look());
        }
    }

    #[test]
    fn it_asks_less_and_less_often_and_gives_up_in_the_end() {
        let patience = Patience::default();
        let since = DateTime::UNIX_EPOCH;
        let mut asked = vec![patience.first(since)];
        while let Some(next) = asked.last().and_then(|last| patience.next(since, *last)) {
            asked.push(next);
        }
        let minutes: Vec<_> = asked.iter().map(|at| (*at - since).num_minutes()).collect();
        assert_eq!(minutes, [10, 40, 160, 640, 2560, 10_240, 40_960, 163_840][..minutes.len()]);
        assert_eq!(minutes.len(), 8);
    }

    /// A clock that was put back does not make it ask without a pause.
    #[test]
    fn it_never_asks_twice_within_its_patience() {
        let patience = Patience::new(Duration::from_secs(60));
        let now = DateTime::UNIX_EPOCH;
        let next = patience.next(now + TimeDelta::hours(1), now).unwrap();
        assert_eq!(next - now, TimeDelta::minutes(1));
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
