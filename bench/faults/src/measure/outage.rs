//! Minutes without a broker, under steady load: orders are accepted as before, no process grows with the backlog, and
//! the backlog leaves by itself when the broker is back.
//!
//! How fast it leaves says little without the machine, so the same messages go through the same broker in a raw loop
//! ([`super::raw`]), before and afterwards. The load ends when the broker is back: then both have the machine for
//! themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use lapin::options::QueueDeleteOptions;
use sea_orm::DatabaseConnection;
use serde_json::json;
use tokio::time::{interval, sleep};

use super::{Bench, Findings, per_second, positive, raw, steady::Steady};
use crate::{
    broker::{self, Message},
    options::Options,
    process,
    replica::Service,
    report::Latency,
    snapshot,
    tap::{self, Tap},
};

/// How much a process may grow, in KiB.
const GROWTH_KIB: u64 = 32 * 1024;
/// How often the memory is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// The rate was held when at least this part of it was.
const HELD: f64 = 0.98;
/// So many real messages are copied by the raw loop.
const SAMPLES: usize = 1000;
/// The raw loop is as long as the backlog, up to this.
const RAW: usize = 50_000;
/// A backlog that leaves slower than so many orders a second does not leave.
const SLOWEST: u64 = 100;

/// How much of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Extent {
    /// How long the broker is away.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    minutes: f64,
    /// How many orders a second.
    #[arg(long, default_value_t = 1000.0, value_parser = positive)]
    rate: f64,
    /// How long the load runs before that, to compare with [default: a third of the time, at most 60]
    #[arg(long, value_name = "SECONDS")]
    before: Option<u64>,
    /// How many processes of each service.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=5))]
    replicas: u16,
}

impl Extent {
    fn away(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    fn before(&self) -> Duration {
        self.before.map_or((self.away() / 3).min(Duration::from_mins(1)), Duration::from_secs)
    }
}

/// The resident memory of a process, in KiB.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    /// When the broker went.
    first: u64,
    /// The most while it was away.
    away: u64,
    /// The most until the backlog was gone.
    drain: u64,
    last: u64,
}

/// From the moment when the broker listens again.
#[derive(Debug, Clone, Copy, Default)]
struct Drain {
    /// Until the outbox of orders was empty.
    published: Duration,
    /// Until every order had its invoice.
    invoiced: Duration,
    /// Until orders knew of every invoice.
    known: Duration,
}

