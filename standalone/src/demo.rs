//! Customers, so that the console and the traces have life: a steady trickle of orders, most of which are paid and some
//! canceled, through the public GraphQL API and at the pace of people.
//!
//! It is a polite client. Orders are placed one after the other, so a system in trouble gets no more than one request
//! and longer and longer pauses; what may be repeated is repeated with its idempotency key. It ends after so many
//! orders as it was told, and at once when it is dropped.

use std::{io::Write, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use contracts::now;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use crate::{
    obstacle::Obstacle,
    steps::{Line, Style, Tone},
    token,
};

/// How many orders, and how fast.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct Pace {
    /// Orders a minute, 1 to 600.
    #[arg(long, default_value_t = 20, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=600))]
    pub rate: u16,

    /// Orders in all; then it is over.
    #[arg(long, default_value_t = 500, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    pub orders: u32,
}

/// Who orders.
const CUSTOMERS: [&str; 8] = ["ada", "alan", "barbara", "customer-123", "edsger", "grace", "katherine", "linus"];

/// What becomes of the orders, in turn.
const FATES: [Fate; 8] =
    [Fate::Pays, Fate::Pays, Fate::Cancels, Fate::Pays, Fate::Waits, Fate::Pays, Fate::PaysAndCancels, Fate::Pays];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Waits,
    Pays,
    Cancels,
    PaysAndCancels,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Pay,
    Cancel,
}

/// How long somebody looks at an order before the next step, in milliseconds.
const THOUGHT: std::ops::Range<u64> = 1_000..6_000;

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often what did not work is tried, with pauses of [`pause_after`] in between; about two minutes in all.
const ATTEMPTS: u32 = 8;

/// The pause after so many failures in a row: 1, 2, 4 s and so on up to 30 s.
fn pause_after(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.saturating_sub(1).min(5)).min(Duration::from_secs(30))
}

/// How a demonstration is heard of.
#[derive(Clone)]
pub enum Told {
    /// A line for each thing that a customer does, on stdout.
    Lines(Style),
    /// Only trouble: where the system's own steps are told.
    Trouble,
}

/// Places the orders and follows each to its end. `token` is for a system that asks for one.
///
/// # Errors
/// When nobody answers at `api`, the base URL of a gateway or a bff, from the beginning. What fails later is tried again.
pub async fn run(api: &Url, pace: Pace, token: Option<&SecretString>, told: Told) -> Result<()> {
    let shop = Arc::new(Shop::new(api, token, told)?);
    shop.ask(&Trace::new(), "{ __typename }", Value::Null).await.map_err(|error| {
        Obstacle::new(
            format!("the API does not answer at {}: {}", shop.graphql, error.root_cause()),
            "Start it in another terminal (cargo run), or say where it is:  cargo run -- demo --url http://HOST:PORT",
        )
    })?;
    let mut random = StdRng::from_rng(&mut rand::rng());
    let mut customers = JoinSet::new();
    for (number, fate) in (0..pace.orders).zip(FATES.into_iter().cycle()) {
        if number > 0 {
            sleep(between(pace.rate, &mut random)).await;
        }
        // Whose task has ended is let go of.
        while customers.try_join_next().is_some() {}
        let order = shop.place(&mut random).await;
        customers.spawn(Arc::clone(&shop).follow(order, fate, StdRng::from_rng(&mut random)));
    }
    while customers.join_next().await.is_some() {}
    Ok(())
}

/// Until the next order: as often as was asked for, but not like a clock.
fn between(rate: u16, random: &mut impl Rng) -> Duration {
    Duration::from_secs(60).div_f64(f64::from(rate)).mul_f64(random.random_range(0.2..1.8))
}

/// The trace of one request: who looks at the line finds it.
struct Trace {
    id: String,
    parent: String,
}

impl Trace {
    fn new() -> Self {
        Self { id: Uuid::new_v4().simple().to_string(), parent: Uuid::new_v4().simple().to_string()[..16].to_owned() }
    }

    /// The header (W3C Trace Context, section 3.2), sampled.
    fn parent(&self) -> String {
        format!("00-{}-{}-01", self.id, self.parent)
    }
}

/// The API as a customer uses it.
struct Shop {
    http: reqwest::Client,
    graphql: Url,
    told: Told,
}

impl Shop {
    fn new(api: &Url, token: Option<&SecretString>, told: Told) -> Result<Self> {
        let http = token::client(token, PATIENCE)?;
        let graphql = format!("{}/graphql", api.as_str().trim_end_matches('/')).parse()?;
        Ok(Self { http, graphql, told })
    }

    /// Places an order, however long it takes, and answers its id.
    async fn place(&self, random: &mut StdRng) -> Uuid {
        let customer = CUSTOMERS[random.random_range(0..CUSTOMERS.len())];
        // Many small orders and few large ones.
        let amount = 100 + (random.random_range(0.0..1.0_f64).powi(3) * 60_000.0) as i64;
        let input = json!({ "amount": amount, "customerId": customer, "idempotencyKey": Uuid::new_v4() });
        let mut failures = 0;
        loop {
            let trace = Trace::new();
            let query = "mutation Demo($input: CreateOrderInput!) { \
                createOrder(input: $input) { order { id } userErrors { message } } }";
            match self.change(&trace, query, json!({ "input": input }), "createOrder", "/order/id").await {
                Ok(order) => {
                    self.tell(order, "order created", &format!("{amount} {customer}"), Tone::Begins, &trace);
                    return order;
                }
                Err(error) => {
                    failures += 1;
                    let pause = pause_after(failures);
                    complain(&format!("no order could be placed: {error:#}; trying again in {} s", pause.as_secs()));
                    sleep(pause).await;
                }
            }
        }
    }

