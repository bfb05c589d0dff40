//! Logs and traces of a process, set up once, before anything else.
//!
//! Logs go to stderr ([`logs`]). Spans go to a collector by OTLP over HTTP when one is configured ([`export`]); without
//! one they still exist, so that trace ids run through the logs, the events and the timeline of an order. What is read
//! from the environment, and what is refused, is in [`environment`].
//!
//! A process that runs several services ([`init_services`]) has a tracer provider for each of them, so that a trace
//! shows which of them a span belongs to.

mod environment;
mod export;
mod logs;

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result};
use opentelemetry::{
    KeyValue,
    trace::{SpanBuilder, Tracer, TracerProvider, noop::NoopTracer},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SdkTracer, SdkTracerProvider, Span},
};
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, Targets, filter_fn},
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};
use uuid::Uuid;

use crate::propagation::{self, Service};
use environment::Exporter;
pub use export::dropped_spans;

/// Our own crates: what they trace is exported; what their dependencies trace is not.
const OUR_CRATES: [&str; 8] = ["bff", "chassis", "invoices", "messaging", "orders", "outbox", "standalone", "testkit"];

/// Libraries that say what we say better: lapin warns of a returned message with its whole body, the migrator of
/// every table that is there already, OpenTelemetry of each batch that a dead collector does not take.
const QUIET: &str = "lapin=off,sea_orm_migration=warn,opentelemetry=off";

/// For the end of `--help`: what is read from the environment under its standard name.
pub const ENVIRONMENT_HELP: &str = "\
Environment, besides the variables above:
  RUST_LOG                     What is logged, e.g. info or messaging=debug
  NO_COLOR                     No colours on a terminal
  OTEL_EXPORTER_OTLP_ENDPOINT  Where spans go by OTLP/HTTP, e.g. http://localhost:4318; unset: nowhere
  OTEL_TRACES_EXPORTER         otlp, console (lines on stdout), or none
  OTEL_PROPAGATORS             tracecontext,baggage, or none
  OTEL_SDK_DISABLED            true: no spans; the trace of a caller is passed on
  OTEL_LOG_LEVEL               What the exporter says of itself, e.g. debug; none unless it is set
  OTEL_*                       The others as in the OpenTelemetry specification";

/// The version on every log line and every span.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// How long the last spans may take to leave when the process ends.
const FLUSH: Duration = Duration::from_secs(5);

/// How a process reports on itself. The `OTEL_*` variables are read directly, under their standard names.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TelemetryConfig {
    /// How log lines look: text on a terminal and JSON elsewhere, unless one is chosen.
    #[arg(long, env = "LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Keeps telemetry alive. Call [`Telemetry::shutdown`] last, or the spans of the last seconds are lost.
#[must_use = "the last spans are lost without shutdown()"]
pub struct Telemetry {
    providers: Vec<SdkTracerProvider>,
}

/// Sets up logs and traces for the process of one service.
///
/// # Errors
/// Names the environment variable whose value is not allowed.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry> {
    init_services(service, &[], config, "info")
}

/// Like [`init`] for a process that runs several services: what is not theirs belongs to `process`. Their spans go out
/// under their own names, unless the environment names one service for all (`OTEL_SERVICE_NAME`). `default_filter` is
/// what is logged where `RUST_LOG` is not set.
///
/// # Errors
/// Names the environment variable whose value is not allowed.
pub fn init_services(
    process: &'static str,
    services: &'static [&'static str],
    config: &TelemetryConfig,
    default_filter: &str,
) -> Result<Telemetry> {
    environment::check()?;
    let filter = match environment::read("RUST_LOG") {
        Some(value) => EnvFilter::try_new(&value).with_context(|| format!("RUST_LOG={value:?} is not a filter"))?,
        None => EnvFilter::new(format!("{default_filter},{QUIET}")),
    };
    let filter = match environment::log_level()? {
        Some(level) => filter.add_directive(format!("opentelemetry={level}").parse().context("OTEL_LOG_LEVEL")?),
        None => filter,
    };
    // Also without the SDK: a context that comes in is passed on.
    opentelemetry::global::set_text_map_propagator(environment::propagator()?);
    let exporters = environment::exporters()?;
    let is_disabled = environment::flag("OTEL_SDK_DISABLED")?;

    let services = if environment::names_resource_attribute("service.name") { &[] } else { services };
    propagation::tell_apart(services);
    let resource = resource(process);
    let name = resource.get(&"service.name".into()).map_or_else(|| process.to_owned(), |name| name.to_string());
    let mut providers = Vec::new();
    let traces = if is_disabled {
        otel_layer(NoopTracer::new())
    } else {
        let own = provider(resource, &exporters)?;
        let mut tracers = Tracers { own: own.tracer(SCOPE), services: Vec::new() };
        providers.push(own);
        for service in services {
            let provider = provider(self::resource(service), &exporters)?;
            tracers.services.push((service, provider.tracer(SCOPE)));
            providers.push(provider);
        }
        otel_layer(tracers)
    };
    tracing_subscriber::registry()
        .with(traces)
        // Spans pass whatever the level: they are where the log lines get their trace ids from.
        .with(logs::layer(config.log_format, &name).with_filter(ours_as_spans().or(filter).and(not_the_wire())))
        .try_init()
        .context("telemetry was set up twice")?;
    Ok(Telemetry { providers })
}

