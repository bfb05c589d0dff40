//! The reference: what the two databases and the network must hold after a step, by the pure functions of the saga.
//!
//! A step that may end in several ways, because it was cut off or ran beside another one, has several outcomes; the
//! real stores must be in exactly one of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use contracts::{EventType, topology};
use invoices::{
    invoice::InvoiceStatus as Settled,
    saga::{self as invoices_saga, Input as InvoicesInput, State as InvoiceState},
};
use orders::{
    order::{InvoiceStatus, OrderStatus},
    saga::{self as orders_saga, Input as OrdersInput, State as OrderState},
};

use super::{
    asking::is_settled,
    steps::{Action, Answer, Asked, Fact, LIMIT, Label, Message, Side, Step},
};

/// Whether a message still has to be delivered, or may only come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Pending,
    Acknowledged,
}

/// An order as the orders service stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderRow {
    pub(super) state: OrderState,
    pub(super) event_no: i64,
    pub(super) version: i64,
    pub(super) amount: i32,
    pub(super) customer: String,
    pub(super) history: BTreeSet<EventType>,
    /// It will be asked after.
    pub(super) waits: bool,
}

/// An invoice as the invoices service stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InvoiceRow {
    pub(super) state: InvoiceState,
    pub(super) version: i64,
    /// Amount and customer; a tombstone has none.
    pub(super) content: Option<(i32, String)>,
    /// Its content will be asked for.
    pub(super) waits: bool,
}

/// An event in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) number: i64,
    pub(super) asks: bool,
}

/// Both databases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) orders: BTreeMap<Label, OrderRow>,
    pub(super) invoices: BTreeMap<Label, InvoiceRow>,
    /// The events that wait for the bus.
    pub(super) outbox: BTreeMap<Fact, Waiting>,
    /// Which order each idempotency key made.
    pub(super) keys: BTreeMap<String, Label>,
}

impl Rows {
    /// Where the stores differ from this, a line each.
    pub(super) fn differences(&self, stores: &Self) -> String {
        fn lines<K: Ord + fmt::Debug, V: PartialEq + fmt::Debug>(
            name: &str,
            model: &BTreeMap<K, V>,
            stores: &BTreeMap<K, V>,
        ) -> String {
            let keys: BTreeSet<&K> = model.keys().chain(stores.keys()).collect();
            let differ = keys.into_iter().filter(|key| model.get(key) != stores.get(key));
            let line = |key: &K| {
                format!("  {name} {key:?}\n    stores: {:?}\n    model:  {:?}\n", stores.get(key), model.get(key))
            };
            differ.map(line).collect()
        }

        [
            lines("order", &self.orders, &stores.orders),
            lines("invoice", &self.invoices, &stores.invoices),
            lines("event", &self.outbox, &stores.outbox),
            lines("key", &self.keys, &stores.keys),
        ]
        .concat()
    }
}

/// Both databases and the network between them.
#[derive(Debug, Clone, Default)]
pub(super) struct Model {
    pub(super) rows: Rows,
    pub(super) network: BTreeMap<Message, Standing>,
    /// How many orders were asked for.
    pub(super) asked: usize,
}

