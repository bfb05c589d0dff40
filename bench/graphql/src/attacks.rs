//! How long a refusal takes: of each attack alone, and of many of its kind at once, over each transport; and how long
//! others wait meanwhile.

use std::{
    fmt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use futures_util::future::try_join_all;
use reqwest::{Client, header};
use serde_json::{Value, json};
use testkit::{
    Socket,
    attacks::{self, Attack},
};

use crate::{
    figures::{Durations, Millis},
    system::{System, client},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many of one kind are sent at once, each over a connection of its own.
    #[arg(long, default_value_t = 100, value_name = "N")]
    parallel: usize,

    /// How often each kind is sent, alone and at once; the slowest counts, but for the first, which finds caches cold.
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,

    /// How long a refusal may take; more makes the exit code 1.
    #[arg(long, default_value_t = 50, value_name = "MS")]
    bound: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Transport {
    Http,
    EventStream,
    WebSocket,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Http => "HTTP",
            Self::EventStream => "SSE",
            Self::WebSocket => "WebSocket",
        })
    }
}

/// One connection that attacks.
enum Attacker {
    Http(Client, String, Transport),
    Socket(Box<Socket>),
}

impl Attacker {
    async fn connect(transport: Transport, url: &str) -> Result<Self> {
        if transport == Transport::WebSocket {
            return Ok(Self::Socket(Box::new(Socket::start(url).await)));
        }
        let client = client()?;
        client.get(format!("{url}/livez")).send().await?.bytes().await?;
        Ok(Self::Http(client, format!("{url}/graphql"), transport))
    }

    /// From the first byte of the request to the last of the refusal.
    async fn attack(&mut self, attack: &Attack, text: &str) -> Result<Duration> {
        let began = Instant::now();
        let (took, refusal) = match self {
            Self::Http(client, url, transport) => {
                let accept = match transport {
                    Transport::EventStream => "text/event-stream",
                    _ => "application/graphql-response+json",
                };
                let request = client.post(url.as_str()).header(header::ACCEPT, accept);
                let request = request.header(header::CONTENT_TYPE, "application/json").body(text.to_owned());
                let answer = request.send().await?.text().await?;
                let took = began.elapsed();
                let json = answer
                    .lines()
                    .find_map(|line| line.strip_prefix("data:").or(line.starts_with('{').then_some(line)));
                let answer: Value = serde_json::from_str(json.context("nothing was answered")?)?;
                (took, answer["errors"][0].clone())
            }
            Self::Socket(socket) => {
                socket.say(json!({ "id": "attack", "type": "subscribe", "payload": attack.body })).await;
                let answer = socket.hear().await;
                (began.elapsed(), answer["payload"][0].clone())
            }
        };
        let code = &refusal["extensions"]["code"];
        ensure!(code == attack.code, "{}: {} was expected, not {refusal}", attack.name, attack.code);
        Ok(took)
    }
}

/// Somebody who asks for an order, again and again, while others attack.
struct Bystander {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Result<Durations>>,
}

impl Bystander {
    fn start(url: String, order: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let client = client()?;
            let body = json!({
                "query": "query($id: ID!) { order(id: $id) { amount status invoice { number status } } }",
                "variables": { "id": order },
            });
            let mut took = Durations::default();
            while !stopped.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer: Value = client.post(format!("{url}/graphql")).json(&body).send().await?.json().await?;
                took.extend([began.elapsed()]);
                ensure!(answer["data"]["order"]["invoice"].is_object(), "somebody else was answered {answer}");
                // A person, not a second load.
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Ok(took)
        });
        Self { stop, task }
    }

    async fn stop(self) -> Result<Durations> {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await?
    }
}

struct Row {
    name: &'static str,
    transport: Transport,
    alone: Durations,
    at_once: Durations,
}

pub(crate) async fn measure(program: &Path, arguments: &Arguments) -> Result<()> {
    let system = System::start(program).await?;
    let order = system.place(&client()?, 1).await?.remove(0);
    let kinds = attacks::all();
    let undisturbed = {
        let bystander = Bystander::start(system.bff.clone(), order.clone());
        tokio::time::sleep(Duration::from_secs(2)).await;
        bystander.stop().await?
    };

    let mut rows = Vec::new();
    let mut disturbed = Durations::default();
    for transport in [Transport::Http, Transport::EventStream, Transport::WebSocket] {
        let attackers = (0..arguments.parallel).map(|_| Attacker::connect(transport, &system.bff));
        let mut attackers = try_join_all(attackers).await?;
        let bystander = Bystander::start(system.bff.clone(), order.clone());
        for attack in &kinds {
            let text = attack.body.to_string();
            let mut row =
                Row { name: attack.name, transport, alone: Durations::default(), at_once: Durations::default() };
            for round in 0..=arguments.rounds {
                let alone = attackers[0].attack(attack, &text).await?;
                let at_once = try_join_all(attackers.iter_mut().map(|attacker| attacker.attack(attack, &text))).await?;
                if round > 0 {
                    row.alone.extend([alone]);
                    row.at_once.extend(at_once);
                }
            }
            rows.push(row);
        }
        disturbed.extend(bystander.stop().await?);
    }
    report(&rows, &undisturbed, &disturbed, arguments)
}

#[expect(clippy::print_stdout, reason = "what the program is for")]
fn report(rows: &[Row], undisturbed: &Durations, disturbed: &Durations, arguments: &Arguments) -> Result<()> {
    let Arguments { parallel, rounds, bound } = arguments;
    let bound = Millis(Duration::from_millis(*bound));
    println!("Milliseconds from the first byte of an attack to the last of its refusal, {rounds} rounds.\n");
    println!("{:<58} {:<10} {:>8} {:>10} {:>9}", "", "", "alone", format!("{parallel} at once"), "");
    println!("{:<58} {:<10} {:>8} {:>10} {:>9}", "attack", "over", "median", "median", "longest");
    for Row { name, transport, alone, at_once } in rows {
        let (alone, median, longest) = (alone.median(), at_once.median(), at_once.longest());
        println!("{name:<58} {transport:<10} {alone:>8} {median:>10} {longest:>9}");
    }
    let slow: Vec<_> = rows.iter().filter(|row| row.at_once.longest() > bound).collect();
    println!("\n{} of {} longer than {bound} ms", slow.len(), rows.len());
    for (whose, took) in [("undisturbed", undisturbed), ("meanwhile", disturbed)] {
        println!(
            "order(id) with its invoice, {whose:<11}: {} queries, median {}, 99 % {}, longest {}",
            took.count(),
            took.median(),
            took.quantile(0.99),
            took.longest()
        );
    }
    if !slow.is_empty() {
        bail!("not every refusal within {bound} ms");
    }
    Ok(())
}
