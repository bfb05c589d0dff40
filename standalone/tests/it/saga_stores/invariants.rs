//! What must hold whatever the saga's rules say: after each step, and when nothing more happens by itself.

use std::collections::{BTreeMap, BTreeSet};

use contracts::EventType;
use invoices::{invoice::InvoiceStatus as Settled, saga::State as InvoiceState};
use orders::order::OrderStatus;

use super::{
    model::{QUIESCENT, Rows},
    steps::{Fact, Label, Step},
    system::Run,
};

/// Events that exclude each other, and events that need another one before them.
const NEVER_BOTH: [(EventType, EventType); 4] = [
    (EventType::InvoiceIssued, EventType::InvoiceRejected),
    (EventType::InvoicePaid, EventType::InvoiceVoided),
    (EventType::InvoicePaid, EventType::InvoiceRejected),
    (EventType::InvoiceRefunded, EventType::InvoiceVoided),
];
const ONLY_AFTER: [(EventType, EventType); 4] = [
    (EventType::InvoicePaid, EventType::InvoiceIssued),
    (EventType::InvoiceRefunded, EventType::InvoicePaid),
    (EventType::InvoiceRefunded, EventType::OrderCanceled),
    (EventType::OrderPaid, EventType::InvoicePaid),
];

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// From one state of the databases to the next: nothing disappears, nothing goes back, nothing changes that is fixed.
pub(super) fn moved_forward(before: &Rows, after: &Rows) -> Result<(), String> {
    for (label, was) in &before.orders {
        let Some(is) = after.orders.get(label) else { return Err(format!("{label:?} is gone")) };
        let (from, to) = ((was.state.status, was.state.invoice), (is.state.status, is.state.invoice));
        ensure!(to >= from, "{label:?} went back from {from:?} to {to:?}");
        ensure!(is.event_no >= was.event_no && is.version >= was.version, "{label:?} counts backwards");
        let fixed = (was.amount, &was.customer) == (is.amount, &is.customer);
        ensure!(fixed && is.history.is_superset(&was.history), "{label:?} was rewritten");
    }
    for (label, was) in &before.invoices {
        let Some(is) = after.invoices.get(label) else { return Err(format!("the invoice of {label:?} is gone")) };
        let (from, to) = (rank(was.state), rank(is.state));
        ensure!(
            to > from || is.state == was.state,
            "the invoice of {label:?} went from {:?} to {:?}",
            was.state,
            is.state
        );
        ensure!(is.version >= was.version, "the invoice of {label:?} counts backwards");
        ensure!(was.content.is_none() || is.content == was.content, "the invoice of {label:?} was rewritten");
    }
    for (key, was) in &before.keys {
        ensure!(after.keys.get(key) == Some(was), "the key {key:?} was given away again");
    }
    Ok(())
}

fn rank(state: InvoiceState) -> u8 {
    match state {
        InvoiceState::Absent => 0,
        InvoiceState::Tombstone | InvoiceState::Present(Settled::Issued) => 1,
        InvoiceState::Present(Settled::Paid) => 2,
        InvoiceState::Present(Settled::Voided | Settled::Refunded | Settled::Rejected) => 3,
    }
}

/// What was ever told of an order makes one story.
pub(super) fn told_one_story(rows: &Rows, run: &Run<'_>) -> Result<(), String> {
    let mut told: BTreeMap<Label, BTreeSet<EventType>> = BTreeMap::new();
    for Fact { order, event } in rows.outbox.keys().chain(run.published.keys()) {
        told.entry(*order).or_default().insert(*event);
    }
    for (order, events) in told {
        for (one, other) in NEVER_BOTH {
            ensure!(!(events.contains(&one) && events.contains(&other)), "{order:?} is {one} and {other}");
        }
        for (then, first) in ONLY_AFTER {
            ensure!(!events.contains(&then) || events.contains(&first), "{order:?} is {then} and never was {first}");
        }
    }
    Ok(())
}

/// Nothing is said again without a question, and no question with an answer.
pub(super) fn spoke_when_asked(
    (before, after): (&Rows, &Rows),
    step: &Step,
    told: &BTreeSet<Fact>,
) -> Result<(), String> {
    if step.reconciles() {
        return Ok(());
    }
    let asked = step.deliveries().into_iter().filter(|message| message.asks);
    let asked: BTreeSet<Label> = asked.map(|message| message.fact.order).collect();
    for (fact, waiting) in after.outbox.iter().filter(|(fact, _)| !before.outbox.contains_key(fact)) {
        ensure!(!waiting.asks, "{fact:?} asks, and no reconciler does");
        ensure!(!told.contains(fact) || asked.contains(&fact.order), "{fact:?} is said again, and nobody asked");
    }
    Ok(())
}

/// When everything was delivered, and no question changes anything any more.
pub(super) fn settled(rows: &Rows, run: &Run<'_>) -> Result<(), String> {
    ensure!(rows.outbox.is_empty(), "these still wait: {:?}", rows.outbox);
    ensure!(run.promised.keys().all(|label| rows.orders.contains_key(label)), "an order that was answered is gone");
    for (label, key) in run.promised.iter().filter_map(|(label, key)| Some((label, (*key)?))) {
        ensure!(rows.keys.get(key) == Some(label), "the key {key:?} placed {label:?} and has {:?}", rows.keys.get(key));
    }
    let keyed: BTreeSet<&Label> = rows.keys.values().collect();
    ensure!(keyed.len() == rows.keys.len(), "two keys for one order: {:?}", rows.keys);
    ensure!(rows.orders.keys().eq(rows.invoices.keys()), "invoices {:?}", rows.invoices);
    let (mut paid, mut refunded, mut owned) = (0, 0, 0);
    for (label, order) in &rows.orders {
        let invoice = &rows.invoices[label];
        let InvoiceState::Present(status) = invoice.state else {
            return Err(format!("the invoice of {label:?} is {:?}", invoice.state));
        };
        let pair = (order.state.status, order.state.invoice, status);
        ensure!(QUIESCENT.contains(&pair), "{label:?} stands at {pair:?}");
        ensure!(
            invoice.content == Some((order.amount, order.customer.clone())),
            "the invoice of {label:?} says {:?}, the order {order:?}",
            invoice.content
        );
        let told = |event| run.published.get(&Fact { order: *label, event });
        // The n-th event of each aggregate is there, for every n.
        let mut numbers: BTreeMap<_, Vec<i64>> = BTreeMap::new();
        for event in EventType::ALL.into_iter().filter_map(told) {
            numbers.entry(event.aggregate_id).or_default().push(event.event_no);
        }
        let mut lengths: Vec<i64> = Vec::new();
        for mut numbers in numbers.into_values() {
            numbers.sort_unstable();
            let counted = (1..).zip(&numbers).all(|(n, number)| n == *number);
            ensure!(counted, "{label:?} numbers its events {numbers:?}");
            lengths.extend(numbers.last());
        }
        lengths.sort_unstable();
        let mut expected = vec![order.event_no, invoice.version];
        expected.sort_unstable();
        ensure!(lengths == expected, "{label:?} has told {lengths:?} events and counted {expected:?}");

        let amount = i64::from(order.amount);
        paid += if told(EventType::InvoicePaid).is_some() { amount } else { 0 };
        refunded += if told(EventType::InvoiceRefunded).is_some() { amount } else { 0 };
        owned += if order.state.status == OrderStatus::Paid { amount } else { 0 };
    }
    ensure!(paid - refunded == owned, "paid {paid}, refunded {refunded}, and the paid orders are worth {owned}");
    Ok(())
}
