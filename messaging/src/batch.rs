//! A batch of deliveries, decoded: what a handler works on, with the verdicts of the rest already given.

use contracts::{Event, TraceContext};
use uuid::Uuid;

use crate::{Delivery, Rejection, Verdict};

/// A decoded delivery and its place in the batch.
#[derive(Debug)]
pub struct Decoded<'a, E> {
    /// Its index: where its verdict goes.
    pub index: usize,
    /// The body.
    pub event: E,
    /// The delivery it came in.
    pub delivery: &'a Delivery,
}

impl<'a, E: Event> Decoded<'a, E> {
    /// Decodes a batch *before* any transaction is opened. What does not decode is permanent: it gets its
    /// rejection here and never reaches the transaction. All others start as [`Verdict::Done`].
    pub fn all(batch: &'a [Delivery]) -> (Vec<Self>, Vec<Verdict>) {
        let mut verdicts = vec![Verdict::Done; batch.len()];
        let mut decoded = Vec::with_capacity(batch.len());
        for (index, delivery) in batch.iter().enumerate() {
            match E::decode(&delivery.event.body) {
                Ok(event) => decoded.push(Self { index, event, delivery }),
                Err(error) => {
                    verdicts[index] = Verdict::Reject(Rejection { reason: "malformed", error: error.to_string() });
                }
            }
        }
        (decoded, verdicts)
    }

    /// The order it belongs to.
    pub fn order_id(&self) -> Uuid {
        self.event.order_id()
    }

    /// The trace it continues.
    pub fn trace_context(&self) -> &TraceContext {
        &self.delivery.event.trace_context
    }
}
