//! What the other service adds to objects: their invoices to orders, their orders to invoices, one call for all of
//! them. Each join takes its part of the selection along, so `order { invoice { order { … } } }` goes on level by
//! level.

use async_graphql::ID;
use futures_util::{
    FutureExt,
    future::{BoxFuture, join},
};

use super::Composer;
use crate::{
    schema::{Asked, Invoice, Joined, Order},
    selection::Selection,
    subgraph::{Operation, SubgraphError},
};

/// Takes out of a selection on `Order` what the invoices service owns. The key that the join needs takes its place.
pub(super) fn take_invoice(order: &mut Selection) -> Option<Selection> {
    let invoice = order.take("invoice")?;
    *order = std::mem::take(order).with_value("id");
    Some(invoice)
}

/// Takes out of a selection on `Invoice` what the orders service owns. The key that the join needs takes its place.
pub(super) fn take_order(invoice: &mut Selection) -> Option<Selection> {
    let order = invoice.take("order")?;
    *invoice = std::mem::take(invoice).with_value("orderId");
    Some(order)
}

/// The entity `Order` of the invoices service: all that it knows of an order is the invoice.
#[derive(serde::Deserialize)]
struct InvoicedOrder {
    invoice: Option<Invoice>,
}

impl Composer {
    /// Adds their invoices to orders whose `id` was fetched.
    pub(super) async fn join_invoices<'a>(&self, orders: impl Iterator<Item = &'a mut Order>, selection: Selection) {
        let (ids, orders): (Vec<ID>, Vec<&mut Order>) =
            orders.filter_map(|order| Some((order.id.get()?.clone(), order))).unzip();
        let invoices = self.invoices_of(&ids, selection).await;
        for (order, invoice) in orders.into_iter().zip(invoices) {
            order.invoice = invoice.into();
        }
    }

    /// The invoices of the orders with these ids, one for each id.
    pub(super) async fn invoices_of(
        &self,
        ids: &[ID],
        mut selection: Selection,
    ) -> Vec<Result<Option<Invoice>, SubgraphError>> {
        if ids.is_empty() {
            return Vec::new();
        }
        let order = take_order(&mut selection);
        let operation = Operation::order_entities(ids, Selection::object().with("invoice", selection));
        let entities = self.subgraphs.invoices.entities::<InvoicedOrder>(&operation, &self.terms);
        let entities = self.fields().measure("Order", "invoice", entities).await;
        let mut invoices: Vec<_> =
            entities.into_iter().map(|entity| entity.map(|order| order.and_then(|order| order.invoice))).collect();
        if let Some(order) = order {
            self.join_orders(invoices.iter_mut().flatten().flatten().collect(), order).await;
        }
        invoices
    }

    /// Adds their orders to invoices whose `orderId` was fetched. The key of the order is known from there, so it
    /// never travels, and where nothing else is selected nobody is called.
    ///
    /// Boxed, because joins go round in circles as deep as the selection.
    pub(super) fn join_orders<'a>(
        &'a self,
        invoices: Vec<&'a mut Invoice>,
        mut selection: Selection,
    ) -> BoxFuture<'a, ()> {
        async move {
            let (ids, invoices): (Vec<ID>, Vec<&mut Invoice>) =
                invoices.into_iter().filter_map(|invoice| Some((invoice.order_id.get()?.clone(), invoice))).unzip();
            let invoice = selection.take("invoice");
            selection.take("id");
            let mut orders = self.orders_with(&ids, selection).await;
            for (order, id) in orders.iter_mut().zip(ids) {
                if let Ok(Some(order)) = order {
                    order.id = Asked::known(id);
                }
            }
            if let Some(invoice) = invoice {
                self.join_invoices(orders.iter_mut().flatten().flatten(), invoice).await;
            }
            for (invoice, order) in invoices.into_iter().zip(orders) {
                invoice.order = Joined::from(order);
            }
        }
        .boxed()
    }

    /// The orders with these ids, one for each id, and their invoices at the same time, since the keys are known. Asks
    /// the orders service in any case: an order that it does not know does not exist.
    pub(crate) async fn orders_by_id(
        &self,
        ids: &[ID],
        mut selection: Selection,
    ) -> Vec<Result<Option<Order>, SubgraphError>> {
        let invoice = selection.take("invoice");
        let operation = Operation::order_entities(ids, selection.with_value("id"));
        let orders = self.subgraphs.orders.entities::<Order>(&operation, &self.terms);
        let Some(invoice) = invoice else { return orders.await };
        let (mut orders, invoices) = join(orders, self.invoices_of(ids, invoice)).await;
        for (order, invoice) in orders.iter_mut().zip(invoices) {
            if let Ok(Some(order)) = order {
                order.invoice = invoice.into();
            }
        }
        orders
    }

    /// The orders with these ids, one for each id.
    async fn orders_with(&self, ids: &[ID], selection: Selection) -> Vec<Result<Option<Order>, SubgraphError>> {
        if ids.is_empty() || selection.is_empty() {
            return ids.iter().map(|_| Ok(Some(Order::default()))).collect();
        }
        let operation = Operation::order_entities(ids, selection);
        let orders = self.subgraphs.orders.entities(&operation, &self.terms);
        self.fields().measure("Invoice", "order", orders).await
    }
}
