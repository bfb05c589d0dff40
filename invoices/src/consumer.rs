//! Consumes what the orders service says: new orders from the queue `orders`, cancellations from
//! `invoices.order-canceled`. Two queues and so two transactions: a statement that locks rows of both kinds could
//! deadlock with another replica's.

use async_trait::async_trait;
use contracts::{OrderCanceled, OrderCreated};
use messaging::{Decoded, Delivery, HandleError, Handler, Verdict};
use outbox::DbFailure;

use crate::service::InvoiceService;

/// The handler of the queue `orders`.
#[derive(Debug)]
pub(crate) struct NewOrders(pub(crate) InvoiceService);

#[async_trait]
impl Handler for NewOrders {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        let (orders, mut verdicts) = Decoded::<OrderCreated>::all(batch);
        if !orders.is_empty() {
            for (index, verdict) in self.0.issue(&orders).await.map_err(|e| DbFailure::into_handle_error(&e))? {
                verdicts[index] = verdict;
            }
        }
        Ok(verdicts)
    }

    async fn is_available(&self) -> bool {
        self.0.is_available().await
    }
}

/// The handler of the queue `invoices.order-canceled`.
#[derive(Debug)]
pub(crate) struct CanceledOrders(pub(crate) InvoiceService);

#[async_trait]
impl Handler for CanceledOrders {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        let (orders, mut verdicts) = Decoded::<OrderCanceled>::all(batch);
        if !orders.is_empty() {
            for (index, verdict) in self.0.cancel(&orders).await.map_err(|e| DbFailure::into_handle_error(&e))? {
                verdicts[index] = verdict;
            }
        }
        Ok(verdicts)
    }

    async fn is_available(&self) -> bool {
        self.0.is_available().await
    }
}

#[cfg(test)]
mod tests {
    use contracts::{Amount, Customer, Event, EventEnvelope, TraceContext, event_id};
    use migration::Schema;
    use outbox::{Outbox, Patience};
    use testkit::TestDatabase;
    use uuid::Uuid;

    use super::*;
    use crate::invoice::AmountLimit;

    /// Each size of a batch with statements of its own would be hundreds of long texts on each connection.
    #[tokio::test]
    async fn batches_of_any_size_are_few_statements() {
        let database = TestDatabase::create(Schema::Invoices).await;
        let outbox = Outbox::new(database.connection().clone(), crate::NAME);
        let handler = NewOrders(InvoiceService::new(
            outbox,
            AmountLimit(Amount::try_from(1_000_000).unwrap()),
            Patience::default(),
        ));
        for size in 1..=70 {
            let batch: Vec<Delivery> = std::iter::repeat_with(a_new_order).take(size).collect();
            assert_eq!(handler.handle(&batch).await.unwrap(), vec![Verdict::Done; size]);
            // The same ones again, which are locked and read.
            assert_eq!(handler.handle(&batch).await.unwrap(), vec![Verdict::Duplicate; size]);
        }
        if let Some(statements) = database.prepared_statements().await {
            assert!(statements < 30, "{statements}");
        }
    }

    fn a_new_order() -> Delivery {
        let order = OrderCreated {
            id: Uuid::now_v7(),
            amount: Amount::try_from(10).unwrap(),
            customer: Customer { id: "ada".parse().unwrap() },
        };
        let event = EventEnvelope {
            id: event_id(order.id, 1),
            event_type: OrderCreated::TYPE,
            source: "orders".to_owned(),
            aggregate_id: order.id,
            event_no: 1,
            order_id: order.id,
            occurred_at: contracts::now(),
            trace_context: TraceContext::default(),
            asks: false,
            body: serde_json::to_vec(&order).unwrap().into(),
        };
        Delivery { event, redelivered: false }
    }
}
