//! HTTP as a client behind a balancer sees it: a replica that refuses the connection is passed over, everything else
//! is an answer, a no, or an outcome that nobody knows.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

/// What came of a request.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// Yes.
    Ok(Value),
    /// No, and asking again will not help.
    Refused(u16),
    /// It may have happened, or may not.
    Unknown(String),
}

/// A client of all replicas. Cheap to clone; clones share their statistics.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    orders: Vec<String>,
    invoices: Vec<String>,
    turn: Arc<AtomicUsize>,
    pub(crate) statistics: Arc<Statistics>,
}

/// What the clients saw.
#[derive(Debug, Default)]
pub(crate) struct Statistics {
    failures: Mutex<Vec<(Instant, String)>>,
    placements: Mutex<Vec<(Instant, Duration)>>,
}

impl Statistics {
    /// The requests since then whose outcome is unknown, each with its reason.
    pub(crate) fn failures_since(&self, since: Instant) -> Vec<String> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().filter(|(at, _)| *at >= since).map(|(_, why)| why.clone()).collect()
    }

    /// How long the orders between two moments took to place, shortest first.
    pub(crate) fn placements(&self, from: Instant, to: Instant) -> Vec<Duration> {
        let placements = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        let mut between: Vec<_> =
            placements.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
        between.sort_unstable();
        between
    }
}

impl Client {
    /// A client of these base URLs, that waits so long for an answer.
    pub(crate) fn new(orders: Vec<String>, invoices: Vec<String>, patience: Duration) -> anyhow::Result<Self> {
        let http = reqwest::Client::builder().no_proxy().timeout(patience).build()?;
        Ok(Self { http, orders, invoices, turn: Arc::default(), statistics: Arc::default() })
    }

    /// The same client, of one replica only: `url` is that of an orders or an invoices replica.
    pub(crate) fn only(&self, url: &str) -> Self {
        let narrowed = |urls: &[String]| match urls.iter().find(|known| *known == url) {
            Some(known) => vec![known.clone()],
            None => urls.to_vec(),
        };
        Self { orders: narrowed(&self.orders), invoices: narrowed(&self.invoices), ..self.clone() }
    }

    /// The same client, of all replicas but this one.
    pub(crate) fn without(&self, url: &str) -> Self {
        let narrowed = |urls: &[String]| urls.iter().filter(|known| *known != url).cloned().collect();
        Self { orders: narrowed(&self.orders), invoices: narrowed(&self.invoices), ..self.clone() }
    }

    /// Places an order; the value is its id.
    pub(crate) async fn place(&self, key: &str, amount: i64, customer: &str) -> Answer {
        let began = Instant::now();
        let body = json!({ "amount": amount, "customerId": customer });
        let answer = self.send(&self.orders, Method::POST, "/orders", Some((key, body))).await;
        if let Answer::Ok(_) = answer {
            let mut placements = self.statistics.placements.lock().unwrap_or_else(PoisonError::into_inner);
            placements.push((began, began.elapsed()));
        }
        picked(answer, |body| body["id"].clone())
    }

    /// Cancels an order.
    pub(crate) async fn cancel(&self, order: Uuid) -> Answer {
        self.send(&self.orders, Method::POST, &format!("/orders/{order}/cancel"), None).await
    }

    /// The status of an order.
    pub(crate) async fn status(&self, order: Uuid) -> Answer {
        picked(self.send(&self.orders, Method::GET, &format!("/orders/{order}"), None).await, |body| {
            body["status"].clone()
        })
    }

    /// The id of the invoice of an order; null while there is none.
    pub(crate) async fn invoice_of(&self, order: Uuid) -> Answer {
        picked(self.send(&self.invoices, Method::GET, &format!("/invoices?orderId={order}"), None).await, |page| {
            page["items"][0]["id"].clone()
        })
    }

    /// Pays an invoice.
    pub(crate) async fn pay(&self, invoice: &str) -> Answer {
        self.send(&self.invoices, Method::POST, &format!("/invoices/{invoice}/pay"), None).await
    }

    async fn send(&self, urls: &[String], method: Method, path: &str, body: Option<(&str, Value)>) -> Answer {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut answer = Answer::Unknown("no replica listens".to_owned());
        for url in urls.iter().cycle().skip(first % urls.len()).take(urls.len()) {
            let mut request = self.http.request(method.clone(), format!("{url}{path}"));
            if let Some((key, body)) = &body {
                request = request.header("idempotency-key", *key).json(body);
            }
            match request.send().await {
                Ok(response) => {
                    answer = read(response).await;
                    break;
                }
                Err(error) if error.is_connect() => {}
                Err(error) => {
                    answer = Answer::Unknown(chain(&error));
                    break;
                }
            }
        }
        if let Answer::Unknown(why) = &answer {
            let mut failures = self.statistics.failures.lock().unwrap_or_else(PoisonError::into_inner);
            failures.push((Instant::now(), format!("{method} {path}: {why}")));
        }
        answer
    }
}

async fn read(response: reqwest::Response) -> Answer {
    let status = response.status();
    if status.is_server_error() || status == 408 || status == 429 {
        return Answer::Unknown(status.to_string());
    }
    if !status.is_success() {
        return Answer::Refused(status.as_u16());
    }
    match response.json().await {
        Ok(body) => Answer::Ok(body),
        Err(error) => Answer::Unknown(chain(&error)),
    }
}

fn picked(answer: Answer, pick: impl Fn(&Value) -> Value) -> Answer {
    match answer {
        Answer::Ok(body) => Answer::Ok(pick(&body)),
        other => other,
    }
}

/// An error with its causes.
fn chain(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
