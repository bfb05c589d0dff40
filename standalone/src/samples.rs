//! The sample orders of a first start, made through the real path: placed by REST, invoiced over the bus, paid and
//! canceled like any other. So they prove that the system works before anybody uses it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

/// What becomes of each sample.
const SAMPLES: [(i32, &str, Fate); 6] = [
    (1999, "customer-123", Fate::Pays),
    (4250, "ada", Fate::Pays),
    (12900, "grace", Fate::Pays),
    (899, "ada", Fate::Cancels),
    (3400, "customer-123", Fate::Waits),
    (75000, "linus", Fate::Waits),
];

#[derive(Clone, Copy)]
enum Fate {
    Waits,
    Pays,
    Cancels,
}

/// How long an event may take from one service to the other, at the very most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Creates the samples by the gateway at `url`, with `token` where one is asked for, waits until each has settled, and
/// answers how many there are.
pub(crate) async fn create(url: &str, token: Option<&SecretString>) -> Result<usize> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        let mut credentials = HeaderValue::try_from(format!("Bearer {}", token.expose_secret()))?;
        credentials.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, credentials);
    }
    let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).default_headers(headers).build()?;
    for (amount, customer, fate) in SAMPLES {
        let placed = post(&http, format!("{url}/orders"), json!({ "amount": amount, "customerId": customer })).await?;
        let order = placed["id"].as_str().context("an order without id")?.to_owned();
        let invoice = await_status(&http, url, &order, "issued").await?;
        match fate {
            Fate::Waits => {}
            Fate::Pays => {
                post(&http, format!("{url}/invoices/{invoice}/pay"), Value::Null).await?;
                await_order(&http, url, &order, "paid").await?;
            }
            Fate::Cancels => {
                post(&http, format!("{url}/orders/{order}/cancel"), Value::Null).await?;
                await_status(&http, url, &order, "voided").await?;
            }
        }
    }
    Ok(SAMPLES.len())
}

/// Waits until the order has a status.
async fn await_order(http: &reqwest::Client, url: &str, order: &str, status: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found: Value = http.get(format!("{url}/orders/{order}")).send().await?.error_for_status()?.json().await?;
        if found["status"] == status {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "sample order {order} was not {status} within {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn post(http: &reqwest::Client, url: String, body: Value) -> Result<Value> {
    Ok(http.post(url).json(&body).send().await?.error_for_status()?.json().await?)
}

/// Waits until the order's invoice has a status, and answers its id.
async fn await_status(http: &reqwest::Client, url: &str, order: &str, status: &str) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let page: Value = http
            .get(format!("{url}/invoices?orderId={order}&status={status}"))
            .send()
            .await?
            .error_for_status()?
            .json()
            .await?;
        if let Some(id) = page["items"][0]["id"].as_str() {
            return Ok(id.to_owned());
        }
        ensure!(Instant::now() < deadline, "the invoice of sample order {order} was not {status} within {PATIENCE:?}");
        sleep(Duration::from_millis(5)).await;
    }
}
