//! One thing that was set aside, a dead letter or a parked event, in the same words.

use chrono::{DateTime, Utc};
use contracts::topology::Queue;
use messaging::rabbitmq::letters::Letter;
use outbox::parked::ParkedEvent;
use serde::{Serialize, Serializer};
use uuid::Uuid;

/// What is shown of it. As JSON it is an object with these names.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Item {
    /// Where it lies.
    pub(super) place: String,
    /// Where it would be sent back to.
    pub(super) back_to: String,
    pub(super) id: Uuid,
    #[serde(rename = "type")]
    pub(super) event_type: String,
    pub(super) order_id: Option<String>,
    pub(super) reason: String,
    pub(super) error: String,
    pub(super) retries: u32,
    pub(super) service: Option<String>,
    pub(super) failed_at: Option<DateTime<Utc>>,
    #[serde(serialize_with = "text_of", skip_serializing_if = "Vec::is_empty")]
    pub(super) body: Vec<u8>,
}

impl Item {
    /// A letter among those of `queue`.
    pub(super) fn of_letter(queue: &Queue, letter: &Letter) -> Self {
        Self {
            place: queue.dead_letter_name(),
            back_to: letter.queue.name.to_owned(),
            id: letter.id,
            event_type: letter.event_type.clone().unwrap_or_else(|| "?".to_owned()),
            order_id: letter.order_id.clone(),
            reason: letter.reason.clone(),
            error: letter.error.clone(),
            retries: letter.retries,
            service: letter.service.clone(),
            failed_at: letter.failed_at,
            body: letter.body.to_vec(),
        }
    }

    /// A parked event. In process the bus says `reason: error`; a broker has only sentences.
    pub(super) fn of_parked(event: &ParkedEvent) -> Self {
        let is_word = |word: &str| word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        let (reason, error) = match event.error.split_once(": ") {
            Some((reason, error)) if is_word(reason) => (reason, error),
            _ => ("refused", event.error.as_str()),
        };
        Self {
            place: "outbox".to_owned(),
            back_to: "the bus".to_owned(),
            id: event.id,
            event_type: event.event_type.clone(),
            order_id: Some(event.order_id.to_string()),
            reason: reason.to_owned(),
            error: error.to_owned(),
            retries: u32::try_from(event.attempts).unwrap_or(0).saturating_sub(1),
            service: None,
            failed_at: Some(event.parked_at),
            body: event.body.clone(),
        }
    }

    /// The body for people: text, or the bytes of what is none.
    pub(super) fn text(&self) -> String {
        match std::str::from_utf8(&self.body) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("bytes that are no text: {}", self.body.escape_ascii()),
        }
    }
}

fn text_of<S: Serializer>(body: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    match std::str::from_utf8(body) {
        Ok(text) => serializer.serialize_str(text),
        Err(_) => serializer.collect_seq(body),
    }
}