/// Takes the broker away.
pub(super) async fn run(extent: &Extent, options: &Options, folder: &Path) -> anyhow::Result<Findings> {
    let mut bench = Bench::start(options, extent.replicas, folder).await?;
    let samples = samples(&bench, extent.rate).await?;
    let raw_before = raw::rate(&bench.system.broker_url(), &samples, RAW.min(backlog(extent))).await?;
    bench.say(&format!("raw loop: {raw_before:.0} messages a second"));

    let load = Steady::start(&bench.client, &bench.ledger, bench.seed, "outage", extent.rate);
    let began = Instant::now();
    sleep(extent.before()).await;
    bench.say(&format!("broker away for {:?}", extent.away()));
    let processes: Vec<_> = bench.system.processes().into_iter().filter(|(name, _)| name != "rabbitmq").collect();
    let mut memory: BTreeMap<String, Memory> = BTreeMap::new();
    for (name, pid) in &processes {
        let first = process::resident_kib(*pid).with_context(|| format!("{name} is gone"))?;
        memory.insert(name.clone(), Memory { first, ..Memory::default() });
    }
    bench.system.servers.kill_broker()?;
    let gone = Instant::now();
    let mut looks = interval(LOOK);
    while gone.elapsed() < extent.away() {
        looks.tick().await;
        look(&processes, &mut memory, |memory| &mut memory.away);
    }
    let placed = load.finish().await?;
    let over = Instant::now();
    let waiting = snapshot::waiting(&bench.system).await?;
    bench.say(&format!("{waiting} events wait; broker back"));
    bench.system.servers.start_broker().await?;
    let listens = Instant::now();
    let orders = placed.accepted.len();
    let watching = async {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            look(&processes, &mut memory, |memory| &mut memory.drain);
        }
    };
    let drained = tokio::select! {
        drained = drain(&bench, listens, orders) => drained?,
        () = watching => None,
    };
    let (book, _, violations) = bench.violations(None, &BTreeSet::new()).await?;
    look(&processes, &mut memory, |memory| &mut memory.last);
    let raw_after = raw::rate(&bench.system.broker_url(), &samples, RAW.min(backlog(extent))).await?;
    bench.say(&format!("raw loop: {raw_after:.0} messages a second"));

    let statistics = &bench.client.statistics;
    let failed = statistics.failures_since(began);
    let before = Latency::of(&statistics.placements(began, gone));
    let during = Latency::of(&statistics.placements(gone, over));
    let raw = f64::midpoint(raw_before, raw_after);
    let mut findings = Findings { violations, ..Findings::default() };
    if let Some(first) = failed.first() {
        findings.breaks("creation goes on", format!("{} requests failed; the first: {first}", failed.len()));
    }
    if placed.rate < extent.rate * HELD {
        findings.breaks(
            "steady load",
            format!("{:.0} orders a second were sent, not {:.0}: this machine is too slow", placed.rate, extent.rate),
        );
    }
    for (name, Memory { first, away, drain, .. }) in &memory {
        if *away.max(drain) > first + GROWTH_KIB {
            findings.breaks("memory", format!("{name} grew from {first} to {away} KiB, and {drain} in the drain"));
        }
    }
    let out = &mut findings.text;
    writeln!(
        out,
        "{} replicas of each service; {:.0} orders a second for {:.0?}, then {:.0?} without a broker: {orders} orders, {} failed, {} asked again",
        extent.replicas,
        placed.rate,
        gone - began,
        over - gone,
        failed.len(),
        book.unknown
    )?;
    writeln!(out, "an order was sent {:.1?} late at most\n", placed.latest)?;
    writeln!(out, "creation        before {before}")?;
    writeln!(out, "without broker         {during}, p99 {:.2} times that before", during.p99_ratio(before))?;
    writeln!(out, "\nresident memory  broker goes   most, away  most, drain        last  KiB")?;
    for (name, Memory { first, away, drain, last }) in &memory {
        writeln!(out, "{name:<16} {first:>11} {away:>12} {drain:>12} {last:>11}")?;
    }
    writeln!(
        out,
        "\n{waiting} events had waited. Raw loop: {raw_before:.0} messages a second before, {raw_after:.0} after"
    )?;
    let mut times = json!(null);
    match drained {
        None => findings.breaks("the backlog drains", format!("{waiting} events had waited, and are not all gone")),
        Some(Drain { published, invoiced, known }) => {
            let backlog = usize::try_from(waiting)?;
            let mut lines = Vec::new();
            for (what, time) in [("published", published), ("invoiced", invoiced), ("known as invoiced", known)] {
                let rate = per_second(backlog, time);
                let ratio = rate / raw;
                writeln!(
                    out,
                    "all {what:<18} {:>7.1} s, {rate:>6.0} orders a second, {ratio:.2} of raw",
                    time.as_secs_f64()
                )?;
                lines.push(
                    json!({ "until": what, "seconds": time.as_secs_f64(), "ordersPerSecond": rate, "ofRaw": ratio }),
                );
            }
            writeln!(out, "An order is two messages, there and back; a raw message is one.")?;
            times = json!(lines);
        }
    }
    findings.json = json!({
        "rate": placed.rate, "orders": orders, "failedRequests": failed.len(), "latestMs": placed.latest.as_millis(),
        "awayMs": (over - gone).as_millis(), "eventsWaited": waiting,
        "creationBefore": before.json(), "creationDuring": during.json(), "p99Ratio": during.p99_ratio(before),
        "residentKiB": memory.iter().map(|(name, memory)| {
            let Memory { first, away, drain, last } = memory;
            (name, json!({ "first": first, "mostAway": away, "mostDrain": drain, "last": last }))
        }).collect::<BTreeMap<_, _>>(),
        "rawPerSecond": { "before": raw_before, "after": raw_after }, "drain": times,
    });
    Ok(findings)
}

