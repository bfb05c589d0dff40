//! How many queries a second, and how long one takes; in turns with a generic gateway on the same services.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

use crate::{
    figures::Durations,
    system::{System, client},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many orders there are.
    #[arg(long, default_value_t = 1000, value_name = "N")]
    orders: usize,

    /// Numbers of connections, each of which asks again as soon as it is answered.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64], value_name = "N,…")]
    connections: Vec<usize>,

    /// How long one turn takes.
    #[arg(long, default_value_t = 4, value_name = "SECONDS")]
    turn: u64,

    /// How many turns each of them has; the median counts.
    #[arg(long, default_value_t = 5, value_name = "N")]
    turns: usize,

    /// Without the gateway, which needs Node and `npm --prefix contracts ci`.
    #[arg(long)]
    alone: bool,
}

/// The same selection in each: what a list in a shop shows of an order.
const FIELDS: &str = "id amount status createdAt invoice { number status amount }";

/// The queries: its name, its text, and whether it asks for one order by id.
fn queries() -> [(&'static str, String, bool); 3] {
    [
        ("order with its invoice", format!("query($id: ID!) {{ order(id: $id) {{ {FIELDS} }} }}"), true),
        ("order alone", "query($id: ID!) { order(id: $id) { id amount status createdAt } }".to_owned(), true),
        ("20 orders with invoices", format!("{{ orders(first: 20) {{ nodes {{ {FIELDS} }} }} }}"), false),
    ]
}

/// What one turn came to.
struct Turn {
    per_second: f64,
    took: Durations,
}

pub(crate) async fn measure(program: &Path, arguments: &Arguments) -> Result<()> {
    let system = System::start(program).await?;
    let orders = system.place(&client()?, arguments.orders).await?;
    let mut targets = vec![("tandem", format!("{}/graphql", system.bff))];
    let gateway = if arguments.alone { None } else { Some(Gateway::start(&system).await?) };
    targets.extend(gateway.iter().map(|gateway| ("@apollo/gateway", gateway.url.clone())));

    heading(arguments);
    for (name, query, by_id) in queries() {
        let bodies: Vec<String> = match by_id {
            true => orders.iter().map(|id| json!({ "query": query, "variables": { "id": id } }).to_string()).collect(),
            false => vec![json!({ "query": query }).to_string()],
        };
        agree(&targets, &bodies[0]).await?;
        for connections in &arguments.connections {
            let mut turns: Vec<Vec<Turn>> = targets.iter().map(|_| Vec::new()).collect();
            // The first turn is not counted: caches, pools and compilers are cold.
            for turn in 0..=arguments.turns {
                for ((_, url), turns) in targets.iter().zip(&mut turns) {
                    let result = load(url, &bodies, *connections, Duration::from_secs(arguments.turn)).await?;
                    if turn > 0 {
                        turns.push(result);
                    }
                }
            }
            row(name, *connections, &targets, &turns);
        }
    }
    Ok(())
}

/// That all of them give the same data, and some.
async fn agree(targets: &[(&'static str, String)], body: &str) -> Result<()> {
    let mut first: Option<Value> = None;
    for (name, url) in targets {
        let request = client()?.post(url).header("content-type", "application/json").body(body.to_owned());
        let answer: Value = request.send().await?.json().await?;
        ensure!(answer["errors"].is_null() && answer["data"].is_object(), "{name} answered {answer}");
        match &first {
            None => first = Some(answer["data"].clone()),
            Some(data) => ensure!(*data == answer["data"], "{name} answered {answer}, not {data}"),
        }
    }
    Ok(())
}

async fn load(url: &str, bodies: &[String], connections: usize, duration: Duration) -> Result<Turn> {
    let began = Instant::now();
    let ask = async |connection: usize| {
        let client = client()?;
        let mut took = Vec::new();
        // Each begins elsewhere, so that few ask for the same at the same time.
        let mut bodies = bodies.iter().cycle().skip(connection * bodies.len() / connections.max(1));
        while began.elapsed() < duration {
            let body = bodies.next().context("no query")?.clone();
            let request = client.post(url).header("content-type", "application/json").body(body);
            let sent = Instant::now();
            let answer = request.send().await?.error_for_status()?.bytes().await?;
            took.push(sent.elapsed());
            ensure!(answer.starts_with(b"{\"data\":{") && answer.len() > 40, "answered {answer:?}");
        }
        anyhow::Ok(took)
    };
    let took: Durations = try_join_all((0..connections).map(ask)).await?.into_iter().flatten().collect();
    Ok(Turn { per_second: took.count() as f64 / began.elapsed().as_secs_f64(), took })
}

#[expect(clippy::print_stdout, reason = "what the program is for")]
fn heading(arguments: &Arguments) {
    let Arguments { orders, turn, turns, .. } = arguments;
    println!("{orders} orders; medians of {turns} turns of {turn} s each, in alternation.\n");
    println!(
        "{:<24} {:>11} {:<16} {:>9} {:>9} {:>9} {:>7}",
        "query", "connections", "", "a second", "median ms", "99 % ms", "ratio"
    );
}

#[expect(clippy::print_stdout, reason = "what the program is for")]
fn row(name: &str, connections: usize, targets: &[(&'static str, String)], turns: &[Vec<Turn>]) {
    let mut slowest = f64::INFINITY;
    let medians: Vec<_> = turns
        .iter()
        .map(|turns| {
            let mut per_second: Vec<_> = turns.iter().map(|turn| turn.per_second).collect();
            per_second.sort_by(f64::total_cmp);
            let median = per_second.get(per_second.len() / 2).copied().unwrap_or_default();
            slowest = slowest.min(median);
            let mut took = Durations::default();
            turns.iter().for_each(|turn| took.extend(turn.took.clone()));
            (median, took)
        })
        .collect();
    for ((target, _), (per_second, took)) in targets.iter().zip(&medians) {
        let (median, late, ratio) = (took.median(), took.quantile(0.99), per_second / slowest);
        println!("{name:<24} {connections:>11} {target:<16} {per_second:>9.0} {median:>9} {late:>9} {ratio:>6.1}x");
    }
}

/// The gateway, as a process of its own; it ends with this value.
struct Gateway {
    url: String,
    _process: Child,
}

impl Gateway {
    async fn start(system: &System) -> Result<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.mjs");
        let mut process = Command::new("node")
            .arg(script)
            .args([&system.orders, &system.invoices])
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("node cannot be started")?;
        let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
        let url = lines.next_line().await?.context("the gateway did not start: npm --prefix contracts ci")?;
        Ok(Self { url, _process: process })
    }
}
