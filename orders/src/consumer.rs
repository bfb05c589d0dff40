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
    service::{Heard, OrderService, Said},
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
                        asks: delivery.event.asks,
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
        let heard = self.0.follow(&said).await.map_err(|e| DbFailure::into_handle_error(&e))?;
        for ((index, said), heard) in places.into_iter().zip(&said).zip(heard) {
            verdicts[index] = match heard {
                Heard::New => Verdict::Done,
                Heard::Known => Verdict::Duplicate,
                // A question about an order that is not known here has no answer, and is asked again.
                Heard::Unknown if said.asks => Verdict::Done,
                // An order is committed before its event leaves, so it was here, or somebody speaks of one that never
                // was. The first heals: a database that was restored is brought up to date, a standby catches up.
                Heard::Unknown => {
                    let error = format!("there is no order {}", said.order_id);
                    Verdict::Later(Rejection { reason: "unknown_order", error })
                }
            };
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

#[cfg(test)]
mod tests {
    use contracts::{EventEnvelope, TraceContext, event_id};
    use migration::Schema;
    use outbox::{Outbox, Patience};
    use testkit::TestDatabase;

    use super::*;

    #[tokio::test]
    async fn what_is_said_of_an_order_that_is_not_here_is_put_off_unless_it_is_a_question() {
        let database = TestDatabase::create(Schema::Orders).await;
        let outbox = Outbox::new(database.connection().clone(), crate::NAME);
        let handler = InvoiceEvents(OrderService::new(outbox, None, Patience::default()));
        let (id, order_id) = (Uuid::now_v7(), Uuid::now_v7());
        let event = EventEnvelope {
            id: event_id(id, 1),
            event_type: EventType::InvoiceIssued,
            source: "invoices".to_owned(),
            aggregate_id: id,
            event_no: 1,
            order_id,
            occurred_at: contracts::now(),
            trace_context: TraceContext::default(),
            asks: false,
            body: serde_json::to_vec(&InvoiceIssued { id, order_id }).unwrap().into(),
        };

        let question = EventEnvelope { asks: true, ..event.clone() };
        let batch = [event, question].map(|event| Delivery { event, redelivered: false });
        let verdicts = handler.handle(&batch).await.unwrap();

        let [Verdict::Later(Rejection { reason: "unknown_order", .. }), Verdict::Done] = &verdicts[..] else {
            panic!("{verdicts:?}");
        };
    }
}
