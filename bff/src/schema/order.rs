//! The orders service's part of the API. The doc comments of the types are the descriptions that clients read, so
//! they say what the subgraph's say, word for word; notes for us are ordinary comments.

use std::collections::BTreeSet;

use async_graphql::{ComplexObject, Enum, ID, InputObject, Object, Result, SimpleObject};
use chassis::graphql::DateTime;
use contracts::EventType;
use serde::Deserialize;

use super::{
    fetched::{Asked, Joined},
    invoice::{Invoice, InvoiceStage},
    page::{Edge, Page, PageInfo},
};

/// A customer's order.
#[derive(Debug, Default, PartialEq, SimpleObject, Deserialize)]
#[graphql(complex)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Order {
    /// UUID, the same in REST, events, logs and traces.
    pub(crate) id: Asked<ID>,
    customer_id: Asked<ID>,
    /// Whole number of minor units: 1999 is 19.99.
    amount: Asked<i32>,
    status: Asked<OrderStatus>,
    created_at: Asked<DateTime>,
    /// What happened to this order across the services, oldest first.
    timeline: Asked<Vec<OrderEvent>>,
    #[graphql(skip)]
    #[serde(skip)]
    pub(crate) invoice: Joined<Invoice>,
}

#[ComplexObject]
impl Order {
    /// The order's invoice. Null without an error: not issued yet.
    /// Null with an entry in `errors` at this path: the invoices service did not answer.
    async fn invoice(&self) -> Option<Result<&Invoice>> {
        self.invoice.answer()
    }
}

// In the order of its life: a status is only ever replaced by a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enum, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OrderStatus {
    /// Created and not paid.
    Pending,
    /// Its invoice was paid.
    Paid,
    /// Canceled; its invoice is voided, refunded or rejected.
    Canceled,
}

/// One step in the life of an order.
#[derive(Debug, Default, PartialEq, SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OrderEvent {
    r#type: Asked<OrderEventType>,
    at: Asked<DateTime>,
    /// W3C trace id of the work that caused this step; null when tracing is off.
    trace_id: Asked<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Enum, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OrderEventType {
    OrderCreated,
    InvoiceIssued,
    InvoicePaid,
    InvoiceVoided,
    InvoiceRefunded,
    InvoiceRejected,
    OrderPaid,
    OrderCanceled,
}

impl Order {
    /// How far it has come, for comparing what was read at different times.
    pub(crate) fn progress(&self) -> Progress {
        let invoice = match &self.invoice {
            Joined::NotAsked | Joined::Failed(_) | Joined::Found(None) => None,
            Joined::Found(Some(invoice)) => invoice.stage(),
        };
        Progress { order: self.status.get().copied(), invoice, invoice_known: matches!(self.invoice, Joined::Found(_)) }
    }

    /// Whether its timeline, where it was asked for, has all of `steps`.
    pub(crate) fn has_steps(&self, steps: &BTreeSet<OrderEventType>) -> bool {
        let Some(timeline) = self.timeline.get() else { return true };
        steps.iter().all(|step| timeline.iter().any(|event| event.r#type.get() == Some(step)))
    }

    /// Whether its invoice will appear without an event. A cancellation that overtakes its order on the way to invoices
    /// is told as voided at once, and the invoice is shown when the order has arrived too: of that nobody is told. Every
    /// canceled order has an invoice in the end.
    pub(crate) fn awaits_invoice(&self) -> bool {
        self.status.get() == Some(&OrderStatus::Canceled) && matches!(self.invoice, Joined::Found(None))
    }

    /// Whether something in it is missing because a service did not answer.
    pub(crate) fn is_partial(&self) -> bool {
        self.invoice.is_partial(Invoice::is_partial)
    }
}

/// How far an order and its invoice have come; neither ever goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    order: Option<OrderStatus>,
    invoice: Option<InvoiceStage>,
    /// False when nobody asked for the invoice, or it could not be had.
    invoice_known: bool,
}

impl Progress {
    /// Whether it shows less than `other`, so must have been read before it.
    pub(crate) fn is_behind(&self, other: &Self) -> bool {
        self.order < other.order || (self.invoice_known && self.invoice < other.invoice)
    }

