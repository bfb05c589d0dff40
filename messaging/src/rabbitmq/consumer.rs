//! Consumes one queue: batches in, one commit, one acknowledgement.
//!
//! The invariant is that `basic.ack` with `multiple` is sent only when every delivery up to that tag is either
//! committed by the handler or confirmed where it was set aside. Everything that prevents this ends the channel, and
//! then the broker gives the messages again. While the store is away the batch is held here and the prefetch limit
//! keeps the rest on the broker; nothing is sent round through the queue.

use std::{sync::Arc, time::Duration};

use chassis::{backoff::Throttle, failpoint};
use contracts::topology::Queue;
use futures_util::StreamExt;
use lapin::{
    Acker, Channel,
    message::Delivery as RawDelivery,
    options::{BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicQosOptions},
    types::FieldTable,
};
use rand::seq::SliceRandom;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, warn};

use super::{
    SYSTEM,
    aside::Origin,
    confirm::{ConfirmedPublisher, Outgoing},
    generation::{Broken, Generation, open_channel, within},
    hold::{End, Hold, store_available},
    link::Link,
    message::Message,
};
use crate::{
    Delivery, Handler, Rejection, Verdict,
    bisection::{self, Incoming, Settled},
    metrics::{Consumption, QueueMetrics},
    trace::{ack_span, destination, record_unacknowledged},
    wire,
};

/// How many messages the broker may have given us unacknowledged: one batch in hand and one waiting.
const PREFETCH: u16 = 500;
/// The most messages of one transaction.
const BATCH: usize = 250;
/// How long a batch waits for more to come.
const LINGER: Duration = Duration::from_millis(5);
/// For the polite end of a channel.
const GOODBYE: Duration = Duration::from_secs(3);

/// The consumer of one queue.
pub(super) struct Consumer {
    pub(super) link: Arc<Link>,
    pub(super) parking: ConfirmedPublisher,
    pub(super) origin: Origin,
    pub(super) handler: Arc<dyn Handler>,
    pub(super) metrics: QueueMetrics,
    pub(super) stop: CancellationToken,
    pub(super) complaints: Throttle,
}

impl Consumer {
    /// Consumes, on one channel after the other, until it is stopped.
    pub(super) async fn run(mut self) {
        loop {
            let generation = tokio::select! {
                () = self.stop.cancelled() => return,
                generation = self.link.wait_alive() => generation,
            };
            match self.consume(&generation).await {
                End::Stopped => return,
                End::Held(reason) => {
                    let queue = self.origin.queue.name;
                    warn!(queue, "messages of {queue} go back to the queue for now: {reason}");
                    tokio::select! {
                        () = self.stop.cancelled() => return,
                        () = store_available(&*self.handler) => {}
                    }
                }
                End::Broken(reason) => generation.fail(format!("consuming {}: {reason}", self.origin.queue.name)),
            }
        }
    }

    /// Consumes on one channel, to its end.
    async fn consume(&mut self, generation: &Generation) -> End {
        let (channel, mut deliveries) = match self.open(generation).await {
            Ok(opened) => opened,
            Err(broken) => return End::Broken(broken.to_string()),
        };
        debug!(queue = self.origin.queue.name, "consuming {}", self.origin.queue.name);
        let end = loop {
            let received = match self.next_batch(&mut deliveries).await {
                Ok(received) => received,
                Err(end) => break end,
            };
            let stop = self.stop.clone();
            let mut settled = std::pin::pin!(self.settle(received, generation));
            let settled = tokio::select! {
                settled = &mut settled => settled,
                () = stop.cancelled() => {
                    // No more messages, while the batch in hand is finished.
                    cancel(&channel, &deliveries).await;
                    settled.await
                }
            };
            if let Err(end) = settled {
                break end;
            }
        };
        // Closing gives back what was prefetched and not settled. On a broken connection nobody answers.
        if !matches!(end, End::Broken(_)) {
            let _ = timeout(GOODBYE, channel.close(200, "goodbye".into())).await;
        }
        end
    }

