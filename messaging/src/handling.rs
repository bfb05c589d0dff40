//! One transaction of one handler, the same on every bus.
//!
//! A handler runs in a task of its own: its panic is caught, and whoever waits for it may be cancelled without
//! cutting a commit in half. A conflict with another transaction is tried again here. What lies in the batch itself
//! is for [`bisection`](crate::bisection) to find, and everything else is for the bus to wait out.

use std::{sync::Arc, time::Duration};

use tracing::{Instrument, Span, debug, error};

use chassis::{background::panic_text, backoff::Backoff};

use crate::{Delivery, HandleError, Handler, Verdict};

/// How often a conflict is tried again before it counts as an outage.
const CONFLICT_RETRIES: usize = 5;

/// Nothing of the batch was committed, as far as is known; it has to be given again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unsettled(pub(crate) String);

/// Why nothing of a batch was committed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// Not for what is in it, as far as is known.
    #[error(transparent)]
    Unsettled(#[from] Unsettled),
    /// Something in it breaks the transaction.
    #[error("{0}")]
    Fault(String),
    /// The handler panicked over it.
    #[error("the handler panicked: {0}")]
    Panic(String),
}

/// Gives `batch` to `handler` inside `span` and answers one verdict for each delivery.
///
/// # Errors
/// When nothing was committed. A handler that answers nonsense counts as a store that is away.
pub(crate) async fn handle(
    handler: &Arc<dyn Handler>,
    batch: &Arc<[Delivery]>,
    span: &Span,
) -> Result<Vec<Verdict>, Failure> {
    let mut pauses = Backoff::new(Duration::from_millis(5), Duration::from_millis(80));
    let mut retries = 0;
    loop {
        match attempt(handler, batch, span).await? {
            Ok(verdicts) if verdicts.len() == batch.len() => return Ok(verdicts),
            Ok(verdicts) => {
                let (given, answered) = (batch.len(), verdicts.len());
                error!("the handler answered {answered} verdicts to {given} deliveries: none of them counts");
                return Err(unsettled(format!("the handler answered {answered} verdicts to {given} deliveries")));
            }
            Err(HandleError::Contended(why)) if retries < CONFLICT_RETRIES => {
                retries += 1;
                debug!(retries, "a conflict with another transaction, trying again: {why}");
                tokio::time::sleep(pauses.next_pause()).await;
            }
            Err(HandleError::Contended(why)) => {
                return Err(unsettled(format!("still in conflict after {retries} more attempts: {why}")));
            }
            Err(HandleError::Unavailable(why)) => return Err(unsettled(why)),
            Err(HandleError::Fault(why)) => return Err(Failure::Fault(why)),
        }
    }
}

fn unsettled(why: String) -> Failure {
    Failure::Unsettled(Unsettled(why))
}

/// One call of the handler, in its own task. The outer error is that it did not come to an answer.
async fn attempt(
    handler: &Arc<dyn Handler>,
    batch: &Arc<[Delivery]>,
    span: &Span,
) -> Result<Result<Vec<Verdict>, HandleError>, Failure> {
    let (handler, batch) = (Arc::clone(handler), Arc::clone(batch));
    let task = tokio::spawn(async move { handler.handle(&batch).await }.instrument(span.clone()));
    task.await.map_err(|failure| match failure.try_into_panic() {
        Ok(payload) => {
            let message = panic_text(payload.as_ref());
            error!(parent: span, "a handler panicked: {message}");
            Failure::Panic(message.to_owned())
        }
        Err(_) => unsettled("the process is shutting down".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::Rejection;

    /// Answers as its function says, and counts the calls.
    struct Scripted<F> {
        calls: AtomicUsize,
        answer: F,
    }

    #[async_trait]
    impl<F> Handler for Scripted<F>
    where
        F: Fn(usize) -> Result<Vec<Verdict>, HandleError> + Send + Sync + 'static,
    {
        async fn handle(&self, _batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
            (self.answer)(self.calls.fetch_add(1, Ordering::SeqCst))
        }

        async fn is_available(&self) -> bool {
            true
        }
    }

    /// What comes of an empty batch, and how often the handler was called.
    async fn outcome_of<F>(answer: F) -> (Result<Vec<Verdict>, Failure>, usize)
    where
        F: Fn(usize) -> Result<Vec<Verdict>, HandleError> + Send + Sync + 'static,
    {
        let scripted = Arc::new(Scripted { calls: AtomicUsize::new(0), answer });
        let handler: Arc<dyn Handler> = Arc::clone(&scripted) as _;
        let outcome = handle(&handler, &Arc::from([]), &Span::none()).await;
        (outcome, scripted.calls.load(Ordering::SeqCst))
    }

    fn contended() -> HandleError {
        HandleError::Contended("deadlock".into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_is_tried_again_at_once() {
        let outcome = outcome_of(|call| if call < 5 { Err(contended()) } else { Ok(vec![]) }).await;
        assert_eq!(outcome, (Ok(vec![]), 6));
    }

    #[tokio::test(start_paused = true)]
    async fn conflicts_without_end_are_an_outage() {
        let (outcome, calls) = outcome_of(|_| Err(contended())).await;
        assert_eq!(calls, 6);
        assert!(outcome.unwrap_err().to_string().contains("after 5 more attempts: deadlock"));
    }

    #[tokio::test]
    async fn an_outage_is_left_to_the_bus() {
        let outcome = outcome_of(|_| Err(HandleError::Unavailable("disk full".into()))).await;
        assert_eq!(outcome, (Err(unsettled("disk full".into())), 1));
    }

    #[tokio::test]
    async fn a_panic_and_a_fault_are_told_apart_with_their_messages() {
        let outcome = outcome_of(|_| panic!("index out of bounds")).await;
        assert_eq!(outcome, (Err(Failure::Panic("index out of bounds".into())), 1));
        let outcome = outcome_of(|_| Err(HandleError::Fault("value too long".into()))).await;
        assert_eq!(outcome, (Err(Failure::Fault("value too long".into())), 1));
    }

    #[tokio::test]
    async fn verdicts_that_do_not_pair_with_the_deliveries_count_for_nothing() {
        let rejection = Rejection { reason: "conflict", error: "another amount".into() };
        let (outcome, _) = outcome_of(move |_| Ok(vec![Verdict::Reject(rejection.clone())])).await;
        assert!(outcome.unwrap_err().to_string().contains("1 verdicts to 0 deliveries"));
    }
}