/// The name of our instrumentation (OpenTelemetry, "instrumentation scope").
const SCOPE: &str = "tandem";

/// Builds each span with the tracer of the service that it belongs to.
struct Tracers {
    own: SdkTracer,
    services: Vec<(&'static str, SdkTracer)>,
}

impl Tracer for Tracers {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &opentelemetry::Context) -> Span {
        let service = parent.get::<Service>();
        let tracer = service.and_then(|service| self.services.iter().find(|(name, _)| *name == service.0));
        tracer.map_or(&self.own, |(_, tracer)| tracer).build_with_context(builder, parent)
    }
}

/// Leaves out what nobody may ask for: at `trace`, the WebSocket library shows each message as it came, and the first one
/// holds the client's token.
fn not_the_wire<S>() -> impl Filter<S> {
    filter_fn(|metadata| *metadata.level() != Level::TRACE || !metadata.target().starts_with("tungstenite"))
}

/// The layer that turns our spans into OpenTelemetry's. Its filter is its own: silencing the logs must not silence
/// the traces, nor stop their propagation.
fn otel_layer<S, T>(tracer: T) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    T: Tracer + Send + Sync + 'static,
    T::Span: Send + Sync,
{
    let targets = OUR_CRATES.iter().map(|name| (*name, LevelFilter::INFO)).collect::<Targets>();
    tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        // Everything here asks the `tracing` span for its context; to keep OpenTelemetry's own stack of contexts would
        // cost something at each poll of each future.
        .with_context_activation(false)
        // An event is in the log, with the ids of its span. Here it would be said twice, and an error's text is not for
        // a store that others read.
        .with_filter(filter_fn(|metadata| metadata.is_span()).and(targets))
        .boxed()
}

fn ours_as_spans<S>() -> impl Filter<S> {
    filter_fn(|metadata| {
        let name = metadata.target().split("::").next().unwrap_or_default();
        metadata.is_span() && *metadata.level() <= Level::INFO && OUR_CRATES.contains(&name)
    })
}

/// A provider with its own way out.
fn provider(resource: Resource, exporters: &BTreeSet<Exporter>) -> Result<SdkTracerProvider> {
    let size = environment::max_queue_size();
    let mut provider = SdkTracerProvider::builder().with_resource(resource);
    for exporter in exporters {
        let processor = match exporter {
            Exporter::Otlp => {
                let exporter = opentelemetry_otlp::SpanExporter::builder()
                    .with_http()
                    .build()
                    .context("the OTEL_EXPORTER_OTLP_* variables do not describe an exporter")?;
                export::Bounded::new(exporter, size)
            }
            Exporter::Console => export::Bounded::new(export::Console::default(), size),
        };
        provider = provider.with_span_processor(processor);
    }
    Ok(provider.build())
}

/// What every span of `service` comes from. The environment has the last word.
fn resource(service: &str) -> Resource {
    let attributes = [
        ("service.name", service.to_owned()),
        ("service.version", VERSION.to_owned()),
        ("service.instance.id", Uuid::new_v4().to_string()),
    ];
    let unnamed = attributes.into_iter().filter(|(key, _)| !environment::names_resource_attribute(key));
    Resource::builder().with_attributes(unnamed.map(|(key, value)| KeyValue::new(key, value))).build()
}

impl Telemetry {
    /// Sends the last spans.
    pub async fn shutdown(self) {
        let flushes = self.providers.into_iter().map(|provider| {
            // The exporter blocks: on a worker of the runtime it would wait for itself.
            tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH))
        });
        let mut flushed = true;
        for flush in flushes.collect::<Vec<_>>() {
            flushed &= matches!(flush.await, Ok(Ok(())));
        }
        if !flushed {
            tracing::warn!("the last spans could not be sent within {FLUSH:?}");
        }
    }
}
