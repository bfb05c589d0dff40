//! The scenarios that are no list of faults: a rolling restart, and a broker that is away for long.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::time::{interval, sleep};

use crate::{
    marker, process,
    report::{Latency, Outage, Rolling},
    run::Run,
    snapshot,
};

/// The longest time a replica may take to stop.
const STOP: Duration = Duration::from_secs(25);
/// How much a process may grow while the broker is away, in KiB.
const GROWTH_KIB: u64 = 64 * 1024;
/// Undisturbed load before an outage, to compare with.
const BEFORE: Duration = Duration::from_secs(4);

/// Restarts every replica in turn by SIGTERM, under load.
pub(crate) async fn rolling(run: &mut Run) -> anyhow::Result<Rolling> {
    run.say("rolling restart by SIGTERM");
    let began = Instant::now();
    let duplicates = run.tap.published().duplicates();
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
    rolling.duplicates = run.tap.published().duplicates() - duplicates;
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
    let mut memory: BTreeMap<String, [u64; 3]> = BTreeMap::new();
    let processes: Vec<_> = run.system.processes().into_iter().filter(|(name, _)| name != "rabbitmq").collect();
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
    while snapshot::waiting(&run.system).await? > waiting / 20 && listens.elapsed() < Duration::from_secs(300) {
        sleep(Duration::from_millis(50)).await;
    }
    let drained = listens.elapsed();
    look(&processes, &mut memory);

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
