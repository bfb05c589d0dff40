//! Measurements: one thing at length, on a system that nothing else happens to, with bounds that fail the run.
//!
//! The other runs ask whether anything is lost; these also ask what it costs. Each ends with the same invariants
//! ([`crate::check`]), prints the machine's load before and after, and keeps what it found as text and as JSON.

mod arrivals;
mod outage;
mod poison_slowdown;
mod races;
mod raw;
mod steady;

use std::{
    collections::BTreeSet,
    fmt::Write,
    path::Path,
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::{
    broker::Management,
    check::{self, Evidence, Violation},
    client::Client,
    ledger::{Book, Ledger},
    options::Options,
    process, report,
    snapshot::{self, Snapshot},
    system::System,
    tap::Tap,
};

/// What is measured.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Measurement {
    /// Takes the broker away for minutes under steady load: creation goes on, memory stays, the backlog drains by itself.
    Outage(outage::Extent),
    /// Compares good orders without and with poison among them, in turns.
    PoisonSlowdown(poison_slowdown::Extent),
    /// Pays and cancels the same orders at the same time, on several replicas.
    Races(races::Extent),
}

/// What a measurement found.
#[derive(Debug, Default)]
struct Findings {
    /// For people.
    text: String,
    /// For comparison.
    json: Value,
    violations: Vec<Violation>,
}

impl Findings {
    /// Says that a bound was broken, and how.
    fn breaks(&mut self, bound: &'static str, how: String) {
        match self.violations.iter_mut().find(|violation| violation.invariant == bound) {
            Some(violation) => violation.at_fault.push(how),
            None => self.violations.push(Violation { invariant: bound, at_fault: vec![how] }),
        }
    }
}

/// A system, and those who use it and look at it.
struct Bench {
    system: System,
    client: Client,
    ledger: Ledger,
    management: Management,
    seed: u64,
    began: Instant,
}

impl Bench {
    async fn start(options: &Options, replicas: u16, folder: &Path) -> anyhow::Result<Self> {
        let mut options = options.clone();
        options.replicas = replicas;
        let system = System::start(&options, folder).await?;
        let (client, ledger) = (system.client(options.patience())?, Ledger::create(folder.join("ledger.jsonl"))?);
        let management = Management::new(&system.servers.broker.admin)?;
        Ok(Self { system, client, ledger, management, seed: options.seed(), began: Instant::now() })
    }

    /// Prints a line with the time of the run.
    fn say(&self, text: &str) {
        println!("{:8.1} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Waits for rest, and holds the ledger against what is there. Without a tap nobody knows what was published, so
    /// I8 and I9 are left out.
    async fn violations(
        &self,
        tap: Option<&Tap>,
        poisoned: &BTreeSet<String>,
    ) -> anyhow::Result<(Book, Snapshot, Vec<Violation>)> {
        self.say("waiting for rest");
        let there = snapshot::at_rest(&self.system, &self.management, tap).await?;
        let (book, published) = (self.ledger.read()?, tap.map(Tap::published));
        let evidence =
            Evidence { book: &book, there: &there, published: &published.clone().unwrap_or_default(), poisoned };
        let mut violations = check::violations(&evidence);
        if published.is_none() {
            violations.retain(|violation| !["I8", "I9"].iter().any(|id| violation.invariant.starts_with(id)));
        }
        Ok((book, there, violations))
    }
}

/// Measures; answers whether every bound and every invariant held.
pub(crate) async fn measure(
    measurement: &Measurement,
    options: &Options,
    command: String,
    folder: &Path,
) -> anyhow::Result<bool> {
    let (cores, load_before) = process::machine();
    let date = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let profile = if cfg!(debug_assertions) { "debug" } else { "release" };
    let began = Instant::now();
    let mut findings = match measurement {
        Measurement::Outage(extent) => outage::run(extent, options, folder).await?,
        Measurement::PoisonSlowdown(extent) => poison_slowdown::run(extent, options, folder).await?,
        Measurement::Races(extent) => races::run(extent, options, folder).await?,
    };
    let (took, load_after) = (began.elapsed(), process::machine().1);

    let mut text = format!("{command}\n{date}, seed {}, {profile} build, {cores} cores, ", options.seed());
    writeln!(text, "machine load {load_before} to {load_after}, the run {took:.0?}\n")?;
    text.push_str(&findings.text);
    report::write_violations(&mut text, &findings.violations)?;
    println!("\n{text}");
    let head = json!({
        "command": command, "date": date, "seed": options.seed(), "profile": profile,
        "machine": { "cores": cores, "loadBefore": load_before, "loadAfter": load_after },
        "seconds": took.as_secs_f64(), "violations": findings.violations,
    });
    if let (Value::Object(all), Value::Object(head)) = (&mut findings.json, head) {
        all.extend(head);
    }
    for name in [Some(&folder.join("report")), options.report.as_ref()].into_iter().flatten() {
        report::save(name, &text, &findings.json)?;
    }
    Ok(findings.violations.is_empty())
}

/// How often something fits into a second.
fn per_second(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

/// Reads a number above zero.
fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && number <= 1e6 => Ok(number),
        _ => Err("a number above 0, up to 1000000".to_owned()),
    }
}
