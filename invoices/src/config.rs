//! The settings of the service: the only place that reads the environment. `--help` is the reference.

use chassis::{
    healthcheck::Healthcheck, identity::IdentityConfig, listen::Listen, metrics::MetricsListen, service::StopDelay,
    telemetry::TelemetryConfig,
};
use clap::Parser;
use contracts::Amount;
use operations::Operation;
use outbox::{DatabaseUrl, Patience};
use secrecy::SecretString;

use crate::invoice::AmountLimit;

/// The invoices service.
#[derive(Debug, Parser)]
#[command(version, about = "Issues an invoice for every order, takes payments, voids and refunds", after_help = chassis::telemetry::ENVIRONMENT_HELP, mut_arg("port", |port| port.default_value("3334")), subcommand_negates_reqs = true)]
pub struct Config {
    /// Where it listens.
    #[command(flatten)]
    pub listen: Listen,

    /// Where it serves its metrics.
    #[command(flatten)]
    pub metrics: MetricsListen,

    /// Its database: postgres://user:password@host/invoices or sqlite://path. With TLS, the server's certificate checked:
    /// postgres://…?sslmode=verify-full&sslrootcert=/path/ca.pem.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, required = true)]
    pub database_url: Option<SecretString>,

    /// The broker: amqp://user:password@host:5672/vhost or amqps://…. For a private authority:
    /// amqps://…?cacertfile=/path/ca.pem.
    #[arg(long, env = "BROKER_URL", hide_env_values = true, required = true)]
    pub broker_url: Option<SecretString>,

    /// The largest amount an invoice is issued for, in minor units. Above it the invoice is rejected and its order
    /// canceled.
    #[arg(
        long,
        env = "INVOICE_AMOUNT_LIMIT",
        default_value = "2147483647",
        value_parser = amount_limit,
        allow_negative_numbers = true
    )]
    pub amount_limit: AmountLimit,

    /// Who is let in.
    #[command(flatten)]
    pub identity: IdentityConfig,

    /// How long a canceled order may be missing before the orders service is asked for it, in seconds.
    #[arg(
        long = "reconcile-after-seconds",
        env = "RECONCILE_AFTER_SECONDS",
        value_name = "SECONDS",
        default_value = "600"
    )]
    pub reconcile_after: Patience,

    /// How it stops.
    #[command(flatten)]
    pub stop_delay: StopDelay,

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
    /// Print the GraphQL subgraph schema.
    Schema,
    /// Print the description of the REST API (OpenAPI 3.1).
    Openapi,
    /// Ask the service that runs in this container whether it is well: exit code 0 or 1, within two seconds.
    Healthcheck(Healthcheck),
    /// What an operator does.
    #[command(flatten)]
    Operate(Operation),
}

impl Config {
    /// The settings of a service inside another process: the rest as for development.
    pub fn embedded(listen: Listen, database_url: &DatabaseUrl, amount_limit: AmountLimit) -> Self {
        Self {
            listen,
            metrics: MetricsListen::elsewhere(),
            database_url: Some(database_url.as_str().into()),
            broker_url: None,
            amount_limit,
            identity: IdentityConfig::default(),
            reconcile_after: Patience::default(),
            stop_delay: StopDelay::default(),
            telemetry: TelemetryConfig::default(),
            command: None,
        }
    }
}

/// Reads `INVOICE_AMOUNT_LIMIT`.
///
/// # Errors
/// Says what is allowed.
pub fn amount_limit(text: &str) -> Result<AmountLimit, String> {
    let number: i64 = text.parse().map_err(|_| "must be a whole number from 1 to 2147483647".to_owned())?;
    Amount::try_from(number).map(AmountLimit).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_limit_is_named_with_what_is_allowed() {
        for bad in ["0", "-1", "2147483648", "many", "1.5"] {
            let arguments =
                ["invoices", "--database-url=sqlite::memory:", "--broker-url=amqp://localhost", "--amount-limit", bad];
            let error = Config::try_parse_from(arguments).unwrap_err().to_string();
            assert!(error.contains("2147483647"), "{bad}: {error}");
        }
    }
}
