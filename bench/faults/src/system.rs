//! The system under test: two servers and the replicas of both services, each a process.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};
use tokio::process::Command;

use crate::{
    client::Client,
    options::{Options, Scenario},
    proxy::Wire,
    replica::{Plan, Replica, Service},
    servers::Servers,
};

/// Larger amounts are rejected, so that this way of an order is walked too.
pub(crate) const AMOUNT_LIMIT: i64 = 1_000_000;

/// Everything that runs. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct System {
    // Before the servers: services end first.
    pub(crate) replicas: Vec<Replica>,
    pub(crate) servers: Servers,
    /// Where the programs are, as users get them.
    pub(crate) programs: PathBuf,
}

/// The folder of the programs that can be told where to die, beside the others.
pub(crate) const ARMED: &str = "failpoints";

impl System {
    /// Builds the programs if asked, starts servers, migrates, and starts the replicas.
    pub(crate) async fn start(options: &Options, folder: &Path) -> anyhow::Result<Self> {
        let programs = programs()?;
        if !options.no_build {
            if options.includes(Scenario::Failpoints) {
                build_armed(&programs).await?;
            }
            build(&programs, &[]).await?;
        }
        let each = usize::from(options.replicas);
        let servers = Servers::start(folder, each * 2 * 3).await?;
        let mut system = Self { replicas: Vec::new(), servers, programs: programs.clone() };
        system.set_broker_up().await?;
        for service in [Service::Orders, Service::Invoices] {
            system.migrate(&programs, service).await?;
            for number in 1..=each {
                let first = system.replicas.len() * 3;
                let ports = system.servers.ports.get(first..first + 3).and_then(|ports| ports.try_into().ok());
                let plan = Plan {
                    service,
                    number,
                    ports: ports.context("too few ports")?,
                    programs: &programs,
                    logs: &folder.join("logs"),
                    amount_limit: AMOUNT_LIMIT,
                };
                let mut replica = Replica::new(plan, &system.servers).await?;
                replica.start().await?;
                system.replicas.push(replica);
            }
        }
        system.servers.unlock().await?;
        Ok(system)
    }

    /// A client of all replicas, that waits so long for an answer.
    pub(crate) fn client(&self, patience: Duration) -> anyhow::Result<Client> {
        let urls = |service| {
            let of_service = self.replicas.iter().filter(move |replica| replica.service == service);
            of_service.map(|replica| replica.url.clone()).collect()
        };
        Client::new(urls(Service::Orders), urls(Service::Invoices), patience)
    }

    /// The database of a service, past the proxies.
    pub(crate) fn database_url(&self, service: Service) -> String {
        format!("{}/{}", self.servers.postgres.address, service.name())
    }

    /// The virtual host, past the proxies.
    pub(crate) fn broker_url(&self) -> String {
        format!("amqp://{}/tandem", self.servers.broker.address)
    }

    /// The wires pass again and every process runs.
    pub(crate) async fn heal(&mut self) -> anyhow::Result<()> {
        for replica in &mut self.replicas {
            replica.database.set(Wire::Passes);
            replica.broker.set(Wire::Passes);
            if replica.pid().is_none() {
                replica.start().await?;
            }
            replica.signal("CONT")?;
        }
        Ok(())
    }

    /// The process of every replica, by its name.
    pub(crate) fn processes(&self) -> Vec<(String, u32)> {
        self.replicas.iter().filter_map(|replica| Some((replica.name.clone(), replica.pid()?))).collect()
    }

    /// Where a message waits, and when it counts as a crash of its consumers, is told to the broker by an operator.
    async fn set_broker_up(&self) -> anyhow::Result<()> {
        self.operate(Service::Orders, &["broker-setup", "--admin-url", &self.servers.broker.admin, "--vhost", "tandem"])
            .await
            .map(drop)
    }

    /// Runs a command of a service, as an operator does, past the proxies; answers what it said.
    pub(crate) async fn operate(&self, service: Service, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(self.programs.join(service.name()))
            .args(arguments)
            .env("DATABASE_URL", self.database_url(service))
            .env("BROKER_URL", self.broker_url())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("{} {arguments:?}", service.name()))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{} {arguments:?}: {said}{}",
            service.name(),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(said)
    }

    async fn migrate(&self, programs: &Path, service: Service) -> anyhow::Result<()> {
        let output = Command::new(programs.join("migration"))
            .args(["up", service.name()])
            .env("DATABASE_URL", self.database_url(service))
            .output()
            .await
            .context("migration")?;
        ensure!(output.status.success(), "migration: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// The folder of this program: the others are built beside it.
fn programs() -> anyhow::Result<PathBuf> {
    Ok(std::env::current_exe()?.parent().context("no folder")?.to_owned())
}

/// One build for all replicas, in the profile of this program.
async fn build(programs: &Path, more: &[&str]) -> anyhow::Result<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    cargo.args(["build", "--locked", "--bins", "-p", "orders", "-p", "invoices", "-p", "migration"]).args(more);
    if programs.ends_with("release") {
        cargo.arg("--release");
    }
    ensure!(cargo.status().await.context("cargo")?.success(), "the build failed");
    Ok(())
}

/// The programs with failpoints, kept in a folder of their own: the next build puts the real ones in their place.
async fn build_armed(programs: &Path) -> anyhow::Result<()> {
    build(programs, &["--features", "orders/failpoints,invoices/failpoints"]).await?;
    let folder = programs.join(ARMED);
    std::fs::create_dir_all(&folder)?;
    for service in [Service::Orders, Service::Invoices] {
        // Beside it and then in its place: a run that goes on there keeps its file.
        let (new, old) = (folder.join(format!("{}.new", service.name())), folder.join(service.name()));
        std::fs::copy(programs.join(service.name()), &new)?;
        std::fs::rename(new, old)?;
    }
    Ok(())
}
