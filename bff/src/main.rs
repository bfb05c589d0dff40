//! The API as a process of its own.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use chassis::{healthcheck::Healthcheck, service::StopDelay};
use clap::{Parser, Subcommand};
use messaging::{EventBus, rabbitmq::RabbitMq};
use secrecy::{ExposeSecret, SecretString};

/// Orders and invoices as one GraphQL API.
#[derive(Parser)]
#[command(name = "bff", version, after_help = chassis::telemetry::ENVIRONMENT_HELP, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    config: bff::Config,

    /// The broker that live updates come from: amqp://user:password@host:5672/vhost or amqps://…. For a private
    /// authority: amqps://…?cacertfile=/path/ca.pem.
    #[arg(long, env = "BROKER_URL", hide_env_values = true, required = true)]
    broker_url: Option<SecretString>,

    #[command(flatten)]
    stop_delay: StopDelay,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the schema that clients see.
    Schema,
    /// Ask the API that runs in this container whether it is well: exit code 0 or 1, within two seconds.
    Healthcheck(Healthcheck),
}

#[tokio::main]
async fn main() -> ExitCode {
    chassis::service::exit_code(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        None => {}
        Some(Command::Schema) => return Ok(io::stdout().write_all(bff::sdl().as_bytes())?),
        Some(Command::Healthcheck(check)) => return check.run(&arguments.config.listen),
    }
    let telemetry = chassis::telemetry::init(bff::NAME, &arguments.config.telemetry)?;
    let broker_url = arguments.broker_url.context("BROKER_URL is not set")?;
    let bus: Arc<dyn EventBus> =
        Arc::new(RabbitMq::connect_to_listen(broker_url.expose_secret(), bff::NAME).context("BROKER_URL")?);
    let stop_delay = arguments.stop_delay;
    let result = match bff::start(arguments.config, Arc::clone(&bus)).await {
        Ok(service) => {
            service.run_until_signal(stop_delay).await;
            Ok(())
        }
        Err(error) => Err(error),
    };
    bus.close().await;
    telemetry.shutdown().await;
    result
}
