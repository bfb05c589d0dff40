//! The relay: takes events from the outbox to the bus, and deletes what the bus accepted.
//!
//! Every replica runs relays. A lane is a row that a relay locks for as long as it publishes the lane's events, so
//! the events of one aggregate leave in order while different lanes leave side by side. The lock is a transaction,
//! not a lease: no clock to trust, and a relay that dies loses its lanes with its session.
//!
//! SQLite has one writer and one process: there a single relay reads, publishes, and only then opens a short
//! transaction to delete.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chassis::{background::keep_running, backoff::Backoff, failpoint};
use chrono::{DateTime, Utc};
use contracts::EventEnvelope;
use messaging::{EventBus, Outcome, PublishError, Publisher};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, ExprTrait, IdenStatic, Iterable,
    QueryFilter, QueryOrder, QuerySelect, Statement, TransactionTrait,
    sea_query::{Expr, SimpleExpr},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{LANES, Outbox, batch::padded, row};

/// The most events that are published before their confirms are awaited.
const WINDOW: usize = 500;
/// The most lanes one pass takes: the rest is left to other relays.
const LANES_PER_PASS: usize = 8;
/// Relays of a process on PostgreSQL: while one waits for the broker, the other reads.
const RELAYS: usize = 2;
/// When a refused event is tried again: after the first pause, doubled with each attempt, up to the second. It is
/// never given up for this: a full or missing queue is an outage of the broker, and outages end.
const REFUSED: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(60));
/// How often to look without being woken: at first, and after a while without events. Commits of this process wake
/// the relay at once; the poll finds what a crashed process left behind.
const POLL: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(1));
/// Pauses after a failure.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// The running relays of an outbox. Dropping it leaves them running; [`Relay::stop`] ends them.
#[derive(Debug)]
pub struct Relay {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Relay {
    /// Starts to relay.
    pub fn start(outbox: &Outbox, bus: &Arc<dyn EventBus>) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        for _ in 0..if outbox.is_sqlite() { 1 } else { RELAYS } {
            let (outbox, bus, stop) = (outbox.clone(), Arc::clone(bus), stop.clone());
            tasks.spawn(async move {
                let worker = || Worker { outbox: outbox.clone(), publisher: bus.publisher() };
                keep_running("a relay", || worker().run(stop.clone())).await;
            });
        }
        tasks.close();
        Self { stop, tasks }
    }

    /// Publishes one window and deletes what was accepted: what a running relay does again and again, for those who
    /// decide themselves when. False when there was nothing to publish.
    ///
    /// # Errors
    /// When the window was not settled: its events are still in the outbox, and may be on the bus already.
    pub async fn once(outbox: &Outbox, publisher: Box<dyn Publisher>) -> Result<bool, RelayError> {
        Worker { outbox: outbox.clone(), publisher }.pass().await
    }

