//! A marker: one order that goes all the way, placed, invoiced, paid, and known to orders as paid. How long it takes
//! after a fault is the recovery time.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures_util::future::try_join_all;
use serde_json::Value;
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    client::{Answer, Client},
    ledger::Ledger,
    load,
};

/// After this a system counts as not recovering at all.
const LIMIT: Duration = Duration::from_secs(300);
/// With so many orders a lane of 16 is missed once in a hundred times.
const ORDERS_FOR_LANES: usize = 48;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Sends a marker all the way; answers how long it took since `since`.
pub(crate) async fn recovery(client: &Client, ledger: &Ledger, since: Instant) -> anyhow::Result<Duration> {
    let key = format!("marker-{}", Uuid::now_v7());
    let walk = async {
        let Some(order) = load::place(client, ledger, &key, 1, "marker").await? else {
            anyhow::bail!("the marker {key} was refused")
        };
        let invoice = invoice_of(client, order).await;
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

/// Has orders placed, enough to meet most lanes; answers how long it took until all of them had their invoices.
pub(crate) async fn lanes(client: &Client, ledger: &Ledger) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let orders = (0..ORDERS_FOR_LANES).map(|_| async {
        let key = format!("lane-{}", Uuid::now_v7());
        if let Some(order) = load::place(client, ledger, &key, 1, "marker").await? {
            invoice_of(client, order).await;
        }
        anyhow::Ok(())
    });
    try_join_all(orders).await?;
    Ok(began.elapsed())
}

async fn invoice_of(client: &Client, order: Uuid) -> String {
    loop {
        match client.invoice_of(order).await {
            Answer::Ok(Value::String(invoice)) => return invoice,
            _ => sleep(LOOK).await,
        }
    }
}
