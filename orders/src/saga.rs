//! The orders' half of the saga: a pure function from a state and an input to the next state and what to emit.
//!
//! Each service decides only about its own row; events are facts. Every transition raises the rank of the status or
//! of the invoice status, so duplicates and any order of arrival end in the same place. An input that is not listed
//! changes nothing and emits nothing. `standalone/tests` searches both halves together through all interleavings.

use contracts::EventType;

use crate::order::{InvoiceStatus, OrderStatus};

/// What the saga knows of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Where the order stands.
    pub status: OrderStatus,
    /// What is known of its invoice.
    pub invoice: InvoiceStatus,
}

impl State {
    /// A new order.
    pub const PLACED: Self = Self { status: OrderStatus::Pending, invoice: InvoiceStatus::None };

    /// What the order waits for, from the invoices service.
    pub fn awaits(self) -> Awaits {
        match (self.status, self.invoice) {
            (OrderStatus::Pending, InvoiceStatus::None) => Awaits::Answer,
            (OrderStatus::Pending, _) => Awaits::Payment,
            (OrderStatus::Canceled, InvoiceStatus::None | InvoiceStatus::Issued | InvoiceStatus::Paid) => {
                Awaits::Answer
            }
            (OrderStatus::Paid, _)
            | (OrderStatus::Canceled, InvoiceStatus::Voided | InvoiceStatus::Refunded | InvoiceStatus::Rejected) => {
                Awaits::Nothing
            }
        }
    }
}

/// What an order waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Awaits {
    /// Nothing: the flow is at its end.
    Nothing,
    /// A person who pays or cancels. That it was paid may be lost on the way as well.
    Payment,
    /// The invoices service, which always answers, and soon.
    Answer,
}

/// What can happen to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// Its customer cancels it.
    Cancel,
    /// `invoice.issued`
    InvoiceIssued,
    /// `invoice.paid`
    InvoicePaid,
    /// `invoice.rejected`
    InvoiceRejected,
    /// `invoice.voided`
    InvoiceVoided,
    /// `invoice.refunded`
    InvoiceRefunded,
}

/// The next state, and the event that tells of it, if others must know.
pub fn step(state: State, input: Input) -> (State, Option<EventType>) {
    use InvoiceStatus as Invoice;
    use OrderStatus::{Canceled, Paid, Pending};

    let to = |status, invoice| State { status, invoice };
    match (state.status, input) {
        (Pending | Paid, Input::Cancel) => (to(Canceled, state.invoice), Some(EventType::OrderCanceled)),

        (Pending, Input::InvoiceIssued) if state.invoice < Invoice::Issued => (to(Pending, Invoice::Issued), None),
        (Pending, Input::InvoicePaid) => (to(Paid, Invoice::Paid), Some(EventType::OrderPaid)),
        (Pending, Input::InvoiceRejected) => (to(Canceled, Invoice::Rejected), Some(EventType::OrderCanceled)),

        // Paid before the cancellation reached the invoice: the refund is due.
        (Canceled, Input::InvoicePaid) if state.invoice < Invoice::Paid => (to(Canceled, Invoice::Paid), None),
        (Canceled, Input::InvoiceRefunded) if state.invoice <= Invoice::Paid => (to(Canceled, Invoice::Refunded), None),
        (Canceled, Input::InvoiceVoided) if state.invoice < Invoice::Paid => (to(Canceled, Invoice::Voided), None),
        (Canceled, Input::InvoiceRejected) if state.invoice < Invoice::Paid => (to(Canceled, Invoice::Rejected), None),

        _ => (state, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Input::*;
    use InvoiceStatus as I;
    use OrderStatus::*;

    const INPUTS: [Input; 6] = [Cancel, InvoiceIssued, InvoicePaid, InvoiceRejected, InvoiceVoided, InvoiceRefunded];

    fn state(status: OrderStatus, invoice: I) -> State {
        State { status, invoice }
    }

    #[test]
    fn the_table_of_the_saga() {
        let check = |from: State, input, to: State, emitted| {
            assert_eq!(step(from, input), (to, emitted), "{from:?} {input:?}");
        };
        let canceled = Some(EventType::OrderCanceled);
        let placed = State::PLACED;
        let issued = state(Pending, I::Issued);
        let paid = state(Paid, I::Paid);

        check(placed, InvoiceIssued, issued, None);
        check(placed, InvoicePaid, paid, Some(EventType::OrderPaid));
        check(issued, InvoicePaid, paid, Some(EventType::OrderPaid));
        check(placed, InvoiceRejected, state(Canceled, I::Rejected), canceled);
        check(issued, InvoiceVoided, issued, None);
        check(issued, InvoiceRefunded, issued, None);
        check(placed, Cancel, state(Canceled, I::None), canceled);
        check(issued, Cancel, state(Canceled, I::Issued), canceled);

        check(paid, Cancel, state(Canceled, I::Paid), canceled);
        for input in [InvoiceIssued, InvoicePaid, InvoiceRejected, InvoiceVoided, InvoiceRefunded] {
            check(paid, input, paid, None);
        }

        check(state(Canceled, I::None), Cancel, state(Canceled, I::None), None);
        check(state(Canceled, I::None), InvoiceIssued, state(Canceled, I::None), None);
        check(state(Canceled, I::Issued), InvoicePaid, state(Canceled, I::Paid), None);
        check(state(Canceled, I::Issued), InvoiceVoided, state(Canceled, I::Voided), None);
        check(state(Canceled, I::Paid), InvoiceRefunded, state(Canceled, I::Refunded), None);
        check(state(Canceled, I::None), InvoiceRejected, state(Canceled, I::Rejected), None);
        check(state(Canceled, I::Refunded), InvoicePaid, state(Canceled, I::Refunded), None);
    }

    #[test]
    fn an_order_waits_until_its_invoice_is_settled() {
        let check = |status, invoice, awaits| assert_eq!(state(status, invoice).awaits(), awaits);
        check(Pending, I::None, Awaits::Answer);
        check(Pending, I::Issued, Awaits::Payment);
        check(Paid, I::Paid, Awaits::Nothing);
        for open in [I::None, I::Issued, I::Paid] {
            check(Canceled, open, Awaits::Answer);
        }
        for settled in [I::Voided, I::Refunded, I::Rejected] {
            check(Canceled, settled, Awaits::Nothing);
        }
    }

    /// Every reachable state, every input: the rank never falls, a repetition changes nothing and emits nothing.
    #[test]
    fn every_step_is_monotone_and_idempotent() {
        let mut reachable = vec![State::PLACED];
        let mut next = 0;
        while let Some(&from) = reachable.get(next) {
            next += 1;
            for input in INPUTS {
                let (to, emitted) = step(from, input);
                assert!((to.status, to.invoice) >= (from.status, from.invoice), "{from:?} {input:?} {to:?}");
                assert!(emitted.is_none() || to.status > from.status, "{from:?} {input:?} emits without a change");
                assert_eq!(step(to, input), (to, None), "{from:?} {input:?} twice");
                if !reachable.contains(&to) {
                    reachable.push(to);
                }
            }
        }
        assert_eq!(reachable.len(), 9, "{reachable:?}");
    }
}
