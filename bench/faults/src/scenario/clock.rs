//! Replicas whose clocks are wrong. What is compared with a time is compared by the clock of the database.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{marker, report::Step, run::Run};

/// Sets the clock of one replica of each service an hour forward or back for some time. Only what tells the time: timers
/// go on as they are.
pub(crate) async fn wrong(run: &mut Run, time: Duration) -> anyhow::Result<Step> {
    let mut step = Step::new("clocks that are wrong by an hour");
    let Some(library) = library() else {
        step.fact("left out: libfaketime is not installed".to_owned());
        return Ok(step);
    };
    let (library, each) = (library.display().to_string(), run.system.replicas.len() / 2);
    let (began, wrong) = (Instant::now(), [(0, "+1h"), (each, "-1h")]);
    for (n, offset) in wrong {
        run.say(&format!("the clock of replica {n} is wrong by {offset}"));
        let environment =
            [("LD_PRELOAD", library.as_str()), ("FAKETIME", offset), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
        run.system.replicas[n].terminate().await?;
        run.system.replicas[n].start_with(&environment).await?;
    }
    run.load.burst(run.burst.min(100));
    for (n, offset) in wrong {
        let replica = &run.system.replicas[n];
        let client = run.client.only(&replica.url);
        let took = marker::recovery(&client, &run.ledger, Instant::now()).await?;
        step.fact(format!("{} by {offset}: an order went all the way through it in {took:.2?}", replica.name));
        step.within("a wrong clock: an order", took, run.limit);
    }
    sleep(time).await;
    let failed = run.client.statistics.failures_since(began);
    if let Some(first) = failed.first() {
        step.violation(format!("{} requests failed; the first: {first}", failed.len()));
    }
    for (n, _) in wrong {
        run.system.replicas[n].terminate().await?;
        run.system.replicas[n].start().await?;
    }
    Ok(step)
}

/// Where Debian has it, for whichever processor.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten();
    folders.map(|folder| folder.path().join("faketime/libfaketime.so.1")).find(|library| library.exists())
}
