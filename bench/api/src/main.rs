//! Measures the API by itself: the real BFF over real HTTP, with stand-ins for the services that cost next to nothing.
//!
//! `server.rs` runs each part on a thread of its own, so that what the BFF costs can be told from what the client and
//! the stand-ins cost; `client.rs` is as little of a client as will do. `refusals.rs` and `pages.rs` are the
//! measurements. They print a table each; the recorded ones are in `results/`.

#[path = "../../../bff/tests/it/attacks.rs"]
mod attacks;
mod client;
mod pages;
mod refusals;
mod server;

use std::time::Duration;

use clap::Parser;

/// Measures the API. Build it with --release.
#[derive(Parser)]
#[command(name = "api-bench")]
enum Command {
    /// What each refusal of the guard costs, alone and a hundred at once.
    Refusals,
    /// Pages of twenty orders with their invoices, one call to each service.
    Pages {
        /// How long each row is measured, in seconds.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Refusals => refusals::measure().await,
        Command::Pages { seconds } => pages::measure(Duration::from_secs(seconds)).await,
    }
}

/// The value below which this part of `sorted` lies.
fn percentile(sorted: &[Duration], part: f64) -> Duration {
    let place = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
}
