//! The orders service as a process of its own, on PostgreSQL and RabbitMQ.

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use messaging::{EventBus, rabbitmq::RabbitMq};
use orders::{Config, config::Command};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    if let Some(Command::Schema) = config.command {
        use std::io::Write;
        return Ok(write!(std::io::stdout(), "{}", orders::graphql::sdl())?);
    }
    let telemetry = chassis::telemetry::init(orders::NAME, &config.telemetry)?;
    let broker_url = config.broker_url.as_deref().context("BROKER_URL is not set")?;
    let bus: Arc<dyn EventBus> = Arc::new(RabbitMq::connect(broker_url).context("BROKER_URL")?);
    orders::start(config, Arc::clone(&bus)).await?.run_until_signal().await;
    bus.close().await;
    telemetry.shutdown().await;
    Ok(())
}
