//! The exchange, the queues and their bindings: one table, declared whole by every process that connects.
//!
//! Queues are declared plain and durable, with no arguments: limits, types and dead-lettering are policies of the
//! virtual host. So a client that knows nothing of them, `assertQueue('orders')`, keeps working, and an operator
//! can change them without deleting a queue.

use crate::EventType;

/// The topic exchange all events go through; the routing key is the event type.
pub const EXCHANGE: &str = "tandem.events";

/// A durable queue and the event types it receives.
#[derive(Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name on the broker.
    pub name: &'static str,
    /// The event types bound to it.
    pub events: &'static [EventType],
}

impl Queue {
    /// Where messages go that can never be processed, with the reason in their headers.
    pub fn dead_letter_name(&self) -> String {
        format!("{}.dlq", self.name)
    }
}

/// `order.created`, consumed by invoices. The name and the body are those of the systems that came before.
pub static ORDERS: Queue = Queue { name: "orders", events: &[EventType::OrderCreated] };

/// `order.canceled`, consumed by invoices. Apart from `orders`, so that the two are never locked in one transaction.
pub static INVOICES_ORDER_CANCELED: Queue =
    Queue { name: "invoices.order-canceled", events: &[EventType::OrderCanceled] };

/// Everything that invoices say, consumed by orders.
pub static ORDERS_INVOICE_EVENTS: Queue = Queue {
    name: "orders.invoice-events",
    events: &[
        EventType::InvoiceIssued,
        EventType::InvoicePaid,
        EventType::InvoiceVoided,
        EventType::InvoiceRefunded,
        EventType::InvoiceRejected,
    ],
};

/// All of them.
pub static QUEUES: [&Queue; 3] = [&ORDERS, &INVOICES_ORDER_CANCELED, &ORDERS_INVOICE_EVENTS];

/// The queues that receive an event type. Empty for one that only live listeners care about: publishing it
/// `mandatory` would have it returned whenever nobody listens.
pub fn queues_of(event_type: EventType) -> impl Iterator<Item = &'static Queue> {
    QUEUES.into_iter().filter(move |queue| queue.events.contains(&event_type))
}
