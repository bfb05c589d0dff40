//! The exchange, the queues and their bindings: one table, declared whole by every process that connects.
//!
//! Queues are declared plain and durable, with no arguments: limits, types and dead-lettering are policies of the
//! virtual host, see [`crate::broker`]. So a client that knows nothing of them, `assertQueue('orders')`, keeps
//! working, and an operator can change them without deleting a queue. Names are computed from this table only, so
//! that no message is ever sent to a queue that nobody declared.

use std::time::Duration;

use crate::EventType;

/// The topic exchange all events go through; the routing key is the event type.
pub const EXCHANGE: &str = "tandem.events";

/// A durable queue and the event types it receives.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name on the broker.
    pub name: &'static str,
    /// The service that consumes it.
    pub consumer: &'static str,
    /// The event types bound to it.
    pub events: &'static [EventType],
}

/// A pause before a message is tried again, which is a queue beside each of [`QUEUES`]: what lies there comes back
/// when the pause is over.
#[derive(Debug, PartialEq, Eq)]
pub struct Pause {
    /// The end of the queue's name.
    suffix: &'static str,
    /// How long it lasts.
    pub length: Duration,
}

/// The pauses, in the order in which a message goes through them; after the last one it is the last one again.
pub static PAUSES: [Pause; 3] = [
    Pause { suffix: "retry.5s", length: Duration::from_secs(5) },
    Pause { suffix: "retry.30s", length: Duration::from_secs(30) },
    Pause { suffix: "retry.300s", length: Duration::from_secs(300) },
];

/// How often a message is tried again before it is given up: over about twenty minutes, with [`PAUSES`].
pub const RETRIES: u32 = 6;

impl Queue {
    /// Where messages go that can never be processed, with the reason in their headers.
    pub fn dead_letter_name(&self) -> String {
        format!("{}.dlq", self.name)
    }

    /// Where messages wait for `pause`.
    pub fn retry_name(&self, pause: &Pause) -> String {
        format!("{}.{}", self.name, pause.suffix)
    }

    /// Where a message waits that was tried again `retries` times already; `None` when that was enough.
    pub fn retry_after(&self, retries: u32) -> Option<String> {
        let last = PAUSES.len() - 1;
        let pause = &PAUSES[usize::try_from(retries).map_or(last, |retries| retries.min(last))];
        (retries < RETRIES).then(|| self.retry_name(pause))
    }

    /// All the queues that it consists of: itself, the pauses, and the dead letters.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec![self.name.to_owned()];
        names.extend(PAUSES.iter().map(|pause| self.retry_name(pause)));
        names.push(self.dead_letter_name());
        names
    }
}

/// `order.created`, consumed by invoices. The name and the body are those of the systems that came before.
pub static ORDERS: Queue = Queue { name: "orders", consumer: "invoices", events: &[EventType::OrderCreated] };

/// `order.canceled`, consumed by invoices. Apart from `orders`, so that the two are never locked in one transaction.
pub static INVOICES_ORDER_CANCELED: Queue =
    Queue { name: "invoices.order-canceled", consumer: "invoices", events: &[EventType::OrderCanceled] };

/// Everything that invoices say, consumed by orders.
pub static ORDERS_INVOICE_EVENTS: Queue = Queue {
    name: "orders.invoice-events",
    consumer: "orders",
    events: &[
        EventType::InvoiceIssued,
        EventType::InvoicePaid,
        EventType::InvoiceVoided,
        EventType::InvoiceRefunded,
        EventType::InvoiceRejected,
    ],
};

/// What a live queue is bound to: everything that services say. Such a queue belongs to one process that shows what
/// happens, has a name that the broker gives it ([`LIVE_PREFIX`]), and goes with its connection; so it is in no list.
pub const LIVE_PATTERNS: [&str; 2] = ["order.*", "invoice.*"];

/// How the names begin that a broker gives (AMQP 0-9-1, `queue.declare`: reserved for it).
pub const LIVE_PREFIX: &str = "amq.gen-";

/// All of them.
pub static QUEUES: [&Queue; 3] = [&ORDERS, &INVOICES_ORDER_CANCELED, &ORDERS_INVOICE_EVENTS];

/// The queues that receive an event type. Empty for one that only live listeners care about: publishing it
/// `mandatory` would have it returned whenever nobody listens.
pub fn queues_of(event_type: EventType) -> impl Iterator<Item = &'static Queue> {
    QUEUES.into_iter().filter(move |queue| queue.events.contains(&event_type))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_waits_longer_each_time_and_is_given_up_after_six() {
        let waits: Vec<_> = (0..).map_while(|retries| ORDERS.retry_after(retries)).collect();
        let long = "orders.retry.300s";
        assert_eq!(waits, ["orders.retry.5s", "orders.retry.30s", long, long, long, long]);
        assert_eq!(ORDERS.retry_after(u32::MAX), None);
    }

    #[test]
    fn a_live_queue_hears_every_event() {
        for event_type in EventType::ALL {
            let (kind, _) = event_type.as_str().split_once('.').unwrap();
            assert!(LIVE_PATTERNS.contains(&format!("{kind}.*").as_str()), "{event_type}");
        }
    }

    #[test]
    fn every_queue_that_is_ever_written_to_is_in_the_list() {
        for queue in QUEUES {
            let names = queue.names();
            assert!(names.contains(&queue.dead_letter_name()));
            assert!((0..RETRIES).filter_map(|retries| queue.retry_after(retries)).all(|name| names.contains(&name)));
        }
    }
}
