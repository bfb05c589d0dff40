//! The bus inside this process: each event becomes the id of the order that changed, told to all subscribers at once.
//!
//! Telling never waits. A subscriber that does not keep up misses changes, is told so by its receiver, and then looks
//! again at what [`Feed::recent`] names. What a process holds for live updates is bounded by the two constants here,
//! however many subscribers it has.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use chassis::graphql::DateTime;
use contracts::EventEnvelope;
use messaging::Listener;
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::schema::OrderEventType;

/// How many changes a subscriber may be behind.
const BACKLOG: usize = 16_384;

/// How many orders are remembered as changed lately.
const RECENT: usize = 10_000;

/// What subscribers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// This order has changed: this has happened to it, or nobody knows what.
    Order(Uuid, Option<OrderEventType>),
    /// The bus was, or may have been, away: anything may have changed.
    Interrupted,
}

/// Hears the bus.
#[derive(Debug)]
pub(super) struct Feed {
    changes: broadcast::Sender<Change>,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
struct Memory {
    recent: Recent,
    /// When the newest event that was heard had happened; at first, when this process began.
    heard_until: DateTime,
    /// Since when something may have been missed, until somebody has looked.
    gap: Option<DateTime>,
}

impl Default for Feed {
    fn default() -> Self {
        let memory = Memory { recent: Recent::default(), heard_until: contracts::now().into(), gap: None };
        Self { changes: broadcast::channel(BACKLOG).0, memory: Mutex::new(memory) }
    }
}

impl Feed {
    /// All changes from now on.
    pub(super) fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// Whether anybody would hear of a change, beside the one who asks.
    pub(super) fn has_others(&self) -> bool {
        self.changes.receiver_count() > 1
    }

    /// Tells that an order may have changed.
    pub(super) fn tell(&self, order: Uuid, step: Option<OrderEventType>) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).recent.insert(order);
        // Nobody listening is no fault.
        let _ = self.changes.send(Change::Order(order, step));
    }

    /// The orders that changed lately.
    pub(super) fn recent(&self) -> Vec<Uuid> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).recent.ids()
    }

    /// Since when something may have been missed, for the one who looks for it now; `None` when nothing was, or somebody
    /// has asked before.
    pub(super) fn take_gap(&self) -> Option<DateTime> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).gap.take()
    }
}

impl Listener for Feed {
    fn listening(&self) {
        {
            // Now, and not when somebody comes to look: the next events are heard already, and would hide the gap.
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.gap = Some(memory.gap.map_or(memory.heard_until, |gap| gap.min(memory.heard_until)));
        }
        let _ = self.changes.send(Change::Interrupted);
    }

    fn event(&self, event: &EventEnvelope) {
        {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.heard_until = memory.heard_until.max(event.occurred_at.into());
        }
        self.tell(event.order_id, Some(event.event_type.into()));
    }
}

/// The orders that changed last, each once.
#[derive(Debug, Default)]
struct Recent {
    /// Oldest first. An order that changed again has an older place too, which counts for nothing.
    order: VecDeque<(u64, Uuid)>,
    latest: HashMap<Uuid, u64>,
    next: u64,
}

impl Recent {
    fn insert(&mut self, id: Uuid) {
        self.next += 1;
        self.order.push_back((self.next, id));
        self.latest.insert(id, self.next);
        while self.latest.len() > RECENT || self.order.len() > 2 * RECENT {
            let Some((number, id)) = self.order.pop_front() else { return };
            if self.latest.get(&id) == Some(&number) {
                self.latest.remove(&id);
            }
        }
    }

    fn ids(&self) -> Vec<Uuid> {
        self.latest.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn event_at(seconds: u64) -> EventEnvelope {
        let order = Uuid::from_u128(1);
        EventEnvelope {
            id: contracts::event_id(order, 1),
            event_type: contracts::EventType::OrderCreated,
            source: "orders".to_owned(),
            aggregate_id: order,
            event_no: 1,
            asks: false,
            order_id: order,
            occurred_at: contracts::now() + Duration::from_secs(seconds),
            trace_context: contracts::TraceContext::default(),
            body: "{}".into(),
        }
    }

    #[test]
    fn what_is_heard_after_an_interruption_does_not_hide_it() {
        let feed = Feed::default();
        let (before, after) = (event_at(1), event_at(1000));
        feed.listening();
        assert!(feed.take_gap().is_some(), "what was placed while this process began");
        assert_eq!(feed.take_gap(), None);
        feed.event(&before);
        feed.listening();
        feed.event(&after);
        // And once more, before anybody has looked.
        feed.listening();
        assert_eq!(feed.take_gap(), Some(before.occurred_at.into()));
    }

    #[test]
    fn the_last_ten_thousand_orders_are_remembered_each_once() {
        let mut recent = Recent::default();
        let id = |number: usize| Uuid::from_u128(number as u128);
        for number in 0..RECENT {
            recent.insert(id(number));
        }
        for _ in 0..3 * RECENT {
            recent.insert(id(0));
        }
        assert!(recent.order.len() <= 2 * RECENT);
        assert!(recent.ids().contains(&id(0)));

        let mut recent = Recent::default();
        for number in 0..=RECENT {
            recent.insert(id(number));
        }
        assert_eq!(recent.ids().len(), RECENT);
        assert!(!recent.ids().contains(&id(0)) && recent.ids().contains(&id(RECENT)));
    }
}
