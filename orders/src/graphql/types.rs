//! The types of the subgraph.

use async_graphql::{
    ComplexObject, Context, Enum, ID, InputObject, Interface, Result, SimpleObject, dataloader::DataLoader,
};
use chassis::graphql::{DateTime, PageInfo, bad_user_input};
use contracts::{CustomerId, EventType};
use uuid::Uuid;

use super::loader::TimelineLoader;
use crate::{
    entity::{Filter, Sort},
    order::{self, HistoryEntry},
};

/// A customer's order.
#[derive(Debug, Clone, SimpleObject)]
#[graphql(complex)]
pub(super) struct Order {
    /// UUID, the same in REST, events, logs and traces.
    id: ID,
    customer_id: ID,
    /// Whole number of minor units: 1999 is 19.99.
    amount: i32,
    status: OrderStatus,
    created_at: DateTime,
    #[graphql(skip)]
    key: Uuid,
}

#[ComplexObject]
impl Order {
    /// What happened to this order across the services, oldest first.
    async fn timeline(&self, ctx: &Context<'_>) -> Result<Vec<OrderEvent>> {
        let loader = ctx.data::<DataLoader<TimelineLoader>>()?;
        let entries = loader.load_one(self.key).await?.unwrap_or_default();
        Ok(entries.into_iter().map(OrderEvent::from).collect())
    }
}

impl From<order::Order> for Order {
    fn from(order: order::Order) -> Self {
        Self {
            id: order.id.into(),
            customer_id: order.customer_id.into(),
            amount: order.amount,
            status: order.status.into(),
            created_at: order.created_at.into(),
            key: order.id,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "order::OrderStatus")]
pub(super) enum OrderStatus {
    /// Created and not paid.
    Pending,
    /// Its invoice was paid.
    Paid,
    /// Canceled; its invoice is voided, refunded or rejected.
    Canceled,
}

/// One step in the life of an order.
#[derive(Debug, Clone, SimpleObject)]
pub(super) struct OrderEvent {
    r#type: OrderEventType,
    at: DateTime,
    /// W3C trace id of the work that caused this step; null when tracing is off.
    trace_id: Option<String>,
}

impl From<HistoryEntry> for OrderEvent {
    fn from(entry: HistoryEntry) -> Self {
        Self { r#type: entry.event_type.into(), at: entry.at.into(), trace_id: entry.trace_id }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[graphql(remote = "EventType")]
pub(super) enum OrderEventType {
    OrderCreated,
    InvoiceIssued,
    InvoicePaid,
    InvoiceVoided,
    InvoiceRefunded,
    InvoiceRejected,
    OrderPaid,
    OrderCanceled,
}

#[derive(Debug, Default, InputObject)]
pub(super) struct OrderFilter {
    /// Any of these.
    status: Option<Vec<OrderStatus>>,
    customer_id: Option<ID>,
    /// At or after this instant.
    created_from: Option<DateTime>,
    /// Before this instant.
    created_before: Option<DateTime>,
}

impl TryFrom<OrderFilter> for Filter {
    type Error = async_graphql::Error;

    fn try_from(filter: OrderFilter) -> Result<Self> {
        let customer_id = filter
            .customer_id
            .map(|id| CustomerId::try_from(id.0).map_err(|e| bad_user_input(format!("filter.customerId {e}"))))
            .transpose()?;
        Ok(Self {
            status: filter.status.map(|any| any.into_iter().map(order::OrderStatus::from).collect()),
            customer_id: customer_id.map(|id| id.to_string()),
            created_from: filter.created_from.map(|at| at.0),
            created_before: filter.created_before.map(|at| at.0),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum OrderSort {
    CreatedAtDesc,
    CreatedAtAsc,
    AmountDesc,
    AmountAsc,
}

impl OrderSort {
    /// The name in the schema: what a cursor is made for.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::CreatedAtDesc => "CREATED_AT_DESC",
            Self::CreatedAtAsc => "CREATED_AT_ASC",
            Self::AmountDesc => "AMOUNT_DESC",
            Self::AmountAsc => "AMOUNT_ASC",
        }
    }
}

impl From<OrderSort> for Sort {
    fn from(sort: OrderSort) -> Self {
        match sort {
            OrderSort::CreatedAtDesc => Self::CreatedAtDesc,
            OrderSort::CreatedAtAsc => Self::CreatedAtAsc,
            OrderSort::AmountDesc => Self::AmountDesc,
            OrderSort::AmountAsc => Self::AmountAsc,
        }
    }
}

#[derive(Debug, SimpleObject)]
pub(super) struct OrderConnection {
    /// The orders of this page.
    pub(super) nodes: Vec<Order>,
    pub(super) edges: Vec<OrderEdge>,
    pub(super) page_info: PageInfo,
}

#[derive(Debug, SimpleObject)]
pub(super) struct OrderEdge {
    pub(super) cursor: String,
    pub(super) node: Order,
}

#[derive(Debug, InputObject)]
pub(super) struct CreateOrderInput {
    /// Whole number of minor units, 1 to 2147483647.
    pub(super) amount: i32,
    /// Up to 255 characters. When absent it is the customer of the token; where no tokens are asked for, the default customer (`customer-123` in development).
    pub(super) customer_id: Option<ID>,
    /// Up to 255 characters; a UUID is best. The same key with the same input returns the first order and creates no second one.
    pub(super) idempotency_key: Option<String>,
}

#[derive(Debug, SimpleObject)]
pub(super) struct CreateOrderPayload {
    /// Null when `userErrors` is not empty.
    pub(super) order: Option<Order>,
    pub(super) user_errors: Vec<OrderUserError>,
}

#[derive(Debug, SimpleObject)]
pub(super) struct CancelOrderPayload {
    /// The order in its present state; null when there is none with this id.
    pub(super) order: Option<Order>,
    pub(super) user_errors: Vec<OrderUserError>,
}

#[derive(Debug, Clone, SimpleObject)]
pub(super) struct OrderUserError {
    pub(super) code: OrderErrorCode,
    pub(super) field: Option<Vec<String>>,
    pub(super) message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
pub(super) enum OrderErrorCode {
    InvalidAmount,
    InvalidCustomerId,
    InvalidIdempotencyKey,
    /// The key was used before with different input.
    IdempotencyKeyReused,
    OrderNotFound,
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
    OrderUserError(OrderUserError),
}
