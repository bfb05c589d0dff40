//! W3C trace context in and out of spans: HTTP headers, outbox rows and AMQP headers all pass through here, in the
//! formats of `OTEL_PROPAGATORS`.
//!
//! A parent has to be set before a span is first entered, so the order is: create the span, set its parent, then
//! `.instrument(future)`. Whoever sets a parent also says which service the span belongs to: what happens in it, and in
//! its children, belongs to the same.

use std::{collections::HashMap, sync::OnceLock};

use axum::http::HeaderMap;
use contracts::TraceContext;
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The service that a span belongs to, in a process that runs several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Service(pub(crate) &'static str);

/// The services of this process, where there are several.
static SERVICES: OnceLock<&'static [&'static str]> = OnceLock::new();

/// Tells the spans of `services` apart from now on.
pub(crate) fn tell_apart(services: &'static [&'static str]) {
    // Set up twice is refused where it matters, by the subscriber.
    let _ = SERVICES.set(services);
}

/// `context`, for spans of `service`.
fn of(service: &str, context: Context) -> Context {
    let known = SERVICES.get().and_then(|services| services.iter().find(|name| **name == service));
    match known {
        Some(name) => context.with_value(Service(name)),
        None => context,
    }
}

/// The context of `span`, ready to be stored or sent. Empty when tracing is off.
pub fn trace_context_of(span: &Span) -> TraceContext {
    let mut carrier = HashMap::new();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&span.context(), &mut carrier));
    TraceContext {
        traceparent: carrier.remove("traceparent"),
        tracestate: carrier.remove("tracestate").filter(|state| !state.is_empty()),
    }
}

/// Makes `span` a span of `service` and a child of `parent`; where that is none, the first of a new trace. Call it before
/// the span is entered.
pub fn set_parent(span: &Span, parent: &TraceContext, service: &str) {
    start_from(span, context_of(parent), service);
}

/// Makes `span` a span of `service` and the first of a new trace. Call it before the span is entered.
pub fn set_root(span: &Span, service: &str) {
    start_from(span, Context::new(), service);
}

/// Makes `span` a span of `service` and a child of the context in the request's headers. Call it before the span is
/// entered.
pub fn set_parent_from_headers(span: &Span, headers: &HeaderMap, service: &str) {
    let parent = opentelemetry::global::get_text_map_propagator(|p| {
        p.extract_with_context(&Context::new(), &HeaderExtractor(headers))
    });
    start_from(span, parent, service);
}

/// Puts the context of the current span into the headers of an outgoing request.
pub fn inject_headers(headers: &mut HeaderMap) {
    let context = Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut HeaderInjector(headers)));
}

/// Says in the headers of an outgoing request that its trace is not recorded: for what is asked again and again without
/// anybody's wish, which would be most of what a trace store holds.
pub fn inject_unsampled(headers: &mut HeaderMap) {
    let (trace, span) = (TraceId::from(rand::random::<u128>()), SpanId::from(rand::random::<u64>()));
    let unsampled = SpanContext::new(trace, span, TraceFlags::NOT_SAMPLED, true, TraceState::NONE);
    let context = Context::new().with_remote_span_context(unsampled);
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut HeaderInjector(headers)));
}

/// Links `span` to another context without becoming its child.
pub fn add_link(span: &Span, other: &TraceContext) {
    link(span, &context_of(other));
}

/// Links `span` to another span.
pub fn add_link_to(span: &Span, other: &Span) {
    link(span, &other.context());
}

fn link(span: &Span, other: &Context) {
    let span_context = other.span().span_context().clone();
    if span_context.is_valid() {
        span.add_link(span_context);
    }
}

/// The trace id of the current span, for a client or a log line. `None` when tracing is off.
pub fn current_trace_id() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let span_context = span.span_context();
    span_context.is_valid().then(|| span_context.trace_id().to_string())
}

fn context_of(trace_context: &TraceContext) -> Context {
    let mut carrier = HashMap::new();
    if let Some(traceparent) = &trace_context.traceparent {
        carrier.insert("traceparent".to_owned(), traceparent.clone());
    }
    if let Some(tracestate) = &trace_context.tracestate {
        carrier.insert("tracestate".to_owned(), tracestate.clone());
    }
    opentelemetry::global::get_text_map_propagator(|p| p.extract_with_context(&Context::new(), &carrier))
}

fn start_from(span: &Span, parent: Context, service: &str) {
    // Refused only when the span is disabled or already entered; then it keeps the parent it has.
    let _ = span.set_parent(of(service, parent));
}