    /// Ends after the window in hand. What is left stays in the outbox.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Why a window was not settled.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The outbox could not be read or written.
    #[error("the database: {0}")]
    Database(#[from] DbErr),
    /// What the bus has of the window is unknown.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

struct Worker {
    outbox: Outbox,
    publisher: Box<dyn Publisher>,
}

impl Worker {
    async fn run(mut self, stop: CancellationToken) {
        let outbox = self.outbox.clone();
        let mut poll = Backoff::new(POLL.0, POLL.1);
        let mut retry = Backoff::new(RETRY.0, RETRY.1);
        let mut failing = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.publisher.ready() => {}
            }
            // Registered before the look: a commit in between is not missed.
            let woken = outbox.wake().notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            // A pass is not interrupted: its window is bounded by the publisher's deadline.
            let pause = match self.pass().await {
                Ok(done) => {
                    if std::mem::take(&mut failing) {
                        tracing::info!("events of {} leave again", outbox.source());
                    }
                    retry.reset();
                    if done {
                        poll.reset();
                        continue;
                    }
                    poll.next_pause().max(POLL.0 / 2)
                }
                Err(error) => {
                    outbox.metrics().not_settled(&error);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "events of {} wait in the outbox: {error}", outbox.source());
                    }
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(retry.next_pause()) => continue,
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut woken => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Publishes one window. False when there was nothing to publish.
    async fn pass(&mut self) -> Result<bool, RelayError> {
        match self.outbox.db().get_database_backend() {
            DbBackend::Postgres => self.pass_with_lanes().await,
            _ => self.pass_alone().await,
        }
    }

    async fn pass_with_lanes(&mut self) -> Result<bool, RelayError> {
        // A look without a transaction: an idle replica costs one round trip a poll.
        if !has_work(self.outbox.db()).await? {
            return Ok(false);
        }
        let (db, metrics) = (self.outbox.db(), self.outbox.metrics().clone());
        let transaction = metrics.beginning(db, db.begin()).await?;
        let lanes = lock_lanes(&transaction).await?;
        if lanes.is_empty() {
            transaction.rollback().await?;
            return Ok(false);
        }
        let rows = rows_of(&transaction, &lanes).await?;
        failpoint!("relay.after-select");
        let settled = self.publish(rows).await?;
        failpoint!("relay.after-confirm");
        settle(&transaction, &settled).await?;
        failpoint!("relay.before-commit");
        metrics.committing(transaction.commit()).await?;
        Ok(true)
    }

    async fn pass_alone(&mut self) -> Result<bool, RelayError> {
        let rows = row::Entity::find()
            .filter(row::Column::ParkedAt.is_null())
            .filter(row::Column::RetryAt.is_null().or(row::Column::RetryAt.lte(contracts::now())))
            .order_by_asc(row::Column::Seq)
            .limit(WINDOW as u64)
            .all(self.outbox.db())
            .await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let settled = self.publish(rows).await?;
        let work = self.outbox.begin().await?;
        settle(work.db(), &settled).await?;
        work.commit().await?;
        Ok(true)
    }

    async fn publish(&mut self, rows: Vec<row::Model>) -> Result<Settled, PublishError> {
        let mut settled = Settled::default();
        let mut sent: Vec<(i64, i32, DateTime<Utc>)> = Vec::with_capacity(rows.len());
        let mut window: Vec<EventEnvelope> = Vec::with_capacity(rows.len());
        for row in rows {
            let (seq, attempts, since) = (row.seq, row.attempts, row.repeated_at.unwrap_or(row.occurred_at));
            match row.into_envelope(self.outbox.source()) {
                Ok(event) => {
                    sent.push((seq, attempts, since));
                    window.push(event);
                }
                // Written by a newer build, and this is the older one of a rolling update.
                Err(error) => settled.refused.push(Refused { seq, attempts, reason: error.to_string(), park: false }),
            }
        }
        let outcomes = self.publisher.publish(&window).await?;
        for (((seq, attempts, since), event), outcome) in sent.into_iter().zip(&window).zip(outcomes) {
            match outcome {
                Outcome::Accepted => {
                    self.outbox.metrics().published(since, &event.trace_context);
                    settled.accepted.push(seq);
                }
                Outcome::Refused { reason, permanent: park } => {
                    settled.refused.push(Refused { seq, attempts, reason, park });
                }
            }
        }
        Ok(settled)
    }
}

/// What became of the rows of a window.
#[derive(Debug, Default)]
struct Settled {
    accepted: Vec<i64>,
    refused: Vec<Refused>,
}

#[derive(Debug)]
struct Refused {
    seq: i64,
    attempts: i32,
    reason: String,
    park: bool,
}

/// What there is to do in a lane: an event that is ready, or a refused one whose time has come. Two index look-ups,
/// however long the backlog is.
fn work_in(lane: &str) -> String {
    format!(
        "SELECT 1 FROM ((SELECT 1 FROM outbox WHERE outbox.lane = {lane} AND parked_at IS NULL AND retry_at IS NULL \
         LIMIT 1) UNION ALL (SELECT 1 FROM outbox WHERE outbox.lane = {lane} AND parked_at IS NULL \
         AND retry_at <= now() LIMIT 1)) AS any_work LIMIT 1"
    )
}

async fn has_work(db: &impl ConnectionTrait) -> Result<bool, DbErr> {
    let sql = format!("SELECT 1 FROM outbox_lane CROSS JOIN LATERAL ({}) AS work LIMIT 1", work_in("outbox_lane.lane"));
    Ok(db.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await?.is_some())
}

/// Locks lanes that have something to do and that nobody else holds, beginning at a random one.
async fn lock_lanes(transaction: &DatabaseTransaction) -> Result<Vec<i16>, DbErr> {
    let start = i32::from(rand::random_range(0..LANES));
    let sql = format!(
        "SELECT free.lane FROM outbox_lane AS free CROSS JOIN LATERAL ({}) AS work \
         ORDER BY (free.lane + $1) % $2 LIMIT $3 FOR UPDATE OF free SKIP LOCKED",
        work_in("free.lane"),
    );
    let values = [start.into(), i32::from(LANES).into(), (LANES_PER_PASS as i64).into()];
    let rows = transaction.query_all_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, values)).await?;
    rows.iter().map(|row| row.try_get::<i16>("", "lane")).collect()
}

