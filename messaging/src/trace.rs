//! The spans of messaging, in one place: names and attributes follow OpenTelemetry's messaging conventions.
//!
//! An event carries the context it was created in, from the outbox row through the broker to its consumer, unchanged.
//! Publishing and processing hang their spans under that context and link to it, so that the trace of a request goes on
//! although a crash or a restart lies in between, and each further delivery is one more `process` beside the first. What
//! is told long after it happened ([`CONTINUED`]), or was sent back by hand, begins a trace of its own that links to the
//! old one: a trace that goes on for days is none.
//!
//! No text of an error is in a span: it may repeat what is in the message. The log has it, with the same ids.

use std::{sync::Arc, time::Instant};

use chassis::propagation::{add_link, add_link_to, set_parent, set_root, trace_context_of};
use chrono::TimeDelta;
use contracts::{EventEnvelope, topology::EXCHANGE, topology::Queue};
use tracing::{Span, debug, field::Empty, info, info_span, warn};

use crate::{Delivery, Outcome, PublishError, Rejection, Verdict, bisection::Incoming, handling::Failure};

/// How long after an event its trace is continued.
const CONTINUED: TimeDelta = TimeDelta::minutes(15);

/// What a bus knows of how a message came to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// The number of this delivery of the message: 1 for the first, as far as the bus counts.
    pub(crate) delivery: i64,
    /// Its number on the channel.
    pub(crate) tag: Option<i64>,
    /// An operator has sent it back from the dead letters.
    pub(crate) redriven: bool,
}

impl Arrival {
    /// The first delivery of a message.
    pub(crate) const FIRST: Self = Self { delivery: 1, tag: None, redriven: false };
}

/// The span of one event's way to the bus.
pub(crate) fn publish_span(system: &'static str, event: &EventEnvelope) -> Span {
    let destination = destination(EXCHANGE, event.event_type.as_str(), "");
    let span = info_span!(
        parent: None,
        "publish",
        otel.name = format!("publish {destination}"),
        otel.kind = "client",
        otel.status_code = Empty,
        error.r#type = Empty,
        messaging.system = system,
        messaging.operation.name = "publish",
        messaging.operation.r#type = "send",
        messaging.destination.name = destination,
        messaging.rabbitmq.destination.routing_key = event.event_type.as_str(),
        messaging.message.id = %event.id,
        messaging.message.conversation_id = %event.order_id,
    );
    follow(&span, event, false, &event.source);
    span
}

/// Puts `span` into the trace of the event, or into a new one where that one is over, and links it to where the event
/// was created.
fn follow(span: &Span, event: &EventEnvelope, apart: bool, service: &str) {
    if apart || contracts::now() - event.occurred_at > CONTINUED {
        set_root(span, service);
    } else {
        set_parent(span, &event.trace_context, service);
    }
    add_link(span, &event.trace_context);
}

/// Writes into its span, and into the log, what became of a published event.
pub(crate) fn record_outcome(span: &Span, event: &EventEnvelope, outcome: &Outcome) {
    let (id, event_type) = (event.id, event.event_type);
    match outcome {
        Outcome::Accepted => debug!(parent: span, message.id = %id, "published {event_type} {id}"),
        Outcome::Refused { reason, .. } => {
            record_error(span, "refused");
            debug!(parent: span, message.id = %id, "the bus refused {event_type} {id}: {reason}");
        }
    }
}

/// Writes into its span that the outcome is not known.
pub(crate) fn record_unknown_outcome(span: &Span, error: &PublishError) {
    record_error(
        span,
        match error {
            PublishError::Unavailable(_) => "unavailable",
            PublishError::Timeout(_) => "timeout",
        },
    );
}

fn record_error(span: &Span, kind: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", kind);
}

/// The spans of a batch: one for each delivery, and the one that the handler runs in.
#[derive(Debug)]
pub(crate) struct BatchSpans {
    queue: &'static Queue,
    deliveries: Vec<Span>,
    handler: Span,
    began: Instant,
}

