//! The reference of the reconcilers: who asks, about what, and what is answered.
//!
//! What is said again is a fact as it was, so it is in an outbox once.

use std::collections::BTreeSet;

use contracts::EventType;
use invoices::{invoice::InvoiceStatus as Settled, saga::State as InvoiceState};
use orders::{
    order::{InvoiceStatus, OrderStatus},
    saga::State as OrderState,
};
use outbox::reconciler::Pass;

use super::{
    model::{Model, Rows, Waiting},
    steps::{Action, Fact, Label, Side},
};

/// Whether an order has heard all that it will ever hear of its invoice.
pub(super) fn is_settled(order: OrderState) -> bool {
    use InvoiceStatus::{Refunded, Rejected, Voided};
    match order.status {
        OrderStatus::Pending => false,
        OrderStatus::Paid => true,
        OrderStatus::Canceled => matches!(order.invoice, Voided | Refunded | Rejected),
    }
}

impl Model {
    /// A pass: all that wait ask with the last thing they said, except those that another transaction has in hand and
    /// those of which something is still in the outbox.
    pub(super) fn reconcile(&mut self, side: Side, passed_over: &BTreeSet<Label>) -> Pass {
        let mut pass = Pass::default();
        let unsaid = self.rows.outbox.keys().filter(|fact| fact.side() == side).map(|fact| fact.order);
        let passed_over = unsaid.chain(passed_over.iter().copied()).collect();
        for label in waiting(&self.rows, side).difference(&passed_over) {
            let overdue = match side {
                Side::Orders => {
                    self.repeat_order(*label, true);
                    let OrderState { status, invoice } = self.rows.orders[label].state;
                    (status, invoice) != (OrderStatus::Pending, InvoiceStatus::Issued)
                }
                Side::Invoices => {
                    self.repeat_invoice(*label, true);
                    true
                }
            };
            pass.looked_at += 1;
            pass.asked += 1;
            pass.overdue += u64::from(overdue);
        }
        pass
    }

    /// What a question is answered with, if it was no news: never with a question.
    pub(super) fn answer(&mut self, question: Fact, before: &Rows) {
        let order = question.order;
        match question.side() {
            Side::Invoices => self.repeat_order(order, false),
            Side::Orders => {
                let version = |rows: &Rows| rows.invoices.get(&order).map(|row| row.version);
                // News has an event of its own.
                if version(before) == version(&self.rows) {
                    self.repeat_invoice(order, false);
                }
            }
        }
    }

    fn repeat_order(&mut self, order: Label, asks: bool) {
        let Some(row) = self.rows.orders.get(&order) else { return };
        let (number, is_canceled) = (row.event_no, row.state.status == OrderStatus::Canceled);
        self.repeat(order, EventType::OrderCreated, Waiting { number: 1, asks: asks && !is_canceled });
        if is_canceled {
            self.repeat(order, EventType::OrderCanceled, Waiting { number, asks });
        }
    }

    fn repeat_invoice(&mut self, order: Label, asks: bool) {
        let Some(row) = self.rows.invoices.get(&order) else { return };
        let event = match row.state {
            InvoiceState::Absent => return,
            InvoiceState::Tombstone | InvoiceState::Present(Settled::Voided) => EventType::InvoiceVoided,
            InvoiceState::Present(Settled::Issued) => EventType::InvoiceIssued,
            InvoiceState::Present(Settled::Paid) => EventType::InvoicePaid,
            InvoiceState::Present(Settled::Refunded) => EventType::InvoiceRefunded,
            InvoiceState::Present(Settled::Rejected) => EventType::InvoiceRejected,
        };
        let number = row.version;
        self.repeat(order, event, Waiting { number, asks });
    }

    fn repeat(&mut self, order: Label, event: EventType, waiting: Waiting) {
        self.rows.outbox.entry(Fact { order, event }).or_insert(waiting);
    }

    /// The sets of orders that a reconciler beside another action may pass over: nothing first.
    pub(super) fn passed_over(&self, one: &Action, other: &Action) -> Vec<BTreeSet<Label>> {
        let touched: BTreeSet<Label> = match (one, other) {
            (Action::Reconcile(side), action) | (action, Action::Reconcile(side)) => {
                touched(action, *side).intersection(&known(&self.rows, *side)).copied().collect()
            }
            _ => BTreeSet::new(),
        };
        touched.into_iter().fold(vec![BTreeSet::new()], |mut sets, label| {
            let with = |set: &BTreeSet<Label>| set.iter().copied().chain([label]).collect();
            sets.extend(sets.iter().map(with).collect::<Vec<_>>());
            sets
        })
    }
}

fn waiting(rows: &Rows, side: Side) -> BTreeSet<Label> {
    match side {
        Side::Orders => rows.orders.iter().filter(|(_, row)| row.waits).map(|(label, _)| *label).collect(),
        Side::Invoices => rows.invoices.iter().filter(|(_, row)| row.waits).map(|(label, _)| *label).collect(),
    }
}

fn known(rows: &Rows, side: Side) -> BTreeSet<Label> {
    match side {
        Side::Orders => rows.orders.keys().copied().collect(),
        Side::Invoices => rows.invoices.keys().copied().collect(),
    }
}

/// The rows of a service that an action locks. (A payment does not see what a reconciler of invoices looks for.)
fn touched(action: &Action, side: Side) -> BTreeSet<Label> {
    match action {
        Action::Cancel(label) if side == Side::Orders => BTreeSet::from([*label]),
        Action::Deliver(batch) => {
            let here = batch.iter().filter(|message| message.fact.side() == side.other());
            here.map(|message| message.fact.order).collect()
        }
        Action::Cancel(_) | Action::Pay(_) | Action::Place(..) | Action::Reconcile(_) => BTreeSet::new(),
    }
}
