//! The program under measurement, as a process of its own.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context, Result, bail};
use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// How long a start may take.
const START: Duration = Duration::from_secs(30);

/// A running program; it ends with this value.
pub(crate) struct System {
    /// Where the BFF listens.
    pub(crate) bff: String,
    pub(crate) orders: String,
    pub(crate) invoices: String,
    _process: Child,
    _data: TempDir,
}

impl System {
    /// Starts it on free ports, in an empty folder, and waits until it says that it is ready.
    pub(crate) async fn start(program: &Path) -> Result<Self> {
        let data = tempfile::tempdir()?;
        let ports = ["--port", "--orders-port", "--invoices-port", "--bff-port", "--metrics-port"];
        let mut process = Command::new(program)
            .args(ports.iter().flat_map(|port| [*port, "0"]))
            .args(["--no-seed", "--quiet", "--host", "127.0.0.1", "--data"])
            .arg(data.path())
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} cannot be started: cargo build --release", program.display()))?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let [mut orders, mut invoices, mut bff] = [const { String::new() }; 3];
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(addresses) = line.trim().strip_prefix("Directly") {
                    let mut bases = addresses.split_whitespace().filter_map(|address| address.rsplit_once('/'));
                    [orders, invoices, bff] =
                        [(); 3].map(|()| bases.next().map(|(base, _)| base.to_owned()).unwrap_or_default());
                }
                if line.starts_with("Ready in") {
                    return Ok(());
                }
            }
            bail!("{} ended before it was ready", program.display())
        };
        timeout(START, ready).await.context("it is not ready after 30 s")??;
        // What it says later is read, too: a pipe that fills up is not what is measured.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        Ok(Self { bff, orders, invoices, _process: process, _data: data })
    }

    /// Places orders, and waits until each of them has its invoice. Their ids.
    pub(crate) async fn place(&self, client: &Client, count: usize) -> Result<Vec<String>> {
        let mut ids = Vec::with_capacity(count);
        for n in 0..count {
            let order = client.post(format!("{}/orders", self.orders)).json(&json!({ "amount": n + 1 })).send().await?;
            let order: Value = order.error_for_status()?.json().await?;
            ids.push(order["id"].as_str().context("an order has no id")?.to_owned());
        }
        let ready = async {
            let mut missing = ids.iter();
            let mut next = missing.next();
            while let Some(id) = next {
                let body = json!({ "query": "query($id: ID!) { order(id: $id) { invoice { id } } }", "variables": { "id": id } });
                let answer = client.post(format!("{}/graphql", self.bff)).json(&body).send().await?;
                let answer: Value = answer.json().await?;
                if answer["data"]["order"]["invoice"].is_object() {
                    next = missing.next();
                } else {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            anyhow::Ok(())
        };
        timeout(START, ready).await.context("not every order has its invoice after 30 s")??;
        Ok(ids)
    }
}

/// A client with a connection of its own, kept alive.
pub(crate) fn client() -> Result<Client> {
    Ok(Client::builder().no_proxy().pool_max_idle_per_host(1).tcp_nodelay(true).build()?)
}
