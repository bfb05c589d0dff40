//! The words of a history: what may happen, to which order, and what those who asked for it learn.

use std::{collections::BTreeSet, fmt};

use contracts::{EventType, topology};
use outbox::reconciler::Pass;

/// The largest amount that is invoiced.
pub(super) const LIMIT: i32 = 1000;
/// An order that nobody has placed.
pub(super) const NOBODYS: Label = Label(99);

/// Names an order in a history, from its placing on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Label(pub(super) usize);

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == NOBODYS { write!(f, "nobody's") } else { write!(f, "#{}", self.0) }
    }
}

/// One event of one order: each happens to it once at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Fact {
    pub(super) order: Label,
    pub(super) event: EventType,
}

impl fmt::Debug for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {:?}", self.event, self.order)
    }
}

impl Fact {
    /// The service that states it.
    pub(super) fn side(self) -> Side {
        match self.event {
            EventType::OrderCreated | EventType::OrderPaid | EventType::OrderCanceled => Side::Orders,
            EventType::InvoiceIssued
            | EventType::InvoicePaid
            | EventType::InvoiceVoided
            | EventType::InvoiceRefunded
            | EventType::InvoiceRejected => Side::Invoices,
        }
    }

    /// The queue it arrives in; `None` for what only live listeners care about.
    pub(super) fn queue(self) -> Option<&'static topology::Queue> {
        topology::queues_of(self.event).next()
    }
}

/// What tells of a fact, as news or again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Message {
    pub(super) fact: Fact,
    /// It asks the receiver for its side of the story.
    pub(super) asks: bool,
}

impl Message {
    pub(super) fn queue(self) -> Option<&'static topology::Queue> {
        self.fact.queue()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.fact, if self.asks { "?" } else { "" })
    }
}

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Orders,
    Invoices,
}

impl Side {
    pub(super) const BOTH: [Self; 2] = [Self::Orders, Self::Invoices];

    pub(super) fn other(self) -> Self {
        match self {
            Self::Orders => Self::Invoices,
            Self::Invoices => Self::Orders,
        }
    }
}

/// A request to place an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) amount: i32,
    pub(super) customer: &'static str,
    pub(super) key: Option<&'static str>,
}

/// What is one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    Place(Label, Asked),
    Cancel(Label),
    Pay(Label),
    /// A batch of one queue, in this order. What was published at any time may come, and come again.
    Deliver(Vec<Message>),
    /// A pass of a reconciler: everything that waits is due.
    Reconcile(Side),
}

/// One thing that happens to the system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// A request, answered; or a batch, committed and acknowledged.
    Do(Action),
    /// A batch that is committed, and whose acknowledgement is lost: it will come again.
    Unacknowledged(Vec<Message>),
    /// The process dies, or the client goes away, when the transaction has come so far: a number of polls.
    CutOff(Action, usize),
    /// Two at the same time.
    Together(Action, Action),
    /// A window of an outbox leaves; these of it are refused by the bus and stay.
    Relay(Side, Vec<Fact>),
    /// A window of an outbox leaves, the bus confirms all of it, and these are never delivered.
    Vanish(Side, Vec<Fact>),
    /// The relay dies after publishing, and before deleting anything; these of its window had not left yet.
    RelayDies(Side, Vec<Fact>),
}

impl Step {
    /// The transactions of the step.
    pub(super) fn actions(&self) -> Vec<&Action> {
        match self {
            Self::Do(action) | Self::CutOff(action, _) => vec![action],
            Self::Together(one, other) => vec![one, other],
            Self::Unacknowledged(_) | Self::Relay(..) | Self::Vanish(..) | Self::RelayDies(..) => vec![],
        }
    }

    /// What it delivers.
    pub(super) fn deliveries(&self) -> Vec<Message> {
        let of_action = |action: &Action| if let Action::Deliver(batch) = action { batch.clone() } else { vec![] };
        match self {
            Self::Unacknowledged(batch) => batch.clone(),
            _ => self.actions().into_iter().flat_map(of_action).collect(),
        }
    }

    /// Whether it has a pass of a reconciler in it.
    pub(super) fn reconciles(&self) -> bool {
        self.actions().iter().any(|action| matches!(action, Action::Reconcile(_)))
    }
}

/// What the caller of a step learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Placed { order: Label, replayed: bool },
    KeyReused,
    NotFound,
    Canceled,
    Paid,
    NotPayable,
    Processed,
    Published(BTreeSet<Message>),
    Asked(Pass),
}
