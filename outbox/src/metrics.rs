//! What is counted of a service's database and of its outbox.
//!
//! Statements are measured where the driver runs them, named by what they do to which table: both stand in our own texts,
//! in which nothing of a client's ever is. (Names as in OpenTelemetry's conventions for databases.)

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use chassis::{
    label_set, label_value,
    metrics::{Counter, Counters, Gauge, Histogram, Histograms, Metrics, Raised, Reading},
};
use chrono::{DateTime, Utc};
use contracts::TraceContext;
use messaging::PublishError;
use sea_orm::{ConnAcquireErr, DatabaseConnection, DbBackend, DbErr};

use crate::{RelayError, backlog::Backlog};

/// The bounds for statements, in seconds (OpenTelemetry semantic conventions, `db.client.operation.duration`).
const STATEMENTS: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// The bounds for the way from a commit to the bus, in seconds.
const LAG: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// For so long what was read of the outbox is good, however often it is asked for.
const FRESH: Duration = Duration::from_secs(2);

label_value! {
    /// What a statement does.
    enum Operation {
        Select => "SELECT",
        Insert => "INSERT",
        Update => "UPDATE",
        Delete => "DELETE",
        Begin => "BEGIN",
        Commit => "COMMIT",
        Other => "other",
    }
}

label_value! {
    enum StatementError {
        Any => "_OTHER",
    }
}

label_set! {
    struct Executed {
        operation: Operation,
        collection: Option<Arc<str>>,
        error_type: Option<StatementError>,
    }
}

label_value! {
    enum ConnectionState {
        Idle => "idle",
        Used => "used",
    }
}

label_set! {
    struct Connections { state: ConnectionState }
}

label_value! {
    /// Why the relay could not settle a window.
    enum RelayFailure {
        Database => "database",
        Unavailable => "unavailable",
        Timeout => "timeout",
    }
}

label_set! {
    struct Failed { error_type: RelayFailure }
}

/// What is counted of one outbox and its database. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct OutboxMetrics {
    statements: Histograms<Executed>,
    begin: Histogram,
    commit: Histogram,
    pending: Gauge,
    timeouts: Counter,
    publish_lag: Histogram,
    publish_failures: Counters<Failed>,
}

