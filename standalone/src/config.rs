//! The command line of `tandem`.

use std::path::PathBuf;

use chassis::telemetry::TelemetryConfig;
use clap::Parser;
use contracts::CustomerId;
use invoices::invoice::AmountLimit;

/// Orders and invoices behind one GraphQL API, everything in one process: SQLite, in-process bus, no Docker.
#[derive(Debug, Parser)]
#[command(
    name = "tandem",
    version,
    after_help = chassis::telemetry::ENVIRONMENT_HELP
)]
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
    pub identity: chassis::identity::IdentityConfig,

    /// Origins whose pages may open WebSockets beside our own: https://shop.example,http://localhost:5173, or *.
    #[arg(
        long = "cors-origins",
        env = "CORS_ORIGINS",
        value_name = "ORIGINS",
        default_value = "",
        hide_default_value = true
    )]
    pub origins: bff::Origins,

    /// The console and the playground.
    #[command(flatten)]
    pub pages: bff::PagesConfig,

    /// Open the console in a browser.
    #[arg(long)]
    pub open: bool,

    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryConfig,

    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Print a development token, signed with JWT_SECRET, for the header: Authorization: Bearer <token>.
    Token(crate::token::Token),
}
