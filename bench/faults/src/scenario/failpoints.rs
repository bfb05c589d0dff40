//! A replica that dies at exactly one place, for each place where it matters; a relay that is frozen while it holds
//! its lanes; a message that crashes whoever consumes it.
//!
//! The replica at fault runs a build with the feature `failpoints` (`chassis/src/failpoint.rs`); all others, and itself
//! afterwards, are as users get them.

use std::{
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use futures_util::future::try_join_all;
use rand::RngExt;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{load, marker, process, replica::Service, report::Step, run::Run, snapshot, system};

/// Where a replica dies, and the most passes that are waited for: rare passes end it at once.
const POINTS: [(Service, &str, u64); 18] = [
    (Service::Orders, "place.before-commit", 20),
    (Service::Orders, "place.after-commit", 20),
    (Service::Orders, "relay.after-select", 5),
    (Service::Orders, "publisher.before-confirm", 5),
    (Service::Orders, "relay.after-confirm", 5),
    (Service::Orders, "relay.before-commit", 5),
    (Service::Orders, "consumer.after-receive", 5),
    (Service::Orders, "consumer.after-commit", 5),
    (Service::Orders, "consumer.after-ack", 5),
    (Service::Invoices, "consumer.after-receive", 5),
    (Service::Invoices, "issue.mid-transaction", 5),
    (Service::Invoices, "consumer.after-commit", 5),
    (Service::Invoices, "consumer.after-set-aside", 1),
    (Service::Invoices, "consumer.after-ack", 5),
    (Service::Invoices, "relay.after-select", 5),
    (Service::Invoices, "publisher.before-confirm", 5),
    (Service::Invoices, "relay.after-confirm", 5),
    (Service::Invoices, "relay.before-commit", 5),
];
/// SIGABRT, which is how a failpoint ends a process.
const ABORTED: i32 = 6;
/// How long a point may go without being passed, under load.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often work is made for a point while it is waited for.
const AGAIN: Duration = Duration::from_secs(2);
/// How long a message may crash consumers until the broker takes it away: it has to happen 50 times.
const CRASHES: Duration = Duration::from_secs(300);
/// Orders before and after the one that crashes.
const NEIGHBOURS: usize = 60;
/// The customer whose orders crash a consumer.
const MARKED: &str = "failpoint";

/// Ends a replica at each point, `each` times.
pub(crate) async fn points(run: &mut Run, each: u16) -> anyhow::Result<Step> {
    let mut step = Step::new("failpoints");
    let programs = armed(run)?;
    traces(run, &mut step)?;
    for (service, point, passes) in POINTS {
        let (mut fired, mut slowest, before) = (0, Duration::ZERO, run.tap.duplicates());
        for time in 0..each {
            let n = pick(run, service, usize::from(time));
            let pass = run.random.random_range(1..=passes);
            run.system.replicas[n].terminate().await?;
            run.system.replicas[n].spawn(Some(&programs), &[("FAILPOINT", &format!("{point}:{pass}"))])?;
            fired += u16::from(dies(run, n, point).await?);
            run.system.replicas[n].kill().await?;
            run.system.replicas[n].start().await?;
            let client = run.client.only(&run.system.replicas[n].url);
            slowest = slowest.max(marker::recovery(&client, &run.ledger, Instant::now()).await?);
        }
        let duplicates = run.tap.duplicates() - before;
        step.fact(format!(
            "{:<8} {point:<26} died {fired} of {each} times, recovered within {slowest:.2?}, {duplicates} published again",
            service.name()
        ));
        if fired < each {
            step.violation(format!("{} never passed {point} within {PATIENCE:?}", service.name()));
        }
        step.within(&format!("recovery after {point}"), slowest, run.limit);
    }
    Ok(step)
}

/// Waits until a replica has died at its point; makes work for it meanwhile.
async fn dies(run: &mut Run, n: usize, point: &str) -> anyhow::Result<bool> {
    let began = Instant::now();
    let mut due = began;
    while began.elapsed() < PATIENCE {
        if let Some(status) = run.system.replicas[n].ended()? {
            ensure!(status.signal() == Some(ABORTED), "{} ended with {status}", run.system.replicas[n].name);
            return Ok(true);
        }
        if Instant::now() >= due {
            due = Instant::now() + AGAIN;
            run.load.burst(run.burst.min(100));
            if point == "consumer.after-set-aside" {
                run.poison().await?;
            }
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(false)
}

/// Freezes a relay between the confirms of a window and the commit that would delete it. Others have to get its lanes,
/// and what it does when it wakes must not count.
pub(crate) async fn frozen_relay(run: &mut Run) -> anyhow::Result<Step> {
    let mut step = Step::new("a relay frozen while it holds its lanes");
    let programs = armed(run)?;
    let n = pick(run, Service::Orders, 0);
    run.system.replicas[n].terminate().await?;
    let logged = run.system.replicas[n].logged()?.len();
    run.system.replicas[n].spawn(Some(&programs), &[("FAILPOINT", "relay.after-confirm:3:stop")])?;
    let (began, mut due) = (Instant::now(), Instant::now());
    let pid = run.system.replicas[n].pid().context("not running")?;
    while !process::is_stopped(pid) {
        ensure!(began.elapsed() < PATIENCE, "the relay did not stop with its lanes");
        if Instant::now() >= due {
            due = Instant::now() + AGAIN;
            run.load.burst(run.burst.min(100));
        }
        sleep(Duration::from_millis(10)).await;
    }
    let frozen = Instant::now();
    let before = run.tap.duplicates();
    let others = run.client.without(&run.system.replicas[n].url);
    marker::lanes(&others, &run.ledger).await?;
    let took = frozen.elapsed();
    run.takeovers.push(took);
    // The others have what it held; now it wakes and believes that it still holds it.
    sleep(run.takeover_limit().saturating_sub(took)).await;
    run.system.replicas[n].signal("CONT")?;
    let woken = Instant::now();
    let refused = loop {
        let log = run.system.replicas[n].logged()?;
        if log[logged..].contains("wait in the outbox: the database") {
            break true;
        }
        if woken.elapsed() > PATIENCE {
            break false;
        }
        sleep(Duration::from_millis(50)).await;
    };
    let duplicates = run.tap.duplicates() - before;
    step.fact(format!(
        "other relays had its lanes after {took:.1?} and published {duplicates} of its events again; its commit failed: {refused}"
    ));
    if !refused {
        step.violation("the woken relay committed, or did not say that it could not".to_owned());
    }
    if duplicates == 0 {
        step.violation("nothing was published again, so it held nothing".to_owned());
    }
    run.system.replicas[n].kill().await?;
    run.system.replicas[n].start().await?;
    Ok(step)
}

/// An order that crashes whoever consumes it, among others that do not.
pub(crate) async fn crash(run: &mut Run) -> anyhow::Result<Step> {
    let mut step = Step::new("a message that crashes its consumers");
    let programs = armed(run)?;
    let environment = [("FAILPOINT", "issue.marked:1")];
    let invoices = run.system.replicas.len() / 2..run.system.replicas.len();
    let before = snapshot::dead_letters(&run.system.broker_url()).await?.len();
    for n in invoices.clone() {
        run.system.replicas[n].kill().await?;
    }
    let place = |customer: &'static str| {
        let (client, ledger) = (run.client.clone(), run.ledger.clone());
        async move {
            let key = format!("crash-{}", Uuid::now_v7());
            load::place(&client, &ledger, &key, 1, customer).await?.context("an order was refused")
        }
    };
    let mut neighbours = try_join_all((0..NEIGHBOURS / 2).map(|_| place("neighbour"))).await?;
    let marked = place(MARKED).await?;
    neighbours.extend(try_join_all((0..NEIGHBOURS / 2).map(|_| place("neighbour"))).await?);

    let (began, mut crashes, mut passed) = (Instant::now(), 0, None);
    for n in invoices.clone() {
        run.system.replicas[n].spawn(Some(&programs), &environment)?;
    }
    let mut look = Instant::now();
    let taken = loop {
        for n in invoices.clone() {
            if run.system.replicas[n].ended()?.is_some() {
                crashes += 1;
                run.system.replicas[n].spawn(Some(&programs), &environment)?;
            }
        }
        if look.elapsed() > Duration::from_millis(500) {
            look = Instant::now();
            if passed.is_none() && snapshot::invoiced(&run.system, &neighbours).await? == neighbours.len() {
                passed = Some((began.elapsed(), crashes));
            }
            let letters = snapshot::dead_letters(&run.system.broker_url()).await?;
            if letters.len() > before && letters.iter().any(|letter| letter.is_of(marked)) {
                break true;
            }
            if began.elapsed() > CRASHES {
                break false;
            }
        }
        sleep(Duration::from_millis(10)).await;
    };
    let took = began.elapsed();
    for n in invoices {
        run.system.replicas[n].kill().await?;
        run.system.replicas[n].start().await?;
    }
    let letters = snapshot::dead_letters(&run.system.broker_url()).await?;
    let dragged: Vec<_> = letters.iter().filter(|letter| letter.is_stranger() && !letter.is_of(marked)).collect();
    step.fact(format!("{crashes} crashes in {took:.1?}; among the dead letters: {taken}"));
    match passed {
        Some((when, crashes)) => step.fact(format!(
            "its {} neighbours had their invoices after {when:.1?} and {crashes} crashes",
            neighbours.len()
        )),
        None => step.violation("its neighbours had no invoices before it was taken away".to_owned()),
    }
    if !taken {
        step.violation(format!("the broker did not take it away within {CRASHES:?}"));
    }
    if !dragged.is_empty() {
        step.violation(format!("{} messages went to the dead letters with it, e.g. {}", dragged.len(), dragged[0]));
    }
    // The cause is mended, and the operator sends it back.
    let arguments = ["dead-letters", "redrive", "--reason", "delivery_limit", "--yes"];
    run.system.operate(Service::Invoices, &arguments).await?;
    let redriven = Instant::now();
    while snapshot::invoiced(&run.system, &[marked]).await? == 0 {
        if redriven.elapsed() > PATIENCE {
            step.violation("sent back, it got no invoice".to_owned());
            return Ok(step);
        }
        sleep(Duration::from_millis(50)).await;
    }
    step.fact(format!("sent back by `dead-letters redrive`, it had its invoice after {:.1?}", redriven.elapsed()));
    Ok(step)
}

/// Where the programs with failpoints are.
fn armed(run: &Run) -> anyhow::Result<PathBuf> {
    let programs = run.system.programs.join(system::ARMED);
    ensure!(programs.is_dir(), "{} is not there: it is built without --no-build", programs.display());
    Ok(programs)
}

/// The programs that users get must have no trace of failpoints, where those that are used here have.
fn traces(run: &Run, step: &mut Step) -> anyhow::Result<()> {
    for (service, point) in [(Service::Orders, "relay.after-select"), (Service::Invoices, "issue.mid-transaction")] {
        let has = |folder: &Path| -> anyhow::Result<bool> {
            let status = Command::new("grep").args(["-qaF", point]).arg(folder.join(service.name())).status();
            match status.context("grep")?.code() {
                Some(0) => Ok(true),
                Some(1) => Ok(false),
                _ => bail!("cannot read {} in {}", service.name(), folder.display()),
            }
        };
        ensure!(has(&armed(run)?)?, "{} was built without {point}", service.name());
        if has(&run.system.programs)? {
            step.violation(format!("the program {} of the default build has {point}", service.name()));
        }
    }
    step.fact("no program of the default build has a trace of them".to_owned());
    Ok(())
}

/// A replica of a service, another one each time.
fn pick(run: &Run, service: Service, time: usize) -> usize {
    let each = run.system.replicas.len() / 2;
    time % each + if service == Service::Orders { 0 } else { each }
}