impl OutboxMetrics {
    /// Without the readings of a database.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let statements = metrics.histograms(
            "db_client_operation_duration_seconds",
            "Time of a statement, or until a transaction has begun, the wait for a connection included",
            STATEMENTS,
        );
        let of_transactions = |operation| Executed { operation, collection: None, error_type: None };
        Self {
            begin: statements.get_or_create_owned(&of_transactions(Operation::Begin)),
            commit: statements.get_or_create_owned(&of_transactions(Operation::Commit)),
            statements,
            pending: metrics.gauge(
                "db_client_connection_pending_requests",
                "Transactions that wait because all connections were in use when they began",
            ),
            timeouts: metrics
                .counter("db_client_connection_timeouts_total", "Transactions that got no connection in time"),
            publish_lag: metrics.histogram(
                "outbox_publish_lag_seconds",
                "Time from an event's transaction until the bus has accepted it",
                LAG,
            ),
            publish_failures: metrics.counters(
                "outbox_publish_failures_total",
                "Windows of the relay that were not settled, and are published again",
            ),
        }
    }

    /// Has every statement on `db`, its connections and the outbox in it measured as well.
    pub(crate) fn look_at(&self, db: &mut DatabaseConnection, metrics: &Metrics) {
        let statements = self.statements.clone();
        db.set_metric_callback(move |info| {
            let (operation, collection) = named(&info.statement.sql);
            let error_type = info.failed.then_some(StatementError::Any);
            let labels = Executed { operation, collection: collection.map(Arc::from), error_type };
            statements.get_or_create(&labels).observe(info.elapsed.as_secs_f64());
        });
        look_at_pool(db, metrics);
        let looked_at = db.clone();
        let backlog = metrics.reading("outbox", FRESH, move || Backlog::read(looked_at.clone()));
        look_at_backlog(&backlog, metrics);
    }

    /// Measures how a transaction begins.
    pub(crate) async fn beginning<T>(
        &self,
        db: &DatabaseConnection,
        begin: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, DbErr> {
        let _pending = pool(db).is_exhausted().then(|| Raised::new(&self.pending));
        let began = Instant::now();
        let begun = begin.await;
        match &begun {
            Ok(_) => self.begin.observe(began.elapsed().as_secs_f64()),
            Err(DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)) => {
                self.timeouts.inc();
            }
            Err(_) => {}
        }
        begun
    }

    /// Measures a commit.
    pub(crate) async fn committing(&self, commit: impl Future<Output = Result<(), DbErr>>) -> Result<(), DbErr> {
        let began = Instant::now();
        commit.await?;
        self.commit.observe(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Counts an event that the bus has, and that was written at `since`.
    pub(crate) fn published(&self, since: DateTime<Utc>, trace_context: &TraceContext) {
        let lag = (contracts::now() - since).as_seconds_f64().max(0.0);
        self.publish_lag.observe_for(trace_context, lag);
    }

    /// Counts a window that was not settled.
    pub(crate) fn not_settled(&self, error: &RelayError) {
        let error_type = match error {
            RelayError::Database(_) => RelayFailure::Database,
            RelayError::Publish(PublishError::Unavailable(_)) => RelayFailure::Unavailable,
            RelayError::Publish(PublishError::Timeout(_)) => RelayFailure::Timeout,
        };
        self.publish_failures.get_or_create(&Failed { error_type }).inc();
    }
}

/// A pool at this moment.
#[derive(Debug, Clone, Copy)]
struct Pool {
    size: usize,
    idle: usize,
    max: usize,
}

impl Pool {
    fn is_exhausted(self) -> bool {
        self.idle == 0 && self.size >= self.max
    }
}

fn pool(db: &DatabaseConnection) -> Pool {
    let (size, idle, max) = match db.get_database_backend() {
        DbBackend::Postgres => {
            let pool = db.get_postgres_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        }
        _ => {
            let pool = db.get_sqlite_connection_pool();
            (pool.size(), pool.num_idle(), pool.options().get_max_connections())
        }
    };
    Pool { size: size as usize, idle, max: max as usize }
}

fn look_at_pool(db: &DatabaseConnection, metrics: &Metrics) {
    let looked_at = db.clone();
    metrics.all_observed("db_client_connections", "Connections to the database, by what they do", move || {
        let Pool { size, idle, .. } = pool(&looked_at);
        // The two are not read at the same moment.
        let states = [(ConnectionState::Idle, idle.min(size)), (ConnectionState::Used, size.saturating_sub(idle))];
        states.map(|(state, count)| (Connections { state }, count as f64)).into()
    });
    let max = pool(db).max as f64;
    metrics.observed("db_client_connection_max", "How many connections there may be", move || Some(max));
}

fn look_at_backlog(backlog: &Reading<Backlog>, metrics: &Metrics) {
    let of = |field: fn(Backlog) -> f64| {
        let backlog = backlog.clone();
        move || backlog.get().map(field)
    };
    metrics.observed(
        "outbox_unpublished_messages",
        "Events that wait for the bus, as far as they are counted: up to a million",
        of(|backlog| backlog.unpublished as f64),
    );
    metrics.observed(
        "outbox_oldest_unpublished_age_seconds",
        "How long the first of them has waited; 0 when there is none",
        of(|backlog| backlog.oldest.map_or(0.0, |since| (contracts::now() - since).as_seconds_f64().max(0.0))),
    );
    metrics.observed(
        "outbox_parked_messages",
        "Events that can never be delivered, which wait for an operator",
        of(|backlog| backlog.parked as f64),
    );
}

/// What a statement does, and to which table.
fn named(sql: &str) -> (Operation, Option<&str>) {
    let mut words = sql.split_ascii_whitespace();
    let operation = match words.next() {
        Some("SELECT") => Operation::Select,
        Some("INSERT") => Operation::Insert,
        Some("UPDATE") => Operation::Update,
        Some("DELETE") => Operation::Delete,
        _ => Operation::Other,
    };
    let mut words = sql.split_ascii_whitespace();
    while let Some(word) = words.next() {
        if matches!(word, "FROM" | "INTO" | "UPDATE" | "JOIN")
            && let Some(table) = words.next().and_then(table)
        {
            return (operation, Some(table));
        }
    }
    (operation, None)
}

/// A name, with or without quotes. Not a function, nor a statement in brackets.
fn table(word: &str) -> Option<&str> {
    let name = word.trim_end_matches(')').trim_matches('"');
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase());
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_what_it_does_to_which_table() {
        for (sql, expected) in [
            (r#"SELECT "orders"."id" FROM "orders" WHERE "orders"."id" = $1"#, ("SELECT", Some("orders"))),
            (r#"INSERT INTO "outbox" ("seq", "body") VALUES ($1, $2)"#, ("INSERT", Some("outbox"))),
            (r#"UPDATE "outbox" SET "attempts" = "attempts" + 1"#, ("UPDATE", Some("outbox"))),
            (r#"DELETE FROM "outbox" WHERE "seq" IN ($1)"#, ("DELETE", Some("outbox"))),
            (
                "SELECT free.lane FROM outbox_lane AS free CROSS JOIN LATERAL (SELECT 1)",
                ("SELECT", Some("outbox_lane")),
            ),
            (
                "SELECT a FROM unnest($1::text::smallint[]) AS held(a) CROSS JOIN LATERAL ((SELECT a FROM outbox WHERE x))",
                ("SELECT", Some("outbox")),
            ),
            ("SELECT EXISTS (SELECT 1 FROM (SELECT 1 FROM outbox) AS work)", ("SELECT", Some("outbox"))),
            ("SELECT 1", ("SELECT", None)),
            ("PRAGMA foreign_keys = ON", ("other", None)),
            ("", ("other", None)),
        ] {
            let (operation, collection) = named(sql);
            assert_eq!((operation.as_str(), collection), expected, "{sql}");
        }
    }
}
