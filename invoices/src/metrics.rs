//! What is counted of invoices: how many there are, how they move, how long one waits for its order.

use std::time::Duration;

use chassis::{
    label_set, label_value,
    metrics::{Counter, Counters, Metrics},
};
use contracts::EventType;
use sea_orm::DatabaseConnection;

use crate::{
    entity::{self, Waiting},
    invoice::InvoiceStatus,
    saga::State,
};

/// For so long what was read of the invoices is good, however often it is asked for.
const FRESH: Duration = Duration::from_secs(5);

label_value! {
    /// A state of the saga.
    enum SagaState {
        Absent => "absent",
        Tombstone => "tombstone",
        Issued => "issued",
        Paid => "paid",
        Voided => "voided",
        Refunded => "refunded",
        Rejected => "rejected",
    }
}

impl From<State> for SagaState {
    fn from(state: State) -> Self {
        match state {
            State::Absent => Self::Absent,
            State::Tombstone => Self::Tombstone,
            State::Present(InvoiceStatus::Issued) => Self::Issued,
            State::Present(InvoiceStatus::Paid) => Self::Paid,
            State::Present(InvoiceStatus::Voided) => Self::Voided,
            State::Present(InvoiceStatus::Refunded) => Self::Refunded,
            State::Present(InvoiceStatus::Rejected) => Self::Rejected,
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

/// A transition of an invoice, to be counted once it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) from: State,
    pub(crate) to: State,
}

/// What is counted of invoices. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct InvoiceMetrics {
    created: Counter,
    transitions: Counters<Moved>,
    duplicates: Counters<OfEvent>,
    answered: Counter,
}

impl InvoiceMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            created: metrics.counter("invoices_created_total", "Invoices that were issued"),
            transitions: metrics.counters("saga_transitions_total", "Steps of the saga in this service"),
            duplicates: metrics.counters("inbox_duplicates_total", "Events that had been worked on before"),
            answered: metrics.counter(
                "reconciler_answered_total",
                "Questions of the other service's reconciler that were answered by saying it again",
            ),
        }
    }

    /// Has the invoices that wait for something looked up in `db` as well.
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
                let Some(Waiting { issued, tombstones, .. }) = waiting.get() else { return Vec::new() };
                let states = [(SagaState::Issued, issued), (SagaState::Tombstone, tombstones)];
                states.map(|(state, count)| (InState { state }, count as f64)).into()
            },
        );
        metrics.observed(
            "saga_oldest_pending_age_seconds",
            "How long the oldest of them has waited for the other service, which takes no person; 0 when none does",
            move || {
                let oldest = reading.get()?.oldest_tombstone;
                Some(oldest.map_or(0.0, |since| (contracts::now() - since).as_seconds_f64().max(0.0)))
            },
        );
    }

    pub(crate) fn moved(&self, transition: Transition) {
        let Transition { from, to } = transition;
        self.transitions.get_or_create(&Moved { from: from.into(), to: to.into() }).inc();
        if to == State::Present(InvoiceStatus::Issued) {
            self.created.inc();
        }
    }

    pub(crate) fn known(&self, event_type: EventType) {
        self.duplicates.get_or_create(&OfEvent { event: event_type.as_str() }).inc();
    }

    pub(crate) fn answered(&self, count: usize) {
        self.answered.inc_by(count as u64);
    }
}
