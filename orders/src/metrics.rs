//! What is counted of orders: how many there are, how they move, how long they wait.

use std::time::Duration;

use chassis::{
    label_set, label_value,
    metrics::{Counter, Counters, Histogram, Metrics},
};
use chrono::{DateTime, Utc};
use contracts::{EventType, TraceContext};
use sea_orm::DatabaseConnection;

use crate::{
    entity::{self, Waiting},
    order::{InvoiceStatus, OrderStatus},
    saga::{Awaits, State},
};

/// The bounds for the way from an order to its invoice, in seconds. The objective is one of them.
const TO_INVOICE: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// For so long what was read of the orders is good, however often it is asked for.
const FRESH: Duration = Duration::from_secs(5);

label_value! {
    /// A state of the saga: the order's, and what is known of its invoice.
    enum SagaState {
        PendingNone => "pending/none",
        PendingIssued => "pending/issued",
        Paid => "paid/paid",
        CanceledNone => "canceled/none",
        CanceledIssued => "canceled/issued",
        CanceledPaid => "canceled/paid",
        CanceledVoided => "canceled/voided",
        CanceledRefunded => "canceled/refunded",
        CanceledRejected => "canceled/rejected",
        /// None that the rules lead to.
        Other => "other",
    }
}

impl From<State> for SagaState {
    fn from(state: State) -> Self {
        use InvoiceStatus as Invoice;
        use OrderStatus::{Canceled, Paid, Pending};
        match (state.status, state.invoice) {
            (Pending, Invoice::None) => Self::PendingNone,
            (Pending, Invoice::Issued) => Self::PendingIssued,
            (Paid, Invoice::Paid) => Self::Paid,
            (Canceled, Invoice::None) => Self::CanceledNone,
            (Canceled, Invoice::Issued) => Self::CanceledIssued,
            (Canceled, Invoice::Paid) => Self::CanceledPaid,
            (Canceled, Invoice::Voided) => Self::CanceledVoided,
            (Canceled, Invoice::Refunded) => Self::CanceledRefunded,
            (Canceled, Invoice::Rejected) => Self::CanceledRejected,
            (Pending | Paid, _) => Self::Other,
        }
    }
}

label_set! {
    struct Moved { from: SagaState, to: SagaState }
}
label_set! {
    struct InState { state: SagaState }
}
label_set! {
    struct OfEvent { event: &'static str }
}

/// A transition of an order, to be counted once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: State,
    pub(crate) to: State,
}

impl Transition {
    /// Whether the order has its invoice now, and had none before: news may come in any order.
    pub(crate) fn is_invoiced(self) -> bool {
        self.from.invoice == InvoiceStatus::None
            && matches!(self.to.invoice, InvoiceStatus::Issued | InvoiceStatus::Paid)
    }
}

/// What is counted of orders. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct OrderMetrics {
    created: Counter,
    to_invoice: Histogram,
    transitions: Counters<Moved>,
    duplicates: Counters<OfEvent>,
    answered: Counter,
}

impl OrderMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            created: metrics.counter("orders_created_total", "Orders that were placed"),
            to_invoice: metrics.histogram(
                "order_to_invoice_seconds",
                "Time from an order until orders knows of its invoice, through both services and the bus twice",
                TO_INVOICE,
            ),
            transitions: metrics.counters("saga_transitions_total", "Steps of the saga in this service"),
            duplicates: metrics.counters("inbox_duplicates_total", "Events that had been worked on before"),
            answered: metrics.counter(
                "reconciler_answered_total",
                "Questions of the other service's reconciler that were answered by saying it again",
            ),
        }
    }

    /// Has the orders that wait for something looked up in `db` as well.
    pub(crate) fn look_at(db: &DatabaseConnection, metrics: &Metrics) {
        let db = db.clone();
        let reading = metrics.reading("saga", FRESH, move || {
            let db = db.clone();
            async move { entity::waiting(&db).await }
        });
        let waiting = reading.clone();
        metrics.all_observed(
            "saga_instances",
            "Orders and invoices that wait: for each other, for a payment, for the end of a cancellation. Counted up to a \
             hundred thousand",
            move || {
                let waiting = waiting.get().unwrap_or_default().into_iter();
                waiting.map(|of| (InState { state: of.state.into() }, of.count as f64)).collect()
            },
        );
        metrics.observed(
            "saga_oldest_pending_age_seconds",
            "How long the oldest of them has waited for the other service, which takes no person; 0 when none does",
            move || reading.get().map(|waiting| oldest_age(&waiting, contracts::now())),
        );
    }

    pub(crate) fn created(&self) {
        self.created.inc();
    }

    pub(crate) fn moved(&self, Transition { from, to }: Transition) {
        self.transitions.get_or_create(&Moved { from: from.into(), to: to.into() }).inc();
    }

    /// An order that was placed at `since` has its invoice, said a message of this trace.
    pub(crate) fn invoiced(&self, since: DateTime<Utc>, trace_context: &TraceContext) {
        self.to_invoice.observe_for(trace_context, (contracts::now() - since).as_seconds_f64().max(0.0));
    }

    pub(crate) fn known(&self, event_type: EventType) {
        self.duplicates.get_or_create(&OfEvent { event: event_type.as_str() }).inc();
    }

    pub(crate) fn answered(&self, count: usize) {
        self.answered.inc_by(count as u64);
    }
}

fn oldest_age(waiting: &[Waiting], now: DateTime<Utc>) -> f64 {
    let for_an_answer = waiting.iter().filter(|of| of.state.awaits() == Awaits::Answer);
    for_an_answer.map(|of| (now - of.oldest).as_seconds_f64()).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn who_waits_for_a_person_is_not_late() {
        let now = contracts::now();
        let waiting = |status, invoice, seconds| Waiting {
            state: State { status, invoice },
            count: 1,
            oldest: now - TimeDelta::seconds(seconds),
        };
        let unpaid = waiting(OrderStatus::Pending, InvoiceStatus::Issued, 5000);
        assert_eq!(oldest_age(std::slice::from_ref(&unpaid), now), 0.0);
        let new = waiting(OrderStatus::Pending, InvoiceStatus::None, 3);
        let canceled = waiting(OrderStatus::Canceled, InvoiceStatus::Issued, 40);
        assert_eq!(oldest_age(&[unpaid, new, canceled], now), 40.0);
    }
}
