//! What the process is told from outside. `--help` is the reference; a value that is not allowed is refused at start,
//! with its name and what is allowed.

use std::{ffi::OsStr, path::PathBuf, time::Duration};

use chassis::{identity::IdentityConfig, listen::Listen, metrics::MetricsListen, telemetry::TelemetryConfig};
use clap::{Arg, Command, builder::TypedValueParser, error::ErrorKind};
use reqwest::Url;

use crate::{guard::Limits, live::LiveGauges, pages::PagesConfig, transport::Origins};

/// Enough to keep a service busy, and few enough that one which is slow holds no more than that.
const MAX_CALLS: usize = 256;

/// What a moment's rush may bring.
const MAX_WAITING: usize = 1024;

/// The settings of the API as a process of its own.
#[derive(Debug, clap::Args)]
#[command(mut_arg("port", |port| port.default_value("4000")))]
pub struct Config {
    /// Where to listen.
    #[command(flatten)]
    pub listen: Listen,

    /// Where to serve metrics.
    #[command(flatten)]
    pub metrics: MetricsListen,

    /// Who is let in.
    #[command(flatten)]
    pub identity: IdentityConfig,

    /// Base URL of the orders service.
    #[arg(long, env = "ORDERS_URL", default_value = "http://localhost:3333", value_parser = ServiceUrl)]
    pub orders_url: Url,

    /// Base URL of the invoices service.
    #[arg(long, env = "INVOICES_URL", default_value = "http://localhost:3334", value_parser = ServiceUrl)]
    pub invoices_url: Url,

    /// What holds for requests.
    #[command(flatten)]
    pub api: ApiConfig,

    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// The settings of the API that hold wherever it runs: as a process of its own, or inside `tandem`.
#[derive(Debug, Clone, clap::Args)]
pub struct ApiConfig {
    /// How long one call to a service may take, in milliseconds.
    #[arg(
        long = "subgraph-timeout-ms", env = "SUBGRAPH_TIMEOUT_MS", value_name = "SUBGRAPH_TIMEOUT_MS", default_value = "2000",
        value_parser = milliseconds
    )]
    pub subgraph_timeout: Duration,

    /// How many calls to one service may be on their way at the same time.
    #[arg(
        long = "subgraph-max-calls", env = "SUBGRAPH_MAX_CALLS", value_name = "SUBGRAPH_MAX_CALLS",
        default_value_t = MAX_CALLS, value_parser = at_least_one()
    )]
    pub subgraph_max_calls: usize,

    /// How many more may wait for their turn; what comes then is refused.
    #[arg(
        long = "subgraph-max-waiting", env = "SUBGRAPH_MAX_WAITING", value_name = "SUBGRAPH_MAX_WAITING",
        default_value_t = MAX_WAITING, value_parser = at_least_one()
    )]
    pub subgraph_max_waiting: usize,

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

    /// Origins whose pages may use the API beside our own: https://shop.example,http://localhost:5173. Or *, for all
    /// pages, without the user's cookies.
    #[arg(
        long = "cors-origins",
        env = "CORS_ORIGINS",
        value_name = "CORS_ORIGINS",
        default_value = "",
        hide_default_value = true
    )]
    pub origins: Origins,

    /// Live updates.
    #[command(flatten)]
    pub live: LiveConfig,

    /// The console and the playground.
    #[command(flatten)]
    pub pages: PagesConfig,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            subgraph_timeout: Duration::from_secs(2),
            subgraph_max_calls: MAX_CALLS,
            subgraph_max_waiting: MAX_WAITING,
            request_timeout: Duration::from_secs(10),
            trusted_documents: None,
            limits: Limits::default(),
            origins: Origins::default(),
            live: LiveConfig::default(),
            pages: PagesConfig::default(),
        }
    }
}

/// The limits of live updates, for each instance.
#[derive(Debug, Clone, clap::Args)]
pub struct LiveConfig {
    /// How many WebSockets may be open.
    #[arg(long = "ws-max-sockets", env = "WS_MAX_SOCKETS", value_name = "WS_MAX_SOCKETS", default_value_t = 10_000, value_parser = at_least_one())]
    pub max_sockets: usize,