fn backlog(extent: &Extent) -> usize {
    (extent.rate * extent.away().as_secs_f64()) as usize
}

/// Real messages of the queue `orders`. The tap that has them goes again: it would have the broker do more for each
/// event than it does for the raw loop.
async fn samples(bench: &Bench, rate: f64) -> anyhow::Result<Vec<Message>> {
    let url = bench.system.broker_url();
    let tap = Tap::start(url.clone()).await?;
    let load = Steady::start(&bench.client, &bench.ledger, bench.seed, "sample", rate);
    let began = Instant::now();
    let samples = loop {
        sleep(Duration::from_millis(250)).await;
        let mut recent = tap.recent(2 * SAMPLES);
        recent.retain(|message| message.queue == "orders");
        recent.truncate(SAMPLES);
        if recent.len() == SAMPLES || began.elapsed() > Duration::from_secs(10) {
            break recent;
        }
    };
    load.finish().await?;
    drop(tap);
    // A queue that is deleted while somebody publishes to it ends their channel (seen with RabbitMQ 3.10).
    while snapshot::waiting(&bench.system).await? > 0 {
        sleep(Duration::from_millis(250)).await;
    }
    let (connection, channel) = broker::connect(&url).await?;
    channel.queue_delete(tap::QUEUE.into(), QueueDeleteOptions::default()).await?;
    connection.close(200, "done".into()).await?;
    Ok(samples)
}

fn look(processes: &[(String, u32)], memory: &mut BTreeMap<String, Memory>, most: impl Fn(&mut Memory) -> &mut u64) {
    for (name, pid) in processes {
        let (Some(now), Some(memory)) = (process::resident_kib(*pid), memory.get_mut(name)) else { continue };
        let most = most(memory);
        *most = now.max(*most);
    }
}

/// Waits until the backlog of `orders` orders has gone all the way. `None` when it does not get there.
async fn drain(bench: &Bench, listens: Instant, orders: usize) -> anyhow::Result<Option<Drain>> {
    let limit = Duration::from_mins(5) + Duration::from_secs(orders as u64 / SLOWEST);
    let of_orders = snapshot::connect(&bench.system, Service::Orders).await?;
    let of_invoices = snapshot::connect(&bench.system, Service::Invoices).await?;
    let missing = "SELECT $ - count(*) AS n FROM invoices".replace('$', &orders_there(&of_orders).await?.to_string());
    let steps = [
        (&of_orders, "SELECT count(*) AS n FROM outbox"),
        (&of_invoices, missing.as_str()),
        (&of_orders, "SELECT count(*) AS n FROM orders WHERE invoice_status = 'none'"),
    ];
    let mut times = [Duration::ZERO; 3];
    for ((db, left), time) in steps.into_iter().zip(&mut times) {
        loop {
            let asked = Instant::now();
            let left = snapshot::count(db, left).await?;
            *time = listens.elapsed();
            if left == 0 {
                break;
            }
            if *time > limit {
                return Ok(None);
            }
            // Counting a long backlog is work, too: a twentieth of the time goes into it.
            sleep((asked.elapsed() * 19).max(Duration::from_millis(20))).await;
        }
    }
    let [published, invoiced, known] = times;
    bench.say(&format!("published after {published:.1?}, invoiced after {invoiced:.1?}, known after {known:.1?}"));
    Ok(Some(Drain { published, invoiced, known }))
}

async fn orders_there(db: &DatabaseConnection) -> anyhow::Result<i64> {
    snapshot::count(db, "SELECT count(*) AS n FROM orders").await
}
