//! PostgreSQL and RabbitMQ of this run, started by `servers.sh` as the other scripts start theirs.
//!
//! The script lives as long as its input is open. So the servers end with this program, however it ends.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout, Command},
};

use crate::process;

/// How long the script may take to stop both servers.
const GOODBYE: Duration = Duration::from_secs(60);

/// The two servers.
#[derive(Debug)]
pub(crate) struct Servers {
    script: Child,
    commands: Option<ChildStdin>,
    answers: Lines<BufReader<ChildStdout>>,
    /// The database server.
    pub(crate) postgres: Server,
    /// The broker.
    pub(crate) broker: Server,
    /// Free ports, for the services.
    pub(crate) ports: Vec<u16>,
}

/// One of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Server {
    /// Its process.
    pub(crate) pid: u32,
    /// `postgres://…` without a database; `user:password@host:port` for the broker.
    pub(crate) address: String,
    /// The management API of the broker.
    pub(crate) admin: String,
}

impl Server {
    /// `host:port`.
    pub(crate) fn host_and_port(&self) -> &str {
        self.address.rsplit(['@', '/']).next().unwrap_or_default()
    }
}

impl Servers {
    /// Starts both in `folder`, and finds `ports` free ports, which are locked until [`Self::unlock`].
    pub(crate) async fn start(folder: &Path, ports: usize) -> anyhow::Result<Self> {
        let log = std::fs::File::create(folder.join("servers.log"))?;
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/servers.sh"))
            .arg(folder)
            .arg(ports.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0) // Ctrl+C is for this program, which stops the rest in order
            .spawn()
            .context("servers.sh")?;
        let commands = script.stdin.take();
        let answers = BufReader::new(script.stdout.take().context("no output")?).lines();
        let (postgres, broker) = Default::default();
        let mut servers = Self { script, commands, answers, postgres, broker, ports: Vec::new() };
        let found = servers.answer().await?;
        servers.ports = found.split(' ').skip(1).map(str::parse).collect::<Result<_, _>>()?;
        servers.start_postgres().await?;
        servers.start_broker().await?;
        Ok(servers)
    }

    /// Everything listens: other programs may choose ports again.
    pub(crate) async fn unlock(&mut self) -> anyhow::Result<()> {
        self.ask("unlock").await.map(drop)
    }

    /// Starts the database server, or starts it again, and waits until it answers.
    pub(crate) async fn start_postgres(&mut self) -> anyhow::Result<()> {
        self.postgres = server(&self.ask("postgres").await?)?;
        Ok(())
    }

    /// Starts the broker, or starts it again, and waits until it listens.
    pub(crate) async fn start_broker(&mut self) -> anyhow::Result<()> {
        self.broker = server(&self.ask("broker").await?)?;
        Ok(())
    }

    /// RabbitMQ's own tool, with arguments that have no spaces.
    pub(crate) async fn rabbitmqctl(&mut self, arguments: &str) -> anyhow::Result<()> {
        self.ask(&format!("rabbitmqctl {arguments}")).await.with_context(|| format!("rabbitmqctl {arguments}"))?;
        Ok(())
    }

    /// SIGKILL for the postmaster; its children see that and leave.
    pub(crate) fn kill_postgres(&self) -> anyhow::Result<()> {
        process::signal(self.postgres.pid, "KILL")
    }

    /// SIGKILL for the broker.
    pub(crate) fn kill_broker(&self) -> anyhow::Result<()> {
        process::signal(self.broker.pid, "KILL")
    }

    async fn ask(&mut self, command: &str) -> anyhow::Result<String> {
        let commands = self.commands.as_mut().context("servers.sh was told to end")?;
        commands.write_all(format!("{command}\n").as_bytes()).await.context("servers.sh has ended")?;
        self.answer().await
    }

    async fn answer(&mut self) -> anyhow::Result<String> {
        match self.answers.next_line().await? {
            Some(line) if line != "failed" => Ok(line),
            _ => bail!("a server did not start, or refused; see servers.log and logs/ in the folder of this run"),
        }
    }
}

/// Reads `name pid address [admin]`.
fn server(answer: &str) -> anyhow::Result<Server> {
    let mut words = answer.split(' ').skip(1);
    let mut word = || words.next().unwrap_or_default().to_owned();
    Ok(Server {
        pid: word().parse().with_context(|| format!("no process id: {answer}"))?,
        address: word(),
        admin: word(),
    })
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.commands.take());
        let began = std::time::Instant::now();
        while matches!(self.script.try_wait(), Ok(None)) && began.elapsed() < GOODBYE {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
