//! What the mutations answer: the object in its present state, and what the caller can correct.

use async_graphql::{Enum, ID, InputObject, Interface, SimpleObject};
use serde::Deserialize;

use super::{fetched::Asked, invoice::Invoice, order::Order};

#[derive(Debug, InputObject)]
pub(crate) struct CreateOrderInput {
    /// Whole number of minor units, 1 to 2147483647.
    amount: i32,
    /// Up to 255 characters. When absent it is the customer of the token; where no tokens are asked for, the default customer (`customer-123` in development).
    customer_id: Option<ID>,
    /// Up to 255 characters; a UUID is best. The same key with the same input returns the first order and creates no second one.
    idempotency_key: Option<String>,
}

#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CreateOrderPayload {
    /// Null when `userErrors` is not empty.
    pub(crate) order: Asked<Option<Order>>,
    user_errors: Asked<Vec<OrderUserError>>,
}

#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct CancelOrderPayload {
    /// The order in its present state; null when there is none with this id.
    pub(crate) order: Asked<Option<Order>>,
    user_errors: Asked<Vec<OrderUserError>>,
}

#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct PayInvoicePayload {
    /// The invoice in its present state; null when there is none with this id.
    pub(crate) invoice: Asked<Option<Invoice>>,
    user_errors: Asked<Vec<InvoiceUserError>>,
}

// No field returns the interface: it is there for fragments that fit both error types.
/// Something the caller can correct. Failures of the system are in the response's `errors` instead.
#[derive(Interface)]
#[graphql(
    field(
        name = "field",
        ty = "&Asked<Option<Vec<String>>>",
        desc = "Path of the argument at fault, e.g. `[\"input\", \"amount\"]`; null when it is none in particular."
    ),
    field(name = "message", ty = "&Asked<String>", desc = "For people, in English.")
)]
pub(crate) enum UserError {
    Order(OrderUserError),
    Invoice(InvoiceUserError),
}

#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(default)]
pub(crate) struct OrderUserError {
    code: Asked<OrderErrorCode>,
    field: Asked<Option<Vec<String>>>,
    message: Asked<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum OrderErrorCode {
    InvalidAmount,
    InvalidCustomerId,
    InvalidIdempotencyKey,
    /// The key was used before with different input.
    IdempotencyKeyReused,
    OrderNotFound,
}

#[derive(Debug, Default, SimpleObject, Deserialize)]
#[serde(default)]
pub(crate) struct InvoiceUserError {
    code: Asked<InvoiceErrorCode>,
    field: Asked<Option<Vec<String>>>,
    message: Asked<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum InvoiceErrorCode {
    InvoiceNotFound,
    /// Only an issued invoice can be paid.
    InvoiceNotPayable,
}
