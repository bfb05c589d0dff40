//! An outside listener: hears when an invoice was issued, at once and without asking for it again and again.
//!
//! Its queue is its own and goes with it; nothing is acknowledged. So it is for runs whose broker stays.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use contracts::{EventType, topology::EXCHANGE};
use futures_util::StreamExt;
use lapin::{
    message::Delivery,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};
use uuid::Uuid;

use crate::broker;

/// After this an invoice counts as missing.
const LIMIT: Duration = Duration::from_secs(120);

/// The invoice of an order, and when it was heard of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) invoice: Uuid,
    pub(super) at: Instant,
}

#[derive(Debug, Default)]
struct Heard {
    arrivals: Mutex<HashMap<Uuid, Arrival>>,
    news: Notify,
}

/// A running listener.
#[derive(Debug)]
pub(super) struct Arrivals {
    heard: Arc<Heard>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Arrivals {
    /// Starts to listen; returns once the queue is bound.
    pub(super) async fn start(url: &str) -> anyhow::Result<Self> {
        let (connection, channel) = broker::connect(url).await?;
        let mut classic = FieldTable::default();
        // The default type of the virtual host is for queues that stay.
        classic.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let queue = channel.queue_declare("".into(), own, classic).await?.name().clone();
        let key = EventType::InvoiceIssued.as_str().into();
        let bind = QueueBindOptions::default();
        channel.queue_bind(queue.clone(), EXCHANGE.into(), key, bind, FieldTable::default()).await?;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let mut deliveries = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
        let heard = Arc::new(Heard::default());
        let shared = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let _connection = connection;
            while let Some(delivery) = deliveries.next().await {
                let (order, arrival) = read(&delivery?).context("an invoice.issued without its ids")?;
                shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).entry(order).or_insert(arrival);
                shared.news.notify_waiters();
            }
            Ok(())
        });
        Ok(Self { heard, task })
    }

    /// The invoice of an order, as soon as it is there.
    pub(super) async fn of(&self, order: Uuid) -> anyhow::Result<Arrival> {
        let arrives = async {
            loop {
                let news = self.heard.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if let Some(arrival) = self.get(order) {
                    return arrival;
                }
                news.await;
            }
        };
        timeout(LIMIT, arrives).await.with_context(|| format!("order {order} has no invoice after {LIMIT:?}"))
    }

    /// The invoices of all these orders, in their order, once the last of them is there.
    pub(super) async fn all(&self, orders: impl ExactSizeIterator<Item = Uuid>) -> anyhow::Result<Vec<Arrival>> {
        let mut arrivals = Vec::with_capacity(orders.len());
        let began = Instant::now();
        for order in orders {
            loop {
                if let Some(arrival) = self.get(order) {
                    arrivals.push(arrival);
                    break;
                }
                anyhow::ensure!(began.elapsed() < LIMIT, "order {order} has no invoice after {LIMIT:?}");
                anyhow::ensure!(!self.task.is_finished(), "the listener has lost its connection");
                sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(arrivals)
    }

    fn get(&self, order: Uuid) -> Option<Arrival> {
        self.heard.arrivals.lock().unwrap_or_else(PoisonError::into_inner).get(&order).copied()
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn read(delivery: &Delivery) -> Option<(Uuid, Arrival)> {
    let properties = &delivery.properties;
    let order = properties.correlation_id().as_ref()?.as_str().parse().ok()?;
    let subject = properties.headers().as_ref()?.inner().get("cloudEvents_subject")?;
    let AMQPValue::LongString(invoice) = subject else { return None };
    Some((order, Arrival { invoice: invoice.to_string().parse().ok()?, at: Instant::now() }))
}