    /// What a customer does about an order. One that cannot be done is given up, and told.
    async fn follow(self: Arc<Self>, order: Uuid, fate: Fate, mut random: StdRng) {
        if matches!(fate, Fate::Pays | Fate::PaysAndCancels) {
            sleep(thought(&mut random)).await;
            if !self.insist(Act::Pay, order).await {
                return;
            }
        }
        if matches!(fate, Fate::Cancels | Fate::PaysAndCancels) {
            sleep(thought(&mut random)).await;
            self.insist(Act::Cancel, order).await;
        }
    }

    /// Tries some times; whether it worked.
    async fn insist(&self, act: Act, order: Uuid) -> bool {
        for failures in 1..=ATTEMPTS {
            let result = match act {
                Act::Pay => self.pay(order).await,
                Act::Cancel => self.cancel(order).await,
            };
            match result {
                Ok(()) => return true,
                Err(error) if failures == ATTEMPTS => complain(&format!("given up: {error:#}")),
                Err(_) => sleep(pause_after(failures)).await,
            }
        }
        false
    }

    async fn pay(&self, order: Uuid) -> Result<()> {
        let trace = Trace::new();
        let query = "query Demo($id: ID!) { order(id: $id) { invoice { id } } }";
        let found = self.ask(&trace, query, json!({ "id": order })).await?;
        let invoice = found.pointer("/order/invoice/id").and_then(Value::as_str);
        let invoice = invoice.with_context(|| format!("order {order} has no invoice yet"))?;
        let query = "mutation Demo($id: ID!) { payInvoice(id: $id) { invoice { id } userErrors { message } } }";
        self.change(&trace, query, json!({ "id": invoice }), "payInvoice", "/invoice/id").await?;
        self.tell(order, "invoice paid", "", Tone::Succeeds, &trace);
        Ok(())
    }

    async fn cancel(&self, order: Uuid) -> Result<()> {
        let trace = Trace::new();
        let query = "mutation Demo($id: ID!) { cancelOrder(id: $id) { order { id } userErrors { message } } }";
        self.change(&trace, query, json!({ "id": order }), "cancelOrder", "/order/id").await?;
        self.tell(order, "order canceled", "", Tone::Ends, &trace);
        Ok(())
    }

    /// Runs a mutation, and answers the id at a place in its payload.
    async fn change(&self, trace: &Trace, query: &str, variables: Value, field: &str, id: &str) -> Result<Uuid> {
        let data = self.ask(trace, query, variables).await?;
        let payload = &data[field];
        if let Some(error) = payload.pointer("/userErrors/0/message") {
            bail!("{}", error.as_str().unwrap_or_default().to_owned());
        }
        let id = payload.pointer(id).and_then(Value::as_str).with_context(|| format!("{field} answered no id"))?;
        Ok(id.parse()?)
    }

    /// The data of an answer.
    async fn ask(&self, trace: &Trace, query: &str, variables: Value) -> Result<Value> {
        let request = self.http.post(self.graphql.clone()).header("traceparent", trace.parent());
        let response = request.json(&json!({ "query": query, "variables": variables })).send().await?;
        let status = response.status();
        let mut answer: Value = response.json().await.with_context(|| format!("status {status}, and no GraphQL"))?;
        if let Some(error) = answer.pointer("/errors/0/message").and_then(Value::as_str) {
            bail!("{error}");
        }
        ensure!(answer["data"].is_object(), "status {status}, and no data");
        Ok(answer["data"].take())
    }

    fn tell(&self, order: Uuid, what: &str, detail: &str, tone: Tone, trace: &Trace) {
        let Told::Lines(style) = self.told else { return };
        let line = Line { at: now(), order, what, detail, trace: Some(&trace.id), tone };
        let _ = writeln!(std::io::stdout(), "{}", line.text(&chrono::Local, style));
    }
}

fn thought(random: &mut impl Rng) -> Duration {
    Duration::from_millis(random.random_range(THOUGHT))
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "demo: {text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_half_a_minute() {
        let pauses: Vec<u64> = (1..=8).map(|failures| pause_after(failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(pause_after(u32::MAX).as_secs(), 30);
    }

    #[test]
    fn customers_come_as_often_as_was_asked_for() {
        let mut random = StdRng::seed_from_u64(1);
        let pauses: Vec<f64> = (0..10_000).map(|_| between(60, &mut random).as_secs_f64()).collect();
        let average = pauses.iter().sum::<f64>() / pauses.len() as f64;
        assert!((0.95..1.05).contains(&average), "{average}");
        assert!(pauses.iter().all(|pause| (0.2..1.8).contains(pause)));
    }
}
