//! The subscription of the graph. It is declared here because its type, `Order`, belongs to this service; it is served
//! by whoever composes the graph and hears the event bus, as the BFF does, since an update has the invoice in it too.
//! This service takes requests over plain HTTP only, and those are refused before they come here.

use async_graphql::{Error, ErrorExtensions, ID, Result, Subscription as SubscriptionObject};
use futures_util::{Stream, stream};

use super::types::Order;

/// The root of subscriptions.
#[derive(Debug)]
pub struct Subscription;

#[SubscriptionObject]
impl Subscription {
    /// The order after each change: created, invoice issued, paid, canceled.
    /// With `id` the first message is the present state, so nothing is missed between the mutation and this subscription.
    /// Without `id` it carries changes of all orders from now on.
    async fn order_updated(&self, id: Option<ID>) -> Result<impl Stream<Item = Order> + use<>> {
        let _ = id;
        let error = Error::new("this subscription is served by the gateway of the graph, not by the subgraph");
        Err::<stream::Empty<Order>, _>(error.extend_with(|_, extensions| extensions.set("code", "SERVED_BY_GATEWAY")))
    }
}
