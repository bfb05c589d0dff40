//! Publishing with confirms: the one place that decides whether the broker has a message.
//!
//! A window is written whole and then awaited whole, on a channel that belongs to one publisher only. Both rules are
//! needed. Channels shared between tasks get their confirms mixed up; and a message that the broker returns as
//! unroutable is *also* confirmed, with the return attached to whichever confirm comes next. So returns are told
//! apart by message id, and only after the last confirm of the window, by when each of them has arrived.

use std::{sync::Arc, time::Duration};

use chassis::failpoint;
use futures_util::future::{join_all, try_join_all};
use lapin::{
    BasicProperties, Channel, Confirmation,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use tokio::time::timeout;

use super::{
    generation::{Broken, Generation, open_channel, within},
    link::Link,
};
use crate::PublishError;

/// How long a window may take from its first byte to its last confirm.
const WINDOW: Duration = Duration::from_secs(10);

/// A message to publish.
#[derive(Debug)]
pub(super) struct Outgoing<'a> {
    /// Empty for the default exchange, whose routing keys are names of queues.
    pub(super) exchange: ShortString,
    /// Where to.
    pub(super) routing_key: ShortString,
    /// Ask for it back when no queue takes it.
    pub(super) mandatory: bool,
    /// All its metadata.
    pub(super) properties: BasicProperties,
    /// Its body.
    pub(super) body: &'a [u8],
}

/// What the broker did not take of a window; it has everything else.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusals {
    /// Positions in the window.
    pub(super) nacked: Vec<usize>,
    /// Messages that no queue took.
    pub(super) returned: Vec<Returned>,
}

impl Refusals {
    /// True when the broker has the whole window.
    pub(super) fn is_empty(&self) -> bool {
        self.nacked.is_empty() && self.returned.is_empty()
    }
}

/// A message that came back.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Returned {
    /// Its `message_id`, if it had one.
    pub(super) message_id: Option<String>,
    /// The broker's words.
    pub(super) reason: String,
}

/// The owner of one confirm channel at a time, opened when it is needed.
#[derive(Debug)]
pub(super) struct ConfirmedPublisher {
    link: Arc<Link>,
    open: Option<(Arc<Generation>, Channel)>,
}

impl ConfirmedPublisher {
    /// One on `link`.
    pub(super) fn new(link: Arc<Link>) -> Self {
        Self { link, open: None }
    }

    /// Pends until publishing has a chance.
    pub(super) async fn ready(&self) {
        self.link.wait_usable().await;
    }

    /// Publishes a window and answers what was not taken.
    ///
    /// # Errors
    /// When the broker may have any part of the window, or none.
    pub(super) async fn window(&mut self, window: &[Outgoing<'_>]) -> Result<Refusals, PublishError> {
        let generation = self.link.usable().map_err(PublishError::Unavailable)?;
        // Taken out of `self`, and put back only after a window that ended well. If it does not, or if this future is
        // dropped half-way, confirms are still on their way that would swallow the returns of the next window.
        let channel = match self.open.take() {
            Some((of, channel)) if Arc::ptr_eq(&of, &generation) => channel,
            _ => open_confirm_channel(&generation).await.map_err(|broken| fail(&generation, &broken))?,
        };
        let confirmed = tokio::select! {
            confirmed = timeout(WINDOW, publish(&channel, window)) => confirmed,
            // The connection is well and stays, so that it can tell us when the broker takes messages again.
            reason = self.link.wait_blocked() => {
                return Err(PublishError::Unavailable(format!("the broker has blocked publishing: {reason}")));
            }
            reason = generation.over() => return Err(PublishError::Unavailable(reason)),
        };
        let refusals = match confirmed {
            Ok(Ok(refusals)) => refusals,
            Ok(Err(error)) => return Err(fail(&generation, &Broken::Amqp(error))),
            Err(_) => {
                generation.fail(format!("no confirm within {WINDOW:?}"));
                return Err(PublishError::Timeout(WINDOW));
            }
        };
        if let Some(returned) = refusals.returned.first() {
            // A queue of ours is gone or unbound. The next generation declares it again.
            generation
                .fail(format!("the topology has to be declared again, a message was returned: {}", returned.reason));
        } else if refusals.nacked.is_empty() {
            self.open = Some((generation, channel));
        }
        // A broker that refused on this channel, because a queue was full, may go on to refuse on it long after there
        // is room again (seen with RabbitMQ 3.10): the next window goes over a new one.
        Ok(refusals)
    }
}

/// Opens a channel with confirms.
pub(super) async fn open_confirm_channel(generation: &Generation) -> Result<Channel, Broken> {
    let channel = open_channel(generation.connection()).await?;
    within("turning confirms on", channel.confirm_select(ConfirmSelectOptions::default())).await?;
    Ok(channel)
}

fn fail(generation: &Generation, broken: &Broken) -> PublishError {
    generation.fail(broken);
    PublishError::Unavailable(broken.to_string())
}

/// Writes the whole window, then awaits every single confirm. The channel is nobody else's.
pub(super) async fn publish(channel: &Channel, window: &[Outgoing<'_>]) -> Result<Refusals, lapin::Error> {
    let written = try_join_all(window.iter().map(|message| {
        channel.basic_publish(
            message.exchange.clone(),
            message.routing_key.clone(),
            BasicPublishOptions { mandatory: message.mandatory, immediate: false },
            message.body,
            message.properties.clone(),
        )
    }))
    .await?;
    failpoint!("publisher.before-confirm");

    let mut refusals = Refusals::default();
    for (position, confirm) in join_all(written).await.into_iter().enumerate() {
        let returned = match confirm? {
            Confirmation::Ack(returned) => returned,
            Confirmation::Nack(returned) => {
                refusals.nacked.push(position);
                returned
            }
            // Only a channel without confirms answers this; ours has them, or we would not be here.
            Confirmation::NotRequested => {
                refusals.nacked.push(position);
                None
            }
        };
        if let Some(message) = returned {
            refusals.returned.push(Returned {
                message_id: message.delivery.properties.message_id().as_ref().map(ToString::to_string),
                reason: format!("{} {}", message.reply_code, message.reply_text),
            });
        }
    }
    Ok(refusals)
}
