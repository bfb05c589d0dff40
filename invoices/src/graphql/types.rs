//! The types of the subgraph.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Interface, Result, SimpleObject, dataloader::DataLoader,
};
use chassis::{
    graphql::{DateTime, PageInfo, bad_user_input},
    identity::caller_of,
};
use uuid::Uuid;

use super::loader::ByOrder;
use crate::{
    entity::{Filter, Sort},
    invoice,
};

// The order of an invoice: the orders service owns and describes it, this one adds its invoice.
#[derive(Debug, Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct Order {
    pub(super) id: ID,
}

#[ComplexObject]
impl Order {
    /// The order's invoice. Null without an error: not issued yet.
    /// Null with an entry in `errors` at this path: the invoices service did not answer.
    async fn invoice(&self, ctx: &Context<'_>) -> Option<Result<Invoice>> {
        let Ok(order_id) = Uuid::try_parse(&self.id) else { return None };
        let found = async {
            let caller = caller_of(ctx)?.identity.clone();
            ctx.data::<DataLoader<ByOrder>>()?.load_one((caller, order_id)).await
        };
        found.await.map(|invoice| invoice.map(Invoice::from)).transpose()
    }
}

/// The invoice of one order. An order has at most one.
#[derive(Debug, Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct Invoice {
    id: ID,
    /// For people, e.g. `INV-00000042`: unique and increasing; numbers may be left out.
    number: String,
    order_id: ID,
    /// The order's amount, whole number of minor units.
    amount: i32,
    status: InvoiceStatus,
    created_at: DateTime,
    /// Null until it is paid.
    paid_at: Option<DateTime>,
}

#[ComplexObject]
impl Invoice {
    /// Null with an entry in `errors` when the orders service did not answer.
    async fn order(&self) -> Option<Order> {
        Some(Order { id: self.order_id.clone() })
    }
}

impl From<invoice::Invoice> for Invoice {
    fn from(invoice: invoice::Invoice) -> Self {
        Self {
            id: invoice.id.into(),
            number: invoice.number_text(),
            order_id: invoice.order_id.into(),
            amount: invoice.amount,
            status: invoice.status.into(),
            created_at: invoice.created_at.into(),
            paid_at: invoice.paid_at.map(DateTime::from),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "invoice::InvoiceStatus")]
pub(super) enum InvoiceStatus {
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

#[derive(Debug, Default, InputObject)]
pub(super) struct InvoiceFilter {
    /// Any of these.
    status: Option<Vec<InvoiceStatus>>,
    order_id: Option<ID>,
    /// At or after this instant.
    created_from: Option<DateTime>,
    /// Before this instant.
    created_before: Option<DateTime>,
}

impl TryFrom<InvoiceFilter> for Filter {
    type Error = async_graphql::Error;

    fn try_from(filter: InvoiceFilter) -> Result<Self> {
        let order_id = filter
            .order_id
            .map(|id| {
                Uuid::try_parse(&id)
                    .map_err(|_| bad_user_input(format!("filter.orderId must be a UUID, not {:?}", *id)))
            })
            .transpose()?;
        Ok(Self {
            status: filter.status.map(|any| any.into_iter().map(invoice::InvoiceStatus::from).collect()),
            order_id,
            created_from: filter.created_from.map(|at| at.0),
            created_before: filter.created_before.map(|at| at.0),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum InvoiceSort {
    CreatedAtDesc,
    CreatedAtAsc,
}

impl InvoiceSort {
    /// The name in the schema: what a cursor is made for.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreatedAtDesc => "CREATED_AT_DESC",
            Self::CreatedAtAsc => "CREATED_AT_ASC",
        }
    }
}

impl From<InvoiceSort> for Sort {
    fn from(sort: InvoiceSort) -> Self {
        match sort {
            InvoiceSort::CreatedAtDesc => Self::CreatedAtDesc,
            InvoiceSort::CreatedAtAsc => Self::CreatedAtAsc,
        }
    }
}

#[derive(Debug, SimpleObject)]
pub(super) struct InvoiceConnection {
    /// The invoices of this page.
    pub(super) nodes: Vec<Invoice>,
    pub(super) edges: Vec<InvoiceEdge>,
    pub(super) page_info: PageInfo,
}

#[derive(Debug, SimpleObject)]
pub(super) struct InvoiceEdge {
    pub(super) cursor: String,
    pub(super) node: Invoice,
}

#[derive(Debug, SimpleObject)]
pub(super) struct PayInvoicePayload {
    /// The invoice in its present state; null when there is none with this id.
    pub(super) invoice: Option<Invoice>,
    pub(super) user_errors: Vec<InvoiceUserError>,
}

#[derive(Debug, Clone, SimpleObject)]
pub(super) struct InvoiceUserError {
    pub(super) code: InvoiceErrorCode,
    pub(super) field: Option<Vec<String>>,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum InvoiceErrorCode {
    InvoiceNotFound,
    /// Only an issued invoice can be paid.
    InvoiceNotPayable,
}

/// Something the caller can correct. Failures of the system are in the response's `errors` instead.
#[derive(Debug, Interface)]
#[graphql(
    field(
        name = "field",
        ty = "&Option<Vec<String>>",
        desc = "Path of the argument at fault, e.g. `[\"input\", \"amount\"]`; null when it is none in particular."
    ),
    field(name = "message", ty = "&String", desc = "For people, in English.")
)]
pub(super) enum UserError {
    InvoiceUserError(InvoiceUserError),
}
