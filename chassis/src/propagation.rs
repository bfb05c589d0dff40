//! W3C trace context in and out of spans: HTTP headers, outbox rows and AMQP headers all pass through here.
//!
//! A parent has to be set before a span is first entered, so the order is: create the span, set its parent, then
//! `.instrument(future)`.

use std::collections::HashMap;

use axum::http::HeaderMap;
use contracts::TraceContext;
use opentelemetry::{Context, propagation::TextMapPropagator, trace::TraceContextExt};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The context of `span`, ready to be stored or sent. Empty when tracing is off.
pub fn trace_context_of(span: &Span) -> TraceContext {
    let mut carrier = HashMap::new();
    TraceContextPropagator::new().inject_context(&span.context(), &mut carrier);
    TraceContext {
        traceparent: carrier.remove("traceparent"),
        tracestate: carrier.remove("tracestate").filter(|state| !state.is_empty()),
    }
}

/// Makes `span` a child of `parent`. Call it before the span is entered.
pub fn set_parent(span: &Span, parent: &TraceContext) {
    continue_from(span, context_of(parent));
}

/// Makes `span` a child of the context in the request's headers. Call it before the span is entered.
pub fn set_parent_from_headers(span: &Span, headers: &HeaderMap) {
    continue_from(span, opentelemetry::global::get_text_map_propagator(|p| p.extract(&HeaderExtractor(headers))));
}

/// Puts the context of the current span into the headers of an outgoing request.
pub fn inject_headers(headers: &mut HeaderMap) {
    let context = Span::current().context();
    opentelemetry::global::get_text_map_propagator(|p| p.inject_context(&context, &mut HeaderInjector(headers)));
}

/// Links `span` to another context without becoming its child.
pub fn add_link(span: &Span, other: &TraceContext) {
    let context = context_of(other);
    let span_context = context.span().span_context().clone();
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
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier)
}

fn continue_from(span: &Span, parent: Context) {
    if parent.span().span_context().is_valid() {
        // Refused only when the span is disabled or already entered; then it keeps the parent it has.
        let _ = span.set_parent(parent);
    }
}