impl BatchSpans {
    /// Opens them.
    ///
    /// One delivery alone is handled inside its own span. Several share one transaction, which belongs to none of
    /// their traces: it gets a span of its own that links to where each of them was created, and the spans of the
    /// deliveries link to it, so that it is found from any of their traces.
    pub(crate) fn open(system: &'static str, queue: &'static Queue, batch: &[Incoming]) -> Self {
        let began = Instant::now();
        let deliveries: Vec<Span> = batch.iter().map(|incoming| delivery_span(system, queue, incoming)).collect();
        let handler = match deliveries.as_slice() {
            [only] => only.clone(),
            several => {
                let handler = batch_span(system, queue, batch);
                several.iter().for_each(|delivery| add_link_to(delivery, &handler));
                handler
            }
        };
        Self { queue, deliveries, handler, began }
    }

    /// Where the handler runs.
    pub(crate) fn handler(&self) -> &Span {
        &self.handler
    }

    /// The batch as the handler gets it: what a delivery causes hangs under the span of that delivery, and so in its
    /// trace, also where one transaction serves many. Without tracing the stored context goes on as it is.
    pub(crate) fn within(&self, batch: &[Incoming]) -> Arc<[Delivery]> {
        let within = |(incoming, span): (&Incoming, &Span)| {
            let mut delivery = incoming.delivery.clone();
            let context = trace_context_of(span);
            if context.traceparent.is_some() {
                delivery.event.trace_context = context;
            }
            delivery
        };
        batch.iter().zip(&self.deliveries).map(within).collect()
    }

    /// Writes into the spans why nothing of the batch was committed.
    pub(crate) fn record_failure(&self, failure: &Failure) {
        let kind = match failure {
            Failure::Unsettled(_) => "unavailable",
            Failure::Fault(_) => "fault",
            Failure::Panic(_) => "panic",
        };
        self.deliveries.iter().chain([&self.handler]).for_each(|span| record_error(span, kind));
    }

    /// Writes into its span, and into the log, what became of the delivery at `index`.
    pub(crate) fn record_verdict(&self, index: usize, incoming: &Incoming, verdict: &Verdict) {
        let Some(span) = self.deliveries.get(index) else { return };
        let event = &incoming.delivery.event;
        let (id, event_type, queue) = (event.id, event.event_type, self.queue.name);
        let delivery = incoming.arrival.delivery;
        let duration_ms = self.began.elapsed().as_micros() as f64 / 1e3;
        match verdict {
            Verdict::Done => info!(
                target: "outcome",
                parent: span,
                { queue, message.id = %id, order.id = %event.order_id, delivery, duration_ms, outcome = "ack" },
                "processed {event_type} {id}"
            ),
            Verdict::Duplicate => info!(
                target: "outcome",
                parent: span,
                { queue, message.id = %id, order.id = %event.order_id, delivery, duration_ms, outcome = "duplicate" },
                "knew {event_type} {id}"
            ),
            Verdict::Later(Rejection { reason, error }) => {
                record_error(span, reason);
                warn!(
                    target: "outcome",
                    parent: span,
                    {
                        queue, message.id = %id, order.id = %event.order_id, delivery, duration_ms,
                        outcome = "retry", reason
                    },
                    "put {event_type} {id} off: {error}"
                );
            }
            Verdict::Reject(Rejection { reason, error }) => {
                record_error(span, reason);
                warn!(
                    target: "outcome",
                    parent: span,
                    {
                        queue, message.id = %id, order.id = %event.order_id, delivery, duration_ms,
                        outcome = "dead_letter", reason
                    },
                    "rejected {event_type} {id}: {error}"
                );
            }
        }
    }
}

