//! The disk of the database is full: the tables that grow with every order are moved to a file system of their own,
//! which is then filled to the last byte.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use tokio::time::sleep;

use crate::{marker, replica::Service, report::Step, run::Run, snapshot};

/// The size of the file system.
const SIZE: &str = "256m";
/// The table of each service that grows.
const TABLES: [(Service, &str); 2] = [(Service::Orders, "orders"), (Service::Invoices, "invoices")];
/// How long it is waited for the first failure.
const PATIENCE: Duration = Duration::from_secs(60);

/// Fills the disk for at least `time`.
pub(crate) async fn full(run: &mut Run, folder: &Path, time: Duration) -> anyhow::Result<Step> {
    let mut step = Step::new("the disk of the database is full");
    let disk = match Disk::mount(folder.join("small")) {
        Ok(disk) => disk,
        Err(error) => {
            step.fact(format!("left out: it needs root and a file system of its own: {error:#}"));
            return Ok(step);
        }
    };
    run.say("the disk of the database is full");
    for (service, table) in TABLES {
        let place = disk.0.join(service.name()).display().to_string();
        let name = service.name();
        snapshot::execute(&run.system, service, &format!("CREATE TABLESPACE {name}_small LOCATION '{place}'")).await?;
        snapshot::execute(&run.system, service, &format!("ALTER TABLE {table} SET TABLESPACE {name}_small")).await?;
    }
    let dead = snapshot::dead_letters(&run.system.broker_url()).await?.len();
    let filler = disk.fill()?;
    let began = Instant::now();
    let mut failed = Vec::new();
    while (failed.is_empty() && began.elapsed() < PATIENCE) || began.elapsed() < time {
        run.load.burst(run.burst.min(200));
        sleep(Duration::from_millis(500)).await;
        failed = run.client.statistics.failures_since(began);
    }
    let lasted = began.elapsed();
    std::fs::remove_file(filler)?;
    let recovery = marker::recovery(&run.client, &run.ledger, Instant::now()).await?;
    let set_aside = snapshot::dead_letters(&run.system.broker_url()).await?.len() - dead;
    let others: Vec<_> = failed.iter().filter(|why| !why.contains("503") && !why.contains("507")).collect();
    step.fact(format!(
        "for {lasted:.1?}: {} requests failed, recovered in {recovery:.2?} without hands, {set_aside} messages set aside",
        failed.len()
    ));
    if failed.is_empty() {
        step.violation("no request failed, so the disk was not full".to_owned());
    }
    if let Some(first) = others.first() {
        step.violation(format!("{} requests failed otherwise than by 503 or 507, e.g. {first}", others.len()));
    }
    if set_aside > 0 {
        step.violation(format!("{set_aside} healthy messages were set aside"));
    }
    step.within("recovery", recovery, run.limit);
    for (service, table) in TABLES {
        let name = service.name();
        snapshot::execute(&run.system, service, &format!("ALTER TABLE {table} SET TABLESPACE pg_default")).await?;
        snapshot::execute(&run.system, service, &format!("DROP TABLESPACE {name}_small")).await?;
    }
    Ok(step)
}

/// A small file system in memory. Gone when it is dropped.
struct Disk(PathBuf);

impl Disk {
    fn mount(at: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&at)?;
        command("mount", &["-t", "tmpfs", "-o", &format!("size={SIZE}"), "tmpfs"], &at)?;
        let disk = Self(at);
        for (service, _) in TABLES {
            let folder = disk.0.join(service.name());
            std::fs::create_dir(&folder)?;
            command("chown", &["postgres:"], &folder)?;
        }
        Ok(disk)
    }

    /// Leaves no byte free. Answers the file to remove.
    fn fill(&self) -> anyhow::Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = File::create(&path)?;
        for size in [1 << 20, 4096] {
            let piece = vec![0; size];
            while file.write_all(&piece).is_ok() {}
        }
        Ok(path)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = command("umount", &["--lazy"], &self.0);
    }
}

fn command(program: &str, arguments: &[&str], path: &Path) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).arg(path).output().context(program.to_owned())?;
    ensure!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