impl Model {
    /// Every way a step may end, with what its callers learn.
    pub(super) fn outcomes(&self, step: &Step) -> Vec<(Self, Vec<Answer>)> {
        let none = BTreeSet::new();
        let after = |actions: &[&Action]| {
            let mut model = self.clone();
            let answers = actions.iter().map(|action| model.act(action, true, &none)).collect();
            (model, answers)
        };
        match step {
            Step::Do(action) => vec![after(&[action])],
            Step::Unacknowledged(batch) => {
                let mut model = self.clone();
                let answer = model.act(&Action::Deliver(batch.clone()), false, &none);
                vec![(model, vec![answer])]
            }
            Step::CutOff(action, _) => {
                // It came to its end before it was cut off; or its answer was lost, with or without its commit.
                let whole = after(&[action]);
                let mut committed = self.clone();
                committed.act(action, false, &none);
                let mut nothing = self.clone();
                nothing.note(action);
                vec![whole, (committed, vec![]), (nothing, vec![])]
            }
            Step::Together(one, other) => {
                let one_by_one = |first: &Action, second: &Action, passed_over: &BTreeSet<Label>| {
                    let mut model = self.clone();
                    let answers = [first, second].map(|action| model.act(action, true, passed_over));
                    (model, answers)
                };
                let mut outcomes = Vec::new();
                for passed_over in self.passed_over(one, other) {
                    let (model, answers) = one_by_one(one, other, &passed_over);
                    outcomes.push((model, answers.to_vec()));
                    let (model, [second, first]) = one_by_one(other, one, &passed_over);
                    outcomes.push((model, vec![first, second]));
                }
                outcomes
            }
            Step::Relay(side, lost) => vec![self.relay(*side, lost, true)],
            Step::RelayDies(side, lost) => vec![self.relay(*side, lost, false)],
            Step::Vanish(side, lost) => {
                let (model, answers) = self.relay(*side, &[], true);
                let arrives = |message: &Message| self.network.contains_key(message) || !lost.contains(&message.fact);
                let network = model.network.iter().map(|(message, standing)| match self.network.get(message) {
                    Some(before) if lost.contains(&message.fact) => (*message, *before),
                    _ => (*message, *standing),
                });
                let network = network.filter(|(message, _)| arrives(message)).collect();
                vec![(Self { network, ..model }, answers)]
            }
        }
    }

    /// The first outcome: what a history is made up along.
    pub(super) fn after(mut self, step: &Step) -> Self {
        if let Some((model, _)) = self.outcomes(step).into_iter().next() {
            self = model;
        }
        self
    }

    fn note(&mut self, action: &Action) {
        if let Action::Place(label, _) = action {
            self.asked = self.asked.max(label.0 + 1);
        }
    }

    /// `passed_over` is what a reconciler does not see, because another transaction has it in hand.
    fn act(&mut self, action: &Action, acknowledged: bool, passed_over: &BTreeSet<Label>) -> Answer {
        self.note(action);
        match action {
            Action::Place(label, asked) => self.place(*label, *asked),
            Action::Cancel(label) => match self.rows.orders.contains_key(label) {
                true => {
                    self.order(*label, OrdersInput::Cancel);
                    Answer::Canceled
                }
                false => Answer::NotFound,
            },
            Action::Pay(label) => {
                match self.rows.invoices.get(label).map(|row| row.state) {
                    None | Some(InvoiceState::Absent | InvoiceState::Tombstone) => return Answer::NotFound,
                    Some(InvoiceState::Present(_)) => self.invoice(*label, InvoicesInput::Pay),
                }
                match self.rows.invoices[label].state {
                    InvoiceState::Present(Settled::Paid) => Answer::Paid,
                    _ => Answer::NotPayable,
                }
            }
            Action::Deliver(batch) => {
                let batch = self.there(batch);
                for message in &batch {
                    if acknowledged {
                        self.network.insert(*message, Standing::Acknowledged);
                    }
                }
                self.deliver(&batch);
                Answer::Processed
            }
            Action::Reconcile(side) => Answer::Asked(self.reconcile(*side, passed_over)),
        }
    }

    /// Those of a batch that were published: of a history that was shortened, not all may have been.
    pub(super) fn there(&self, batch: &[Message]) -> Vec<Message> {
        batch.iter().filter(|message| self.network.contains_key(message)).copied().collect()
    }

    fn place(&mut self, label: Label, asked: Asked) -> Answer {
        if let Some(key) = asked.key {
            if let Some(&order) = self.rows.keys.get(key) {
                let row = &self.rows.orders[&order];
                let same = (row.amount, row.customer.as_str()) == (asked.amount, asked.customer);
                return if same { Answer::Placed { order, replayed: true } } else { Answer::KeyReused };
            }
            self.rows.keys.insert(key.to_owned(), label);
        }
        let row = OrderRow {
            state: OrderState::PLACED,
            event_no: 1,
            version: 1,
            amount: asked.amount,
            customer: asked.customer.to_owned(),
            history: BTreeSet::from([EventType::OrderCreated]),
            waits: true,
        };
        self.rows.orders.insert(label, row);
        self.tell(label, EventType::OrderCreated, 1);
        Answer::Placed { order: label, replayed: false }
    }

    fn deliver(&mut self, batch: &[Message]) {
        let before = self.rows.clone();
        for message in batch {
            self.hear(message.fact);
        }
        for message in batch.iter().filter(|message| message.asks) {
            self.answer(message.fact, &before);
        }
    }

