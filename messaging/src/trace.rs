//! The spans of messaging, in one place: names and attributes follow OpenTelemetry's messaging conventions.
//!
//! An event carries the context it was created in, from the outbox row through the broker to its consumer, unchanged.
//! Publishing and processing hang their spans under that context, so that the trace of a request goes on even when
//! days and a restart lie in between.

use std::sync::Arc;

use chassis::propagation::{add_link, set_parent, trace_context_of};
use contracts::{EventEnvelope, topology::EXCHANGE, topology::Queue};
use tracing::{Span, debug, info_span, warn};

use crate::{Delivery, Outcome, Rejection, Verdict};

/// The span of one event's way to the bus.
pub(crate) fn publish_span(system: &'static str, event: &EventEnvelope) -> Span {
    let destination = destination(EXCHANGE, event.event_type.as_str(), "");
    let span = info_span!(
        parent: None,
        "publish",
        otel.name = format!("publish {destination}"),
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        messaging.system = system,
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = destination,
        messaging.message.id = %event.id,
        messaging.message.conversation_id = %event.order_id,
    );
    set_parent(&span, &event.trace_context);
    span
}

/// Writes into its span, and into the log, what became of a published event.
pub(crate) fn record_outcome(span: &Span, event: &EventEnvelope, outcome: &Outcome) {
    let (id, event_type) = (event.id, event.event_type);
    match outcome {
        Outcome::Accepted => debug!(parent: span, message.id = %id, "published {event_type} {id}"),
        Outcome::Refused { reason, .. } => {
            record_error(span, reason);
            debug!(parent: span, message.id = %id, "the bus refused {event_type} {id}: {reason}");
        }
    }
}

/// Writes into its span that the outcome is not known.
pub(crate) fn record_error(span: &Span, error: &dyn std::fmt::Display) {
    span.record("otel.status_code", "ERROR");
    span.record("otel.status_description", tracing::field::display(error));
}

/// The spans of a batch: one for each delivery, and the one that the handler runs in.
#[derive(Debug)]
pub(crate) struct BatchSpans {
    deliveries: Vec<Span>,
    handler: Span,
}

impl BatchSpans {
    /// Opens them. `destinations` has the [`destination`] of each delivery.
    ///
    /// One delivery alone is handled inside its own span. Several share one transaction, which belongs to none of
    /// their traces: it gets a span of its own that links to all of them.
    pub(crate) fn open(system: &'static str, queue: &Queue, batch: &[Delivery], destinations: &[String]) -> Self {
        let deliveries: Vec<Span> = batch
            .iter()
            .zip(destinations)
            .map(|(delivery, destination)| delivery_span(system, delivery, destination))
            .collect();
        let handler = match deliveries.as_slice() {
            [only] => only.clone(),
            _ => batch_span(system, queue, batch),
        };
        Self { deliveries, handler }
    }

    /// Where the handler runs.
    pub(crate) fn handler(&self) -> &Span {
        &self.handler
    }

    /// The batch as the handler gets it: what a delivery causes hangs under the span of that delivery, and so in its
    /// trace, also where one transaction serves many. Without tracing the stored context goes on as it is.
    pub(crate) fn within(&self, batch: &[Delivery]) -> Arc<[Delivery]> {
        let mut batch = batch.to_vec();
        for (delivery, span) in batch.iter_mut().zip(&self.deliveries) {
            let context = trace_context_of(span);
            if context.traceparent.is_some() {
                delivery.event.trace_context = context;
            }
        }
        batch.into()
    }

    /// Writes into the handler's span why the batch was not settled.
    pub(crate) fn record_failure(&self, error: &dyn std::fmt::Display) {
        record_error(&self.handler, error);
    }

    /// Writes into its span, and into the log, what became of the delivery at `index`.
    pub(crate) fn record_verdict(&self, index: usize, delivery: &Delivery, verdict: &Verdict) {
        let Some(span) = self.deliveries.get(index) else { return };
        let (id, event_type) = (delivery.event.id, delivery.event.event_type);
        match verdict {
            Verdict::Done => debug!(parent: span, message.id = %id, "processed {event_type} {id}"),
            Verdict::Duplicate => debug!(parent: span, message.id = %id, "knew {event_type} {id}"),
            Verdict::Later(Rejection { reason, error }) => {
                record_error(span, error);
                warn!(parent: span, message.id = %id, reason, "put {event_type} {id} off: {error}");
            }
            Verdict::Reject(Rejection { reason, error }) => {
                record_error(span, error);
                warn!(parent: span, message.id = %id, reason, "rejected {event_type} {id}: {error}");
            }
        }
    }
}

fn delivery_span(system: &'static str, delivery: &Delivery, destination: &str) -> Span {
    let span = info_span!(
        parent: None,
        "process",
        otel.name = format!("process {destination}"),
        otel.kind = "consumer",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = destination,
        messaging.message.id = %delivery.event.id,
        messaging.message.conversation_id = %delivery.event.order_id,
    );
    set_parent(&span, &delivery.event.trace_context);
    add_link(&span, &delivery.event.trace_context);
    span
}

fn batch_span(system: &'static str, queue: &Queue, batch: &[Delivery]) -> Span {
    let span = info_span!(
        parent: None,
        "process",
        otel.name = format!("process {}", queue.name),
        otel.kind = "consumer",
        otel.status_code = tracing::field::Empty,
        otel.status_description = tracing::field::Empty,
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = queue.name,
        messaging.batch.message_count = batch.len(),
    );
    for delivery in batch {
        add_link(&span, &delivery.event.trace_context);
    }
    span
}

