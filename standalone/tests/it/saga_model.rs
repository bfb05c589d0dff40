//! Both halves of the saga together, searched through all interleavings.
//!
//! The network is a growing set of facts: a fact has to be delivered once at least, may be delivered again for ever,
//! in any order, and the receiver may crash between its commit and its acknowledgement at every step. Whatever
//! happens, the two services must end in one of the allowed pairs. Mutants of the rules show that the search would
//! notice.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use contracts::EventType;
use invoices::{
    invoice::InvoiceStatus,
    saga::{self as invoices_saga, Input as InvoicesInput, State as InvoiceState},
};
use orders::{
    order::{InvoiceStatus as Replica, OrderStatus},
    saga::{self as orders_saga, Input as OrdersInput, State as OrderState},
};

type OrdersStep = fn(OrderState, OrdersInput) -> (OrderState, Option<EventType>);
type InvoicesStep = fn(InvoiceState, InvoicesInput) -> (InvoiceState, Option<EventType>);

/// Whether a message still has to be delivered, or may only come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Delivery {
    Pending,
    Acknowledged,
}

/// A request that a client may make, at any time, once or more often.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Command {
    Cancel,
    Pay,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct System {
    order: OrderState,
    invoice: InvoiceState,
    network: BTreeMap<EventType, Delivery>,
    commands: BTreeSet<Command>,
    issued: u8,
    refunded: u8,
}

struct Search {
    states: usize,
    quiescent: HashSet<(OrderState, InvoiceState)>,
    violations: Vec<System>,
}

fn allowed(order: OrderState, invoice: InvoiceState) -> bool {
    use InvoiceState::{Absent, Present, Tombstone};
    let pair = (order.status, order.invoice, invoice);
    match pair.2 {
        Present(InvoiceStatus::Issued) => (pair.0, pair.1) == (OrderStatus::Pending, Replica::Issued),
        Present(InvoiceStatus::Paid) => (pair.0, pair.1) == (OrderStatus::Paid, Replica::Paid),
        Present(InvoiceStatus::Voided) => (pair.0, pair.1) == (OrderStatus::Canceled, Replica::Voided),
        Present(InvoiceStatus::Refunded) => (pair.0, pair.1) == (OrderStatus::Canceled, Replica::Refunded),
        Present(InvoiceStatus::Rejected) => (pair.0, pair.1) == (OrderStatus::Canceled, Replica::Rejected),
        Absent | Tombstone => false,
    }
}

fn for_orders(event: EventType) -> Option<OrdersInput> {
    Some(match event {
        EventType::InvoiceIssued => OrdersInput::InvoiceIssued,
        EventType::InvoicePaid => OrdersInput::InvoicePaid,
        EventType::InvoiceRejected => OrdersInput::InvoiceRejected,
        EventType::InvoiceVoided => OrdersInput::InvoiceVoided,
        EventType::InvoiceRefunded => OrdersInput::InvoiceRefunded,
        EventType::OrderCreated | EventType::OrderPaid | EventType::OrderCanceled => return None,
    })
}

fn for_invoices(event: EventType, within_limit: bool) -> Option<InvoicesInput> {
    match event {
        EventType::OrderCreated => Some(InvoicesInput::OrderCreated { allowed: within_limit }),
        EventType::OrderCanceled => Some(InvoicesInput::OrderCanceled),
        _ => None,
    }
}

impl System {
    fn emit(&mut self, event: Option<EventType>) {
        let Some(event) = event else { return };
        self.issued += u8::from(event == EventType::InvoiceIssued);
        self.refunded += u8::from(event == EventType::InvoiceRefunded);
        self.network.insert(event, Delivery::Pending);
    }

    /// Every system that can follow this one.
    fn next(&self, orders: OrdersStep, invoices: InvoicesStep, within_limit: bool) -> Vec<Self> {
        let mut next = Vec::new();
        for &event in self.network.keys() {
            // Processed and acknowledged; or committed, and crashed before the acknowledgement.
            for acknowledged in [true, false] {
                let mut system = self.clone();
                if acknowledged {
                    system.network.insert(event, Delivery::Acknowledged);
                }
                if let Some(input) = for_orders(event) {
                    let (state, emitted) = orders(self.order, input);
                    system.order = state;
                    system.emit(emitted);
                } else if let Some(input) = for_invoices(event, within_limit) {
                    let (state, emitted) = invoices(self.invoice, input);
                    system.invoice = state;
                    system.emit(emitted);
                }
                next.push(system);
            }
        }
        for &command in &self.commands {
            for again in [true, false] {
                let mut system = self.clone();
                if !again {
                    system.commands.remove(&command);
                }
                let emitted = match command {
                    Command::Cancel => {
                        let (state, emitted) = orders(self.order, OrdersInput::Cancel);
                        system.order = state;
                        emitted
                    }
                    Command::Pay => {
                        let (state, emitted) = invoices(self.invoice, InvoicesInput::Pay);
                        system.invoice = state;
                        emitted
                    }
                };
                system.emit(emitted);
                next.push(system);
            }
        }
        next
    }
}

