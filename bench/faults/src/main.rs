//! Runs the real system, breaks it on purpose, and checks that nothing was lost and nothing was done twice.
//!
//! `cargo run --release -p faults -- --orders 5000 --kills 10 --seed 42`. It needs PostgreSQL and RabbitMQ on the
//! machine and starts its own. The truth is a ledger outside the system ([`ledger`]): what clients asked for and what
//! they were told. At the end it is held against the databases, the dead letters and everything that was published
//! ([`check`]). What is broken, and when, follows from the seed ([`schedule`]).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program talks to its user")]

mod broker;
mod check;
mod client;
mod ledger;
mod load;
mod marker;
mod measure;
mod options;
mod poison;
mod process;
mod proxy;
mod replica;
mod report;
mod run;
mod scenario;
mod schedule;
mod servers;
mod shuffle;
mod snapshot;
mod system;
mod tap;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use chrono::{SecondsFormat, Utc};
use clap::Parser;
use rand::{SeedableRng, rngs::StdRng};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    broker::Management,
    check::{Evidence, Violation},
    ledger::Ledger,
    load::Load,
    options::{Options, Scenario},
    report::Report,
    run::Run,
    schedule::{Extent, Fault},
    system::System,
    tap::Tap,
};

/// The most orders that come at once.
const MOST_AT_ONCE: u64 = 500;

