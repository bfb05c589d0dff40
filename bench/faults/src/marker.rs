//! A marker: one order that goes all the way, placed, invoiced, paid, and known to orders as paid. How long it takes
//! after a fault is the recovery time.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    client::{Answer, Client},
    ledger::Ledger,
    load,
};

/// After this a system counts as not recovering at all.
const LIMIT: Duration = Duration::from_secs(180);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Sends a marker all the way; answers how long it took since `since`.
pub(crate) async fn recovery(client: &Client, ledger: &Ledger, since: Instant) -> anyhow::Result<Duration> {
    let key = format!("marker-{}", Uuid::now_v7());
    let walk = async {
        let Some(order) = load::place(client, ledger, &key, 1, "marker").await? else {
            anyhow::bail!("the marker {key} was refused")
        };
        let invoice = loop {
            match client.invoice_of(order).await {
                Answer::Ok(Value::String(invoice)) => break invoice,
                _ => sleep(LOOK).await,
            }
        };
        load::pay(client, ledger, order, &invoice).await?;
        while !matches!(client.status(order).await, Answer::Ok(status) if status == "paid") {
            sleep(LOOK).await;
        }
        Ok(())
    };
    match tokio::time::timeout(LIMIT, walk).await {
        Ok(walked) => walked?,
        Err(_) => ensure!(false, "the marker {key} did not arrive within {LIMIT:?}: the system did not recover"),
    }
    Ok(since.elapsed())
}
