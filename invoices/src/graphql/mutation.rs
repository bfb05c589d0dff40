//! Changing: pay. What a caller can correct is a `userErrors` entry, not an error of the request.

use async_graphql::{Context, ID, Object, Result};
use chassis::identity::caller_of;
use uuid::Uuid;

use super::{
    failure,
    types::{Invoice, InvoiceErrorCode, InvoiceUserError, PayInvoicePayload},
};
use crate::service::{InvoiceError, InvoiceService};

/// The root of all changing.
#[derive(Debug)]
pub struct Mutation;

#[Object]
impl Mutation {
    /// Pays an ISSUED invoice. Paying a paid invoice changes nothing and succeeds, so a retry is safe.
    /// The order turns PAID a moment later, through the bus; watch `orderUpdated`.
    async fn pay_invoice(&self, ctx: &Context<'_>, id: ID) -> Option<Result<PayInvoicePayload>> {
        Some(pay(ctx, &id).await)
    }
}

async fn pay(ctx: &Context<'_>, id: &str) -> Result<PayInvoicePayload> {
    let paid = match Uuid::try_parse(id) {
        Ok(id) => ctx.data::<InvoiceService>()?.pay(&caller_of(ctx)?.identity, id).await,
        Err(_) => Err(InvoiceError::NotFound),
    };
    let error = match paid {
        Ok(invoice) => return Ok(PayInvoicePayload { invoice: Some(invoice.into()), user_errors: Vec::new() }),
        Err(error) => error,
    };
    let message = error.to_string();
    let (code, invoice) = match error {
        InvoiceError::NotFound => (InvoiceErrorCode::InvoiceNotFound, None),
        InvoiceError::NotPayable(invoice) => (InvoiceErrorCode::InvoiceNotPayable, Some(Invoice::from(invoice))),
        InvoiceError::Unavailable(_) | InvoiceError::Internal(_) => return Err(failure(error)),
    };
    let user_error = InvoiceUserError { code, field: Some(vec!["id".to_owned()]), message };
    Ok(PayInvoicePayload { invoice, user_errors: vec![user_error] })
}
