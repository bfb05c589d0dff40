//! The yardstick: the same messages through a quorum queue of the same broker, with nothing around it. No database,
//! no service; windows with confirms on one end, acknowledged in batches on the other.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures_util::{
    StreamExt,
    future::{join_all, try_join_all},
};
use lapin::{
    Channel, Confirmation,
    options::{
        BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, BasicQosOptions, ConfirmSelectOptions,
        QueueDeclareOptions, QueueDeleteOptions,
    },
    types::{AMQPValue, FieldTable},
};
use tokio::time::timeout;

use super::per_second;
use crate::broker::{self, Message};

const QUEUE: &str = "faults.raw";
/// How many messages are published before their confirms are awaited.
const WINDOW: usize = 1000;
const PREFETCH: u16 = 1000;
/// How many messages are acknowledged together.
const BATCH: usize = 500;
/// The longest time without a message.
const STALL: Duration = Duration::from_secs(30);

/// Sends `count` messages, copies of `samples`, through a queue of their own; answers how many a second came out.
pub(super) async fn rate(url: &str, samples: &[Message], count: usize) -> anyhow::Result<f64> {
    ensure!(!samples.is_empty(), "no messages to copy");
    let (publishing, publisher) = broker::connect(url).await?;
    let (consuming, consumer) = broker::connect(url).await?;
    publisher.confirm_select(ConfirmSelectOptions::default()).await?;
    let mut quorum = FieldTable::default();
    quorum.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..Default::default() };
    publisher.queue_declare(QUEUE.into(), durable, quorum).await?;

    let began = Instant::now();
    tokio::try_join!(publish(&publisher, samples, count), consume(&consumer, count))?;
    let rate = per_second(count, began.elapsed());
    // The consumer first: the broker would take its queue away from it, which ends a connection in another way.
    consuming.close(200, "done".into()).await?;
    publisher.queue_delete(QUEUE.into(), QueueDeleteOptions::default()).await?;
    publishing.close(200, "done".into()).await?;
    Ok(rate)
}

async fn publish(channel: &Channel, samples: &[Message], count: usize) -> anyhow::Result<()> {
    let mut sent = 0;
    while sent < count {
        let window = WINDOW.min(count - sent);
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let confirms = try_join_all(samples.iter().cycle().skip(sent % samples.len()).take(window).map(|message| {
            channel.basic_publish("".into(), QUEUE.into(), options, &message.body, message.properties.clone())
        }))
        .await?;
        for confirm in join_all(confirms).await {
            ensure!(matches!(confirm?, Confirmation::Ack(None)), "the broker did not take a message");
        }
        sent += window;
    }
    Ok(())
}

async fn consume(channel: &Channel, count: usize) -> anyhow::Result<()> {
    channel.basic_qos(PREFETCH, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let mut deliveries = channel.basic_consume(QUEUE.into(), "".into(), options, FieldTable::default()).await?;
    for received in 1..=count {
        let delivery = timeout(STALL, deliveries.next()).await.context("the raw loop stalls")?;
        let delivery = delivery.context("the raw queue is gone")??;
        if received % BATCH == 0 || received == count {
            delivery.acker.ack(BasicAckOptions { multiple: true }).await?;
        }
    }
    Ok(())
}
