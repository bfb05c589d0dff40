//! The invariants, I1 to I11: the ledger, the databases, the dead letters and the tap, held against each other.
//!
//! Sets of ids are compared, never counts: a lost order and a doubled one do not cancel out here.

pub(crate) mod contract;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use crate::{
    ledger::Book,
    snapshot::{InvoiceRow, Snapshot},
    tap::Published,
};

/// The pairs (order, what orders know of the invoice, invoice) in which nothing more happens by itself.
const ENDS: [(&str, &str, &str); 5] = [
    ("pending", "issued", "issued"),
    ("paid", "paid", "paid"),
    ("canceled", "voided", "voided"),
    ("canceled", "refunded", "refunded"),
    ("canceled", "rejected", "rejected"),
];

/// An invariant that does not hold, with the ids at fault.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Violation {
    /// `I1` to `I11`, `A1` and `A2` for what a client was told, or the name of a scenario.
    pub(crate) invariant: &'static str,
    /// What is wrong with what, one each.
    pub(crate) at_fault: Vec<String>,
}

/// All that can be compared.
pub(crate) struct Evidence<'a> {
    pub(crate) book: &'a Book,
    pub(crate) there: &'a Snapshot,
    pub(crate) published: &'a Published,
    pub(crate) poisoned: &'a BTreeSet<String>,
}

