//! The root field that goes on: updates of orders. What it needs besides its selection comes with the request.

use std::sync::Arc;

use async_graphql::{Context, ID, Result, Subscription as SubscriptionObject};
use chassis::identity::caller_of;
use futures_util::Stream;

use super::{once::selection_of_item, order::Order};
use crate::live::Live;

/// The root of subscriptions.
pub(crate) struct Subscription;

#[SubscriptionObject]
impl Subscription {
    /// The order after each change: created, invoice issued, paid, canceled.
    /// With `id` the first message is the present state, so nothing is missed between the mutation and this subscription.
    /// Without `id` it carries changes of all orders from now on.
    async fn order_updated(
        &self,
        ctx: &Context<'_>,
        id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<Arc<Order>>> + use<>> {
        Ok(ctx.data::<Live>()?.updates(caller_of(ctx)?, id, selection_of_item(ctx)))
    }
}
