//! The invoices' half of the saga: a pure function from a state and an input to the next state and what to emit.
//!
//! The invoice row decides between the payment and the cancellation of an order, and its unique order id between the
//! order and its cancellation, in whatever order they arrive. An input that is not listed changes nothing and emits
//! nothing. `standalone/tests` searches both halves together through all interleavings.

use contracts::EventType;

use crate::invoice::InvoiceStatus;

/// What the saga knows of the invoice of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// There is none.
    Absent,
    /// The order was canceled before it arrived: a voided invoice without content, seen by nobody.
    Tombstone,
    /// There is one.
    Present(InvoiceStatus),
}

/// What can happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    /// `order.created`
    OrderCreated {
        /// Whether the amount limit allows an invoice.
        allowed: bool,
    },
    /// `order.canceled`
    OrderCanceled,
    /// Its customer pays it.
    Pay,
}

/// The next state, and the event that tells of it.
pub fn step(state: State, input: Input) -> (State, Option<EventType>) {
    use InvoiceStatus::{Issued, Paid, Refunded, Rejected, Voided};
    use State::{Absent, Present, Tombstone};

    match (state, input) {
        (Absent, Input::OrderCreated { allowed: true }) => (Present(Issued), Some(EventType::InvoiceIssued)),
        (Absent, Input::OrderCreated { allowed: false }) => (Present(Rejected), Some(EventType::InvoiceRejected)),
        // The content fills in; that it is void was said before.
        (Tombstone, Input::OrderCreated { .. }) => (Present(Voided), None),

        (Absent, Input::OrderCanceled) => (Tombstone, Some(EventType::InvoiceVoided)),
        (Present(Issued), Input::OrderCanceled) => (Present(Voided), Some(EventType::InvoiceVoided)),
        (Present(Paid), Input::OrderCanceled) => (Present(Refunded), Some(EventType::InvoiceRefunded)),

        (Present(Issued), Input::Pay) => (Present(Paid), Some(EventType::InvoicePaid)),

        _ => (state, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use InvoiceStatus::*;
    use State::*;

    const CREATED: Input = Input::OrderCreated { allowed: true };
    const TOO_MUCH: Input = Input::OrderCreated { allowed: false };

    #[test]
    fn the_table_of_the_saga() {
        let check = |from: State, input, to: State, emitted| {
            assert_eq!(step(from, input), (to, emitted), "{from:?} {input:?}");
        };
        check(Absent, CREATED, Present(Issued), Some(EventType::InvoiceIssued));
        check(Absent, TOO_MUCH, Present(Rejected), Some(EventType::InvoiceRejected));
        check(Absent, Input::OrderCanceled, Tombstone, Some(EventType::InvoiceVoided));
        check(Absent, Input::Pay, Absent, None);

        check(Tombstone, CREATED, Present(Voided), None);
        check(Tombstone, TOO_MUCH, Present(Voided), None);
        check(Tombstone, Input::OrderCanceled, Tombstone, None);
        check(Tombstone, Input::Pay, Tombstone, None);

        check(Present(Issued), CREATED, Present(Issued), None);
        check(Present(Issued), Input::OrderCanceled, Present(Voided), Some(EventType::InvoiceVoided));
        check(Present(Issued), Input::Pay, Present(Paid), Some(EventType::InvoicePaid));

        check(Present(Paid), CREATED, Present(Paid), None);
        check(Present(Paid), Input::OrderCanceled, Present(Refunded), Some(EventType::InvoiceRefunded));
        check(Present(Paid), Input::Pay, Present(Paid), None);

        for end in [Voided, Refunded, Rejected] {
            for input in [CREATED, TOO_MUCH, Input::OrderCanceled, Input::Pay] {
                check(Present(end), input, Present(end), None);
            }
        }
    }

    #[test]
    fn a_repetition_changes_nothing_and_emits_nothing() {
        for from in [Absent, Tombstone, Present(Issued), Present(Paid)] {
            for input in [CREATED, TOO_MUCH, Input::OrderCanceled, Input::Pay] {
                let (to, _) = step(from, input);
                assert_eq!(step(to, input), (to, None), "{from:?} {input:?} twice");
            }
        }
    }
}
