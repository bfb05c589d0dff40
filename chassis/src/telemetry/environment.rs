//! The `OTEL_*` variables, checked before anything is built from them.
//!
//! The OpenTelemetry crates read most of them and pass over what they cannot read. Here a wrong value is refused at
//! start, by name, like every other setting of ours. `OTEL_TRACES_EXPORTER`, `OTEL_PROPAGATORS`, `OTEL_SDK_DISABLED` and
//! `OTEL_LOG_LEVEL` are read by none of the crates (OpenTelemetry specification, "Environment Variable Specification").

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use axum::http::Uri;
use opentelemetry::propagation::{TextMapCompositePropagator, TextMapPropagator};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use tracing::level_filters::LevelFilter;

/// Whole numbers from 1.
const COUNTS: [&str; 6] = [
    "OTEL_BSP_EXPORT_TIMEOUT",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    MAX_QUEUE_SIZE,
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
];
/// Whole numbers from 0.
const LIMITS: [&str; 5] = [
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
    "OTEL_SPAN_EVENT_COUNT_LIMIT",
    "OTEL_SPAN_LINK_COUNT_LIMIT",
];
const MAX_QUEUE_SIZE: &str = "OTEL_BSP_MAX_QUEUE_SIZE";
/// The default of [`MAX_QUEUE_SIZE`] (OpenTelemetry specification, "Batch Span Processor").
const DEFAULT_QUEUE_SIZE: usize = 2048;

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Where spans go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Exporter {
    /// To a collector, by OTLP over HTTP.
    Otlp,
    /// To stdout, a line each.
    Console,
}

/// Reads a variable. An empty one counts as not set (OpenTelemetry specification).
pub(super) fn read(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads `true` or `false`; `false` where it is not set.
pub(super) fn flag(name: &str) -> Result<bool> {
    match read(name).map(|value| value.to_ascii_lowercase()).as_deref() {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => bail!("{name} must be true or false, not {other:?}"),
    }
}

/// `OTEL_TRACES_EXPORTER`. The standard default is `otlp`; we export only where a collector is named: a first run without
/// one should not fail in the background every five seconds.
pub(super) fn exporters() -> Result<BTreeSet<Exporter>> {
    let Some(names) = read("OTEL_TRACES_EXPORTER") else {
        let named = read("OTEL_EXPORTER_OTLP_ENDPOINT").or(read("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")).is_some();
        return Ok(named.then_some(Exporter::Otlp).into_iter().collect());
    };
    let mut exporters = BTreeSet::new();
    for name in names.split(',').map(str::trim) {
        match name {
            "otlp" => _ = exporters.insert(Exporter::Otlp),
            "console" => _ = exporters.insert(Exporter::Console),
            "none" if names.trim() == "none" => {}
            other => bail!("OTEL_TRACES_EXPORTER may list otlp and console, or be none, not {other:?}"),
        }
    }
    Ok(exporters)
}

/// `OTEL_PROPAGATORS`.
pub(super) fn propagator() -> Result<TextMapCompositePropagator> {
    let names = read("OTEL_PROPAGATORS").unwrap_or_else(|| "tracecontext,baggage".to_owned());
    let mut propagators: Vec<Box<dyn TextMapPropagator + Send + Sync>> = Vec::new();
    // What is named twice counts once.
    for name in names.split(',').map(str::trim).collect::<BTreeSet<_>>() {
        match name {
            "tracecontext" => propagators.push(Box::new(TraceContextPropagator::new())),
            "baggage" => propagators.push(Box::new(BaggagePropagator::new())),
            "none" if names.trim() == "none" => {}
            other => bail!("OTEL_PROPAGATORS may list tracecontext and baggage, or be none, not {other:?}"),
        }
    }
    Ok(TextMapCompositePropagator::new(propagators))
}

/// `OTEL_LOG_LEVEL`: what the OpenTelemetry crates say of themselves.
pub(super) fn log_level() -> Result<Option<LevelFilter>> {
    let Some(level) = read("OTEL_LOG_LEVEL") else { return Ok(None) };
    Ok(Some(match level.to_ascii_lowercase().as_str() {
        "none" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => bail!("OTEL_LOG_LEVEL must be none, error, warn, info, debug or trace, not {level:?}"),
    }))
}

/// How many spans may wait for the exporter.
pub(super) fn max_queue_size() -> usize {
    read(MAX_QUEUE_SIZE).and_then(|value| value.parse().ok()).unwrap_or(DEFAULT_QUEUE_SIZE)
}

/// Whether the environment names this attribute of the resource, as `OTEL_RESOURCE_ATTRIBUTES` or by its own variable.
pub(super) fn names_resource_attribute(key: &str) -> bool {
    let listed = read("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let listed = listed.split(',').any(|pair| pair.split_once('=').is_some_and(|(name, _)| name.trim() == key));
    listed || key == "service.name" && read("OTEL_SERVICE_NAME").is_some()
}

/// Refuses what the crates would pass over.
///
/// # Errors
/// Names the variable, its value and what is allowed. Headers are credentials: their value is not repeated.
pub(super) fn check() -> Result<()> {
    for (names, least) in [(&COUNTS[..], 1), (&LIMITS[..], 0)] {
        for name in names {
            if let Some(value) = read(name) {
                let number = value.parse::<u32>().ok().filter(|number| *number >= least);
                ensure!(number.is_some(), "{name} must be a whole number from {least}, not {value:?}");
            }
        }
    }
    check_sampler()?;
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
        if let Some(value) = read(name) {
            ensure!(value.eq_ignore_ascii_case("http/protobuf"), "{name} must be http/protobuf, not {value:?}");
        }
    }
    for name in ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"] {
        if let Some(value) = read(name) {
            ensure!(value == "gzip", "{name} must be gzip or not set, not {value:?}");
        }
    }
    for name in ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] {
        if let Some(value) = read(name) {
            let scheme = value.parse::<Uri>().ok().and_then(|uri| uri.scheme_str().map(str::to_owned));
            let known = matches!(scheme.as_deref(), Some("http" | "https"));
            ensure!(known, "{name} must be an http:// or https:// URL, e.g. http://localhost:4318");
        }
    }
    for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        if let Some(value) = read(name) {
            let pairs =
                value.split(',').all(|pair| pair.split_once('=').is_some_and(|(key, _)| !key.trim().is_empty()));
            ensure!(pairs, "{name} must be a list like name=value,name=value");
        }
    }
    Ok(())
}

fn check_sampler() -> Result<()> {
    let Some(sampler) = read("OTEL_TRACES_SAMPLER") else { return Ok(()) };
    ensure!(
        SAMPLERS.contains(&sampler.as_str()),
        "OTEL_TRACES_SAMPLER must be one of {}, not {sampler:?}",
        SAMPLERS.join(", ")
    );
    if let Some(ratio) = read("OTEL_TRACES_SAMPLER_ARG").filter(|_| sampler.ends_with("traceidratio")) {
        let valid = ratio.parse::<f64>().is_ok_and(|ratio| (0.0..=1.0).contains(&ratio));
        ensure!(valid, "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1, not {ratio:?}");
    }
    Ok(())
}
