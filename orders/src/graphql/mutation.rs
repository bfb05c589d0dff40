//! Changing: place and cancel. What a caller can correct is a `userErrors` entry, not an error of the request.

use async_graphql::{Context, ID, Object, Result};
use chassis::identity::caller_of;
use serde_json::Value;
use uuid::Uuid;

use super::{
    failure,
    types::{CancelOrderPayload, CreateOrderInput, CreateOrderPayload, OrderErrorCode, OrderUserError},
};
use crate::{
    order::{Field, InvalidField, PlaceOrder},
    service::{OrderError, OrderService},
};

/// The root of all changing.
#[derive(Debug)]
pub struct Mutation;

#[Object]
impl Mutation {
    /// Creates a PENDING order. Its invoice is issued a moment later; watch `orderUpdated`.
    async fn create_order(&self, ctx: &Context<'_>, input: CreateOrderInput) -> Option<Result<CreateOrderPayload>> {
        Some(create(ctx, input).await)
    }

    /// Cancels an order: a PENDING one has its invoice voided, a PAID one is refunded. Canceling a canceled order changes nothing and succeeds.
    async fn cancel_order(&self, ctx: &Context<'_>, id: ID) -> Option<Result<CancelOrderPayload>> {
        Some(cancel(ctx, &id).await)
    }
}

async fn create(ctx: &Context<'_>, input: CreateOrderInput) -> Result<CreateOrderPayload> {
    let asked = PlaceOrder {
        amount: Some(input.amount.into()),
        customer_id: input.customer_id.map(|id| Value::String(id.0)),
        idempotency_key: input.idempotency_key,
    };
    match ctx.data::<OrderService>()?.place(&caller_of(ctx)?.identity, asked).await {
        Ok(placed) => Ok(CreateOrderPayload { order: Some(placed.order.into()), user_errors: Vec::new() }),
        Err(error) => Ok(CreateOrderPayload { order: None, user_errors: user_errors(error).map_err(failure)? }),
    }
}

async fn cancel(ctx: &Context<'_>, id: &str) -> Result<CancelOrderPayload> {
    let canceled = match Uuid::try_parse(id) {
        Ok(id) => ctx.data::<OrderService>()?.cancel(&caller_of(ctx)?.identity, id).await,
        Err(_) => Err(OrderError::NotFound),
    };
    match canceled {
        Ok(order) => Ok(CancelOrderPayload { order: Some(order.into()), user_errors: Vec::new() }),
        Err(error) => Ok(CancelOrderPayload { order: None, user_errors: user_errors(error).map_err(failure)? }),
    }
}

/// What the caller can correct; a failure of the system is handed back.
fn user_errors(error: OrderError) -> Result<Vec<OrderUserError>, OrderError> {
    let one = |code, field: &[&str]| {
        let field = Some(field.iter().map(|&part| part.to_owned()).collect());
        vec![OrderUserError { code, field, message: error.to_string() }]
    };
    match error {
        OrderError::KeyReused => Ok(one(OrderErrorCode::IdempotencyKeyReused, &["input", "idempotencyKey"])),
        OrderError::OtherCustomer => {
            let field = Some(["input", "customerId"].map(str::to_owned).to_vec());
            let message = format!("customerId {error}");
            Ok(vec![OrderUserError { code: OrderErrorCode::InvalidCustomerId, field, message }])
        }
        OrderError::NotFound => Ok(one(OrderErrorCode::OrderNotFound, &["id"])),
        OrderError::Invalid(fields) => Ok(fields.into_iter().map(OrderUserError::from).collect()),
        OrderError::Unavailable(_) | OrderError::Internal(_) => Err(error),
    }
}

impl From<InvalidField> for OrderUserError {
    fn from(invalid: InvalidField) -> Self {
        let (code, name) = match invalid.field {
            Field::Amount => (OrderErrorCode::InvalidAmount, "amount"),
            Field::CustomerId => (OrderErrorCode::InvalidCustomerId, "customerId"),
            Field::IdempotencyKey => (OrderErrorCode::InvalidIdempotencyKey, "idempotencyKey"),
        };
        let field = Some(vec!["input".to_owned(), name.to_owned()]);
        Self { code, field, message: format!("{name} {}", invalid.message) }
    }
}
