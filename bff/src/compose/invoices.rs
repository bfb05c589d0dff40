//! What begins at the invoices service: one invoice, a page of invoices, and the mutation of invoices.

use async_graphql::ID;

use super::{Composer, List, join::take_order, page::PageSelection};
use crate::{
    schema::{Invoice, InvoiceConnection, InvoiceFilter, InvoiceSort, Page, PayInvoicePayload},
    selection::Selection,
    subgraph::{Operation, SubgraphError},
};

impl Composer {
    /// One invoice, then its order.
    pub(crate) async fn invoice(&self, id: ID, mut selection: Selection) -> Result<Option<Invoice>, SubgraphError> {
        let order = take_order(&mut selection);
        let operation = Operation::query("invoice").argument("id", &id).select(selection);
        let mut invoice = self.subgraphs.invoices.object::<Invoice>(&operation, &self.terms).await?;
        if let Some(order) = order {
            self.join_orders(invoice.iter_mut().collect(), order).await;
        }
        Ok(invoice)
    }

    /// A page of invoices, then all their orders in one call.
    pub(crate) async fn invoices(
        &self,
        list: List<InvoiceFilter, InvoiceSort>,
        selection: Selection,
    ) -> Result<Option<InvoiceConnection>, SubgraphError> {
        let mut page = PageSelection::new(selection);
        let order = page.node.as_mut().and_then(take_order);
        let operation = Operation::query("invoices")
            .argument("first", &list.first)
            .argument("after", &list.after)
            .argument("filter", &list.filter)
            .argument("sort", &list.sort)
            .select(page.into_selection());
        let mut page = self.subgraphs.invoices.object::<Page<Invoice>>(&operation, &self.terms).await?;
        if let (Some(page), Some(order)) = (&mut page, order) {
            self.join_orders(page.nodes_mut().collect(), order).await;
        }
        Ok(page.map(InvoiceConnection))
    }

    /// Pays an invoice.
    pub(crate) async fn pay_invoice(
        &self,
        id: ID,
        mut selection: Selection,
    ) -> Result<Option<PayInvoicePayload>, SubgraphError> {
        let order = selection.get_mut("invoice").and_then(take_order);
        let operation = Operation::mutation("payInvoice").argument("id", &id).select(selection);
        let mut payload = self.subgraphs.invoices.object::<PayInvoicePayload>(&operation, &self.terms).await?;
        if let (Some(payload), Some(order)) = (&mut payload, order) {
            self.join_orders(payload.invoice.get_mut().into_iter().flatten().collect(), order).await;
        }
        Ok(payload)
    }
}
