//! The dead letters as an operator sees them: look, send back, drop.
//!
//! A letter is taken without an acknowledgement and is held for as long as the look lasts, so nothing is ever only
//! here: a look that is cut short gives all back. One that is sent back is confirmed in its queue first and
//! acknowledged then; a crash in between makes a duplicate, which changes nothing.

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use contracts::topology::{QUEUES, Queue};
use lapin::{
    Acker, BasicProperties, Channel,
    options::{BasicAckOptions, BasicGetOptions, BasicNackOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use uuid::Uuid;

use super::{
    aside::{self, ERROR, FAILED_AT, ORIGINAL_QUEUE, REASON, REDRIVEN_AT, SERVICE},
    confirm::{open_confirm_channel, publish},
    generation::{Broken, Generation, open_channel, within},
    message::Message,
    topology::Topology,
    uri::{self, InvalidUrl},
};
use crate::wire;

/// Why an operator could not work on dead letters.
#[derive(Debug, thiserror::Error)]
pub enum LettersError {
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] InvalidUrl),
    /// No connection.
    #[error("cannot connect to RabbitMQ at {address}: {cause}")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The connection is gone. What was not settled is in its queue again.
    #[error("the connection to RabbitMQ failed: {0}")]
    Broken(String),
    /// The queue did not take a letter back, which therefore stays where it is.
    #[error("the queue {queue} did not take the letter {id}, which stays: {refusal}")]
    Refused {
        /// Where to.
        queue: &'static str,
        /// Which.
        id: Uuid,
        /// The broker's words.
        refusal: String,
    },
}

impl From<Broken> for LettersError {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken.to_string())
    }
}

impl From<lapin::Error> for LettersError {
    fn from(error: lapin::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A dead letter.
#[derive(Debug)]
pub struct Letter {
    /// Its message id. For one that came without, a number that the same body gives each time.
    pub id: Uuid,
    /// The event type that it claims.
    pub event_type: Option<String>,
    /// The order that it claims to be about.
    pub order_id: Option<String>,
    /// The queue that it was consumed from.
    pub queue: &'static Queue,
    /// The word for what is wrong with it; the broker's own, if the broker took it away.
    pub reason: String,
    /// The sentence.
    pub error: String,
    /// How often it was tried again.
    pub retries: u32,
    /// Who set it aside.
    pub service: Option<String>,
    /// When.
    pub failed_at: Option<DateTime<Utc>>,
    /// As it came.
    pub body: Bytes,
    message: Message,
    acker: Acker,
}

/// A connection for an operator.
#[derive(Debug)]
pub struct DeadLetters(Generation);

impl DeadLetters {
    /// Connects, once: nobody waits here for an outage to end.
    ///
    /// # Errors
    /// When the URL cannot be read, or nobody answers there.
    pub async fn connect(url: &str) -> Result<Self, LettersError> {
        let broker = uri::parse(url)?;
        let started = Generation::start(&broker, "tandem dead-letters", &Topology::default()).await;
        started
            .map(Self)
            .map_err(|broken| LettersError::Unreachable { address: broker.address(), cause: broken.to_string() })
    }

    /// Begins to look at the dead letters of `queue`, at those that are there now.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn look(&self, queue: &'static Queue) -> Result<Look, LettersError> {
        let channel = open_channel(self.0.connection()).await?;
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let declare = channel.queue_declare(queue.dead_letter_name().into(), options, FieldTable::default());
        let left = within("looking for a queue", declare).await?.message_count();
        Ok(Look { channel, sending: open_confirm_channel(&self.0).await?, queue, left })
    }

    /// Closes the connection.
    pub async fn close(self) {
        self.0.close().await;
    }
}

/// Going through the dead letters of a queue. End it with [`Look::end`], or with the connection.
#[derive(Debug)]
pub struct Look {
    channel: Channel,
    sending: Channel,
    queue: &'static Queue,
    /// Bounds the look: what is sent back may fail at once and be here again.
    left: u32,
}

impl Look {
    /// The next letter, the oldest first; `None` after the last. It is held until the end of the look.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn next(&mut self) -> Result<Option<Letter>, LettersError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let get = self.channel.basic_get(self.queue.dead_letter_name().into(), BasicGetOptions::default());
        let got = within("taking a message", get).await?;
        Ok(got.map(|got| {
            let acker = got.delivery.acker.clone();
            letter(self.queue, Message::from(got.delivery), acker)
        }))
    }

