//! `tandem`: everything in one process, until Ctrl+C.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use standalone::{Command, Config};

#[tokio::main]
async fn main() -> ExitCode {
    chassis::service::exit_code(run(Config::parse()).await)
}

async fn run(config: Config) -> anyhow::Result<()> {
    if let Some(Command::Token(token)) = &config.command {
        return Ok(writeln!(std::io::stdout(), "{}", token.make(&config.identity)?)?);
    }
    // The banner is what a first start should show; RUST_LOG=info shows the rest.
    let telemetry = chassis::telemetry::init_with_logs("tandem", &config.telemetry, "warn")?;
    // Listening for signals before the start: Ctrl+C during the samples stops cleanly, too.
    let termination = tokio::spawn(chassis::service::termination());
    let open = config.open;
    let tandem = standalone::start(config).await?;
    {
        // Nobody may be reading; that is no reason not to serve.
        let mut out = std::io::stdout().lock();
        let _ = write!(out, "{}", tandem.banner()).and_then(|()| out.flush());
    }
    if open {
        standalone::browser::open(&format!("{}/console", tandem.url()));
    }
    termination.await?;
    chassis::service::unless_signalled_again(tandem.stop()).await;
    telemetry.shutdown().await;
    Ok(())
}