    async fn open(&self, generation: &Generation) -> Result<(Channel, lapin::Consumer), Broken> {
        let channel = open_channel(generation.connection()).await?;
        // Before consuming: without a limit the library takes in the whole queue.
        within("limiting the prefetch", channel.basic_qos(PREFETCH, BasicQosOptions::default())).await?;
        let consume = channel.basic_consume(
            self.origin.queue.name.into(),
            "".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let deliveries = within("starting to consume", consume).await?;
        Ok((channel, deliveries))
    }

    /// Waits for a message and takes along what comes within the linger.
    async fn next_batch(&self, deliveries: &mut lapin::Consumer) -> Result<Received, End> {
        let first = tokio::select! {
            biased;
            () = self.stop.cancelled() => return Err(End::Stopped),
            first = deliveries.next() => first,
        };
        let mut received = Received::begin(checked(first)?);
        let until = Instant::now() + LINGER;
        while received.messages.len() < BATCH {
            match timeout_at(until, deliveries.next()).await {
                Ok(next) => received.take(checked(next)?),
                Err(_) => break,
            }
        }
        Ok(received)
    }

    /// Settles what was received: in one part, unless something in it may have brought consumers down.
    async fn settle(&mut self, received: Received, generation: &Generation) -> Result<(), End> {
        failpoint!("consumer.after-receive");
        self.metrics.redelivered(received.messages.iter().filter(|(message, _)| message.redelivered).count());
        for part in received.parts() {
            self.settle_part(part, generation).await?;
        }
        Ok(())
    }

    /// Processes, parks and acknowledges a part.
    async fn settle_part(&mut self, part: Part, generation: &Generation) -> Result<(), End> {
        let Part { messages, ackers, multiple } = part;
        let batch = Batch::decode(self.origin.queue, &messages);
        let count = messages.len();
        let Settled { verdicts, spans } = self.verdicts(&batch, generation).await?;
        failpoint!("consumer.after-commit");
        let of_handler = batch.positions.into_iter().zip(verdicts);
        let of_decoding =
            batch.rejected.into_iter().map(|(position, rejection)| (position, Verdict::Reject(rejection)));
        let mut aside = Vec::new();
        let mut outcomes = Vec::with_capacity(messages.len());
        for (position, verdict) in of_handler.chain(of_decoding) {
            // The one place where verdicts become actions.
            let message = &messages[position];
            outcomes.push(match verdict {
                Verdict::Done => Consumption::Ack,
                Verdict::Duplicate => Consumption::Duplicate,
                Verdict::Later(rejection) => {
                    aside.push(self.origin.later(message, &rejection));
                    if self.origin.may_wait(message) { Consumption::Retry } else { Consumption::DeadLetter }
                }
                Verdict::Reject(rejection) => {
                    aside.push(self.origin.dead(message, &rejection));
                    Consumption::DeadLetter
                }
            });
        }
        self.set_aside(&aside, generation).await?;
        failpoint!("consumer.after-set-aside", if !aside.is_empty());

        let span = ack_span(SYSTEM, self.origin.queue, spans.first(), count);
        acknowledge(ackers, multiple).instrument(span.clone()).await.inspect_err(|_| record_unacknowledged(&span))?;
        outcomes.into_iter().for_each(|outcome| self.metrics.consumed(outcome));
        failpoint!("consumer.after-ack");
        Ok(())
    }

    /// Has the handler's verdicts, however often it takes within the patience of a [`Hold`].
    async fn verdicts(&mut self, batch: &Batch, generation: &Generation) -> Result<Settled, End> {
        if batch.valid.is_empty() {
            return Ok(Settled { verdicts: Vec::new(), spans: Vec::new() });
        }
        let queue = self.origin.queue;
        let mut hold = Hold::new(queue, &self.stop, &mut self.complaints);
        loop {
            match bisection::settle(SYSTEM, queue, &self.handler, &batch.valid).await {
                Ok(settled) => return Ok(settled),
                Err(unsettled) => hold.pause(&unsettled.to_string(), generation.over()).await?,
            }
        }
    }

    /// Publishes what is set aside, to the dead letters and into pauses, and has that confirmed.
    async fn set_aside(&mut self, aside: &[Outgoing<'_>], generation: &Generation) -> Result<(), End> {
        if aside.is_empty() {
            return Ok(());
        }
        let mut hold = Hold::new(self.origin.queue, &self.stop, &mut self.complaints);
        loop {
            match self.parking.window(aside).await {
                Ok(refusals) if refusals.is_empty() => return Ok(()),
                Ok(refusals) => return Err(End::Broken(format!("what is set aside was refused: {refusals:?}"))),
                Err(error) => hold.pause(&format!("setting messages aside: {error}"), generation.over()).await?,
            }
        }
    }
}

async fn acknowledge(ackers: Vec<Acker>, multiple: bool) -> Result<(), End> {
    for acker in ackers {
        match within("acknowledging", acker.ack(BasicAckOptions { multiple })).await {
            Ok(true) => {}
            // The acknowledgement went nowhere: the channel is not the one that the batch came from any more.
            Ok(false) => {
                return Err(End::Broken("the channel was closed before its batch was acknowledged".to_owned()));
            }
            Err(broken) => return Err(End::Broken(broken.to_string())),
        }
    }
    Ok(())
}

/// A delivery, or the end of the channel. `None` means that the broker took the queue away from us.
fn checked(next: Option<Result<RawDelivery, lapin::Error>>) -> Result<RawDelivery, End> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(End::Broken(error.to_string())),
        None => Err(End::Broken("the broker ended the consumer".to_owned())),
    }
}