    /// Sends a letter back to the queue that it was consumed from, as it came, and takes it out of here.
    ///
    /// # Errors
    /// When the queue does not take it, or the connection fails; it is still here then.
    pub async fn redrive(&self, letter: &Letter) -> Result<(), LettersError> {
        let original = &letter.message.properties;
        let mut headers = aside::kept_headers(original);
        wire::header(&mut headers, REDRIVEN_AT, contracts::now().to_rfc3339_opts(SecondsFormat::Millis, true));
        let properties = aside::kept(original).with_headers(headers);
        let message = aside::to_queue(letter.queue.name, properties, &letter.body);
        let refusals = within("the confirm", publish(&self.sending, &[message])).await?;
        if !refusals.is_empty() {
            let refusal = format!("{refusals:?}");
            return Err(LettersError::Refused { queue: letter.queue.name, id: letter.id, refusal });
        }
        self.discard(letter).await
    }

    /// Takes a letter out of here, for good.
    ///
    /// # Errors
    /// When the connection fails.
    pub async fn discard(&self, letter: &Letter) -> Result<(), LettersError> {
        match within("acknowledging", letter.acker.ack(BasicAckOptions::default())).await? {
            true => Ok(()),
            false => Err(LettersError::Broken("the channel was closed".to_owned())),
        }
    }

    /// Gives back what was only looked at.
    ///
    /// # Errors
    /// When the connection fails; then the broker does it by itself.
    pub async fn end(self) -> Result<(), LettersError> {
        // A polite return: some brokers count every other end of a delivery against the message.
        let all = BasicNackOptions { multiple: true, requeue: true };
        within("giving back", self.channel.basic_nack(0, all)).await?;
        within("closing a channel", self.channel.close(200, "looked".into())).await?;
        within("closing a channel", self.sending.close(200, "looked".into())).await?;
        Ok(())
    }
}

fn letter(found_in: &'static Queue, message: Message, acker: Acker) -> Letter {
    let properties = &message.properties;
    let text = |name: &str| header(properties, name);
    // The broker's words are those of the first time that it took the message away.
    let queue = text(ORIGINAL_QUEUE).or_else(|| text("x-first-death-queue"));
    let queue = queue.and_then(|name| QUEUES.into_iter().find(|queue| queue.name == name)).unwrap_or(found_in);
    let id = properties.message_id().as_ref().and_then(|id| id.as_str().parse().ok());
    Letter {
        id: id.unwrap_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, &message.body)),
        event_type: properties.kind().as_ref().map(ToString::to_string),
        order_id: properties.correlation_id().as_ref().map(ToString::to_string),
        queue,
        reason: text(REASON).or_else(|| text("x-first-death-reason")).unwrap_or_else(|| "unknown".to_owned()),
        error: text(ERROR).unwrap_or_default(),
        retries: message.retries(),
        service: text(SERVICE),
        failed_at: text(FAILED_AT).and_then(|at| at.parse().ok()).or_else(|| died_at(properties)),
        body: message.body.clone(),
        message,
        acker,
    }
}

fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    match properties.headers().as_ref()?.inner().get(name)? {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}

/// When the broker took a message away.
fn died_at(properties: &BasicProperties) -> Option<DateTime<Utc>> {
    let AMQPValue::FieldArray(deaths) = properties.headers().as_ref()?.inner().get("x-death")? else { return None };
    let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else { return None };
    let AMQPValue::Timestamp(seconds) = last.inner().get("time")? else { return None };
    DateTime::from_timestamp(i64::try_from(*seconds).ok()?, 0)
}
