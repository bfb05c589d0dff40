//! The root fields that change something. They run one after the other, each once, and are never tried again.

use std::sync::Arc;

use async_graphql::{Context, ID, Object, Result};

use super::{
    once::once,
    payload::{CancelOrderPayload, CreateOrderInput, CreateOrderPayload, PayInvoicePayload},
};

/// The root of mutations.
pub(crate) struct Mutation;

#[Object]
impl Mutation {
    /// Creates a PENDING order. Its invoice is issued a moment later; watch `orderUpdated`.
    async fn create_order(
        &self,
        ctx: &Context<'_>,
        input: CreateOrderInput,
    ) -> Option<Result<Arc<CreateOrderPayload>>> {
        once(ctx, |compose, selection| async move { compose.create_order(input, selection).await }).await
    }

    /// Cancels an order: a PENDING one has its invoice voided, a PAID one is refunded. Canceling a canceled order changes nothing and succeeds.
    async fn cancel_order(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Arc<CancelOrderPayload>>> {
        once(ctx, |compose, selection| async move { compose.cancel_order(id, selection).await }).await
    }

    /// Pays an ISSUED invoice. Paying a paid invoice changes nothing and succeeds, so a retry is safe.
    /// The order turns PAID a moment later, through the bus; watch `orderUpdated`.
    async fn pay_invoice(&self, ctx: &Context<'_>, id: ID) -> Option<Result<Arc<PayInvoicePayload>>> {
        once(ctx, |compose, selection| async move { compose.pay_invoice(id, selection).await }).await
    }
}