fn delivery_span(system: &'static str, queue: &Queue, incoming: &Incoming) -> Span {
    let Incoming { delivery: Delivery { event, .. }, destination, arrival } = incoming;
    let span = info_span!(
        parent: None,
        "process",
        otel.name = format!("process {destination}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        error.r#type = Empty,
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = destination,
        messaging.rabbitmq.destination.routing_key = event.event_type.as_str(),
        messaging.rabbitmq.message.delivery_tag = arrival.tag,
        messaging.rabbitmq.message.delivery_count = arrival.delivery,
        messaging.message.id = %event.id,
        messaging.message.conversation_id = %event.order_id,
    );
    follow(&span, event, arrival.redriven, queue.consumer);
    span
}

fn batch_span(system: &'static str, queue: &Queue, batch: &[Incoming]) -> Span {
    let span = info_span!(
        parent: None,
        "process",
        otel.name = format!("process {}", queue.name),
        otel.kind = "consumer",
        otel.status_code = Empty,
        error.r#type = Empty,
        messaging.system = system,
        messaging.operation.name = "process",
        messaging.operation.r#type = "process",
        messaging.destination.name = queue.name,
        // A number of 64 bits without a sign would become a text.
        messaging.batch.message_count = batch.len() as i64,
    );
    set_root(&span, queue.consumer);
    for incoming in batch {
        add_link(&span, &incoming.delivery.event.trace_context);
    }
    span
}

/// The span of acknowledging `count` messages of `queue`, of which the first was handled in `handled`; none where nothing
/// was.
pub(crate) fn ack_span(system: &'static str, queue: &Queue, handled: Option<&Span>, count: usize) -> Span {
    let Some(handled) = handled else { return Span::none() };
    info_span!(
        parent: handled,
        "ack",
        otel.name = format!("ack {}", queue.name),
        otel.kind = "client",
        otel.status_code = Empty,
        error.r#type = Empty,
        messaging.system = system,
        messaging.operation.name = "ack",
        messaging.operation.r#type = "settle",
        messaging.destination.name = queue.name,
        messaging.batch.message_count = (count > 1).then_some(count as i64),
    )
}

/// Writes into its span that messages could not be acknowledged.
pub(crate) fn record_unacknowledged(span: &Span) {
    record_error(span, "connection");
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
        propagation::TraceContextPropagator,
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
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
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

    fn incoming(event: EventEnvelope) -> Incoming {
        let destination = "tandem.events:order.created:orders".to_owned();
        Incoming { delivery: Delivery { event, redelivered: false }, destination, arrival: Arrival::FIRST }
    }

    fn batch_of(traces: &str) -> BatchSpans {
        let batch: Vec<_> = traces.chars().map(|trace| incoming(event(trace))).collect();
        BatchSpans::open("rabbitmq", &ORDERS, &batch)
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
        assert_eq!(linked_trace_ids(span), ["a".repeat(32)]);
    }

    /// An outage of hours, and a message that somebody sent back after days.
    #[test]
    fn what_is_told_late_or_sent_back_begins_a_trace_that_links_to_the_old_one() {
        let aged =
            |minutes| EventEnvelope { occurred_at: contracts::now() - TimeDelta::minutes(minutes), ..event('a') };
        let redriven = Arrival { redriven: true, ..Arrival::FIRST };
        for (event, arrival, continues) in
            [(aged(14), Arrival::FIRST, true), (aged(16), Arrival::FIRST, false), (aged(0), redriven, false)]
        {
            let spans = spans_of(|| {
                let batch = [Incoming { arrival, ..incoming(event.clone()) }];
                drop(BatchSpans::open("rabbitmq", &ORDERS, &batch));
                drop(publish_span("rabbitmq", &event));
            });
            let [process, publish] = spans.as_slice() else { panic!("{spans:?}") };
            assert_eq!(trace_id(process) == "a".repeat(32), continues, "{arrival:?}");
            // The relay does not know who sent what back, and never publishes it again.
            assert_eq!(trace_id(publish) == "a".repeat(32), continues || arrival.redriven);
            for span in &spans {
                assert_eq!(linked_trace_ids(span), ["a".repeat(32)]);
            }
        }
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
        for delivery in [first, second] {
            assert_eq!(linked_trace_ids(delivery), [trace_id(delivery), trace_id(batch)]);
        }
    }

    #[test]
    fn what_a_delivery_causes_hangs_under_its_span() {
        let mut contexts = Vec::new();
        let spans = spans_of(|| {
            let batch = ['a', 'b'].map(|trace| incoming(event(trace)));
            let within = BatchSpans::open("rabbitmq", &ORDERS, &batch).within(&batch);
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