/// `exchange:routing key:queue`, without the parts that are empty or say the same again. Short and of few values:
/// it is a span name and a metric label.
pub(crate) fn destination(exchange: &str, routing_key: &str, queue: &str) -> String {
    let mut parts = vec![exchange, routing_key];
    if routing_key != queue {
        parts.push(queue);
    }
    parts.retain(|part| !part.is_empty());
    parts.join(":")
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use contracts::{EventType, TraceContext, event_id, topology::ORDERS};
    use opentelemetry::trace::{SpanKind, TracerProvider};
    use opentelemetry_sdk::{
        error::OTelSdkResult,
        trace::{SdkTracerProvider, SpanData, SpanExporter},
    };
    use tracing_subscriber::layer::SubscriberExt;
    use uuid::Uuid;

    use super::*;

    /// Keeps the spans that have ended.
    #[derive(Debug, Clone, Default)]
    struct Captured(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Captured {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    /// The spans that `work` makes.
    fn spans_of(work: impl FnOnce()) -> Vec<SpanData> {
        let captured = Captured::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(captured.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        provider.force_flush().unwrap();
        captured.0.lock().unwrap().clone()
    }

    /// An event of the trace whose id is `trace`, 32 times.
    fn event(trace: char) -> EventEnvelope {
        let order = Uuid::from_u128(7);
        EventEnvelope {
            id: event_id(order, 1),
            event_type: EventType::OrderCreated,
            source: "orders".into(),
            aggregate_id: order,
            event_no: 1,
            order_id: order,
            occurred_at: contracts::now(),
            trace_context: TraceContext {
                traceparent: Some(format!("00-{}-00f067aa0ba902b7-01", String::from(trace).repeat(32))),
                tracestate: None,
            },
            asks: false,
            body: Bytes::new(),
        }
    }

    fn batch_of(traces: &str) -> BatchSpans {
        let batch: Vec<_> = traces.chars().map(|trace| Delivery { event: event(trace), redelivered: false }).collect();
        let destinations = vec!["tandem.events:order.created:orders".to_owned(); batch.len()];
        BatchSpans::open("rabbitmq", &ORDERS, &batch, &destinations)
    }

    fn trace_id(span: &SpanData) -> String {
        span.span_context.trace_id().to_string()
    }

    fn linked_trace_ids(span: &SpanData) -> Vec<String> {
        span.links.iter().map(|link| link.span_context.trace_id().to_string()).collect()
    }

    #[test]
    fn publishing_hangs_under_the_context_in_which_the_event_was_created() {
        let spans = spans_of(|| drop(publish_span("rabbitmq", &event('a'))));
        let [span] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((span.name.as_ref(), &span.span_kind), ("publish tandem.events:order.created", &SpanKind::Client));
        assert_eq!((trace_id(span), span.parent_span_id.to_string()), ("a".repeat(32), "00f067aa0ba902b7".into()));
    }

    #[test]
    fn one_delivery_is_handled_in_its_own_span() {
        let spans = spans_of(|| {
            let batch = batch_of("a");
            batch.handler().in_scope(|| info_span!("INSERT"));
        });
        let [insert, process] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!(process.name, "process tandem.events:order.created:orders");
        assert_eq!((process.span_kind.clone(), trace_id(process)), (SpanKind::Consumer, "a".repeat(32)));
        assert_eq!(linked_trace_ids(process), ["a".repeat(32)]);
        assert_eq!(insert.parent_span_id, process.span_context.span_id());
    }

    #[test]
    fn a_batch_is_handled_in_a_span_that_links_to_all_of_its_deliveries() {
        let spans = spans_of(|| drop(batch_of("ab")));
        let [first, second, batch] = spans.as_slice() else { panic!("{spans:?}") };
        assert_eq!((trace_id(first), trace_id(second)), ("a".repeat(32), "b".repeat(32)));
        assert_eq!(batch.name, "process orders");
        assert_eq!(linked_trace_ids(batch), ["a".repeat(32), "b".repeat(32)]);
        assert!(!["a".repeat(32), "b".repeat(32)].contains(&trace_id(batch)));
    }

    #[test]
    fn what_a_delivery_causes_hangs_under_its_span() {
        let mut contexts = Vec::new();
        let spans = spans_of(|| {
            let batch = [event('a'), event('b')].map(|event| Delivery { event, redelivered: false });
            let destinations = vec![String::new(); 2];
            let within = BatchSpans::open("rabbitmq", &ORDERS, &batch, &destinations).within(&batch);
            contexts.extend(within.iter().filter_map(|delivery| delivery.event.trace_context.traceparent.clone()));
        });
        for (span, context) in spans.iter().zip(&contexts) {
            let expected = format!("00-{}-{}-01", trace_id(span), span.span_context.span_id());
            assert_eq!(*context, expected);
        }
        assert_eq!(contexts.len(), 2);
    }

    #[test]
    fn a_destination_names_what_is_known_once() {
        assert_eq!(destination("tandem.events", "order.created", "orders"), "tandem.events:order.created:orders");
        assert_eq!(destination("tandem.events", "order.created", ""), "tandem.events:order.created");
        assert_eq!(destination("", "orders", "orders"), "orders");
    }
}
