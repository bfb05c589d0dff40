//! Waiting for a condition.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep};

/// How long a condition may take before the test fails. Far more than it ever takes: a loaded machine must not fail
/// a test, and a test that waits for the right thing never waits this long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until there is an answer, and fails with `what` when there is none in time.
pub async fn eventually<T, F, Fut>(what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "within {PATIENCE:?} it did not come true that {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
