//! How much lies in the queues of a service, as the broker says when it is asked for them by name (a *passive* declaration,
//! AMQP 0-9-1). Any user that consumes may ask so, on any broker; what a broker's own metrics say is not there on every one.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use chassis::{label_set, metrics::Metrics};
use contracts::topology::Queue;
use lapin::{Channel, options::QueueDeclareOptions, types::FieldTable};

use super::{
    generation::{Broken, Generation, open_channel, within},
    link::Link,
    topology::is_refused,
};

/// For so long a reading is good, however often it is asked for.
const FRESH: Duration = Duration::from_secs(2);

label_set! {
    struct OfQueue { queue: Arc<str> }
}

/// The queues that are looked at: those that are consumed, and the pauses and dead letters beside them.
#[derive(Debug, Clone, Default)]
pub(super) struct QueueDepths(Arc<Mutex<Vec<Arc<str>>>>);

/// What the broker says of a queue.
#[derive(Debug, Clone)]
struct Depth {
    queue: Arc<str>,
    messages: u32,
    consumers: u32,
}

impl QueueDepths {
    /// Read over `link`, for `metrics`. Not for a process that consumes nothing.
    pub(super) fn of(metrics: &Metrics, link: Weak<Link>) -> Self {
        let depths = Self::default();
        let queues = depths.clone();
        let reading = metrics.reading("queues", FRESH, move || {
            let (queues, link) = (queues.names(), link.upgrade());
            async move {
                let generation = link.ok_or_else(|| "the bus is closed".to_owned())?.alive()?;
                read(&generation, queues).await.map_err(|broken| broken.to_string())
            }
        });
        let of = |field: fn(&Depth) -> u32| {
            let reading = reading.clone();
            move || {
                let depths = reading.get().unwrap_or_default().into_iter();
                depths.map(|depth| (OfQueue { queue: Arc::clone(&depth.queue) }, f64::from(field(&depth)))).collect()
            }
        };
        metrics.all_observed(
            "amqp_queue_messages",
            "Messages that wait in a queue; those that a consumer has and did not settle are not among them",
            of(|depth| depth.messages),
        );
        metrics.all_observed("amqp_queue_consumers", "Consumers of a queue", of(|depth| depth.consumers));
        depths
    }

    /// Looks at `queue` from now on.
    pub(super) fn add(&self, queue: &Queue) {
        let names = queue.names().into_iter().map(Arc::from);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(names);
    }

    fn names(&self) -> Vec<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks for each queue. One that is not there, or not ours to see, costs the channel and is left out.
async fn read(generation: &Generation, queues: Vec<Arc<str>>) -> Result<Vec<Depth>, Broken> {
    let mut channel = open_channel(generation.connection()).await?;
    let mut depths = Vec::with_capacity(queues.len());
    for queue in queues {
        match within("looking at a queue", ask(&channel, &queue)).await {
            Ok((messages, consumers)) => depths.push(Depth { queue, messages, consumers }),
            Err(Broken::Amqp(error)) if is_refused(&error) => channel = open_channel(generation.connection()).await?,
            Err(broken) => return Err(broken),
        }
    }
    within("closing a channel", channel.close(200, "looked".into())).await?;
    Ok(depths)
}

async fn ask(channel: &Channel, queue: &str) -> Result<(u32, u32), lapin::Error> {
    let options = QueueDeclareOptions { passive: true, ..Default::default() };
    let queue = channel.queue_declare(queue.into(), options, FieldTable::default()).await?;
    Ok((queue.message_count(), queue.consumer_count()))
}
