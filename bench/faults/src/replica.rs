//! One replica of a service: the real binary as a process of its own, behind two proxies, on a port that it keeps.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::{sleep, timeout},
};

use crate::{process, proxy::Proxy, servers::Servers};

/// How long a replica may take to listen, or to stop.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    /// Orders.
    Orders,
    /// Invoices.
    Invoices,
}

impl Service {
    /// The name of the binary and of the database.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Invoices => "invoices",
        }
    }
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Replica {
    /// Which service.
    pub(crate) service: Service,
    /// E.g. `orders-1`.
    pub(crate) name: String,
    /// Where it serves.
    pub(crate) url: String,
    /// Between it and its database.
    pub(crate) database: Proxy,
    /// Between it and the broker.
    pub(crate) broker: Proxy,
    port: u16,
    program: PathBuf,
    log: PathBuf,
    environment: Vec<(&'static str, String)>,
    child: Option<Child>,
}

/// What a replica is made of.
pub(crate) struct Plan<'a> {
    /// Which service.
    pub(crate) service: Service,
    /// 1, 2, 3…
    pub(crate) number: usize,
    /// Its own, and those of its two proxies.
    pub(crate) ports: [u16; 3],
    /// Where the binaries are.
    pub(crate) programs: &'a Path,
    /// Where its log goes.
    pub(crate) logs: &'a Path,
    /// The largest amount that is invoiced.
    pub(crate) amount_limit: i64,
}

impl Replica {
    /// Prepares a replica and its proxies; nothing runs yet.
    pub(crate) async fn new(plan: Plan<'_>, servers: &Servers) -> anyhow::Result<Self> {
        let Plan { service, number, ports: [port, database_port, broker_port], programs, logs, amount_limit } = plan;
        let name = format!("{}-{number}", service.name());
        let database = Proxy::start(database_port, servers.postgres.host_and_port()).await?;
        let broker = Proxy::start(broker_port, servers.broker.host_and_port()).await?;
        let environment = vec![
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("METRICS_PORT", "0".to_owned()),
            ("RUST_LOG", "info,access=warn,outcome=warn".to_owned()),
            ("INVOICE_AMOUNT_LIMIT", amount_limit.to_string()),
            // A reconciler that mends what was lost would hide it, and its questions are duplicates without a kill.
            ("RECONCILE_AFTER_SECONDS", "86400".to_owned()),
            ("DATABASE_URL", format!("postgres://postgres@{}/{}", database.address(), service.name())),
            ("BROKER_URL", format!("amqp://guest:guest@{}/tandem", broker.address())),
        ];
        let (program, log) = (programs.join(service.name()), logs.join(format!("{name}.log")));
        let url = format!("http://127.0.0.1:{port}");
        Ok(Self { service, name, url, database, broker, port, program, log, environment, child: None })
    }

    /// Starts the process and waits until it listens.
    pub(crate) async fn start(&mut self) -> anyhow::Result<()> {
        self.start_with(&[]).await
    }

    /// The same with more in its environment.
    pub(crate) async fn start_with(&mut self, more: &[(&str, &str)]) -> anyhow::Result<()> {
        self.spawn(None, more)?;
        let child = self.child.as_mut().context("not running")?;
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).await.is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{} ended with {status}; see {}", self.name, self.log.display());
            }
            if began.elapsed() > PATIENCE {
                bail!("{} does not listen after {PATIENCE:?}; see {}", self.name, self.log.display());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Starts the process, from another folder of programs if there is one, and waits for nothing.
    pub(crate) fn spawn(&mut self, programs: Option<&Path>, more: &[(&str, &str)]) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let program = programs.map_or(self.program.clone(), |programs| programs.join(self.service.name()));
        // The kernel ends it with this program, whatever ends this program.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&program)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .envs(more.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        self.child = Some(child);
        Ok(())
    }

    /// How it ended, if it has ended by itself.
    pub(crate) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait()?;
        if status.is_some() {
            self.child = None;
        }
        Ok(status)
    }

    /// What it has logged so far.
    pub(crate) fn logged(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("cannot read {}", self.log.display()))
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref()?.id()
    }

    /// Sends a signal, by its name without `SIG`.
    pub(crate) fn signal(&self, name: &str) -> anyhow::Result<()> {
        process::signal(self.pid().with_context(|| format!("{} does not run", self.name))?, name)
    }

    /// SIGKILL, and the end of it.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// SIGTERM; answers how it ended and how long that took.
    pub(crate) async fn terminate(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        let began = Instant::now();
        self.signal("TERM")?;
        let mut child = self.child.take().context("not running")?;
        let status =
            timeout(PATIENCE, child.wait()).await.with_context(|| format!("{} ignores SIGTERM", self.name))??;
        Ok((status, began.elapsed()))
    }
}
