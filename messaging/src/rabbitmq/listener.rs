//! A live queue: exclusive to its connection, named by the broker, gone with it.
//!
//! Each listener has one, so each hears every event, however many replicas there are. Nothing is acknowledged: an event
//! that is lost with the connection is made up for by [`Listener::listening`], which says that some may have been
//! missed. So a listener that stands still costs the broker a bounded queue (see `contracts/src/broker.rs`), and a
//! process that dies leaves nothing behind.

use std::sync::Arc;

use contracts::{
    EventType,
    topology::{EXCHANGE, LIVE_PATTERNS, Queue},
};
use futures_util::StreamExt;
use lapin::{
    Channel,
    message::Delivery as RawDelivery,
    options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions},
    types::FieldTable,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    generation::{Broken, Generation, open_channel, within},
    link::Link,
    message::Message,
};
use crate::{Listener, wire};

/// What a live queue carries, for the decoder.
static LIVE: Queue = Queue { name: "of live events", consumer: "everybody", events: &EventType::ALL };

/// One listener and its queue.
pub(super) struct LiveQueue {
    pub(super) link: Arc<Link>,
    pub(super) listener: Arc<dyn Listener>,
    pub(super) stop: CancellationToken,
}

impl LiveQueue {
    /// Listens, on one queue after the other, until it is stopped.
    pub(super) async fn run(self) {
        loop {
            let generation = tokio::select! {
                () = self.stop.cancelled() => return,
                generation = self.link.wait_alive() => generation,
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                reason = self.listen(&generation) => generation.fail(format!("listening: {reason}")),
            }
        }
    }

    /// Listens on one queue to its end. Answers why it ended.
    async fn listen(&self, generation: &Generation) -> String {
        // The channel is held: without it the library would close it, and the queue would go.
        let (_channel, mut events) = match open(generation).await {
            Ok(opened) => opened,
            Err(broken) => return broken.to_string(),
        };
        self.listener.listening();
        loop {
            match events.next().await {
                Some(Ok(delivery)) => self.tell(delivery),
                Some(Err(error)) => return error.to_string(),
                None => return "the broker ended the consumer".to_owned(),
            }
        }
    }

    /// What is no event is for the consumers of the durable queues to set aside.
    fn tell(&self, delivery: RawDelivery) {
        let Message { routing_key, properties, body, .. } = Message::from(delivery);
        match wire::decode(&LIVE, &routing_key, &properties, body) {
            Ok(event) => self.listener.event(&event),
            Err(rejection) => debug!("heard what is no event: {}", rejection.error),
        }
    }
}

async fn open(generation: &Generation) -> Result<(Channel, lapin::Consumer), Broken> {
    let channel = open_channel(generation.connection()).await?;
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    let declare = channel.queue_declare("".into(), options, FieldTable::default());
    let queue = within("declaring a live queue", declare).await?;
    for pattern in LIVE_PATTERNS {
        let (name, options) = (queue.name().clone(), QueueBindOptions::default());
        let bind = channel.queue_bind(name, EXCHANGE.into(), pattern.into(), options, FieldTable::default());
        within("binding a live queue", bind).await?;
    }
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
    let consume = channel.basic_consume(queue.name().clone(), "".into(), options, FieldTable::default());
    let events = within("starting to listen", consume).await?;
    Ok((channel, events))
}
