//! One batch through one handler, in as many transactions as it takes to tell who is at fault.
//!
//! Mostly that is one. A batch whose transaction fails for something in it, or whose handler panics, is halved until
//! the one that does it is alone: then it is rejected, and its neighbours are not. That costs some twenty small
//! commits in a batch of 500, and no healthy message its place. Only what lies in the batch is searched for in this
//! way; while the store is away, all of it waits.

use std::sync::Arc;

use contracts::topology::Queue;
use tracing::Span;

use crate::{
    Delivery, Handler, Rejection, Verdict,
    handling::{self, Failure, Unsettled},
    trace::{Arrival, BatchSpans},
};

/// A delivery on its way to its handler.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    /// What the handler gets.
    pub(crate) delivery: Delivery,
    /// The [`destination`](crate::trace::destination) for its span.
    pub(crate) destination: String,
    /// How it came.
    pub(crate) arrival: Arrival,
}

/// A batch of which each delivery has its verdict.
#[derive(Debug)]
pub(crate) struct Settled {
    /// One for each delivery, in order.
    pub(crate) verdicts: Vec<Verdict>,
    /// The spans of the transactions that it took, for what is done about the verdicts.
    pub(crate) spans: Vec<Span>,
}

/// What is handled in one transaction: places in the batch.
struct Part {
    places: Vec<usize>,
    /// It panicked already, as a part of something larger or by itself.
    panicked: bool,
}

