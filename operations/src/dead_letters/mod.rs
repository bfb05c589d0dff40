//! `dead-letters`: what was set aside, on the broker and in the outbox; send it back, or drop it.
//!
//! Without `--yes` nothing changes: the same selection is shown first. One walk serves all commands: each item that
//! the selection takes is written down, and acted upon if that was asked for.

mod item;
mod report;
mod selection;

use std::{io::Write, num::NonZeroU32, time::Duration};

use anyhow::{Context, bail};
use contracts::topology::Queue;
use messaging::rabbitmq::letters;
use outbox::{DatabaseUrl, parked};
use secrecy::ExposeSecret;
use tokio::time::{Interval, MissedTickBehavior};

use crate::Service;
use item::Item;
use report::Report;
use selection::{Selected, Selection};

/// How many are listed unless asked otherwise.
const LIST_LIMIT: usize = 100;

/// The arguments.
#[derive(Debug, clap::Args)]
pub struct DeadLetters {
    #[command(subcommand)]
    action: Action,
}

/// What to do with what is selected.
#[derive(Debug, clap::Subcommand)]
enum Action {
    /// One line each.
    List {
        #[command(flatten)]
        selection: Selection,
    },
    /// All there is to know of each, with the body.
    Show {
        #[command(flatten)]
        selection: Selection,
    },
    /// Send back to where it was to be processed, as it came.
    Redrive {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        deed: Deed,
        /// How many a second at most.
        #[arg(long, default_value = "50", value_name = "NUMBER")]
        rate: NonZeroU32,
    },
    /// Delete for good.
    Drop {
        #[command(flatten)]
        selection: Selection,
        #[command(flatten)]
        deed: Deed,
    },
}

#[derive(Debug, clap::Args)]
struct Deed {
    /// Do it. Without, what would be done is shown.
    #[arg(long)]
    yes: bool,
}

/// What happens to an item that is selected.
enum Act {
    Nothing,
    Redrive(Interval),
    Discard,
}

impl DeadLetters {
    pub(crate) async fn run(self, service: Service, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
        let (mut selection, mut report, mut act) = match self.action {
            Action::List { selection } => (selection, Report::table(""), Act::Nothing),
            Action::Show { selection } => (selection, Report::in_full(), Act::Nothing),
            Action::Redrive { selection, deed: Deed { yes: true }, rate } => {
                (selection, Report::table("sent back"), Act::Redrive(pace(rate)))
            }
            Action::Redrive { selection, .. } => (selection, Report::table("would be sent back"), Act::Nothing),
            Action::Drop { selection, deed: Deed { yes: true } } => (selection, Report::table("dropped"), Act::Discard),
            Action::Drop { selection, .. } => (selection, Report::table("would be dropped"), Act::Nothing),
        };
        if report.is_a_look() {
            selection.limit.get_or_insert(LIST_LIMIT);
        }
        let json = selection.json;
        let walked = walk(selection.start(), &service, &mut act, &mut report).await;
        // Also after a failure: somebody wants to know what was done before it.
        report.write(json, out)?;
        walked
    }
}

async fn walk(mut selected: Selected, service: &Service, act: &mut Act, report: &mut Report) -> anyhow::Result<()> {
    if selected.is_about_outbox() {
        let url = service.database_url.as_ref().context("DATABASE_URL is not set")?;
        return walk_outbox(&mut selected, url, act, report).await;
    }
    let queues = selected.queues(service.queues)?;
    let broker_url = service.broker_url.as_ref().context("BROKER_URL is not set")?;
    let connection = letters::DeadLetters::connect(broker_url.expose_secret()).await?;
    let mut walked = Ok(());
    for queue in queues {
        walked = walk_queue(&mut selected, &connection, queue, act, report).await;
        if walked.is_err() {
            break;
        }
    }
    connection.close().await;
    walked
}

async fn walk_queue(
    selected: &mut Selected,
    connection: &letters::DeadLetters,
    queue: &'static Queue,
    act: &mut Act,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut look = connection.look(queue).await?;
    while !selected.is_full() {
        let Some(letter) = look.next().await? else { break };
        let item = Item::of_letter(queue, &letter);
        if !selected.takes(&item) {
            continue;
        }
        match act {
            Act::Nothing => {}
            Act::Redrive(pace) => {
                pace.tick().await;
                look.redrive(&letter).await?;
            }
            Act::Discard => look.discard(&letter).await?,
        }
        report.add(item);
    }
    Ok(look.end().await?)
}

async fn walk_outbox(
    selected: &mut Selected,
    url: &DatabaseUrl,
    act: &mut Act,
    report: &mut Report,
) -> anyhow::Result<()> {
    let db = outbox::connect(url, "dead-letters").await.with_context(|| format!("cannot open {url}"))?;
    for event in parked::list(&db).await.with_context(|| format!("cannot read the outbox of {url}"))? {
        let item = Item::of_parked(&event);
        if selected.is_full() {
            break;
        }
        if !selected.takes(&item) {
            continue;
        }
        let done = match act {
            Act::Nothing => true,
            Act::Redrive(pace) => {
                pace.tick().await;
                parked::redrive(&db, &event).await?
            }
            Act::Discard => parked::discard(&db, &event).await?,
        };
        if !done {
            bail!("the event {} is not parked any more: somebody else is at work here", event.id);
        }
        report.add(item);
    }
    Ok(db.close().await?)
}

/// Ticks so often. What is sent back is work for the services, beside all that is new.
fn pace(rate: NonZeroU32) -> Interval {
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate.get());
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_back_keeps_to_the_rate() {
        let mut pace = pace(NonZeroU32::new(10).unwrap());
        let began = Instant::now();
        for _ in 0..11 {
            pace.tick().await;
        }
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