    /// The further of both, part by part.
    pub(crate) fn at_least(self, other: &Self) -> Self {
        Self {
            order: self.order.max(other.order),
            invoice: self.invoice.max(other.invoice),
            invoice_known: self.invoice_known || other.invoice_known,
        }
    }
}

/// The step of the timeline that an event becomes.
impl From<EventType> for OrderEventType {
    fn from(event: EventType) -> Self {
        match event {
            EventType::OrderCreated => Self::OrderCreated,
            EventType::OrderPaid => Self::OrderPaid,
            EventType::OrderCanceled => Self::OrderCanceled,
            EventType::InvoiceIssued => Self::InvoiceIssued,
            EventType::InvoicePaid => Self::InvoicePaid,
            EventType::InvoiceVoided => Self::InvoiceVoided,
            EventType::InvoiceRefunded => Self::InvoiceRefunded,
            EventType::InvoiceRejected => Self::InvoiceRejected,
        }
    }
}

#[derive(Debug, Default, InputObject)]
pub(crate) struct OrderFilter {
    /// Any of these.
    status: Option<Vec<OrderStatus>>,
    customer_id: Option<ID>,
    /// At or after this instant.
    created_from: Option<DateTime>,
    /// Before this instant.
    created_before: Option<DateTime>,
}

impl OrderFilter {
    /// Orders created at or after `instant`.
    pub(crate) fn created_from(instant: DateTime) -> Self {
        Self { created_from: Some(instant), ..Self::default() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum OrderSort {
    CreatedAtDesc,
    CreatedAtAsc,
    AmountDesc,
    AmountAsc,
}

#[derive(Debug)]
pub(crate) struct OrderConnection(pub(crate) Page<Order>);

#[Object]
impl OrderConnection {
    /// The orders of this page.
    async fn nodes(&self) -> Vec<&Order> {
        self.0.nodes().collect()
    }

    async fn edges(&self) -> &[Edge<Order>] {
        &self.0.edges
    }

    async fn page_info(&self) -> &Asked<PageInfo> {
        &self.0.page_info
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn progress(order: &str, invoice: Option<&str>) -> Progress {
        let mut read: Order = serde_json::from_value(json!({ "status": order })).unwrap();
        read.invoice =
            Joined::Found(invoice.map(|status| Box::new(serde_json::from_value(json!({ "status": status })).unwrap())));
        read.progress()
    }

    #[test]
    fn what_was_read_before_is_behind_what_was_read_after() {
        let lives = [
            vec![("PENDING", None), ("PENDING", Some("ISSUED")), ("PENDING", Some("PAID")), ("PAID", Some("PAID"))],
            vec![("PAID", Some("PAID")), ("CANCELED", Some("PAID")), ("CANCELED", Some("REFUNDED"))],
            vec![("PENDING", Some("ISSUED")), ("CANCELED", Some("ISSUED")), ("CANCELED", Some("VOIDED"))],
            vec![("PENDING", None), ("PENDING", Some("REJECTED")), ("CANCELED", Some("REJECTED"))],
        ];
        for life in lives {
            for (earlier, later) in life.iter().zip(&life[1..]) {
                let [earlier, later] = [earlier, later].map(|(order, invoice)| progress(order, *invoice));
                assert!(earlier.is_behind(&later) && !later.is_behind(&earlier), "{earlier:?} {later:?}");
                assert!(!later.is_behind(&later));
            }
        }
    }

    #[test]
    fn an_invoice_that_could_not_be_had_is_not_behind() {
        let paid = progress("PAID", Some("PAID"));
        let unknown = Order { status: Asked::known(OrderStatus::Paid), ..Order::default() }.progress();
        assert!(!unknown.is_behind(&paid));
        assert!(progress("PAID", Some("ISSUED")).is_behind(&unknown.at_least(&paid)));
    }
}