/// Gives all of `batch` to `handler` and answers one verdict for each delivery, in order.
///
/// # Errors
/// When nothing can be said about a part of it. Other parts may be committed; giving all of it again is harmless.
pub(crate) async fn settle(
    system: &'static str,
    queue: &'static Queue,
    handler: &Arc<dyn Handler>,
    batch: &[Incoming],
) -> Result<Settled, Unsettled> {
    let mut transactions = Vec::new();
    let mut verdicts = vec![Verdict::Done; batch.len()];
    let mut parts = vec![Part { places: (0..batch.len()).collect(), panicked: false }];
    while let Some(mut part) = parts.pop() {
        let deliveries: Vec<Incoming> = part.places.iter().map(|place| batch[*place].clone()).collect();
        let spans = BatchSpans::open(system, queue, &deliveries);
        let failure = match handling::handle(handler, &spans.within(&deliveries), spans.handler()).await {
            Ok(answers) => {
                for (index, (place, verdict)) in part.places.iter().zip(answers).enumerate() {
                    spans.record_verdict(index, &deliveries[index], &verdict);
                    verdicts[*place] = verdict;
                }
                transactions.push(spans.handler().clone());
                continue;
            }
            Err(failure) => failure,
        };
        spans.record_failure(&failure);
        let rejection = match failure {
            Failure::Unsettled(unsettled) => return Err(unsettled),
            Failure::Fault(error) => Rejection { reason: "fault", error },
            // Alone for the first time: a panic may be chance, and once more is cheap.
            Failure::Panic(_) if part.places.len() == 1 && !part.panicked => {
                parts.push(Part { panicked: true, ..part });
                continue;
            }
            Failure::Panic(error) => {
                part.panicked = true;
                Rejection { reason: "panic", error }
            }
        };
        if let [only] = part.places[..] {
            let verdict = Verdict::Reject(rejection);
            spans.record_verdict(0, &deliveries[0], &verdict);
            verdicts[only] = verdict;
            transactions.push(spans.handler().clone());
        } else {
            let second = part.places.split_off(part.places.len() / 2);
            parts.push(Part { places: second, panicked: part.panicked });
            parts.push(part);
        }
    }
    Ok(Settled { verdicts, spans: transactions })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use bytes::Bytes;
    use contracts::{EventEnvelope, EventType, TraceContext, event_id, topology::ORDERS};
    use uuid::Uuid;

    use super::*;
    use crate::HandleError;

    /// What a delivery does to the transaction it is in.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Does {
        Well,
        Fault,
        Panic,
        PanicOnce,
        Outage,
    }

    /// Answers by what is in the batch; notes the sizes of the batches.
    struct Scripted {
        does: Vec<Does>,
        panicked: Mutex<bool>,
        sizes: Mutex<Vec<usize>>,
    }

    #[async_trait]
    impl Handler for Scripted {
        async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
            self.sizes.lock().unwrap().push(batch.len());
            for delivery in batch {
                match self.does[usize::try_from(delivery.event.event_no).unwrap()] {
                    Does::Well => {}
                    Does::Fault => return Err(HandleError::Fault("it breaks the row".into())),
                    Does::Panic => panic!("it breaks the handler"),
                    Does::PanicOnce if !std::mem::replace(&mut *self.panicked.lock().unwrap(), true) => {
                        panic!("by chance")
                    }
                    Does::PanicOnce => {}
                    Does::Outage => return Err(HandleError::Unavailable("away".into())),
                }
            }
            Ok(vec![Verdict::Done; batch.len()])
        }

        async fn is_available(&self) -> bool {
            true
        }
    }

    fn incoming(number: usize) -> Incoming {
        let id = Uuid::from_u128(number as u128);
        let event = EventEnvelope {
            id: event_id(id, 1),
            event_type: EventType::OrderCreated,
            source: "orders".into(),
            aggregate_id: id,
            event_no: i64::try_from(number).unwrap(),
            order_id: id,
            occurred_at: contracts::now(),
            trace_context: TraceContext::default(),
            asks: false,
            body: Bytes::new(),
        };
        Incoming {
            delivery: Delivery { event, redelivered: false },
            destination: String::new(),
            arrival: Arrival::FIRST,
        }
    }

    /// The reason each delivery was rejected for, `""` for none, and the sizes of the batches.
    async fn settled(does: &[Does]) -> (Result<Vec<&'static str>, Unsettled>, Vec<usize>) {
        let batch: Vec<_> = (0..does.len()).map(incoming).collect();
        let scripted = Arc::new(Scripted { does: does.to_vec(), panicked: Mutex::default(), sizes: Mutex::default() });
        let handler: Arc<dyn Handler> = Arc::clone(&scripted) as _;
        let reason = |verdict| match verdict {
            Verdict::Reject(Rejection { reason, .. }) => reason,
            _ => "",
        };
        let verdicts = settle("test", &ORDERS, &handler, &batch).await.map(|settled| settled.verdicts);
        let sizes = scripted.sizes.lock().unwrap().clone();
        (verdicts.map(|verdicts| verdicts.into_iter().map(reason).collect()), sizes)
    }

    #[tokio::test]
    async fn a_healthy_batch_is_one_transaction() {
        let (verdicts, sizes) = settled(&[Does::Well; 5]).await;
        assert_eq!((verdicts.unwrap(), sizes), (vec![""; 5], vec![5]));
    }

    #[tokio::test]
    async fn the_one_at_fault_is_found_and_costs_nobody_else() {
        for at in 0..7 {
            let mut does = [Does::Well; 7];
            does[at] = Does::Fault;
            let mut expected = vec![""; 7];
            expected[at] = "fault";
            let (verdicts, sizes) = settled(&does).await;
            assert_eq!(verdicts.unwrap(), expected);
            assert!(sizes.len() <= 7, "{sizes:?}");
        }
    }

    #[tokio::test]
    async fn several_at_fault_for_different_reasons_are_all_found() {
        let does = [Does::Fault, Does::Well, Does::Panic, Does::Well, Does::Fault, Does::Well];
        let (verdicts, _) = settled(&does).await;
        assert_eq!(verdicts.unwrap(), ["fault", "", "panic", "", "fault", ""]);
    }

    #[tokio::test]
    async fn a_panic_has_to_happen_again_alone() {
        let (verdicts, sizes) = settled(&[Does::PanicOnce]).await;
        assert_eq!((verdicts.unwrap(), sizes), (vec![""], vec![1, 1]));
        let (verdicts, sizes) = settled(&[Does::Panic]).await;
        assert_eq!((verdicts.unwrap(), sizes), (vec!["panic"], vec![1, 1]));
        let (verdicts, sizes) = settled(&[Does::Panic, Does::Well]).await;
        assert_eq!((verdicts.unwrap(), sizes), (vec!["panic", ""], vec![2, 1, 1]));
    }

    #[tokio::test]
    async fn an_outage_says_nothing_about_a_message() {
        let (verdicts, sizes) = settled(&[Does::Well, Does::Fault, Does::Well, Does::Outage]).await;
        assert_eq!(verdicts, Err(Unsettled("away".into())));
        assert!(!sizes.is_empty());
    }
}
