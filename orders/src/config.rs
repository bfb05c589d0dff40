//! The settings of the service: the only place that reads the environment. `--help` is the reference.

use chassis::{
    healthcheck::Healthcheck,
    identity::{AppEnv, IdentityConfig},
    listen::Listen,
    metrics::MetricsListen,
    service::StopDelay,
    telemetry::TelemetryConfig,
};
use clap::Parser;
use contracts::CustomerId;
use operations::Operation;
use outbox::{DatabaseUrl, Patience};
use secrecy::SecretString;

/// The customer of an order that names none, outside production.
const DEVELOPMENT_CUSTOMER: &str = "customer-123";

/// The orders service.
#[derive(Debug, Parser)]
#[command(version, about = "Places and cancels orders, and follows what becomes of their invoices", after_help = chassis::telemetry::ENVIRONMENT_HELP, mut_arg("port", |port| port.default_value("3333")), subcommand_negates_reqs = true)]
pub struct Config {
    /// Where it listens.
    #[command(flatten)]
    pub listen: Listen,

    /// Where it serves its metrics.
    #[command(flatten)]
    pub metrics: MetricsListen,

    /// Its database: postgres://user:password@host/orders or sqlite://path. With TLS, the server's certificate checked:
    /// postgres://…?sslmode=verify-full&sslrootcert=/path/ca.pem.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, required = true)]
    pub database_url: Option<SecretString>,

    /// The broker: amqp://user:password@host:5672/vhost or amqps://…. For a private authority:
    /// amqps://…?cacertfile=/path/ca.pem.
    #[arg(long, env = "BROKER_URL", hide_env_values = true, required = true)]
    pub broker_url: Option<SecretString>,

    /// The customer of an order that names none, where everybody is let in [default: customer-123]. Else it is the
    /// customer of the token.
    #[arg(long, env = "DEFAULT_CUSTOMER_ID")]
    pub default_customer_id: Option<CustomerId>,

    /// Who is let in.
    #[command(flatten)]
    pub identity: IdentityConfig,

    /// How long an order waits for an answer before the invoices service is asked again, in seconds.
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
    pub fn embedded(listen: Listen, database_url: &DatabaseUrl) -> Self {
        Self {
            listen,
            metrics: MetricsListen::elsewhere(),
            database_url: Some(database_url.as_str().into()),
            broker_url: None,
            default_customer_id: None,
            identity: IdentityConfig::default(),
            reconcile_after: Patience::default(),
            stop_delay: StopDelay::default(),
            telemetry: TelemetryConfig::default(),
            command: None,
        }
    }

    pub(crate) fn default_customer(&self) -> Option<CustomerId> {
        self.default_customer_id.clone().or_else(|| match self.identity.app_env {
            AppEnv::Development => DEVELOPMENT_CUSTOMER.parse().ok(),
            AppEnv::Production => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_production_has_no_default_customer() {
        let mut config = Config::embedded(Listen::anywhere(), &"sqlite::memory:".parse().unwrap());
        assert_eq!(config.default_customer().unwrap().as_str(), "customer-123");
        config.identity.app_env = AppEnv::Production;
        assert_eq!(config.default_customer(), None);
        config.default_customer_id = Some("shop".parse().unwrap());
        assert_eq!(config.default_customer().unwrap().as_str(), "shop");
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_allowed() {
        let arguments =
            ["orders", "--database-url=sqlite:x", "--broker-url=amqp://localhost", "--default-customer-id="];
        let error = Config::try_parse_from(arguments).unwrap_err().to_string();
        assert!(error.contains("--default-customer-id") && error.contains("1 to 255"), "{error}");
    }
}