fn search(orders: OrdersStep, invoices: InvoicesStep) -> Search {
    let mut result = Search { states: 0, quiescent: HashSet::new(), violations: Vec::new() };
    let commands: [&[Command]; 4] = [&[], &[Command::Cancel], &[Command::Pay], &[Command::Cancel, Command::Pay]];
    for within_limit in [true, false] {
        for commands in commands {
            let start = System {
                order: OrderState::PLACED,
                invoice: InvoiceState::Absent,
                network: BTreeMap::from([(EventType::OrderCreated, Delivery::Pending)]),
                commands: commands.iter().copied().collect(),
                issued: 0,
                refunded: 0,
            };
            let mut seen = HashSet::from([start.clone()]);
            let mut queue = VecDeque::from([start]);
            while let Some(system) = queue.pop_front() {
                let quiescent = system.network.values().all(|delivery| *delivery == Delivery::Acknowledged);
                if quiescent {
                    result.quiescent.insert((system.order, system.invoice));
                }
                let wrong = quiescent && !allowed(system.order, system.invoice);
                if wrong || system.issued > 1 || system.refunded > 1 {
                    result.violations.push(system);
                    continue;
                }
                for next in system.next(orders, invoices, within_limit) {
                    if seen.insert(next.clone()) {
                        queue.push_back(next);
                    }
                }
            }
            result.states += seen.len();
        }
    }
    result
}

#[test]
fn every_interleaving_ends_in_an_allowed_pair() {
    let found = search(orders_saga::step, invoices_saga::step);
    assert!(found.violations.is_empty(), "{:#?}", found.violations.first());
    assert!(found.states > 300, "only {} states were searched", found.states);
    // All five, so the search went everywhere.
    assert_eq!(found.quiescent.len(), 5, "{:?}", found.quiescent);
    eprintln!("searched {} states", found.states);
}

/// Each rule that was once got wrong somewhere, got wrong again here: the search must notice.
#[test]
fn the_search_notices_every_mutant() {
    let orders_mutants: [(&str, OrdersStep); 3] = [
        ("a payment revives a canceled order", |state, input| match (state.status, input) {
            (OrderStatus::Canceled, OrdersInput::InvoicePaid) => {
                (OrderState { status: OrderStatus::Paid, invoice: Replica::Paid }, None)
            }
            _ => orders_saga::step(state, input),
        }),
        ("an issued invoice overwrites whatever was known", |state, input| match input {
            OrdersInput::InvoiceIssued => (OrderState { invoice: Replica::Issued, ..state }, None),
            _ => orders_saga::step(state, input),
        }),
        ("a cancellation is not told", |state, input| match input {
            OrdersInput::Cancel => (orders_saga::step(state, input).0, None),
            _ => orders_saga::step(state, input),
        }),
    ];
    let invoices_mutants: [(&str, InvoicesStep); 4] = [
        ("no tombstone", |state, input| match (state, input) {
            (InvoiceState::Absent, InvoicesInput::OrderCanceled) => (state, None),
            _ => invoices_saga::step(state, input),
        }),
        ("a paid invoice is not refunded", |state, input| match (state, input) {
            (InvoiceState::Present(InvoiceStatus::Paid), InvoicesInput::OrderCanceled) => (state, None),
            _ => invoices_saga::step(state, input),
        }),
        ("a redelivered order is issued again", |state, input| match (state, input) {
            (InvoiceState::Present(InvoiceStatus::Voided), InvoicesInput::OrderCreated { .. }) => {
                (InvoiceState::Present(InvoiceStatus::Issued), Some(EventType::InvoiceIssued))
            }
            _ => invoices_saga::step(state, input),
        }),
        ("the tombstone is issued when its order arrives", |state, input| match (state, input) {
            (InvoiceState::Tombstone, InvoicesInput::OrderCreated { .. }) => {
                (InvoiceState::Present(InvoiceStatus::Issued), Some(EventType::InvoiceIssued))
            }
            _ => invoices_saga::step(state, input),
        }),
    ];
    for (name, mutant) in orders_mutants {
        assert!(!search(mutant, invoices_saga::step).violations.is_empty(), "not noticed: {name}");
    }
    for (name, mutant) in invoices_mutants {
        assert!(!search(orders_saga::step, mutant).violations.is_empty(), "not noticed: {name}");
    }
}
