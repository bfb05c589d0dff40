//! Readings of things that are far away, e.g. how many rows wait in a table.
//!
//! They are taken when somebody asks for the metrics, not on a clock of their own: nobody pays for them where nothing is
//! scraped. Scraping must not hurt, so each is used for a while, however many ask, and has a second. And it must not lie:
//! a reading that failed is gone, its gauges are left out, and a counter says so. A scrape itself never fails.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, timeout};

use crate::backoff::Throttle;

/// How long one may take. Well below the 10 s that Prometheus waits by default for all of them.
const LIMIT: Duration = Duration::from_secs(1);

/// The last reading. Clones are the same.
#[derive(Debug)]
pub struct Reading<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Reading<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Clone> Reading<T> {
    /// What was read; `None` when that failed, or nobody has asked yet.
    pub fn get(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, value: Option<T>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

/// Something that can be read.
pub(super) trait Source: Send + Sync {
    /// Reads, if the last reading is too old.
    fn refresh(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

struct Reader<T, F> {
    name: &'static str,
    fresh: Duration,
    failures: Counter,
    read: F,
    reading: Reading<T>,
    /// Held while somebody reads: whoever asks meanwhile waits for that answer.
    state: tokio::sync::Mutex<State>,
}

#[derive(Default)]
struct State {
    read_at: Option<Instant>,
    complaints: Throttle,
}

/// A reading, and what takes it.
pub(super) fn new<T, F, Fut, E>(
    name: &'static str,
    fresh: Duration,
    failures: Counter,
    read: F,
) -> (Reading<T>, Arc<dyn Source>)
where
    T: Clone + Send + 'static,
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    E: fmt::Display,
{
    let reading = Reading(Arc::default());
    let source = Reader { name, fresh, failures, read, reading: reading.clone(), state: Default::default() };
    (reading, Arc::new(source))
}

impl<T, F, Fut, E> Source for Reader<T, F>
where
    T: Clone + Send + 'static,
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    E: fmt::Display,
{
    fn refresh(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let mut state = self.state.lock().await;
            if state.read_at.is_some_and(|at| at.elapsed() < self.fresh) {
                return;
            }
            let failure = match timeout(LIMIT, (self.read)()).await {
                Ok(Ok(value)) => {
                    self.reading.set(Some(value));
                    state.complaints.reset();
                    None
                }
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(format!("no answer within {LIMIT:?}")),
            };
            if let Some(error) = failure {
                self.reading.set(None);
                self.failures.inc();
                if state.complaints.is_due() {
                    let collector = self.name;
                    tracing::warn!(collector, error, "cannot read the metrics of {collector}: {error}");
                }
            }
            // Also after a failure: what is slow must not be asked by every scraper in turn.
            state.read_at = Some(Instant::now());
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const FRESH: Duration = Duration::from_secs(2);

    /// Fails, hangs or answers how often it was asked.
    #[derive(Default)]
    struct Thing {
        asked: AtomicU32,
        is_away: Mutex<bool>,
        hangs: Mutex<bool>,
    }

    fn read(thing: &Arc<Thing>) -> (Reading<u32>, Arc<dyn Source>, Counter) {
        let (failures, thing) = (Counter::default(), Arc::clone(thing));
        let (reading, source) = new("a test", FRESH, failures.clone(), move || {
            let thing = Arc::clone(&thing);
            async move {
                let asked = thing.asked.fetch_add(1, Ordering::Relaxed) + 1;
                if *thing.hangs.lock().unwrap() {
                    std::future::pending::<()>().await;
                }
                if *thing.is_away.lock().unwrap() { Err("it is away") } else { Ok(asked) }
            }
        });
        (reading, source, failures)
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_ask_it_is_read_once_in_a_while() {
        let thing = Arc::default();
        let (reading, source, _) = read(&thing);
        assert_eq!(reading.get(), None);
        tokio::join!(source.refresh(), source.refresh(), source.refresh());
        assert_eq!((reading.get(), thing.asked.load(Ordering::Relaxed)), (Some(1), 1));
        tokio::time::advance(FRESH).await;
        source.refresh().await;
        assert_eq!(reading.get(), Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn what_failed_or_hangs_is_left_out_and_counted_until_it_can_be_read_again() {
        let thing: Arc<Thing> = Arc::default();
        let (reading, source, failures) = read(&thing);
        source.refresh().await;
        for (away, hangs, expected) in [(true, false, None), (false, true, None), (false, false, Some(4))] {
            (*thing.is_away.lock().unwrap(), *thing.hangs.lock().unwrap()) = (away, hangs);
            tokio::time::advance(FRESH).await;
            let began = Instant::now();
            source.refresh().await;
            assert_eq!(reading.get(), expected, "away {away}, hangs {hangs}");
            assert!(began.elapsed() <= LIMIT);
        }
        assert_eq!(failures.get(), 2);
    }
}
