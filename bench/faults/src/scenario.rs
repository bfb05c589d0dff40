//! The scenarios that are no list of faults: each has figures of its own, and its own idea of what may not be.

mod alarm;
mod clock;
mod disk;
mod failpoints;
mod queues;

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use tokio::time::{interval, sleep};

use self::alarm::Alarm;
use crate::{
    marker,
    options::{Options, Scenario},
    process,
    report::{Latency, Outage, Rolling},
    run::Run,
    snapshot,
};

/// The longest time a replica may take to stop.
const STOP: Duration = Duration::from_secs(25);
/// How much a replica may grow while the broker is away, in KiB.
const GROWTH_KIB: u64 = 32 * 1024;
/// How many events more than a moment before may wait in a system that is well.
const USUAL: u64 = 20;
/// Undisturbed load before an outage, to compare with.
const BEFORE: Duration = Duration::from_secs(4);

/// Those that were asked for, beside the rolling restart and the outage.
pub(crate) async fn steps(run: &mut Run, options: &Options, folder: &Path) -> anyhow::Result<()> {
    let (lasting, slack) = if options.is_short() { (5, options.recovery()) } else { (20, Duration::ZERO) };
    let lasting = Duration::from_secs(lasting);
    if options.includes(Scenario::Failpoints) {
        run.say("failpoints");
        let step = failpoints::points(run, options.each).await?;
        run.steps.push(step);
        run.say("a relay frozen while it holds its lanes");
        let step = failpoints::frozen_relay(run).await?;
        run.steps.push(step);
        run.say("a message that crashes its consumers");
        let step = failpoints::crash(run).await?;
        run.steps.push(step);
    }
    if options.includes(Scenario::Alarms) {
        let alarms = if options.is_short() { &[Alarm::Memory][..] } else { &[Alarm::Memory, Alarm::Disk] };
        for &alarm in alarms {
            let step = alarm::alarm(run, alarm, lasting, slack).await?;
            run.steps.push(step);
        }
    }
    if options.includes(Scenario::Full) {
        let step = queues::full(run, lasting).await?;
        run.steps.push(step);
    }
    if options.includes(Scenario::Disk) {
        let step = disk::full(run, folder, lasting).await?;
        run.steps.push(step);
    }
    if options.includes(Scenario::Clock) {
        let step = clock::wrong(run, lasting).await?;
        run.steps.push(step);
    }
    if options.includes(Scenario::Lost) {
        let step = queues::lost(run).await?;
        run.steps.push(step);
    }
    Ok(())
}

/// About how long they take: the load is spread over it.
pub(crate) fn estimate(options: &Options) -> Duration {
    let of = |scenario, seconds| if options.includes(scenario) { seconds } else { 0 };
    let lasting = if options.is_short() { 5 } else { 20 };
    let points = 18 * 3 * u64::from(options.each) + 40 + 60;
    let steps = [
        (Scenario::Failpoints, points),
        (Scenario::Alarms, if options.is_short() { lasting + 10 } else { 2 * (lasting + 10) }),
        (Scenario::Full, lasting + 5),
        (Scenario::Disk, lasting + 10),
        (Scenario::Clock, lasting + 10),
        (Scenario::Lost, 100),
    ];
    Duration::from_secs(steps.map(|(scenario, seconds)| of(scenario, seconds)).iter().sum())
}

/// Restarts every replica in turn by SIGTERM, under load.
pub(crate) async fn rolling(run: &mut Run) -> anyhow::Result<Rolling> {
    run.say("rolling restart by SIGTERM");
    let began = Instant::now();
    let duplicates = run.tap.duplicates();
    let mut rolling = Rolling::default();
    for n in 0..run.system.replicas.len() {
        sleep(Duration::from_secs(1)).await;
        let replica = &mut run.system.replicas[n];
        let (status, took) = replica.terminate().await?;
        if !status.success() || took > STOP {
            rolling.violations.push(format!("{} ended with {status} after {took:.2?}", replica.name));
        }
        rolling.stops.push((replica.name.clone(), took));
        replica.start().await?;
        let client = run.client.only(&replica.url);
        marker::recovery(&client, &run.ledger, Instant::now()).await?;
    }
    sleep(Duration::from_secs(1)).await;
    rolling.duplicates = run.tap.duplicates() - duplicates;
    rolling.failed = run.client.statistics.failures_since(began);
    if !rolling.failed.is_empty() {
        let (count, first) = (rolling.failed.len(), &rolling.failed[0]);
        rolling.violations.push(format!("{count} requests failed during a rolling restart; the first: {first}"));
    }
    run.say(&format!("  {} failed requests, {} events published again", rolling.failed.len(), rolling.duplicates));
    Ok(rolling)
}

/// Takes the broker away for `time` under steady load, and watches latency and memory.
pub(crate) async fn outage(run: &mut Run, time: Duration) -> anyhow::Result<Outage> {
    run.say(&format!("broker away for {time:?}"));
    let before = Instant::now();
    sleep(BEFORE).await;
    // What waits anyway, because it comes and goes.
    let usual = snapshot::waiting(&run.system).await? + USUAL;
    let mut memory: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let processes = run.system.processes();
    let gone = Instant::now();
    run.system.servers.kill_broker()?;
    let mut looks = interval(Duration::from_millis(500));
    while gone.elapsed() < time {
        looks.tick().await;
        look(&processes, &mut memory);
    }
    let back = Instant::now();
    let waiting = snapshot::waiting(&run.system).await?;
    run.system.servers.start_broker().await?;
    let listens = Instant::now();
    let recovery = marker::recovery(&run.client, &run.ledger, listens).await?;
    while snapshot::waiting(&run.system).await? > usual.max(waiting / 20)
        && listens.elapsed() < Duration::from_secs(300)
    {
        sleep(Duration::from_millis(50)).await;
    }
    let drained = listens.elapsed();
    look(&processes, &mut memory);
    let servers = [("rabbitmq", run.system.servers.broker.pid), ("postgresql", run.system.servers.postgres.pid)];
    let servers = servers.map(|(name, pid)| (name.to_owned(), process::memory_of_tree_kib(pid)));

    let statistics = &run.client.statistics;
    let failed: Vec<String> = statistics.failures_since(gone);
    let mut violations = Vec::new();
    if let Some(first) = failed.first() {
        violations.push(format!("{} requests failed while the broker was away; the first: {first}", failed.len()));
    }
    for (name, [start, most, _]) in &memory {
        if most - start > GROWTH_KIB {
            violations.push(format!("{name} grew from {start} to {most} KiB while the broker was away"));
        }
    }
    let outage = Outage {
        away: back - gone,
        waiting,
        recovery,
        drained,
        latency_before: Latency::of(&statistics.placements(before, gone)),
        latency_during: Latency::of(&statistics.placements(gone, back)),
        failed: failed.len(),
        memory,
        servers: servers.into(),
        violations,
    };
    run.say(&format!("  recovered in {recovery:.2?}; {waiting} events had waited, drained in {drained:.2?}"));
    Ok(outage)
}

/// First, most, last.
fn look(processes: &[(String, u32)], memory: &mut BTreeMap<String, [u64; 3]>) {
    for (name, pid) in processes {
        let Some(now) = process::resident_kib(*pid) else { continue };
        let [_, most, last] = memory.entry(name.clone()).or_insert([now; 3]);
        (*most, *last) = ((*most).max(now), now);
    }
}
