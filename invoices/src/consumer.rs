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
            let rejections = self.0.issue(&orders).await.map_err(|e| DbFailure::into_handle_error(&e))?;
            for (index, rejection) in rejections {
                verdicts[index] = Verdict::Reject(rejection);
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
        let (orders, verdicts) = Decoded::<OrderCanceled>::all(batch);
        if !orders.is_empty() {
            self.0.cancel(&orders).await.map_err(|e| DbFailure::into_handle_error(&e))?;
        }
        Ok(verdicts)
    }

    async fn is_available(&self) -> bool {
        self.0.is_available().await
    }
}
