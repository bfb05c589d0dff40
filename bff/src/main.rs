//! The API as a process of its own.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use chassis::service::StopDelay;
use clap::{Parser, Subcommand};

/// Orders and invoices as one GraphQL API.
#[derive(Parser)]
#[command(name = "bff", version, after_help = chassis::telemetry::ENVIRONMENT_HELP)]
struct Arguments {
    #[command(flatten)]
    config: bff::Config,

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
    let telemetry = chassis::telemetry::init("bff", &arguments.config.telemetry)?;
    let stop_delay = arguments.stop_delay;
    bff::start(arguments.config).await?.run_until_signal(stop_delay).await;
    telemetry.shutdown().await;
    Ok(())
}
