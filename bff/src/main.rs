//! The API as a process of its own.

use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use chassis::service::StopDelay;
use clap::{Parser, Subcommand};
use messaging::{EventBus, rabbitmq::RabbitMq};

/// Orders and invoices as one GraphQL API.
#[derive(Parser)]
#[command(name = "bff", version, after_help = chassis::telemetry::ENVIRONMENT_HELP, subcommand_negates_reqs = true)]
struct Arguments {
    #[command(flatten)]
    config: bff::Config,

    /// The broker that live updates come from: amqp://user:password@host:5672/vhost or amqps://…. For a private
    /// authority: amqps://…?cacertfile=/path/ca.pem.
    #[arg(long, env = "BROKER_URL", hide_env_values = true, required = true)]
    broker_url: Option<String>,

    #[command(flatten)]
    stop_delay: StopDelay,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Print the schema that clients see.
    Schema,
}

#[tokio::main]
async fn main() -> ExitCode {
    chassis::service::exit_code(run(Arguments::parse()).await)
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let Some(Command::Schema) = arguments.command {
        return Ok(io::stdout().write_all(bff::sdl().as_bytes())?);
    }
    let telemetry = chassis::telemetry::init(bff::NAME, &arguments.config.telemetry)?;
    let broker_url = arguments.broker_url.context("BROKER_URL is not set")?;
    let bus: Arc<dyn EventBus> = Arc::new(RabbitMq::connect_to_listen(&broker_url, bff::NAME).context("BROKER_URL")?);
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
