//! `tandem`: everything in one process, until Ctrl+C.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use secrecy::SecretString;
use standalone::{
    Command, CommandLine, Config, Token,
    demo::{self, Pace, Told},
};

#[tokio::main]
async fn main() -> ExitCode {
    let CommandLine { command, config } = CommandLine::parse();
    chassis::service::exit_code(match command {
        None => serve(config, None).await,
        Some(Command::Demo { pace, url: None, config, .. }) => serve(*config, Some(pace)).await,
        Some(Command::Demo { pace, url: Some(url), token, .. }) => {
            tokio::select! {
                ended = demo::run(&url, pace, token.as_ref(), Told::Lines(standalone::style())) => ended,
                () = chassis::service::termination() => Ok(()),
            }
        }
        Some(Command::Token(token)) => show(&token),
    })
}

async fn serve(config: Config, demo: Option<Pace>) -> anyhow::Result<()> {
    // The banner is what a first start should show; RUST_LOG=info shows the rest.
    let services = &[orders::NAME, invoices::NAME, bff::NAME];
    let telemetry = chassis::telemetry::init_services("tandem", services, &config.telemetry, "warn")?;
    // Listening for signals before the start: Ctrl+C during the samples stops cleanly, too.
    let termination = tokio::spawn(chassis::service::termination());
    let (open, quiet) = (config.open, config.quiet);
    let token = standalone::token_for_ourselves(&config.identity);
    let mut tandem = standalone::start(config).await?;
    print(tandem.banner());
    if !quiet {
        tandem.tell_steps(io::stdout(), standalone::style());
    }
    let customers = match demo {
        Some(pace) => Some(tokio::spawn(demonstrate(tandem.url().parse()?, pace, token))),
        None => None,
    };
    if open {
        standalone::browser::open(&format!("{}/console", tandem.url()));
    }
    termination.await?;
    // Customers leave before the shop closes.
    if let Some(customers) = customers {
        customers.abort();
        let _ = customers.await;
    }
    chassis::service::unless_signalled_again(tandem.stop()).await;
    telemetry.shutdown().await;
    Ok(())
}

fn show(token: &Token) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout(), "{}", token.make()?)?)
}

async fn demonstrate(url: reqwest::Url, pace: Pace, token: Option<SecretString>) {
    let Pace { rate, orders } = pace;
    print(&format!("Demo: about {rate} orders a minute, {orders} in all. Watch them at {url}console.\n\n"));
    let end = match demo::run(&url, pace, token.as_ref(), Told::Trouble).await {
        Ok(()) => format!("demo: these were all {orders} orders; --orders asks for more\n"),
        Err(error) => format!("demo: {error:#}\n"),
    };
    let _ = io::stderr().write_all(end.as_bytes());
}

/// Nobody may be reading; that is no reason not to serve.
fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
