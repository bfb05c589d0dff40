//! Pay against cancel, for the same order at the same time: pay asks invoices, cancel asks orders, and whoever reaches
//! the invoice first has won. A payment that won is refunded, one that lost is refused; the order is canceled in both.
//!
//! The cancellation has the longer way: to the orders, through outbox and broker, to the invoice. How much longer
//! depends on the machine, so the payment is held back by a random time up to a bound that follows from the outcomes of
//! the round before. Some orders are only paid: money that has to stay where it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::sleep;
use uuid::Uuid;

use super::{Bench, Findings, arrivals::Arrivals, per_second};
use crate::{
    load,
    options::Options,
    report,
    snapshot::Snapshot,
    tap::{Published, Tap},
};

/// How many pairs race at once.
const AT_ONCE: usize = 32;
/// How many pairs there are in a round.
const ROUND: usize = 250;
/// Of so many orders, one is only paid.
const BYSTANDERS: usize = 10;
/// The first bound for holding a payment back, and the least and the most that it becomes.
const HEAD_START: [Duration; 3] = [Duration::from_millis(60), Duration::from_millis(2), Duration::from_secs(5)];
/// The least part that each outcome has to have.
const LEAST: f64 = 0.05;

/// How much of it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Extent {
    /// How many pairs.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// How many processes of each service.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=5))]
    replicas: u16,
}

/// Has them race.
pub(super) async fn run(extent: &Extent, options: &Options, folder: &Path) -> anyhow::Result<Findings> {
    let bench = Bench::start(options, extent.replicas, folder).await?;
    let url = bench.system.broker_url();
    let (tap, arrivals) = (Tap::start(url.clone()).await?, Arrivals::start(&url).await?);
    let mut random = StdRng::seed_from_u64(bench.seed);
    let [mut bound, least, most] = HEAD_START;
    let (mut pairs, mut bounds) = (0, BTreeSet::from([bound]));
    let mut before = [0, 0];
    let began = Instant::now();
    let wanted = usize::try_from(extent.pairs)?;
    while pairs < wanted {
        let round = ROUND.min(wanted - pairs);
        let races: Vec<_> = (0..round)
            .map(|n| {
                let amount = random.random_range(1..=100_000);
                race(&bench, &arrivals, pairs + n, amount, random.random_range(Duration::ZERO..bound))
            })
            .collect();
        stream::iter(races).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        pairs += round;
        let now = report::raced(&bench.ledger.read()?);
        let paid_first = (now[0] - before[0]) as f64 / round as f64;
        before = now;
        bench.say(&format!(
            "{pairs} pairs, payments held back up to {bound:.1?}: {:.0} % paid first",
            paid_first * 100.0
        ));
        if paid_first > 0.6 {
            bound = (bound * 3 / 2).min(most);
        } else if paid_first < 0.4 {
            bound = (bound * 2 / 3).max(least);
        }
        bounds.insert(bound);
    }
    let time = began.elapsed();
    let (book, there, violations) = bench.violations(Some(&tap), &BTreeSet::new()).await?;
    let published = tap.published();

    let [paid_first, canceled_first] = report::raced(&book);
    let only_paid = book.paid.difference(&book.canceled).count();
    let [paid, refunded, owed] = money(&there, &published);
    let mut findings = Findings { violations, ..Findings::default() };
    let out = &mut findings.text;
    let (narrow, wide) = (bounds.first().copied().unwrap_or_default(), bounds.last().copied().unwrap_or_default());
    writeln!(
        out,
        "{pairs} pairs on {} replicas of each service in {time:.0?} ({:.0} a second), {AT_ONCE} at once",
        extent.replicas,
        per_second(pairs, time)
    )?;
    writeln!(out, "payments held back by a random time up to {narrow:.1?} to {wide:.1?}, as the outcomes wanted it")?;
    for (what, count) in
        [("paid first, then refunded", paid_first), ("canceled first, payment refused", canceled_first)]
    {
        writeln!(out, "  {what:<32} {count:>6} ({:.1} %)", count as f64 * 100.0 / pairs as f64)?;
        if (count as f64) < pairs as f64 * LEAST {
            findings.violations.push(crate::check::Violation {
                invariant: "both outcomes",
                at_fault: vec![format!("{what}: {count} of {pairs}")],
            });
        }
    }
    writeln!(out, "  {:<32} {only_paid:>6}", "only paid, beside them")?;
    if paid_first + canceled_first != pairs {
        let how = format!("{paid_first} and {canceled_first} are not {pairs}");
        findings.breaks("every pair has an outcome", how);
    }
    let out = &mut findings.text;
    writeln!(
        out,
        "{} events, {} published again; {} unknown outcomes asked again",
        published.times.len(),
        published.duplicates,
        book.unknown
    )?;
    writeln!(out, "paid {paid} - refunded {refunded} = {}; the paid orders: {owed}", paid - refunded)?;
    findings.json = json!({
        "paid": paid, "refunded": refunded, "paidOrders": owed,
        "pairs": pairs, "replicas": extent.replicas, "pairsPerSecond": per_second(pairs, time),
        "paidFirst": paid_first, "canceledFirst": canceled_first, "onlyPaid": only_paid,
        "heldBackMs": [narrow.as_millis(), wide.as_millis()],
        "events": published.times.len(), "publishedAgain": published.duplicates,
    });
    Ok(findings)
}

/// What was paid, what was refunded, and the amounts of the orders that are paid.
fn money(there: &Snapshot, published: &Published) -> [i64; 3] {
    let amounts: BTreeMap<Uuid, i64> = there.invoices.iter().map(|row| (row.id, row.amount.unwrap_or(0))).collect();
    let sum = |kind: &str| -> i64 {
        let invoices: BTreeSet<Uuid> = published.by_type.get(kind).into_iter().flatten().map(|(id, _)| *id).collect();
        invoices.iter().filter_map(|id| amounts.get(id)).sum()
    };
    let paid_orders = there.orders.values().filter(|order| order.status == "paid");
    [sum("invoice.paid"), sum("invoice.refunded"), paid_orders.map(|order| order.amount).sum()]
}

/// Places an order, waits for its invoice, and asks for both things.
async fn race(bench: &Bench, arrivals: &Arrivals, n: usize, amount: i64, head_start: Duration) -> anyhow::Result<()> {
    let (client, ledger) = (&bench.client, &bench.ledger);
    let place = async |key: String| {
        let order = load::place(client, ledger, &key, amount, "racer").await?;
        let order = anyhow::Context::with_context(order, || format!("the order {key} was refused"))?;
        anyhow::Ok((order, arrivals.of(order).await?.invoice.to_string()))
    };
    let (order, invoice) = place(format!("{}-race-{n}", bench.seed)).await?;
    let pay_later = async {
        sleep(head_start).await;
        load::pay(client, ledger, order, &invoice).await
    };
    tokio::try_join!(pay_later, load::cancel(client, ledger, order))?;
    if n.is_multiple_of(BYSTANDERS) {
        let (order, invoice) = place(format!("{}-bystander-{n}", bench.seed)).await?;
        load::pay(client, ledger, order, &invoice).await?;
    }
    Ok(())
}
