//! What a process does beside answering requests. It has to go on: a service whose relay or consumer is gone looks
//! healthy, and everything it should do waits.

use std::{any::Any, time::Duration};

use crate::backoff::Backoff;

/// Pauses after a panic.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Runs what `start` gives to its end, and begins again after a panic. `what` names it in the log.
pub async fn keep_running<F>(what: &str, mut start: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut pause = Backoff::new(PAUSE.0, PAUSE.1);
    // A task of its own: a panic ends there.
    while let Err(failure) = tokio::spawn(start()).await {
        // Else the runtime is going, and takes everything with it.
        let Ok(panic) = failure.try_into_panic() else { return };
        tracing::error!("{what} panicked, and begins again: {}", panic_text(panic.as_ref()));
        tokio::time::sleep(pause.next_pause()).await;
    }
}

/// What a panic says.
pub fn panic_text(payload: &(dyn Any + Send)) -> &str {
    payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_begins_again_after_each_panic_until_it_ends_by_itself() {
        let begun = Arc::new(AtomicUsize::new(0));
        keep_running("a test", || {
            let begun = Arc::clone(&begun);
            async move {
                let nth = begun.fetch_add(1, Ordering::Relaxed);
                assert!(nth >= 2, "for the {nth}th time");
            }
        })
        .await;
        assert_eq!(begun.load(Ordering::Relaxed), 3);
    }
}
