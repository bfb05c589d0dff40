//! Events to the exchange, and the broker's answer to each of them.

use std::{collections::HashMap, time::Instant};

use async_trait::async_trait;
use contracts::{
    EventEnvelope,
    topology::{EXCHANGE, queues_of},
};
use uuid::Uuid;

use super::{
    SYSTEM,
    confirm::{ConfirmedPublisher, Outgoing, Refusals, Returned},
};
use crate::{
    Outcome, PublishError, Publisher,
    metrics::{MessagingMetrics, SendError},
    trace, wire,
};

/// Publishes windows of events with confirms.
#[derive(Debug)]
pub(super) struct RabbitPublisher {
    confirmed: ConfirmedPublisher,
    metrics: MessagingMetrics,
}

impl RabbitPublisher {
    /// One that owns `confirmed`.
    pub(super) fn new(confirmed: ConfirmedPublisher, metrics: MessagingMetrics) -> Self {
        Self { confirmed, metrics }
    }
}

#[async_trait]
impl Publisher for RabbitPublisher {
    async fn ready(&mut self) {
        self.confirmed.ready().await;
    }

    async fn publish(&mut self, window: &[EventEnvelope]) -> Result<Vec<Outcome>, PublishError> {
        if window.is_empty() {
            return Ok(Vec::new());
        }
        let spans: Vec<_> = window.iter().map(|event| trace::publish_span(SYSTEM, event)).collect();
        let messages: Vec<_> = window.iter().map(outgoing).collect();
        let began = Instant::now();
        let refusals = self.confirmed.window(&messages).await.inspect_err(|error| {
            spans.iter().for_each(|span| trace::record_unknown_outcome(span, error));
            self.metrics.failed(window, error);
        })?;
        let fates = fates(window, &refusals).inspect_err(|error| self.metrics.failed(window, error))?;
        let (outcomes, errors): (Vec<_>, Vec<_>) = fates.into_iter().unzip();
        self.metrics.sent(window, &errors, began);
        for ((span, event), outcome) in spans.iter().zip(window).zip(&outcomes) {
            trace::record_outcome(span, event, outcome);
        }
        Ok(outcomes)
    }
}

fn outgoing(event: &EventEnvelope) -> Outgoing<'_> {
    Outgoing {
        exchange: EXCHANGE.into(),
        routing_key: event.event_type.as_str().into(),
        // An event without a queue is for live listeners, and nobody listening is no fault.
        mandatory: queues_of(event.event_type).next().is_some(),
        properties: wire::encode(event),
        body: &event.body,
    }
}

/// What became of an event, and the word for why it was not taken.
type Fate = (Outcome, Option<SendError>);

/// One for each event. Nothing here is permanent: a queue that is full or gone may heal.
fn fates(window: &[EventEnvelope], refusals: &Refusals) -> Result<Vec<Fate>, PublishError> {
    let refused = |reason: String, error| (Outcome::Refused { reason, permanent: false }, Some(error));
    let mut fates = vec![(Outcome::Accepted, None); window.len()];
    for &position in &refusals.nacked {
        let reason = "the broker did not take it (basic.nack), a queue is full or away".to_owned();
        fates[position] = refused(reason, SendError::Nacked);
    }
    let mut returned = HashMap::new();
    for Returned { message_id, reason } in &refusals.returned {
        match message_id.as_deref().map(Uuid::parse_str) {
            Some(Ok(id)) => returned.insert(id, reason),
            // Something of the window is not in its queue, and there is no telling what.
            Some(Err(_)) | None => return Err(PublishError::Unavailable("an unknown message was returned".to_owned())),
        };
    }
    for (event, fate) in window.iter().zip(&mut fates) {
        if let Some(reason) = returned.get(&event.id) {
            *fate = refused(format!("no queue took it: {reason}"), SendError::Returned);
        }
    }
    Ok(fates)
}

#[cfg(test)]
mod tests {
    use contracts::{EventType, TraceContext};

    use super::*;

    fn event(id: u128) -> EventEnvelope {
        EventEnvelope {
            id: Uuid::from_u128(id),
            event_type: EventType::OrderCreated,
            source: "orders".into(),
            aggregate_id: Uuid::nil(),
            event_no: 1,
            order_id: Uuid::nil(),
            occurred_at: contracts::now(),
            trace_context: TraceContext::default(),
            asks: false,
            body: "{}".into(),
        }
    }

    fn returned(message_id: Option<String>) -> Returned {
        Returned { message_id, reason: "312 NO_ROUTE".into() }
    }

    #[test]
    fn a_returned_event_is_found_by_its_id_and_a_nacked_one_by_its_place() {
        let refusals = Refusals { nacked: vec![3], returned: vec![returned(Some(Uuid::from_u128(1).to_string()))] };
        let fates = fates(&[event(0), event(1), event(2), event(3), event(1)], &refusals).unwrap();
        assert!(fates.iter().all(|(outcome, error)| (*outcome == Outcome::Accepted) == error.is_none()));
        let errors: Vec<_> = fates.into_iter().map(|(_, error)| error).collect();
        let (returned, nacked) = (Some(SendError::Returned), Some(SendError::Nacked));
        assert_eq!(errors, [None, returned, None, nacked, returned]);
    }

    #[test]
    fn a_return_that_cannot_be_paired_makes_the_whole_window_unknown() {
        for message_id in [None, Some("42".to_owned())] {
            let refusals = Refusals { nacked: vec![], returned: vec![returned(message_id)] };
            assert!(fates(&[event(0)], &refusals).is_err());
        }
    }
}
