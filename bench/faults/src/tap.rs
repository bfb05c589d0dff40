//! The tap: a queue of its own that gets every event, so that we know what was published, and how often.
//!
//! The queue is durable and its messages are acknowledged only after they were counted, so a broker that is killed
//! takes none away. What the broker delivers again to us (`redelivered`) is not counted as published again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use contracts::{EventType, topology};
use futures_util::StreamExt;
use lapin::{
    BasicProperties, ExchangeKind,
    message::Delivery,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions,
        QueueDeclareOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};
use uuid::Uuid;

use crate::{
    broker::{self, Message},
    check::contract::Contract,
};

/// The queue.
pub(crate) const QUEUE: &str = "faults.tap";
/// How many of the last messages are kept for sending them again.
const KEPT: usize = 2000;
/// How many messages are acknowledged together, unless no more come.
const ACK_AFTER: u32 = 100;

/// What was published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Published {
    /// The numbers of each aggregate's events.
    pub(crate) events: BTreeMap<Uuid, BTreeSet<i64>>,
    /// The events of each type: the aggregate and the message id.
    pub(crate) by_type: BTreeMap<String, BTreeSet<(Uuid, String)>>,
    /// Every message id, and how often it came.
    pub(crate) times: BTreeMap<String, u32>,
    /// Messages without the metadata that ours have.
    pub(crate) unreadable: Vec<String>,
    /// Messages that deviate from the contract, each once.
    pub(crate) deviating: Vec<String>,
    /// How many messages were held against the contract.
    pub(crate) checked: u64,
    /// How often a message was published that had been published before.
    pub(crate) duplicates: u64,
    recent: VecDeque<(String, BasicProperties, Vec<u8>)>,
}

impl Published {
    /// How many different events of a type there were.
    pub(crate) fn of(&self, kind: EventType) -> u64 {
        self.by_type.get(kind.as_str()).map_or(0, |events| events.len() as u64)
    }

    fn enter(&mut self, delivery: &Delivery, contract: &Contract) {
        let properties = &delivery.properties;
        let kind = delivery.routing_key.to_string();
        let wrong = contract.deviations(&kind, properties, &delivery.data);
        self.checked += 1;
        if !wrong.is_empty() {
            self.deviating.push(format!("{kind}: {}", wrong.join("; ")));
        }
        let id = properties.message_id().as_ref().map(|id| id.to_string()).unwrap_or_default();
        let header = |name: &str| match properties.headers().as_ref()?.inner().get(name)? {
            AMQPValue::LongString(text) => Some(text.to_string()),
            _ => None,
        };
        let subject = header("cloudEvents_subject").and_then(|text| text.parse::<Uuid>().ok());
        let sequence = header("cloudEvents_sequence").and_then(|text| text.parse::<i64>().ok());
        let (Some(subject), Some(sequence), false) = (subject, sequence, id.is_empty()) else {
            self.unreadable.push(format!("{kind} {id}"));
            return;
        };
        self.events.entry(subject).or_default().insert(sequence);
        let times = self.times.entry(id.clone()).or_default();
        if *times == 0 || !delivery.redelivered {
            *times += 1;
            self.duplicates += u64::from(*times > 1);
        }
        self.by_type.entry(kind.clone()).or_default().insert((subject, id));
        self.recent.push_back((kind, properties.clone(), delivery.data.clone()));
        if self.recent.len() > KEPT {
            self.recent.pop_front();
        }
    }
}

/// A running tap.
#[derive(Debug)]
pub(crate) struct Tap {
    published: Arc<Mutex<Published>>,
    task: JoinHandle<()>,
}

impl Tap {
    /// Starts to listen, on its own connections to `url`, again and again. Returns once the queue is bound.
    pub(crate) async fn start(url: String) -> anyhow::Result<Self> {
        let published = Arc::new(Mutex::new(Published::default()));
        let contract = Contract::read()?;
        let (bound, is_bound) = oneshot::channel();
        let shared = Arc::clone(&published);
        let task = tokio::spawn(async move {
            let mut bound = Some(bound);
            loop {
                let _ = listen(&url, &shared, &contract, &mut bound).await;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        });
        timeout(Duration::from_secs(30), is_bound).await??;
        Ok(Self { published, task })
    }

    /// What was published until now.
    pub(crate) fn published(&self) -> Published {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often a message was published that had been published before.
    pub(crate) fn duplicates(&self) -> u64 {
        self.published.lock().unwrap_or_else(PoisonError::into_inner).duplicates
    }

    /// The last `count` events that some queue gets, once for each of its queues.
    pub(crate) fn recent(&self, count: usize) -> Vec<Message> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let mut messages = Vec::new();
        for (kind, properties, body) in published.recent.iter().rev().take(count) {
            let Ok(event_type) = kind.parse::<EventType>() else { continue };
            for queue in topology::queues_of(event_type) {
                messages.push(Message {
                    queue: queue.name.to_owned(),
                    properties: properties.clone(),
                    body: body.clone(),
                });
            }
        }
        messages
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(
    url: &str,
    published: &Mutex<Published>,
    contract: &Contract,
    bound: &mut Option<oneshot::Sender<()>>,
) -> anyhow::Result<()> {
    let (_connection, channel) = broker::connect(url).await?;
    let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
    channel.exchange_declare(topology::EXCHANGE.into(), ExchangeKind::Topic, durable, FieldTable::default()).await?;
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(QUEUE.into(), durable, FieldTable::default()).await?;
    let (queue, exchange) = (QUEUE.into(), topology::EXCHANGE.into());
    channel.queue_bind(queue, exchange, "#".into(), QueueBindOptions::default(), FieldTable::default()).await?;
    if let Some(bound) = bound.take() {
        let _ = bound.send(());
    }
    channel.basic_qos(500, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    let mut waiting = 0;
    let mut last: Option<Delivery> = None;
    loop {
        match timeout(Duration::from_millis(50), deliveries.next()).await {
            Ok(Some(delivery)) => {
                let delivery = delivery?;
                published.lock().unwrap_or_else(PoisonError::into_inner).enter(&delivery, contract);
                waiting += 1;
                last = Some(delivery);
            }
            Ok(None) => return Ok(()),
            Err(_) => waiting = ACK_AFTER,
        }
        if waiting >= ACK_AFTER {
            waiting = 0;
            if let Some(delivery) = last.take() {
                delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
            }
        }
    }
}