    fn hear(&mut self, fact: Fact) {
        let said = match fact.event {
            EventType::OrderCreated => {
                let allowed = self.rows.orders[&fact.order].amount <= LIMIT;
                return self.invoice(fact.order, InvoicesInput::OrderCreated { allowed });
            }
            EventType::OrderCanceled => return self.invoice(fact.order, InvoicesInput::OrderCanceled),
            EventType::InvoiceIssued => OrdersInput::InvoiceIssued,
            EventType::InvoicePaid => OrdersInput::InvoicePaid,
            EventType::InvoiceRejected => OrdersInput::InvoiceRejected,
            EventType::InvoiceVoided => OrdersInput::InvoiceVoided,
            EventType::InvoiceRefunded => OrdersInput::InvoiceRefunded,
            EventType::OrderPaid => return,
        };
        if let Some(row) = self.rows.orders.get_mut(&fact.order) {
            row.history.insert(fact.event);
        }
        self.order(fact.order, said);
    }

    fn order(&mut self, label: Label, input: OrdersInput) {
        let Some(row) = self.rows.orders.get_mut(&label) else { return };
        let (after, emitted) = orders_saga::step(row.state, input);
        row.version += i64::from(after != row.state);
        row.state = after;
        row.waits = !is_settled(after);
        if let Some(event) = emitted {
            row.event_no += 1;
            row.history.insert(event);
            let number = row.event_no;
            self.tell(label, event, number);
        }
    }

    fn invoice(&mut self, label: Label, input: InvoicesInput) {
        let before = self.rows.invoices.get(&label).map_or(InvoiceState::Absent, |row| row.state);
        let (after, emitted) = invoices_saga::step(before, input);
        if after == before {
            return;
        }
        let order = &self.rows.orders[&label];
        let content = matches!(after, InvoiceState::Present(_)).then(|| (order.amount, order.customer.clone()));
        let version = self.rows.invoices.get(&label).map_or(0, |row| row.version) + i64::from(emitted.is_some());
        let waits = content.is_none();
        self.rows.invoices.insert(label, InvoiceRow { state: after, version, content, waits });
        if let Some(event) = emitted {
            self.tell(label, event, version);
        }
    }

    fn tell(&mut self, order: Label, event: EventType, number: i64) {
        self.rows.outbox.insert(Fact { order, event }, Waiting { number, asks: false });
    }

    fn relay(&self, side: Side, lost: &[Fact], settled: bool) -> (Self, Vec<Answer>) {
        let mut model = self.clone();
        let window: Vec<Fact> = self.rows.outbox.keys().filter(|fact| fact.side() == side).copied().collect();
        let mut arrived = BTreeSet::new();
        for fact in window.into_iter().filter(|fact| !lost.contains(fact)) {
            let message = Message { fact, asks: self.rows.outbox[&fact].asks };
            let standing = if fact.queue().is_some() { Standing::Pending } else { Standing::Acknowledged };
            model.network.insert(message, standing);
            if settled {
                model.rows.outbox.remove(&fact);
            }
            arrived.insert(message);
        }
        (model, vec![Answer::Published(arrived)])
    }

    /// What the network still owes to a queue.
    pub(super) fn pending(&self, queue: &topology::Queue) -> Vec<Message> {
        let of_queue = |message: &Message| message.queue().is_some_and(|of| of == queue);
        let pending = self.network.iter().filter(|(_, standing)| **standing == Standing::Pending);
        pending.map(|(message, _)| *message).filter(of_queue).collect()
    }
}

/// The pairs in which nothing more happens by itself, as (order, what it knows of its invoice, invoice).
pub(super) const QUIESCENT: [(OrderStatus, InvoiceStatus, Settled); 5] = [
    (OrderStatus::Pending, InvoiceStatus::Issued, Settled::Issued),
    (OrderStatus::Paid, InvoiceStatus::Paid, Settled::Paid),
    (OrderStatus::Canceled, InvoiceStatus::Voided, Settled::Voided),
    (OrderStatus::Canceled, InvoiceStatus::Refunded, Settled::Refunded),
    (OrderStatus::Canceled, InvoiceStatus::Rejected, Settled::Rejected),
];