/// Every invariant that is violated.
pub(crate) fn violations(evidence: &Evidence<'_>) -> Vec<Violation> {
    let Evidence { there, published, .. } = evidence;
    let invoices = by_order(there);
    let checks: [(&'static str, Vec<String>); 13] = [
        ("I1 every answered order exists", lost(evidence)),
        ("I2 one invoice an order", unpaired(there, &invoices)),
        ("I3 amounts and customers are equal", unequal(evidence, &invoices)),
        ("I4 allowed pair", pairs(there, &invoices)),
        ("I5 one order a key", keys(evidence)),
        ("I6 dead letters are the poison", dead_letters(evidence)),
        ("I7 outboxes and queues are empty", left_over(there)),
        ("I8 every event was published", unseen(there, published)),
        ("I9 money", money(evidence, &invoices)),
        ("I10 invoice numbers are unique", numbers(there)),
        ("I11 every message is as the contract says", published.deviating.clone()),
        ("A1 an accepted payment stays", lost_payments(evidence, &invoices)),
        ("A2 an accepted cancellation stays", lost_cancellations(evidence)),
    ];
    let violated = checks.into_iter().filter(|(_, at_fault)| !at_fault.is_empty());
    violated.map(|(invariant, at_fault)| Violation { invariant, at_fault }).collect()
}

/// How many orders have not come to an end.
pub(crate) fn unsettled(there: &Snapshot) -> usize {
    let invoices = by_order(there);
    unpaired(there, &invoices).len() + pairs(there, &invoices).len()
}

fn by_order(there: &Snapshot) -> BTreeMap<Uuid, &InvoiceRow> {
    there.invoices.iter().map(|invoice| (invoice.order, invoice)).collect()
}

fn lost(Evidence { book, there, .. }: &Evidence<'_>) -> Vec<String> {
    let ids = book.asks.values().flat_map(|ask| &ask.ids);
    ids.filter(|id| !there.orders.contains_key(id)).map(|id| format!("order {id} was answered and is gone")).collect()
}

fn unpaired(there: &Snapshot, invoices: &BTreeMap<Uuid, &InvoiceRow>) -> Vec<String> {
    let mut at_fault = Vec::new();
    for id in there.orders.keys() {
        match invoices.get(id) {
            None => at_fault.push(format!("order {id} has no invoice")),
            Some(invoice) if invoice.amount.is_none() => at_fault.push(format!("order {id} has a tombstone")),
            Some(_) => {}
        }
    }
    let mut seen = BTreeSet::new();
    for invoice in &there.invoices {
        let InvoiceRow { id, order, .. } = invoice;
        if !there.orders.contains_key(order) {
            at_fault.push(format!("invoice {id} is of order {order}, which is not there"));
        }
        if !seen.insert(order) {
            at_fault.push(format!("order {order} has more than one invoice, e.g. {id}"));
        }
    }
    at_fault
}

fn unequal(Evidence { book, there, .. }: &Evidence<'_>, invoices: &BTreeMap<Uuid, &InvoiceRow>) -> Vec<String> {
    let mut at_fault = Vec::new();
    for (key, ask) in &book.asks {
        for id in &ask.ids {
            let Some(order) = there.orders.get(id) else { continue };
            if (order.amount, &order.customer) != (ask.amount, &ask.customer) {
                at_fault.push(format!("order {id} is not what was asked for under {key}: {order:?}, {ask:?}"));
            }
        }
    }
    for (id, order) in &there.orders {
        let Some(invoice) = invoices.get(id) else { continue };
        if (invoice.amount, &invoice.customer) != (Some(order.amount), &Some(order.customer.clone())) {
            at_fault.push(format!("order {id} and its invoice differ: {order:?}, {invoice:?}"));
        }
    }
    at_fault
}

fn pairs(there: &Snapshot, invoices: &BTreeMap<Uuid, &InvoiceRow>) -> Vec<String> {
    let mut at_fault = Vec::new();
    for (id, order) in &there.orders {
        let invoice = invoices.get(id).map_or("absent", |invoice| invoice.status.as_str());
        let pair = (order.status.as_str(), order.invoice_status.as_str(), invoice);
        if !ENDS.contains(&pair) {
            at_fault.push(format!("order {id} is {pair:?}"));
        }
    }
    at_fault
}

fn keys(Evidence { book, there, .. }: &Evidence<'_>) -> Vec<String> {
    let mut at_fault = Vec::new();
    let mut owners: BTreeMap<Uuid, &str> = BTreeMap::new();
    for (key, ask) in &book.asks {
        match (ask.ids.len(), ask.refused) {
            (1, false) => {}
            (0, false) => at_fault.push(format!("key {key} was never answered")),
            (0, true) => at_fault.push(format!("key {key} was refused, and is valid")),
            _ => at_fault.push(format!("key {key} had several answers: {ask:?}")),
        }
        for id in &ask.ids {
            if let Some(other) = owners.insert(*id, key) {
                at_fault.push(format!("order {id} was answered to the keys {key} and {other}"));
            }
            if there.keys.get(key) != Some(id) {
                at_fault.push(format!("key {key} was answered {id}, and the database has {:?}", there.keys.get(key)));
            }
        }
    }
    for id in there.orders.keys().filter(|id| !owners.contains_key(*id)) {
        at_fault.push(format!("order {id} was never answered to anybody"));
    }
    at_fault
}

fn dead_letters(Evidence { there, poisoned, .. }: &Evidence<'_>) -> Vec<String> {
    let missing = poisoned.difference(&there.poison).map(|token| format!("{token} is not among the dead letters"));
    let unknown = there.poison.difference(poisoned).map(|token| format!("{token} was never sent"));
    missing.chain(unknown).chain(there.strangers.iter().cloned()).collect()
}

fn left_over(there: &Snapshot) -> Vec<String> {
    let queued = there.queued.iter().map(|(queue, messages)| format!("{messages} messages in {queue}"));
    there.outbox.iter().cloned().chain(queued).collect()
}

/// Events that exist by the rows and that the tap has not seen.
pub(crate) fn unseen(there: &Snapshot, published: &Published) -> Vec<String> {
    let orders = there.orders.iter().map(|(id, order)| (*id, "order", order.event_no));
    let invoices = there.invoices.iter().map(|invoice| (invoice.id, "invoice", invoice.version));
    let mut at_fault = published.unreadable.clone();
    for (id, what, last) in orders.chain(invoices) {
        let seen = published.events.get(&id);
        let missing: Vec<i64> = (1..=last).filter(|n| !seen.is_some_and(|seen| seen.contains(n))).collect();
        if !missing.is_empty() {
            at_fault.push(format!("{what} {id}: events {missing:?} of {last} were never published"));
        }
        if let Some(beyond) = seen.and_then(|seen| seen.last()).filter(|beyond| **beyond > last) {
            at_fault.push(format!("{what} {id}: event {beyond} was published, and the row is at {last}"));
        }
    }
    at_fault
}

/// Σ paid − Σ refunded = Σ amounts of paid orders, by the events; and at most one payment and refund an invoice.
fn money(Evidence { there, published, .. }: &Evidence<'_>, invoices: &BTreeMap<Uuid, &InvoiceRow>) -> Vec<String> {
    let mut at_fault = Vec::new();
    let amounts: BTreeMap<Uuid, i64> = invoices.values().map(|row| (row.id, row.amount.unwrap_or(0))).collect();
    let mut sum = |kind: &str| {
        let mut sum = 0;
        let mut seen = BTreeSet::new();
        for (invoice, event) in published.by_type.get(kind).into_iter().flatten() {
            if !seen.insert(invoice) {
                at_fault.push(format!("invoice {invoice} has more than one {kind}, e.g. {event}"));
            }
            match amounts.get(invoice) {
                Some(amount) => sum += amount,
                None => at_fault.push(format!("{kind} {event} is of invoice {invoice}, which is not there")),
            }
        }
        sum
    };
    let (paid, refunded) = (sum("invoice.paid"), sum("invoice.refunded"));
    let owed: i64 = there.orders.values().filter(|order| order.status == "paid").map(|order| order.amount).sum();
    if paid - refunded != owed {
        at_fault.push(format!("paid {paid} - refunded {refunded} is not {owed}, the amounts of the paid orders"));
    }
    at_fault
}

fn numbers(there: &Snapshot) -> Vec<String> {
    let mut numbers = BTreeSet::new();
    let mut ids = BTreeSet::new();
    let twice = there.invoices.iter().filter(|row| !(numbers.insert(row.number) & ids.insert(row.id)));
    twice.map(|row| format!("invoice {} with number {}", row.id, row.number)).collect()
}

fn lost_payments(Evidence { book, .. }: &Evidence<'_>, invoices: &BTreeMap<Uuid, &InvoiceRow>) -> Vec<String> {
    let kept = |order| invoices.get(order).is_some_and(|row| matches!(row.status.as_str(), "paid" | "refunded"));
    book.paid.iter().filter(|order| !kept(order)).map(|order| format!("order {order} was paid")).collect()
}

fn lost_cancellations(Evidence { book, there, .. }: &Evidence<'_>) -> Vec<String> {
    let kept = |order| there.orders.get(order).is_some_and(|row| row.status == "canceled");
    book.canceled.iter().filter(|order| !kept(order)).map(|order| format!("order {order} was canceled")).collect()
}

#[cfg(test)]
mod tests;
