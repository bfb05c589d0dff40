//! Loaders: what many fields of one request ask for, read by one statement.

use std::collections::HashMap;

use async_graphql::{Error, Result, dataloader::Loader};
use uuid::Uuid;

use super::failure;
use crate::service::InvoiceService;

/// Loads invoices by id: all of a request in one statement.
pub(super) struct InvoiceLoader(pub(super) InvoiceService);

impl Loader<Uuid> for InvoiceLoader {
    type Value = crate::invoice::Invoice;
    type Error = Error;

    async fn load(&self, ids: &[Uuid]) -> Result<HashMap<Uuid, Self::Value>> {
        let invoices = self.0.find_many(ids).await.map_err(failure)?;
        Ok(invoices.into_iter().map(|invoice| (invoice.id, invoice)).collect())
    }
}

/// Loads the invoices of orders: those of a page in one statement.
pub(super) struct ByOrder(pub(super) InvoiceService);

impl Loader<Uuid> for ByOrder {
    type Value = crate::invoice::Invoice;
    type Error = Error;

    async fn load(&self, order_ids: &[Uuid]) -> Result<HashMap<Uuid, Self::Value>> {
        let invoices = self.0.find_by_orders(order_ids).await.map_err(failure)?;
        Ok(invoices.into_iter().map(|invoice| (invoice.order_id, invoice)).collect())
    }
}
