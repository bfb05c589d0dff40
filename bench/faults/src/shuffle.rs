//! Takes messages out of the queues, before a service sees them, and puts them back in another order.
//!
//! For that moment we are the consumer that the broker prefers. What is taken is acknowledged only when the broker has confirmed the copies, so nothing can be lost here: a crash
//! in between makes duplicates.

use std::time::Duration;

use contracts::topology::QUEUES;
use futures_util::StreamExt;
use lapin::{
    message::Delivery,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, ConfirmSelectOptions},
    types::{AMQPValue, FieldTable},
};
use rand::{rngs::StdRng, seq::SliceRandom};
use tokio::time::{Instant, timeout_at};

use crate::broker::{self, Message};

/// How many messages of a queue are taken at most.
const WINDOW: u16 = 1000;
/// How long they are kept back.
const TIME: Duration = Duration::from_millis(1500);

/// Shuffles some messages of every queue; answers how many.
pub(crate) async fn queues(url: &str, random: &mut StdRng) -> anyhow::Result<usize> {
    let (connection, channel) = broker::connect(url).await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    channel.basic_qos(WINDOW, BasicQosOptions::default()).await?;
    let mut consumers = Vec::new();
    for queue in QUEUES {
        let options = BasicConsumeOptions::default();
        let mut first = FieldTable::default();
        first.insert("x-priority".into(), AMQPValue::LongInt(10));
        consumers.push((queue, channel.basic_consume(queue.name.into(), "".into(), options, first).await?));
    }
    let until = Instant::now() + TIME;
    let mut taken: Vec<(String, Delivery)> = Vec::new();
    for (queue, deliveries) in &mut consumers {
        while let Ok(Some(delivery)) = timeout_at(until, deliveries.next()).await {
            taken.push((queue.name.to_owned(), delivery?));
        }
    }
    // What arrives from here on is given back when the connection closes.
    taken.shuffle(random);
    let messages: Vec<Message> = taken
        .iter()
        .map(|(queue, delivery)| Message {
            queue: queue.clone(),
            properties: delivery.properties.clone(),
            body: delivery.data.clone(),
        })
        .collect();
    broker::publish_on(&channel, &messages).await?;
    for (_, delivery) in &taken {
        delivery.acker.ack(BasicAckOptions::default()).await?;
    }
    connection.close(200, "done".into()).await?;
    Ok(taken.len())
}