    /// How many operations may run over one WebSocket.
    #[arg(long = "ws-max-operations", env = "WS_MAX_OPERATIONS", value_name = "WS_MAX_OPERATIONS", default_value_t = 50, value_parser = at_least_one())]
    pub max_operations: usize,

    /// How large a message over a WebSocket may be, in bytes.
    #[arg(long = "ws-max-message-bytes", env = "WS_MAX_MESSAGE_BYTES", value_name = "WS_MAX_MESSAGE_BYTES", default_value_t = 131_072, value_parser = at_least_one())]
    pub max_message_bytes: usize,

    /// How long a client may take to begin after it has opened a WebSocket, in milliseconds.
    #[arg(
        long = "ws-init-timeout-ms", env = "WS_INIT_TIMEOUT_MS", value_name = "WS_INIT_TIMEOUT_MS", default_value = "10000",
        value_parser = milliseconds
    )]
    pub init_timeout: Duration,

    /// How often a WebSocket is pinged, in milliseconds. One that says nothing from one ping to the next is closed.
    #[arg(
        long = "ws-ping-interval-ms", env = "WS_PING_INTERVAL_MS", value_name = "WS_PING_INTERVAL_MS", default_value = "15000",
        value_parser = milliseconds
    )]
    pub ping_interval: Duration,

    /// Counts what is open now.
    #[arg(skip)]
    pub gauges: LiveGauges,
}

impl Default for LiveConfig {
    fn default() -> Self {
        Self {
            max_sockets: 10_000,
            max_operations: 50,
            max_message_bytes: 128 * 1024,
            init_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(15),
            gauges: LiveGauges::default(),
        }
    }
}

impl Config {
    /// The defaults, for these services.
    pub fn new(listen: Listen, orders_url: Url, invoices_url: Url) -> Self {
        Self {
            listen,
            metrics: MetricsListen::elsewhere(),
            identity: IdentityConfig::default(),
            orders_url,
            invoices_url,
            api: ApiConfig::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Longer than any client waits.
const MAX_MILLISECONDS: u64 = 60_000;

/// Where none would mean that nothing works.
fn at_least_one() -> impl clap::builder::TypedValueParser<Value = usize> {
    clap::value_parser!(u32).range(1..).map(|number| usize::try_from(number).unwrap_or(usize::MAX))
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(milliseconds @ 1..=MAX_MILLISECONDS) => Ok(Duration::from_millis(milliseconds)),
        _ => Err(format!("must be a whole number from 1 to {MAX_MILLISECONDS}")),
    }
}

/// Reads the base URL of a service. Not a function: the error of a function comes with the whole value, and this one may
/// hold a password.
#[derive(Clone)]
struct ServiceUrl;

impl TypedValueParser for ServiceUrl {
    type Value = Url;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Url, clap::Error> {
        let text = value.to_string_lossy();
        let reason = match text.parse::<Url>() {
            Ok(url) if matches!(url.scheme(), "http" | "https") => return Ok(url),
            Ok(url) => format!(", not {}", url.scheme()),
            Err(error) => format!(" ({error})"),
        };
        let shown = text.rsplit_once('@').map_or(text.to_string(), |(_, host)| format!("…@{host}"));
        let name = arg.map(ToString::to_string).unwrap_or_default();
        let expected = "an http or https URL like http://localhost:3333";
        let message = format!("invalid value '{shown}' for '{name}': must be {expected}{reason}");
        Err(command.clone().error(ErrorKind::ValueValidation, message))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        api: ApiConfig,
    }

    #[test]
    fn the_defaults_of_the_command_line_are_those_of_the_code() {
        let parsed = Program::parse_from(["bff"]).api;
        assert_eq!(format!("{parsed:?}"), format!("{:?}", ApiConfig::default()));
    }
}
