//! The invoices service's part of the API. The doc comments of the types are the descriptions that clients read, so
//! they say what the subgraph's say, word for word; notes for us are ordinary comments.

use async_graphql::{ComplexObject, Enum, ID, InputObject, Object, Result, SimpleObject};
use chassis::graphql::DateTime;
use serde::Deserialize;

use super::{
    fetched::{Asked, Joined},
    order::Order,
    page::{Edge, Page, PageInfo},
};

/// The invoice of one order. An order has at most one.
#[derive(Debug, Default, PartialEq, SimpleObject, Deserialize)]
#[graphql(complex)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Invoice {
    id: Asked<ID>,
    /// For people, e.g. `INV-00000042`: unique and increasing; numbers may be left out.
    number: Asked<String>,
    pub(crate) order_id: Asked<ID>,
    /// The order's amount, whole number of minor units.
    amount: Asked<i32>,
    status: Asked<InvoiceStatus>,
    created_at: Asked<DateTime>,
    /// Null until it is paid.
    paid_at: Asked<Option<DateTime>>,
    #[graphql(skip)]
    #[serde(skip)]
    pub(crate) order: Joined<Order>,
}

#[ComplexObject]
impl Invoice {
    /// Null with an entry in `errors` when the orders service did not answer.
    async fn order(&self) -> Option<Result<&Order>> {
        self.order.answer()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum InvoiceStatus {
    /// Open, to be paid.
    Issued,
    Paid,
    /// Its order was canceled before it was paid.
    Voided,
    /// Its order was canceled after it was paid.
    Refunded,
    /// Refused by a rule, e.g. above the amount limit; its order is canceled.
    Rejected,
}

impl Invoice {
    /// How far it has come.
    pub(super) fn stage(&self) -> Option<InvoiceStage> {
        self.status.get().map(|status| match status {
            InvoiceStatus::Issued => InvoiceStage::Open,
            InvoiceStatus::Paid => InvoiceStage::Paid,
            InvoiceStatus::Voided | InvoiceStatus::Refunded | InvoiceStatus::Rejected => InvoiceStage::Closed,
        })
    }

    /// Whether something in it is missing because a service did not answer.
    pub(super) fn is_partial(&self) -> bool {
        self.order.is_partial(Order::is_partial)
    }
}

/// What an invoice goes through, in this order; it never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum InvoiceStage {
    Open,
    Paid,
    Closed,
}

#[derive(Debug, InputObject)]
pub(crate) struct InvoiceFilter {
    /// Any of these.
    status: Option<Vec<InvoiceStatus>>,
    order_id: Option<ID>,
    /// At or after this instant.
    created_from: Option<DateTime>,
    /// Before this instant.
    created_before: Option<DateTime>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(crate) enum InvoiceSort {
    CreatedAtDesc,
    CreatedAtAsc,
}

#[derive(Debug)]
pub(crate) struct InvoiceConnection(pub(crate) Page<Invoice>);

#[Object]
impl InvoiceConnection {
    /// The invoices of this page.
    async fn nodes(&self) -> Vec<&Invoice> {
        self.0.nodes().collect()
    }

    async fn edges(&self) -> &[Edge<Invoice>] {
        &self.0.edges
    }

    async fn page_info(&self) -> &Asked<PageInfo> {
        &self.0.page_info
    }
}
