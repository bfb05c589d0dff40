//! Consumes what the invoices service says, from the queue `orders.invoice-events`.

use async_trait::async_trait;
use contracts::{
    DecodeError, Event, EventType, InvoiceIssued, InvoicePaid, InvoiceRefunded, InvoiceRejected, InvoiceVoided,
};
use messaging::{Delivery, HandleError, Handler, Rejection, Verdict};
use outbox::DbFailure;
use uuid::Uuid;

use crate::{
    saga::Input,
    service::{OrderService, Said},
};

/// The handler of the queue.
#[derive(Debug)]
pub(crate) struct InvoiceEvents(pub(crate) OrderService);

#[async_trait]
impl Handler for InvoiceEvents {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        let mut verdicts = vec![Verdict::Done; batch.len()];
        let mut said = Vec::with_capacity(batch.len());
        let mut places = Vec::with_capacity(batch.len());
        for (index, delivery) in batch.iter().enumerate() {
            match read(delivery) {
                Ok((order_id, input)) => {
                    places.push(index);
                    said.push(Said {
                        order_id,
                        input,
                        event_type: delivery.event.event_type,
                        at: delivery.event.occurred_at,
                        trace_context: delivery.event.trace_context.clone(),
                    });
                }
                Err(error) => {
                    verdicts[index] = Verdict::Reject(Rejection { reason: "malformed", error: error.to_string() });
                }
            }
        }
        if said.is_empty() {
            return Ok(verdicts);
        }
        let unknown = self.0.follow(&said).await.map_err(|e| DbFailure::into_handle_error(&e))?;
        for ((index, said), unknown) in places.into_iter().zip(&said).zip(unknown) {
            // An order is committed before its event leaves, so this one was not placed here.
            if unknown {
                let error = format!("there is no order {}", said.order_id);
                verdicts[index] = Verdict::Reject(Rejection { reason: "unknown_order", error });
            }
        }
        Ok(verdicts)
    }

    async fn is_available(&self) -> bool {
        self.0.is_available().await
    }
}

fn read(delivery: &Delivery) -> Result<(Uuid, Input), DecodeError> {
    let body = &delivery.event.body;
    Ok(match delivery.event.event_type {
        EventType::InvoiceIssued => (InvoiceIssued::decode(body)?.order_id, Input::InvoiceIssued),
        EventType::InvoicePaid => (InvoicePaid::decode(body)?.order_id, Input::InvoicePaid),
        EventType::InvoiceRejected => (InvoiceRejected::decode(body)?.order_id, Input::InvoiceRejected),
        EventType::InvoiceVoided => (InvoiceVoided::decode(body)?.order_id, Input::InvoiceVoided),
        EventType::InvoiceRefunded => (InvoiceRefunded::decode(body)?.order_id, Input::InvoiceRefunded),
        other @ (EventType::OrderCreated | EventType::OrderPaid | EventType::OrderCanceled) => {
            return Err(DecodeError::UnexpectedType(other));
        }
    })
}
