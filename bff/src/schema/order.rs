//! The orders service's part of the API. The doc comments of the types are the descriptions that clients read, so
//! they say what the subgraph's say, word for word; notes for us are ordinary comments.

use async_graphql::{ComplexObject, Enum, ID, InputObject, Object, Result, SimpleObject};
use chassis::graphql::DateTime;
use serde::Deserialize;

use super::{
    fetched::{Asked, Joined},
    invoice::Invoice,
    page::{Edge, Page, PageInfo},
};

/// A customer's order.
#[derive(Debug, Default, SimpleObject, Deserialize)]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Deserialize)]
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
#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct OrderEvent {
    r#type: Asked<OrderEventType>,
    at: Asked<DateTime>,
    /// W3C trace id of the work that caused this step; null when tracing is off.
    trace_id: Asked<Option<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Deserialize)]
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

#[derive(Debug, InputObject)]
pub(crate) struct OrderFilter {
    /// Any of these.
    status: Option<Vec<OrderStatus>>,
    customer_id: Option<ID>,
    /// At or after this instant.
    created_from: Option<DateTime>,
    /// Before this instant.
    created_before: Option<DateTime>,
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
