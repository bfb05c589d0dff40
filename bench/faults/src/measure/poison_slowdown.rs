//! What poison costs the good orders: the same steady load without and with it, in turns, so that whatever else
//! happens on the machine happens to both.
//!
//! An order is followed from its 201 to the moment when an outside listener hears that its invoice was issued.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use lapin::options::ConfirmSelectOptions;
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::{interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Bench, Findings,
    arrivals::Arrivals,
    per_second, positive,
    steady::{Accepted, Steady},
};
use crate::{
    broker::{self, Message},
    options::Options,
    poison,
    report::Latency,
    tap::Tap,
};

/// The most that poison may slow the others down.
const BOUND: f64 = 2.0;
/// How many orders are known for poison that contradicts one.
const INVOICED: usize = 100;

/// How much of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Extent {
    /// How many orders a second.
    #[arg(long, default_value_t = 300.0, value_parser = positive)]
    rate: f64,
    /// How long each turn is.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..), value_name = "SECONDS")]
    turn: u64,
    /// How many turns without poison, and as many with it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    turns: u16,
    /// How much of what comes is poison.
    #[arg(long, default_value_t = 1.0, value_parser = positive)]
    percent: f64,
    /// How many processes of each service.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=5))]
    replicas: u16,
}

/// What all turns of one sort came to.
#[derive(Debug, Default)]
struct Sum {
    latencies: Vec<Duration>,
    time: Duration,
}

impl Sum {
    fn latency(&mut self) -> Latency {
        self.latencies.sort_unstable();
        Latency::of(&self.latencies)
    }

    fn throughput(&self) -> f64 {
        per_second(self.latencies.len(), self.time)
    }
}

/// Compares.
pub(super) async fn run(extent: &Extent, options: &Options, folder: &Path) -> anyhow::Result<Findings> {
    let bench = Bench::start(options, extent.replicas, folder).await?;
    let url = bench.system.broker_url();
    let (tap, arrivals) = (Tap::start(url.clone()).await?, Arrivals::start(&url).await?);
    let mut random = StdRng::seed_from_u64(bench.seed);
    let (mut poisoned, mut supply) = (BTreeSet::new(), VecDeque::new());
    // Not measured: connections open, caches fill.
    let (warm, _) = turn(&bench, &arrivals, extent, "warm").await?;
    let known: Vec<_> = warm.iter().take(INVOICED).map(|accepted| (accepted.order, accepted.amount)).collect();

    let mut findings = Findings::default();
    let (mut clean, mut mixed) = (Sum::default(), Sum::default());
    writeln!(findings.text, "turn         orders  poison       p50       p99  invoiced a second")?;
    for n in 0..2 * extent.turns {
        let with_poison = n % 2 == 1;
        let name = format!("{} {}", if with_poison { "poison" } else { "clean" }, n / 2 + 1);
        let before = poisoned.len();
        let over = CancellationToken::new();
        let orders = async {
            let _over = over.clone().drop_guard();
            turn(&bench, &arrivals, extent, &name).await
        };
        let (_, mut one) = if with_poison {
            tokio::try_join!(orders, poison(&url, extent, &mut random, &known, &mut supply, &mut poisoned, &over))?.0
        } else {
            orders.await?
        };
        let (latency, given) = (one.latency(), poisoned.len() - before);
        let line = format!(
            "{name:<10} {:>8} {given:>7} {:>9.1?} {:>9.1?} {:>18.1}",
            latency.count,
            latency.median,
            latency.p99,
            one.throughput()
        );
        bench.say(&line);
        writeln!(findings.text, "{line}")?;
        let sum = if with_poison { &mut mixed } else { &mut clean };
        sum.latencies.append(&mut one.latencies);
        sum.time += one.time;
    }
    let (book, _, violations) = bench.violations(Some(&tap), &poisoned).await?;
    findings.violations = violations;

    let (without, with) = (clean.latency(), mixed.latency());
    let ratios = [
        ("p50", with.median_ratio(without)),
        ("p99", with.p99_ratio(without)),
        ("throughput", clean.throughput() / mixed.throughput().max(0.001)),
    ];
    let out = &mut findings.text;
    writeln!(out, "\naccepted to invoice known, all turns of {} replicas of each service:", extent.replicas)?;
    writeln!(out, "without poison {without}, {:.1} invoiced a second", clean.throughput())?;
    writeln!(out, "with poison    {with}, {:.1} invoiced a second", mixed.throughput())?;
    for (what, ratio) in ratios {
        writeln!(out, "{what:<14} {ratio:.2} times slower; at most {BOUND} are allowed")?;
    }
    writeln!(
        out,
        "\n{} messages of {} kinds of poison; {} orders, {} unknown outcomes asked again",
        poisoned.len(),
        poison::KINDS,
        book.asks.len(),
        book.unknown
    )?;
    for (what, ratio) in ratios {
        if ratio > BOUND {
            findings.breaks("poison does not slow the good ones", format!("{what}: {ratio:.2} times"));
        }
    }
    if poisoned.len() < poison::KINDS {
        findings
            .breaks("every kind of poison", format!("only {} messages: more turns, or longer ones?", poisoned.len()));
    }
    findings.json = json!({
        "rate": extent.rate, "orders": book.asks.len(), "poison": poisoned.len(), "kinds": poison::KINDS,
        "clean": { "latency": without.json(), "invoicedPerSecond": clean.throughput() },
        "poisoned": { "latency": with.json(), "invoicedPerSecond": mixed.throughput() },
        "ratios": ratios.into_iter().collect::<BTreeMap<_, _>>(), "bound": BOUND,
    });
    Ok(findings)
}

/// One turn, until all its orders have their invoices.
async fn turn(bench: &Bench, arrivals: &Arrivals, extent: &Extent, name: &str) -> anyhow::Result<(Vec<Accepted>, Sum)> {
    let began = Instant::now();
    let load = Steady::start(&bench.client, &bench.ledger, bench.seed, name, extent.rate);
    sleep(Duration::from_secs(extent.turn)).await;
    let accepted = load.finish().await?.accepted;
    let arrived = arrivals.all(accepted.iter().map(|accepted| accepted.order)).await?;
    let last = arrived.iter().map(|arrival| arrival.at).max().unwrap_or(began);
    let latencies = accepted.iter().zip(&arrived).map(|(accepted, arrival)| arrival.at - accepted.at).collect();
    Ok((accepted, Sum { latencies, time: last - began }))
}

/// Sends poison at its rate, one kind after the other, until the turn is over. What was begun is finished: a token that
/// is noted has been sent.
async fn poison(
    url: &str,
    extent: &Extent,
    random: &mut StdRng,
    known: &[(Uuid, i64)],
    supply: &mut VecDeque<(String, Message)>,
    poisoned: &mut BTreeSet<String>,
    over: &CancellationToken,
) -> anyhow::Result<()> {
    let (connection, channel) = broker::connect(url).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut ticks = interval(Duration::from_secs_f64(100.0 / (extent.rate * extent.percent)));
    loop {
        tokio::select! {
            () = over.cancelled() => break,
            _ = ticks.tick() => {}
        }
        if supply.is_empty() {
            supply.extend(poison::every_kind(random, known));
        }
        if let Some((token, message)) = supply.pop_front() {
            poisoned.insert(token);
            broker::publish_on(&channel, &[message]).await?;
        }
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}
