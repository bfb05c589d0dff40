//! What a refusal costs. Each attack is sent one after the other, and then by a hundred connections at once. What the
//! client sees is the time of all that come before it as well, so the BFF's own time stands beside it.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;

use crate::{attacks, client, client::Client, percentile, server::Server};

/// How many are sent at once.
const TOGETHER: usize = 100;

/// How many are sent one after the other.
const ALONE: usize = 30;

/// How often a hundred are sent.
const ROUNDS: usize = 5;

/// Measures and prints.
pub(crate) async fn measure() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let mut clients = Vec::new();
    for _ in 0..TOGETHER {
        clients.push(Client::open(&server.address).await?);
    }
    println!("| attack | bytes | BFF, µs | alone, worst, ms | 100 at once, median, ms | worst, ms |");
    println!("|---|---:|---:|---:|---:|---:|");
    let mut worst = Duration::ZERO;
    for attack in attacks::all() {
        let request = client::request(&attack.body);
        let mut alone = Vec::new();
        for _ in 0..ALONE {
            alone.push(refused(&mut clients[0], &request, attack.code).await?);
        }
        alone.sort_unstable();

        let before = server.worked()?;
        let mut together = Vec::new();
        for _ in 0..ROUNDS {
            let sent = clients.iter_mut().map(|client| refused(client, &request, attack.code));
            together.extend(try_join_all(sent).await?);
        }
        together.sort_unstable();
        let cost = (server.worked()? - before) / u32::try_from(together.len())?;
        worst = worst.max(percentile(&together, 1.0));
        println!(
            "| {} | {} | {} | {:.1} | {:.1} | {:.1} |",
            attack.name,
            request.len(),
            cost.as_micros(),
            milliseconds(percentile(&alone, 1.0)),
            milliseconds(percentile(&together, 0.5)),
            milliseconds(percentile(&together, 1.0)),
        );
    }
    println!("\nThe worst of all: {:.1} ms", milliseconds(worst));
    Ok(())
}

/// Sends an attack; how long it took to be refused.
async fn refused(client: &mut Client, request: &[u8], code: &str) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let (_, answer) = client.send(request).await?;
    let took = began.elapsed();
    anyhow::ensure!(answer.contains(code), "not refused with {code}: {answer}");
    Ok(took)
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
