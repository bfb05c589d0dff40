//! Logs: text on a terminal, elsewhere one JSON object a line, with the ids of the trace that the event belongs to
//! (OpenTelemetry, "Trace Context in non-OTLP Log Formats").

use std::io::IsTerminal;

use opentelemetry::trace::TraceContextExt;
use tracing::{Event, Subscriber};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use super::{LogFormat, VERSION};
use crate::propagation::Service;

/// The layer that writes to stderr. `service` is the name on every line, unless the span of an event says another.
pub(super) fn layer<S>(format: LogFormat, service: &str) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let terminal = std::io::stderr().is_terminal();
    let text = match format {
        LogFormat::Text => true,
        LogFormat::Json => false,
        LogFormat::Auto => terminal,
    };
    if text {
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        return tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).boxed();
    }
    let mut layer = json_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false);
    let fields = layer.inner_layer_mut();
    fields.add_static_field("service.version", VERSION.into());
    let service = service.to_owned();
    fields.add_multiple_dynamic_fields(move |event, context, line| {
        let span = otel_context(event, context);
        let named = span.as_ref().and_then(|span| span.get::<Service>()).map_or(service.as_str(), |service| service.0);
        let _ = line.write_field("service.name", named);
        let Some(span) = span else { return };
        let span = span.span();
        let ids = span.span_context();
        if ids.is_valid() {
            let _ = line.write_field("trace_id", ids.trace_id().to_string());
            let _ = line.write_field("span_id", ids.span_id().to_string());
        }
    });
    layer.boxed()
}

/// The OpenTelemetry context of the span that an event happened in.
fn otel_context<S>(event: &Event<'_>, context: &Context<'_, S>) -> Option<opentelemetry::Context>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let span = context.event_span(event)?;
    let ours = span.scope().map(|span| span.id()).collect::<Vec<_>>();
    // The innermost that is exported: a library's own spans, at a verbose level, have no ids.
    tracing::dispatcher::get_default(|dispatch| ours.iter().find_map(|id| get_otel_context(id, dispatch)))
}
