//! The orders service as a process of its own, on PostgreSQL and RabbitMQ.

use std::{io::Write, process::ExitCode, sync::Arc};

use anyhow::Context;
use clap::Parser;
use messaging::{EventBus, rabbitmq::RabbitMq};
use operations::Service;
use orders::{Config, config::Command};
use secrecy::ExposeSecret;

#[tokio::main]
async fn main() -> ExitCode {
    chassis::service::exit_code(run(Config::parse()).await)
}

async fn run(mut config: Config) -> anyhow::Result<()> {
    match config.command.take() {
        None => {}
        Some(Command::Schema) => return Ok(write!(std::io::stdout(), "{}", orders::graphql::sdl())?),
        Some(Command::Openapi) => {
            let text = chassis::docs::to_text(&orders::openapi::document());
            return Ok(write!(std::io::stdout(), "{text}")?);
        }
        Some(Command::Healthcheck(check)) => return check.run(&config.listen),
        Some(Command::Operate(operation)) => {
            let service = Service {
                name: orders::NAME,
                queues: orders::QUEUES,
                broker_url: config.broker_url,
                database_url: config
                    .database_url
                    .map(|url| url.expose_secret().parse())
                    .transpose()
                    .context("DATABASE_URL")?,
            };
            return operations::run(operation, service, &mut std::io::stdout()).await;
        }
    }
    let telemetry = chassis::telemetry::init(orders::NAME, &config.telemetry)?;
    let broker_url = config.broker_url.as_ref().context("BROKER_URL is not set")?;
    let bus: Arc<dyn EventBus> =
        Arc::new(RabbitMq::connect_as(broker_url.expose_secret(), orders::NAME).context("BROKER_URL")?);
    let stop_delay = config.stop_delay;
    let result = match orders::start(config, Arc::clone(&bus)).await {
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
