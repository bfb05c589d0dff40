//! Each invariant notices what it is there for: a system that is well, and one thing changed in it at a time.

use super::*;
use crate::{ledger::Line, snapshot::OrderRow};

struct World {
    book: Book,
    there: Snapshot,
    published: Published,
    poisoned: BTreeSet<String>,
}

const ORDER: Uuid = Uuid::from_u128(1);
const INVOICE: Uuid = Uuid::from_u128(2);

/// One order that was paid, and one poison.
fn well() -> World {
    let mut book = Book::default();
    book.enter(Line::Asked { key: "k".into(), amount: 5, customer: "c".into() });
    book.enter(Line::Placed { key: "k".into(), id: ORDER });
    book.enter(Line::Paid { order: ORDER });
    let order =
        OrderRow { customer: "c".into(), amount: 5, status: "paid".into(), invoice_status: "paid".into(), event_no: 2 };
    let invoice = InvoiceRow {
        id: INVOICE,
        number: 1,
        order: ORDER,
        customer: Some("c".into()),
        amount: Some(5),
        status: "paid".into(),
        version: 2,
    };
    let there = Snapshot {
        orders: [(ORDER, order)].into(),
        invoices: vec![invoice],
        keys: [("k".into(), ORDER)].into(),
        poison: ["p".into()].into(),
        ..Snapshot::default()
    };
    let mut published = Published::default();
    published.events = [(ORDER, [1, 2].into()), (INVOICE, [1, 2].into())].into();
    published.by_type = [("invoice.paid".into(), [(INVOICE, "m".into())].into())].into();
    World { book, there, published, poisoned: ["p".into()].into() }
}

fn violated(world: &World) -> Vec<&'static str> {
    let World { book, there, published, poisoned } = world;
    let violations = violations(&Evidence { book, there, published, poisoned });
    violations.into_iter().map(|violation| violation.invariant.split(' ').next().unwrap()).collect()
}

#[track_caller]
fn notices(expected: &[&str], change: impl FnOnce(&mut World)) {
    let mut world = well();
    change(&mut world);
    let violated = violated(&world);
    for invariant in expected {
        assert!(violated.contains(invariant), "{invariant} is not in {violated:?}");
    }
}

#[test]
fn nothing_is_wrong_with_a_system_that_is_well() {
    assert_eq!(violated(&well()), [""; 0]);
    assert_eq!(unsettled(&well().there), 0);
}

#[test]
fn a_lost_order() {
    notices(&["I1", "I2"], |world| world.there.orders.clear());
}

#[test]
fn a_lost_a_doubled_and_an_empty_invoice() {
    notices(&["I2", "I4", "A1"], |world| world.there.invoices.clear());
    notices(&["I2"], |world| {
        let second = InvoiceRow { id: Uuid::from_u128(3), number: 2, ..world.there.invoices[0].clone() };
        world.there.invoices.push(second);
    });
    notices(&["I2"], |world| world.there.invoices[0].amount = None);
}

#[test]
fn a_wrong_amount_or_customer() {
    notices(&["I3"], |world| world.there.invoices[0].amount = Some(6));
    notices(&["I3"], |world| world.there.invoices[0].customer = Some("d".into()));
    notices(&["I3"], |world| {
        world.there.invoices[0].amount = Some(6);
        world.there.orders.get_mut(&ORDER).unwrap().amount = 6;
    });
}

#[test]
fn a_pair_that_may_not_be() {
    notices(&["I4"], |world| world.there.invoices[0].status = "voided".into());
    notices(&["I4"], |world| world.there.orders.get_mut(&ORDER).unwrap().status = "pending".into());
}

#[test]
fn a_key_with_no_answer_or_several_and_an_order_without_a_key() {
    notices(&["I5"], |world| world.book.enter(Line::Placed { key: "k".into(), id: Uuid::from_u128(9) }));
    notices(&["I5"], |world| world.book.enter(Line::Placed { key: "l".into(), id: ORDER }));
    notices(&["I5"], |world| world.book.asks.clear());
    notices(&["I5"], |world| world.book.asks.get_mut("k").unwrap().ids.clear());
}

#[test]
fn a_dead_letter_too_few_or_too_many() {
    notices(&["I6"], |world| world.there.poison.clear());
    notices(&["I6"], |world| world.poisoned.clear());
    notices(&["I6"], |world| world.there.strangers.push("an order".into()));
}

#[test]
fn what_is_left_over() {
    notices(&["I7"], |world| world.there.outbox.push("an event".into()));
    notices(&["I7"], |world| world.there.queued.extend([("orders".into(), 1)]));
}

#[test]
fn an_event_that_was_never_published_or_never_happened() {
    notices(&["I8"], |world| assert!(world.published.events.get_mut(&ORDER).unwrap().remove(&1)));
    notices(&["I8"], |world| assert!(world.published.events.get_mut(&ORDER).unwrap().insert(3)));
    notices(&["I8"], |world| world.published.events.clear());
}

#[test]
fn money_from_nowhere() {
    notices(&["I9"], |world| world.published.by_type.clear());
    notices(&["I9"], |world| {
        world.published.by_type.get_mut("invoice.paid").unwrap().insert((INVOICE, "n".into()));
    });
}

#[test]
fn a_number_twice() {
    notices(&["I10"], |world| {
        let second =
            InvoiceRow { id: Uuid::from_u128(3), order: Uuid::from_u128(4), ..world.there.invoices[0].clone() };
        world.there.invoices.push(second);
    });
}

#[test]
fn a_message_that_deviates() {
    notices(&["I11"], |world| world.published.deviating.push("order.created: no id".into()));
}

#[test]
fn a_promise_that_was_not_kept() {
    notices(&["A1"], |world| world.there.invoices[0].status = "issued".into());
    notices(&["A2"], |world| world.book.enter(Line::Canceled { order: ORDER }));
}
