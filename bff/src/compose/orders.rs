//! What begins at the orders service: one order, a page of orders, and the mutations of orders.

use async_graphql::ID;
use chassis::graphql::DateTime;
use futures_util::future::try_join;

use super::{Composer, List, join::take_invoice, page::PageSelection};
use crate::{
    schema::{
        CancelOrderPayload, CreateOrderInput, CreateOrderPayload, Joined, Order, OrderConnection, OrderFilter,
        OrderSort, Page, PageInfo,
    },
    selection::Selection,
    subgraph::{Operation, SubgraphError},
};

/// The most objects that a service gives at once.
const MOST_OF_A_PAGE: i32 = 100;

/// Ids of orders, and the cursor of the next page where there is one.
#[derive(Debug, Default)]
pub(crate) struct PlacedPage {
    pub(crate) ids: Vec<ID>,
    pub(crate) next: Option<String>,
}

impl Composer {
    /// One order. Its invoice is asked for at the same time, because the key is known before the order is.
    pub(crate) async fn order(&self, id: ID, mut selection: Selection) -> Result<Option<Order>, SubgraphError> {
        let invoice = selection.take("invoice");
        let operation = Operation::query("order").argument("id", &id).select(selection);
        let order = self.subgraphs.orders.object::<Order>(&operation, &self.terms);
        let Some(invoice) = invoice else { return order.await };

        // Without an order there is nothing to hang an invoice on: `Err` stops waiting for it.
        let order = async { order.await.map_err(Some)?.ok_or(None) };
        let invoice = async { Ok(self.invoices_of(&[id], invoice).await.pop()) };
        match try_join(order, invoice).await {
            Ok((mut order, invoice)) => {
                order.invoice = invoice.map(Joined::from).unwrap_or_default();
                Ok(Some(order))
            }
            Err(None) => Ok(None),
            Err(Some(error)) => Err(error),
        }
    }

    /// A page of orders, then all their invoices in one call.
    pub(crate) async fn orders(
        &self,
        list: List<OrderFilter, OrderSort>,
        selection: Selection,
    ) -> Result<Option<OrderConnection>, SubgraphError> {
        let mut page = PageSelection::new(selection);
        let invoice = page.node.as_mut().and_then(take_invoice);
        let operation = Operation::query("orders")
            .argument("first", &list.first)
            .argument("after", &list.after)
            .argument("filter", &list.filter)
            .argument("sort", &list.sort)
            .select(page.into_selection());
        let mut page = self.subgraphs.orders.object::<Page<Order>>(&operation, &self.terms).await?;
        if let (Some(page), Some(invoice)) = (&mut page, invoice) {
            self.join_invoices(page.nodes_mut(), invoice).await;
        }
        Ok(page.map(OrderConnection))
    }

    /// The ids of orders that were placed since then, newest first: one page.
    pub(crate) async fn placed_since(
        &self,
        since: DateTime,
        after: Option<String>,
    ) -> Result<PlacedPage, SubgraphError> {
        let filter = Some(OrderFilter::created_from(since));
        let page_info = Selection::object().with_value("hasNextPage").with_value("endCursor");
        let operation = Operation::query("orders")
            .argument("first", &MOST_OF_A_PAGE)
            .argument("after", &after)
            .argument("filter", &filter)
            .select(
                Selection::object().with("nodes", Selection::object().with_value("id")).with("pageInfo", page_info),
            );
        let page = self.subgraphs.orders.object::<Page<Order>>(&operation, &self.terms).await?;
        let Some(page) = page else { return Ok(PlacedPage::default()) };
        let ids = page.nodes().filter_map(|order| order.id.get().cloned()).collect();
        Ok(PlacedPage { ids, next: page.page_info.get().and_then(PageInfo::next) })
    }

    /// Creates an order.
    pub(crate) async fn create_order(
        &self,
        input: CreateOrderInput,
        mut selection: Selection,
    ) -> Result<Option<CreateOrderPayload>, SubgraphError> {
        let invoice = selection.get_mut("order").and_then(take_invoice);
        let operation = Operation::mutation("createOrder").argument("input", &input).select(selection);
        let mut payload = self.subgraphs.orders.object::<CreateOrderPayload>(&operation, &self.terms).await?;
        if let (Some(payload), Some(invoice)) = (&mut payload, invoice) {
            self.join_invoices(payload.order.get_mut().into_iter().flatten(), invoice).await;
        }
        Ok(payload)
    }

    /// Cancels an order.
    pub(crate) async fn cancel_order(
        &self,
        id: ID,
        mut selection: Selection,
    ) -> Result<Option<CancelOrderPayload>, SubgraphError> {
        let invoice = selection.get_mut("order").and_then(take_invoice);
        let operation = Operation::mutation("cancelOrder").argument("id", &id).select(selection);
        let mut payload = self.subgraphs.orders.object::<CancelOrderPayload>(&operation, &self.terms).await?;
        if let (Some(payload), Some(invoice)) = (&mut payload, invoice) {
            self.join_invoices(payload.order.get_mut().into_iter().flatten(), invoice).await;
        }
        Ok(payload)
    }
}