/// The oldest events of each lane, and the refused ones whose time has come. A lateral join reads the heads of each
/// lane's index ranges; one sorted scan over several lanes would read the whole backlog of an outage for every window.
async fn rows_of(transaction: &DatabaseTransaction, lanes: &[i16]) -> Result<Vec<row::Model>, DbErr> {
    // By name: with `*`, the prepared statement fails from the moment when the migration of a newer build adds a column.
    let columns: Vec<&str> = row::Column::iter().map(|column| column.as_str()).collect();
    let sql = format!(
        "SELECT {columns} FROM unnest($1::text::smallint[]) AS held(held_lane) CROSS JOIN LATERAL (\
         (SELECT {columns} FROM outbox WHERE lane = held_lane AND parked_at IS NULL AND retry_at IS NULL \
         ORDER BY seq LIMIT $2) UNION ALL \
         (SELECT {columns} FROM outbox WHERE lane = held_lane AND parked_at IS NULL AND retry_at <= now() \
         ORDER BY retry_at LIMIT $2)) AS head ORDER BY seq LIMIT {WINDOW}",
        columns = columns.join(", "),
    );
    let held: Vec<String> = lanes.iter().map(i16::to_string).collect();
    let values = [format!("{{{}}}", held.join(",")).into(), ((WINDOW / lanes.len()) as i64).into()];
    let rows = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    row::Entity::find().from_raw_sql(rows).all(transaction).await
}

/// Deletes what was accepted, notes what was refused.
async fn settle(db: &impl ConnectionTrait, settled: &Settled) -> Result<(), DbErr> {
    if !settled.accepted.is_empty() {
        let accepted = padded(settled.accepted.iter().copied());
        row::Entity::delete_many().filter(row::Column::Seq.is_in(accepted)).exec(db).await?;
    }
    // Those that were tried equally often wait equally long: a statement for each number of attempts, not for each
    // of the thousand events that a full queue refuses at once.
    let mut again: BTreeMap<i32, Vec<&Refused>> = BTreeMap::new();
    for refused in &settled.refused {
        if refused.park {
            tracing::error!(seq = refused.seq, "parked an event that can never be delivered: {}", refused.reason);
            let parked = row::Column::ParkedAt;
            note(db, &[refused], parked, Expr::value(Some(contracts::now()))).await?;
        } else {
            again.entry(refused.attempts).or_default().push(refused);
        }
    }
    for (attempts, refused) in again {
        let (count, reason) = (refused.len(), &refused[0].reason);
        tracing::warn!(count, attempts, "the bus refused {count} events, they wait; the first: {reason}");
        let until = retry_at(db.get_database_backend(), attempts);
        note(db, &refused, row::Column::RetryAt, until).await?;
    }
    Ok(())
}

async fn note(
    db: &impl ConnectionTrait,
    refused: &[&Refused],
    column: row::Column,
    at: SimpleExpr,
) -> Result<(), DbErr> {
    let reason = refused.first().map(|refused| refused.reason.clone());
    row::Entity::update_many()
        .col_expr(row::Column::Attempts, Expr::col(row::Column::Attempts).add(1))
        .col_expr(row::Column::LastError, Expr::value(reason))
        .col_expr(column, at)
        .filter(row::Column::Seq.is_in(padded(refused.iter().map(|refused| refused.seq))))
        .exec(db)
        .await?;
    Ok(())
}

/// When an event may be tried again after so many attempts. By the server's clock where there is one: replicas read
/// what others wrote, and their own clocks may differ.
fn retry_at(backend: DbBackend, attempts: i32) -> SimpleExpr {
    let pause = REFUSED.0.saturating_mul(1 << attempts.clamp(0, 16)).min(REFUSED.1);
    match backend {
        DbBackend::Postgres => Expr::cust_with_values("now() + make_interval(secs => $1)", [pause.as_secs_f64()]),
        _ => Expr::value(Some(contracts::now() + pause)),
    }
}
