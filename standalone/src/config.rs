//! The command line of `tandem`.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use chassis::{identity::IdentityConfig, telemetry::TelemetryConfig};
use clap::Parser;
use contracts::CustomerId;
use invoices::invoice::AmountLimit;

use reqwest::Url;
use secrecy::SecretString;

use crate::{demo::Pace, steps::Style, token::Token};

/// Orders and invoices behind one GraphQL API, everything in one process: SQLite, in-process bus, no Docker.
#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    args_conflicts_with_subcommands = true,
    after_help = chassis::telemetry::ENVIRONMENT_HELP
)]
pub struct CommandLine {
    /// What to do instead of only serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The settings without a command.
    #[command(flatten)]
    pub config: Config,
}

/// What to do instead of only serving.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// The same with customers: orders, payments and cancellations, a few a minute.
    ///
    /// Starts everything and then orders, pays and cancels through the public API, so that there is something to see in
    /// the console and in traces. With --url it starts nothing, and does so on a system that runs.
    Demo {
        /// How many orders, and how fast.
        #[command(flatten)]
        pace: Pace,

        /// The base URL of a system that runs, e.g. http://localhost:4000; nothing is started then.
        #[arg(long, value_name = "URL")]
        url: Option<Url>,

        /// With --url: an operator's token, where the system asks for one.
        #[arg(long, env = "TANDEM_TOKEN", hide_env_values = true, value_name = "TOKEN", requires = "url")]
        token: Option<SecretString>,

        /// The settings of the system that is started.
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Print a development token, signed with JWT_SECRET, for the header: Authorization: Bearer <token>.
    Token(Box<Token>),
}

/// The settings of the system.
#[derive(Debug, clap::Args)]
pub struct Config {
    /// Address to listen on: `localhost` (both loopback addresses) or an IP address.
    #[arg(long, env = "HOST", default_value = "localhost", value_name = "ADDR")]
    pub host: String,

    /// Port of everything: /console, /playground, /graphql, /orders and /invoices; 0 for any free one.
    #[arg(short, long, env = "PORT", default_value_t = 8000)]
    pub port: u16,

    /// Port of the orders service.
    #[arg(long, default_value_t = 3333, value_name = "PORT")]
    pub orders_port: u16,

    /// Port of the invoices service.
    #[arg(long, default_value_t = 3334, value_name = "PORT")]
    pub invoices_port: u16,

    /// Port of the BFF.
    #[arg(long, default_value_t = 4000, value_name = "PORT")]
    pub bff_port: u16,

    /// Port of the metrics.
    #[arg(long, env = "METRICS_PORT", default_value_t = 9464, value_name = "PORT")]
    pub metrics_port: u16,

    /// Where data is kept.
    #[arg(long, env = "DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub data: PathBuf,

    /// Remove the data first.
    #[arg(long)]
    pub reset: bool,

    /// Start without sample orders.
    #[arg(long)]
    pub no_seed: bool,

    /// The customer of an order that names none [default: customer-123].
    #[arg(long, env = "DEFAULT_CUSTOMER_ID", value_name = "ID")]
    pub default_customer_id: Option<CustomerId>,

    /// The largest amount an invoice is issued for, in minor units.
    #[arg(
        long,
        env = "INVOICE_AMOUNT_LIMIT",
        default_value = "2147483647",
        value_name = "AMOUNT",
        value_parser = invoices::config::amount_limit,
        allow_negative_numbers = true
    )]
    pub amount_limit: AmountLimit,

    /// Who is let in.
    #[command(flatten)]
    pub identity: IdentityConfig,

    /// What holds for requests to the API, as with the BFF as a process of its own.
    #[command(flatten)]
    pub api: bff::ApiConfig,

    /// Open the console in a browser.
    #[arg(long)]
    pub open: bool,

    /// Print the addresses only, and no line for each step of an order.
    #[arg(short, long)]
    pub quiet: bool,

    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,
}

/// How lines on stdout look: coloured on a terminal that can, unless `NO_COLOR` says otherwise (no-color.org).
pub fn style() -> Style {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    match io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb {
        true => Style::Colour,
        false => Style::Plain,
    }
}
