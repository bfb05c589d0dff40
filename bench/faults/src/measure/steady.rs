//! Orders at a steady rate, and nothing else: an open loop. An order is sent when it is due, whether or not those
//! before it were answered, so a system that slows down does not slow down what is asked of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use tokio::{
    sync::Semaphore,
    task::{JoinHandle, JoinSet},
    time::sleep_until,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{client::Client, ledger::Ledger, load};

/// How many orders are on their way at most. When that many wait, the rest is late, and counted as such.
const IN_FLIGHT: usize = 256;

/// An order that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) order: Uuid,
    pub(super) amount: i64,
    /// When.
    pub(super) at: Instant,
}

/// What came of a load.
#[derive(Debug, Default)]
pub(super) struct Placed {
    /// In the order of their answers.
    pub(super) accepted: Vec<Accepted>,
    /// How many were sent a second.
    pub(super) rate: f64,
    /// By how much the latest was late, for want of a free client.
    pub(super) latest: Duration,
}

/// Running load.
pub(super) struct Steady {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<Placed>>,
}

impl Steady {
    /// Starts to place `rate` orders a second. What they are follows from the seed and the name.
    pub(super) fn start(client: &Client, ledger: &Ledger, seed: u64, name: &str, rate: f64) -> Self {
        let stop = CancellationToken::new();
        let load = place(client.clone(), ledger.clone(), seed, name.to_owned(), rate, stop.clone());
        Self { task: tokio::spawn(load), stop }
    }

    /// Ends it, and waits for the answers.
    pub(super) async fn finish(self) -> anyhow::Result<Placed> {
        self.stop.cancel();
        self.task.await?
    }
}

async fn place(
    client: Client,
    ledger: Ledger,
    seed: u64,
    name: String,
    rate: f64,
    stop: CancellationToken,
) -> anyhow::Result<Placed> {
    let mut random = StdRng::seed_from_u64(seed);
    let clients = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut answers = JoinSet::new();
    let (mut placed, mut sent) = (Placed::default(), 0_u64);
    let began = Instant::now();
    loop {
        let due = began + Duration::from_secs_f64(sent as f64 / rate);
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = sleep_until(due.into()) => {}
        }
        let permit = Arc::clone(&clients).acquire_owned().await?;
        placed.latest = placed.latest.max(due.elapsed());
        let key = format!("{seed}-{name}-{sent}");
        let (client, ledger, amount) = (client.clone(), ledger.clone(), random.random_range(1..=100_000));
        answers.spawn(async move {
            let customer = format!("customer-{}", amount % 500);
            let order = load::place(&client, &ledger, &key, amount, &customer).await;
            drop(permit);
            let order = order?.with_context(|| format!("the order {key} was refused"))?;
            anyhow::Ok(Accepted { order, amount, at: Instant::now() })
        });
        sent += 1;
        while let Some(answer) = answers.try_join_next() {
            placed.accepted.push(answer??);
        }
    }
    placed.rate = sent as f64 / began.elapsed().as_secs_f64();
    while let Some(answer) = answers.join_next().await {
        placed.accepted.push(answer??);
    }
    Ok(placed)
}