async fn cancel(channel: &Channel, deliveries: &lapin::Consumer) {
    let _ = timeout(GOODBYE, channel.basic_cancel(deliveries.tag(), BasicCancelOptions::default())).await;
}

/// Messages in the order in which they came.
struct Received {
    messages: Vec<(Message, Acker)>,
}

/// Messages that are settled together.
struct Part {
    messages: Vec<Message>,
    /// Acknowledge all of them.
    ackers: Vec<Acker>,
    /// The one acknowledgement is for all that came before, too.
    multiple: bool,
}

impl Received {
    fn begin(first: RawDelivery) -> Self {
        let mut received = Self { messages: Vec::new() };
        received.take(first);
        received
    }

    fn take(&mut self, next: RawDelivery) {
        let acker = next.acker.clone();
        self.messages.push((Message::from(next), acker));
    }

    fn parts(self) -> Vec<Part> {
        let suspicious: Vec<bool> = self.messages.iter().map(|(message, _)| message.is_suspicious()).collect();
        if !suspicious.contains(&true) {
            let (messages, mut ackers): (Vec<_>, Vec<_>) = self.messages.into_iter().unzip();
            return vec![Part { messages, ackers: ackers.pop().into_iter().collect(), multiple: true }];
        }
        let mut messages: Vec<_> = self.messages.into_iter().map(Some).collect();
        let mut part = |places: Vec<usize>| {
            let of_part = places.into_iter().filter_map(|place| messages[place].take());
            let (messages, ackers) = of_part.unzip();
            Part { messages, ackers, multiple: false }
        };
        one_by_one(&suspicious).into_iter().map(&mut part).collect()
    }
}

/// The places of a batch in which something is suspicious: all that is not together, and then each suspicious one alone.
///
/// In no order, and each acknowledged before the next is begun. A crash counts for all that a consumer had, so the
/// neighbours of what causes it come nearer to the delivery limit with each; those that were settled before do not.
/// In the order of the queue the cause would come first each time, and take all that follow it along.
fn one_by_one(suspicious: &[bool]) -> Vec<Vec<usize>> {
    let (mut alone, together): (Vec<usize>, Vec<_>) = (0..suspicious.len()).partition(|place| suspicious[*place]);
    alone.shuffle(&mut rand::rng());
    let together = Some(together).filter(|places| !places.is_empty());
    together.into_iter().chain(alone.into_iter().map(|place| vec![place])).collect()
}

/// What a handler gets to see of a batch of messages, and what it does not.
struct Batch {
    valid: Vec<Incoming>,
    /// The position of each valid delivery among the messages.
    positions: Vec<usize>,
    rejected: Vec<(usize, Rejection)>,
}

impl Batch {
    fn decode(queue: &Queue, messages: &[Message]) -> Self {
        let mut valid = Vec::with_capacity(messages.len());
        let (mut positions, mut rejected) = (Vec::new(), Vec::new());
        for (position, message) in messages.iter().enumerate() {
            match wire::decode(queue, &message.routing_key, &message.properties, message.body.clone()) {
                Ok(event) => {
                    valid.push(Incoming {
                        delivery: Delivery { event, redelivered: message.redelivered },
                        destination: destination(&message.exchange, &message.routing_key, queue.name),
                        arrival: message.arrival(),
                    });
                    positions.push(position);
                }
                Err(rejection) => {
                    let (reason, error) = (rejection.reason, &rejection.error);
                    warn!(queue = queue.name, reason, "rejected a message of {}: {error}", queue.name);
                    rejected.push((position, rejection));
                }
            }
        }
        Self { valid, positions, rejected }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::one_by_one;

    #[test]
    fn what_is_suspicious_goes_alone_after_the_others_and_any_may_be_first() {
        let mut firsts = BTreeSet::new();
        while firsts.len() < 3 {
            let parts = one_by_one(&[false, true, false, true, true]);
            assert_eq!(parts[0], [0, 2]);
            let alone: BTreeSet<_> = parts[1..].iter().cloned().collect();
            assert_eq!(alone, [vec![1], vec![3], vec![4]].into());
            firsts.insert(parts[1].clone());
        }
        assert_eq!(one_by_one(&[true]), [[0]]);
    }
}
