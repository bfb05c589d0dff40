//! What the process is told from outside. `--help` is the reference; a value that is not allowed is refused at start,
//! with its name and what is allowed.

use std::{path::PathBuf, time::Duration};

use chassis::{listen::Listen, telemetry::TelemetryConfig};
use reqwest::Url;

use crate::guard::Limits;

/// The settings of the API.
#[derive(Debug, clap::Args)]
#[command(mut_arg("port", |port| port.default_value("4000")))]
pub struct Config {
    /// Where to listen.
    #[command(flatten)]
    pub listen: Listen,

    /// Base URL of the orders service.
    #[arg(long, env = "ORDERS_URL", default_value = "http://localhost:3333", value_parser = service_url)]
    pub orders_url: Url,

    /// Base URL of the invoices service.
    #[arg(long, env = "INVOICES_URL", default_value = "http://localhost:3334", value_parser = service_url)]
    pub invoices_url: Url,

    /// How long one call to a service may take, in milliseconds.
    #[arg(
        long = "subgraph-timeout-ms", env = "SUBGRAPH_TIMEOUT_MS", value_name = "SUBGRAPH_TIMEOUT_MS", default_value = "2000",
        value_parser = milliseconds
    )]
    pub subgraph_timeout: Duration,

    /// How long a whole request may take, in milliseconds. Then it is answered with what has arrived.
    #[arg(
        long = "request-timeout-ms", env = "REQUEST_TIMEOUT_MS", value_name = "REQUEST_TIMEOUT_MS", default_value = "10000",
        value_parser = milliseconds
    )]
    pub request_timeout: Duration,

    /// A manifest of trusted documents: then no others run. Apollo's persisted query manifest, or a JSON object from
    /// hash to text.
    #[arg(long, env = "TRUSTED_DOCUMENTS", value_name = "FILE")]
    pub trusted_documents: Option<PathBuf>,

    /// How much a request may ask for.
    #[command(flatten)]
    pub limits: Limits,

    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// The defaults, for these services.
    pub fn new(listen: Listen, orders_url: Url, invoices_url: Url) -> Self {
        Self {
            listen,
            orders_url,
            invoices_url,
            subgraph_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(10),
            trusted_documents: None,
            limits: Limits::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Longer than any client waits.
const MAX_MILLISECONDS: u64 = 60_000;

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(milliseconds @ 1..=MAX_MILLISECONDS) => Ok(Duration::from_millis(milliseconds)),
        _ => Err(format!("must be a whole number from 1 to {MAX_MILLISECONDS}")),
    }
}

fn service_url(text: &str) -> Result<Url, String> {
    let expected = "must be an http or https URL like http://localhost:3333";
    let url: Url = text.parse().map_err(|error| format!("{expected} ({error})"))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(format!("{expected}, not {other}")),
    }
}
