//! Loaders: what many fields of one request ask for, read by one statement.
//!
//! What is loaded together may be of several requests, so each question says who asks it: a statement answers one
//! caller.

use std::collections::HashMap;

use async_graphql::{Error, Result, dataloader::Loader};
use chassis::identity::Identity;
use uuid::Uuid;

use super::failure;
use crate::{invoice::Invoice, service::InvoiceService};

/// An id, and who asks.
type Question = (Identity, Uuid);

/// Loads invoices by id: all of a caller in one statement.
pub(super) struct InvoiceLoader(pub(super) InvoiceService);

impl Loader<Question> for InvoiceLoader {
    type Value = Invoice;
    type Error = Error;

    async fn load(&self, questions: &[Question]) -> Result<HashMap<Question, Invoice>> {
        let mut found = HashMap::new();
        for (caller, ids) in by_caller(questions) {
            let invoices = self.0.find_many(caller, &ids).await.map_err(failure)?;
            found.extend(invoices.into_iter().map(|invoice| ((caller.clone(), invoice.id), invoice)));
        }
        Ok(found)
    }
}

/// Loads the invoices of orders: those of a page in one statement.
pub(super) struct ByOrder(pub(super) InvoiceService);

impl Loader<Question> for ByOrder {
    type Value = Invoice;
    type Error = Error;

    async fn load(&self, questions: &[Question]) -> Result<HashMap<Question, Invoice>> {
        let mut found = HashMap::new();
        for (caller, order_ids) in by_caller(questions) {
            let invoices = self.0.find_by_orders(caller, &order_ids).await.map_err(failure)?;
            found.extend(invoices.into_iter().map(|invoice| ((caller.clone(), invoice.order_id), invoice)));
        }
        Ok(found)
    }
}

fn by_caller(questions: &[Question]) -> HashMap<&Identity, Vec<Uuid>> {
    let mut by_caller: HashMap<&Identity, Vec<Uuid>> = HashMap::new();
    for (caller, id) in questions {
        by_caller.entry(caller).or_default().push(*id);
    }
    by_caller
}
