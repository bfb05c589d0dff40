//! Which of the things that were set aside are meant.

use std::time::Duration;

use anyhow::bail;
use chrono::{DateTime, Utc};
use contracts::topology::Queue;
use uuid::Uuid;

use super::item::Item;

/// The arguments that all commands share.
#[derive(Debug, Clone, Default, clap::Args)]
pub(super) struct Selection {
    /// Events that the relay parked in the outbox (DATABASE_URL), instead of dead letters (BROKER_URL).
    #[arg(long, conflicts_with = "queue")]
    outbox: bool,

    /// Only the dead letters of this queue; without, of all that the service consumes.
    #[arg(long, value_name = "NAME")]
    queue: Option<String>,

    /// Only those that were set aside for this reason, e.g. malformed, conflict, fault, retries_exhausted.
    #[arg(long)]
    reason: Option<String>,

    /// Only those that were set aside longer ago, e.g. 30s, 15m, 2h, 7d.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    older_than: Option<Duration>,

    /// Only the one with this id; may be given several times.
    #[arg(long, value_name = "UUID")]
    id: Vec<Uuid>,

    /// No more than so many, the oldest first. Lists show 100 unless told otherwise.
    #[arg(long, value_name = "NUMBER")]
    pub(super) limit: Option<usize>,

    /// As JSON, one object a line.
    #[arg(long)]
    pub(super) json: bool,
}

/// A selection at work: it counts what it took.
#[derive(Debug)]
pub(super) struct Selected {
    selection: Selection,
    now: DateTime<Utc>,
    taken: usize,
}

impl Selection {
    /// Begins to select, as of now.
    pub(super) fn start(self) -> Selected {
        Selected { selection: self, now: contracts::now(), taken: 0 }
    }

    fn matches(&self, item: &Item, now: DateTime<Utc>) -> bool {
        let age = item.failed_at.and_then(|at| (now - at).to_std().ok()).unwrap_or_default();
        self.reason.as_ref().is_none_or(|reason| *reason == item.reason)
            && self.older_than.is_none_or(|least| age >= least)
            && (self.id.is_empty() || self.id.contains(&item.id))
    }
}

impl Selected {
    /// Whether it is about the outbox.
    pub(super) fn is_about_outbox(&self) -> bool {
        self.selection.outbox
    }

    /// Those of `own` that it is about.
    ///
    /// # Errors
    /// When it names another one.
    pub(super) fn queues(&self, own: &'static [&'static Queue]) -> anyhow::Result<Vec<&'static Queue>> {
        let Some(name) = &self.selection.queue else { return Ok(own.to_vec()) };
        match own.iter().find(|queue| queue.name == name) {
            Some(queue) => Ok(vec![*queue]),
            None => {
                let names: Vec<_> = own.iter().map(|queue| queue.name).collect();
                bail!("this service does not consume the queue {name}, but {}", names.join(" and "))
            }
        }
    }

    /// Whether it has enough.
    pub(super) fn is_full(&self) -> bool {
        self.selection.limit.is_some_and(|limit| self.taken >= limit)
    }

    /// Whether `item` is one of those that are meant.
    pub(super) fn takes(&mut self, item: &Item) -> bool {
        let takes = !self.is_full() && self.selection.matches(item, self.now);
        self.taken += usize::from(takes);
        takes
    }
}

/// Reads `30s`, `15m`, `2h`, `7d`.
fn duration(text: &str) -> Result<Duration, String> {
    let refused = || "must be a number and a unit: 30s, 15m, 2h, 7d".to_owned();
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(refused)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: u128, reason: &str, age: Duration) -> Item {
        Item {
            place: "orders.dlq".into(),
            back_to: "orders".into(),
            id: Uuid::from_u128(id),
            event_type: "order.created".into(),
            order_id: None,
            reason: reason.into(),
            error: String::new(),
            retries: 0,
            service: None,
            failed_at: Some(contracts::now() - age),
            body: Vec::new(),
        }
    }

    /// The ids that `selection` takes of three items.
    fn taken(selection: Selection) -> Vec<u128> {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let items = [item(1, "conflict", hours(3)), item(2, "fault", hours(2)), item(3, "fault", hours(1))];
        let mut selected = selection.start();
        items.iter().filter(|item| selected.takes(item)).map(|item| item.id.as_u128()).collect()
    }

    #[test]
    fn every_filter_narrows() {
        let all = Selection::default;
        assert_eq!(taken(all()), [1, 2, 3]);
        assert_eq!(taken(Selection { reason: Some("fault".into()), ..all() }), [2, 3]);
        assert_eq!(taken(Selection { older_than: Some(Duration::from_secs(5400)), ..all() }), [1, 2]);
        assert_eq!(taken(Selection { id: vec![Uuid::from_u128(3), Uuid::from_u128(9)], ..all() }), [3]);
        assert_eq!(taken(Selection { limit: Some(1), reason: Some("fault".into()), ..all() }), [2]);
    }

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, seconds) in [("30s", Some(30)), ("15m", Some(900)), ("2h", Some(7200)), ("7d", Some(604_800))] {
            assert_eq!(duration(text).ok(), seconds.map(Duration::from_secs), "{text}");
        }
        for text in ["", "s", "5", "1w", "-1s", "1 h", "18446744073709551615d", "5µ"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
