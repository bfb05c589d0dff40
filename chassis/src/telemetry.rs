//! Logs and traces of a process, set up once, before anything else.
//!
//! Logs go to stderr: text on a terminal, else one JSON object a line, with trace and span ids. Spans go to a
//! collector by OTLP over HTTP when one is configured; without one they still exist, so that trace ids run through
//! the logs, the events and the timeline of an order.
//!
//! The crates read most of the `OTEL_*` variables themselves. `OTEL_TRACES_EXPORTER`, `OTEL_PROPAGATORS` and
//! `OTEL_SDK_DISABLED` are read by none of them, so they are implemented here (OpenTelemetry specification,
//! "Environment Variable Specification").

use std::{io::IsTerminal, time::Duration};

use anyhow::{Context, Result, bail};
use opentelemetry::{propagation::TextMapCompositePropagator, trace::TracerProvider};
use opentelemetry_sdk::{
    Resource,
    propagation::{BaggagePropagator, TraceContextPropagator},
    trace::SdkTracerProvider,
};
use tracing::{Level, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::{FilterExt, LevelFilter, Targets, filter_fn},
    layer::{Filter, SubscriberExt},
    registry::LookupSpan,
    util::SubscriberInitExt,
};

/// Our own crates: what they trace is exported; what their dependencies trace is not.
const OUR_CRATES: [&str; 8] = ["bff", "chassis", "invoices", "messaging", "orders", "outbox", "standalone", "testkit"];

/// Libraries that say what we say better: lapin warns of a returned message with its whole body, the migrator of
/// every table that is there already.
const QUIET: &str = "lapin=off,sea_orm_migration=warn";

/// For the end of `--help`: what is read from the environment under its standard name.
pub const ENVIRONMENT_HELP: &str = "\
Environment, besides the variables above:
  RUST_LOG                     What is logged, e.g. info or messaging=debug
  NO_COLOR                     No colours on a terminal
  OTEL_EXPORTER_OTLP_ENDPOINT  Where spans go by OTLP/HTTP, e.g. http://localhost:4318; unset: nowhere
  OTEL_TRACES_EXPORTER         otlp or none
  OTEL_PROPAGATORS             tracecontext,baggage, or none
  OTEL_SDK_DISABLED            true: no spans and no trace ids at all
  OTEL_*                       The others as in the OpenTelemetry specification";

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
    provider: Option<SdkTracerProvider>,
}

/// Sets up logs and traces for the process.
///
/// # Errors
/// Names the environment variable whose value is not allowed.
pub fn init(service: &'static str, config: &TelemetryConfig) -> Result<Telemetry> {
    init_with_logs(service, config, "info")
}

/// Like [`init`], with another filter for the logs where `RUST_LOG` is not set.
///
/// # Errors
/// Names the environment variable whose value is not allowed.
pub fn init_with_logs(service: &'static str, config: &TelemetryConfig, default_filter: &str) -> Result<Telemetry> {
    let provider = tracer_provider(service)?;
    let filter = match env("RUST_LOG") {
        Some(value) => EnvFilter::try_new(&value).with_context(|| format!("RUST_LOG={value:?} is not a filter"))?,
        None => EnvFilter::new(format!("{default_filter},{QUIET}")),
    };
    tracing_subscriber::registry()
        .with(provider.as_ref().map(otel_layer))
        // Spans pass whatever the level: they are where the log lines get their trace ids from.
        .with(log_layer(config.log_format).with_filter(ours_as_spans().or(filter).and(not_the_wire())))
        .try_init()
        .context("telemetry was set up twice")?;
    Ok(Telemetry { provider })
}

/// Leaves out what nobody may ask for: at `trace`, the WebSocket library shows each message as it came, and the first one
/// holds the client's token.
fn not_the_wire<S>() -> impl Filter<S> {
    filter_fn(|metadata| *metadata.level() != Level::TRACE || !metadata.target().starts_with("tungstenite"))
}

/// The layer that turns our spans into OpenTelemetry's. Its filter is its own: silencing the logs must not silence
/// the traces, nor stop their propagation.
pub fn otel_layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    let targets = OUR_CRATES.iter().map(|name| (*name, LevelFilter::INFO)).collect::<Targets>();
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("tandem"))
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_error_events_to_status(true)
        .with_filter(targets)
}

fn ours_as_spans<S>() -> impl Filter<S> {
    filter_fn(|metadata| {
        let name = metadata.target().split("::").next().unwrap_or_default();
        metadata.is_span() && *metadata.level() <= Level::INFO && OUR_CRATES.contains(&name)
    })
}

fn log_layer<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
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
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour).boxed()
    } else {
        json_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_opentelemetry_ids(true)
            .boxed()
    }
}

fn tracer_provider(service: &'static str) -> Result<Option<SdkTracerProvider>> {
    // Also without the SDK: a context that comes in is passed on.
    opentelemetry::global::set_text_map_propagator(propagator()?);
    if env_flag("OTEL_SDK_DISABLED")? {
        return Ok(None);
    }
    let named = env("OTEL_SERVICE_NAME").is_some()
        || env("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|value| value.contains("service.name="));
    let resource = Resource::builder();
    let resource = if named { resource } else { resource.with_service_name(service) };
    let mut provider = SdkTracerProvider::builder().with_resource(resource.build());
    if export_by_otlp()? {
        for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
            if let Some(protocol) = env(name).filter(|protocol| protocol != "http/protobuf") {
                bail!("{name} must be http/protobuf, not {protocol:?}");
            }
        }
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .build()
            .context("the OTEL_EXPORTER_OTLP_* variables do not describe an exporter")?;
        provider = provider.with_batch_exporter(exporter);
    }
    Ok(Some(provider.build()))
}

/// Standard default is `otlp`. We export only where a collector is named: a first run without one should not fail
/// in the background every five seconds.
fn export_by_otlp() -> Result<bool> {
    match env("OTEL_TRACES_EXPORTER").as_deref() {
        Some("otlp") => Ok(true),
        Some("none") => Ok(false),
        Some(other) => bail!("OTEL_TRACES_EXPORTER must be otlp or none, not {other:?}"),
        None => Ok(env("OTEL_EXPORTER_OTLP_ENDPOINT").or(env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")).is_some()),
    }
}

fn propagator() -> Result<TextMapCompositePropagator> {
    let names = env("OTEL_PROPAGATORS").unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut propagators: Vec<Box<dyn opentelemetry::propagation::TextMapPropagator + Send + Sync>> = Vec::new();
    for name in names.split(',').map(str::trim) {
        match name {
            "tracecontext" => propagators.push(Box::new(TraceContextPropagator::new())),
            "baggage" => propagators.push(Box::new(BaggagePropagator::new())),
            "none" => {}
            other => bail!("OTEL_PROPAGATORS may list tracecontext, baggage or none, not {other:?}"),
        }
    }
    Ok(TextMapCompositePropagator::new(propagators))
}

fn env_flag(name: &str) -> Result<bool> {
    match env(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => bail!("{name} must be true or false, not {other:?}"),
    }
}

/// An empty variable counts as not set (OpenTelemetry specification).
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

impl Telemetry {
    /// Sends the last spans.
    pub async fn shutdown(self) {
        let Some(provider) = self.provider else { return };
        // The exporter blocks: on a worker of the runtime it would wait for itself.
        let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
        if !matches!(flushed, Ok(Ok(()))) {
            tracing::warn!("the last spans could not be sent within {FLUSH:?}");
        }
    }
}