#[tokio::main]
async fn main() -> ExitCode {
    let mut options = Options::parse();
    options.settle();
    // Dropping the run ends every process of it, also on the way out of a panic.
    let done = tokio::select! {
        done = in_folder(&options) => done,
        () = interrupted() => {
            eprintln!("interrupted");
            return ExitCode::from(130);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn interrupted() {
    let wait_for = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait_for(SignalKind::interrupt()) => {}
        () = wait_for(SignalKind::terminate()) => {}
        () = wait_for(SignalKind::hangup()) => {}
    }
}

/// Gives the run a folder: removed afterwards, unless something is to be looked at. Answers whether all was well.
async fn in_folder(options: &Options) -> anyhow::Result<bool> {
    let mut folder = tempfile::Builder::new().prefix("tandem-faults.").tempdir()?;
    println!("seed {}, folder {}", options.seed(), folder.path().display());
    let result = match &options.measurement {
        Some(measurement) => measure::measure(measurement, options, command(options), folder.path()).await,
        None => faults(options, folder.path()).await.map(|report| report.violations.is_empty()),
    };
    if options.keep || !matches!(result, Ok(true)) {
        folder.disable_cleanup(true);
        println!("kept: {}", folder.path().display());
    }
    result
}

async fn faults(options: &Options, folder: &Path) -> anyhow::Result<Report> {
    let (cores, load_before) = process::machine();
    let date = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let extent = Extent {
        kills: options.kills(),
        replicas: options.replicas.into(),
        pause: options.pause(),
        short: options.is_short(),
    };
    let plan = if options.includes(Scenario::Mixed) { schedule::plan(options.seed(), extent) } else { Vec::new() };

    let system = System::start(options, folder).await?;
    let tap = Tap::start(system.broker_url()).await?;
    let (client, ledger) = (system.client(options.patience())?, Ledger::create(folder.join("ledger.jsonl"))?);
    // Half of the orders come steadily, the other half in bursts.
    let bursts = plan.iter().filter(|fault| fault.wants_burst()).count() as u64;
    let burst = (options.orders() / 2 / bursts.max(1)).min(MOST_AT_ONCE);
    let rate = (options.orders() - bursts * burst) as f64 / duration(options, &plan).as_secs_f64();
    let load = Load::start(client.clone(), ledger.clone(), options.seed(), options.orders(), rate);
    let management = Management::new(&system.servers.broker.admin)?;
    let mut run = Run {
        system,
        load,
        tap,
        client,
        ledger,
        management,
        random: StdRng::seed_from_u64(options.seed()),
        began: Instant::now(),
        burst,
        poisoned: BTreeSet::new(),
        happened: Vec::new(),
        takeovers: Vec::new(),
        limit: options.recovery(),
        slow: Vec::new(),
        steps: Vec::new(),
    };
    run.say(&format!("load: {} orders, {rate:.0} a second; {} faults planned", options.orders(), plan.len()));

    let (mut rolling, mut outage) = (None, None);
    if options.includes(Scenario::Rolling) {
        rolling = Some(scenario::rolling(&mut run).await?);
    }
    if options.includes(Scenario::Outage) {
        outage = Some(scenario::outage(&mut run, options.outage()).await?);
    }
    scenario::steps(&mut run, options, folder).await?;
    for fault in plan {
        run.suffer(fault).await?;
    }

    run.say("healed; the load comes to its end");
    run.system.heal().await?;
    let load_took = run.load.finish().await?;
    run.say("waiting for rest");
    let there = snapshot::at_rest(&run.system, &run.management, Some(&run.tap)).await?;
    let (book, published) = (run.ledger.read()?, run.tap.published());
    let mut violations =
        check::violations(&Evidence { book: &book, there: &there, published: &published, poisoned: &run.poisoned });
    let scenarios = [
        ("rolling restart", rolling.as_ref().map(|rolling| &rolling.violations)),
        ("outage", outage.as_ref().map(|outage| &outage.violations)),
    ];
    for (invariant, at_fault) in scenarios {
        if let Some(at_fault) = at_fault.filter(|at_fault| !at_fault.is_empty()) {
            violations.push(Violation { invariant, at_fault: at_fault.clone() });
        }
    }
    for step in run.steps.iter().filter(|step| !step.violations.is_empty()) {
        violations.push(Violation { invariant: step.name, at_fault: step.violations.clone() });
    }
    if !run.slow.is_empty() {
        violations.push(Violation { invariant: "recovery", at_fault: run.slow.clone() });
    }
    let limit = run.takeover_limit();
    let held: Vec<_> = run.takeovers.iter().filter(|took| **took > limit).collect();
    if !held.is_empty() {
        let at_fault = held.iter().map(|took| format!("a frozen relay kept its lanes for {took:.1?}")).collect();
        violations.push(Violation { invariant: "lanes", at_fault });
    }
    let mut statuses = BTreeMap::new();
    for order in there.orders.values() {
        *statuses.entry(format!("{} {}", order.status, order.invoice_status)).or_default() += 1;
    }
    let report = Report {
        command: command(options),
        date,
        seed: options.seed(),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        cores,
        machine_load: [load_before, process::machine().1],
        took: run.began.elapsed(),
        load_took,
        orders: there.orders.len(),
        statuses,
        unknown: book.unknown,
        raced: report::raced(&book),
        events: published.times.len(),
        duplicates: published.duplicates,
        checked: published.checked,
        poison: run.poisoned.len(),
        faults: run.happened,
        takeovers: run.takeovers,
        rolling,
        outage,
        steps: run.steps,
        violations,
    };
    println!("{}", report.text());
    report.save(&folder.join("report"))?;
    if let Some(name) = &options.report {
        report.save(name)?;
    }
    Ok(report)
}

/// Over how long the orders are spread: as long as the faults should take.
fn duration(options: &Options, plan: &[Fault]) -> Duration {
    let mut estimate: Duration = plan.iter().map(Fault::estimate).sum();
    if options.includes(Scenario::Rolling) {
        estimate += Duration::from_secs(2) * 2 * u32::from(options.replicas);
    }
    if options.includes(Scenario::Outage) {
        estimate += options.outage() + Duration::from_secs(15);
    }
    estimate += scenario::estimate(options);
    options.duration().unwrap_or(estimate.max(Duration::from_secs(10)))
}

/// How to do this again.
fn command(options: &Options) -> String {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let seed = if given.iter().any(|argument| argument.starts_with("--seed")) {
        String::new()
    } else {
        format!(" --seed {}", options.seed())
    };
    let release = if cfg!(debug_assertions) { "" } else { "--release " };
    format!("cargo run {release}-p faults -- {}{seed}", given.join(" "))
}
