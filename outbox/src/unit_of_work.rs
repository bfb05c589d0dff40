//! A transaction that can also publish.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use chassis::{metrics::Metrics, propagation};
use chrono::{DateTime, Utc};
use contracts::{Event, EventEnvelope, TraceContext, event_id, topology};
use sea_orm::{
    ActiveValue::Set,
    DatabaseConnection, DbBackend, DbErr, EntityTrait, ExprTrait, RuntimeErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
    sea_query::{Expr, IntoColumnRef, OnConflict, Query, SimpleExpr},
};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard};
use tracing::{Span, info_span};
use uuid::Uuid;

use crate::{
    batch::portions,
    metrics::OutboxMetrics,
    row,
    statement::{Place, Transaction, in_span, statement},
};

/// The database of a service together with its outbox. Cheap to clone; all clones wake the same relays.
#[derive(Clone, Debug)]
pub struct Outbox {
    db: DatabaseConnection,
    source: &'static str,
    place: Place,
    wake: Arc<Notify>,
    /// SQLite has one writer, and its own way to wait for the lock is to sleep and look again, unfairly. A queue in
    /// front of it turns that into first come, first served.
    writer: Option<Arc<Mutex<()>>>,
    metrics: OutboxMetrics,
}

impl Outbox {
    /// The outbox of the service `source` in `db`, without anybody to measure it.
    pub fn new(db: DatabaseConnection, source: &'static str) -> Self {
        Self::over(db, source, OutboxMetrics::register(&Metrics::new(source)))
    }

    /// The outbox in `db` of the service that is measured.
    pub fn measured(mut db: DatabaseConnection, metrics: &Metrics) -> Self {
        let counted = OutboxMetrics::register(metrics);
        counted.look_at(&mut db, metrics);
        Self::over(db, metrics.service(), counted)
    }

    fn over(db: DatabaseConnection, source: &'static str, metrics: OutboxMetrics) -> Self {
        let writer = (db.get_database_backend() == DbBackend::Sqlite).then(Arc::default);
        let place = Place::of(&db);
        Self { db, source, place, wake: Arc::new(Notify::new()), writer, metrics }
    }

    /// The pool, for reading.
    pub fn db(&self) -> &DatabaseConnection {
        &self.db
    }

    /// Whether the database answers.
    pub async fn is_available(&self) -> bool {
        self.db.ping().await.is_ok()
    }

    pub(crate) fn source(&self) -> &'static str {
        self.source
    }

    pub(crate) fn metrics(&self) -> &OutboxMetrics {
        &self.metrics
    }

    pub(crate) fn wake(&self) -> &Notify {
        &self.wake
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.writer.is_some()
    }

    /// Begins a transaction that writes.
    ///
    /// # Errors
    /// When the database does not let us.
    pub async fn begin(&self) -> Result<UnitOfWork, DbErr> {
        in_span(|| self.place.clone(), "BEGIN", None, self.begin_without_span()).await
    }

    async fn begin_without_span(&self) -> Result<UnitOfWork, DbErr> {
        let writer = match &self.writer {
            Some(writer) => Some(Arc::clone(writer).lock_owned().await),
            None => None,
        };
        // IMMEDIATE: a transaction that starts by reading could not become a writer later, when another one was
        // faster.
        let options = TransactionOptions {
            sqlite_transaction_mode: self.writer.as_ref().map(|_| SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        // In a task of its own, which comes to its end when the caller is gone, as with a client that hung up: a BEGIN
        // that is dropped on its way leaves PostgreSQL's session in a transaction that the pool knows nothing of.
        let (db, metrics) = (self.db.clone(), self.metrics.clone());
        let begun = tokio::spawn(async move {
            let begun = metrics.beginning(&db, db.begin_with_options(options)).await;
            Ok::<_, DbErr>((begun?, writer))
        });
        let (transaction, writer) =
            begun.await.map_err(|ended| DbErr::Conn(RuntimeErr::Internal(ended.to_string())))??;
        Ok(UnitOfWork {
            transaction: Transaction::new(transaction, self.place.clone()),
            events: Vec::new(),
            repeated: Vec::new(),
            now: OnceLock::new(),
            outbox: self.clone(),
            _writer: writer,
        })
    }
}

/// An event of an aggregate.
#[derive(Debug, Clone, Copy)]
pub struct Said<'a, E> {
    /// Whose state changed.
    pub aggregate_id: Uuid,
    /// Which of its events it is.
    pub event_no: i64,
    /// When it happened.
    pub occurred_at: DateTime<Utc>,
    /// What it said.
    pub event: &'a E,
}

/// The present by the clock of the server, where there is one: replicas read what others wrote, and their own clocks may
/// differ.
pub fn server_time(backend: DbBackend) -> SimpleExpr {
    match backend {
        DbBackend::Postgres => Expr::current_timestamp(),
        _ => Expr::value(contracts::now()),
    }
}

/// Narrows a query to aggregates of which nothing waits in the outbox of the same database; `id` is the column with
/// their ids.
pub fn says_nothing_of(id: impl IntoColumnRef) -> SimpleExpr {
    let waiting = Query::select()
        .expr(Expr::value(1))
        .from(row::Entity)
        .and_where(Expr::col((row::Entity, row::Column::AggregateId)).eq(Expr::col(id)))
        .to_owned();
    Expr::exists(waiting).not()
}

/// One transaction: state changes through [`UnitOfWork::db`], events through [`UnitOfWork::publish`], and both or
/// neither at [`UnitOfWork::commit`]. Dropped without a commit, nothing happened.
#[derive(Debug)]
pub struct UnitOfWork {
    // Dropped, and so rolled back, before the writer's turn ends.
    transaction: Transaction,
    events: Vec<row::ActiveModel>,
    repeated: Vec<row::ActiveModel>,
    now: OnceLock<DateTime<Utc>>,
    outbox: Outbox,
    _writer: Option<OwnedMutexGuard<()>>,
}

impl UnitOfWork {
    /// The transaction, for statements.
    pub fn db(&self) -> &Transaction {
        &self.transaction
    }

    /// The instant of this transaction: what its rows and its events say of when it happened. It is read at the first
    /// call: ask only after the rows are locked, or a transaction that had to wait would tell of an earlier time.
    pub fn now(&self) -> DateTime<Utc> {
        *self.now.get_or_init(contracts::now)
    }

    /// Adds the `event_no`-th event of an aggregate, in the current trace.
    ///
    /// Call it after the aggregate's row was written in this transaction: the lock on that row is what keeps the
    /// events of one aggregate in order.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn publish<E: Event>(&mut self, aggregate_id: Uuid, event_no: i64, event: &E) -> Result<(), DbErr> {
        self.say(None, Said { aggregate_id, event_no, occurred_at: self.now(), event })
    }

    /// Like [`UnitOfWork::publish`], in the trace of the message that caused the event: in a batch each event
    /// belongs to another trace.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn publish_in<E: Event>(
        &mut self,
        cause: &TraceContext,
        aggregate_id: Uuid,
        event_no: i64,
        event: &E,
    ) -> Result<(), DbErr> {
        self.say(Some(cause), Said { aggregate_id, event_no, occurred_at: self.now(), event })
    }

    /// Like [`UnitOfWork::publish`] and [`UnitOfWork::publish_in`], with the time that the aggregate's row has.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn say<E: Event>(&mut self, cause: Option<&TraceContext>, said: Said<'_, E>) -> Result<(), DbErr> {
        let event = self.envelope(cause, said)?;
        self.events.push(event.into());
        Ok(())
    }

    /// Says again what was said before, in the trace of `cause` or else the current one: the same event under the same
    /// id, and with `asks` a question for the receiver's side of it. Where it still waits in the outbox it is not
    /// added a second time.
    ///
    /// # Errors
    /// When the event cannot be written as JSON.
    pub fn repeat<E: Event>(
        &mut self,
        cause: Option<&TraceContext>,
        said: Said<'_, E>,
        asks: bool,
    ) -> Result<(), DbErr> {
        let event = self.envelope(cause, said)?;
        let event = row::ActiveModel::from(EventEnvelope { asks, ..event });
        self.repeated.push(row::ActiveModel { repeated_at: Set(Some(self.now())), ..event });
        Ok(())
    }

    fn envelope<E: Event>(&self, cause: Option<&TraceContext>, said: Said<'_, E>) -> Result<EventEnvelope, DbErr> {
        let Said { aggregate_id, event_no, occurred_at, event } = said;
        let body = serde_json::to_vec(event).map_err(|e| DbErr::Json(e.to_string()))?;
        // The creation context travels in the row, so that the trace goes on even if this process dies before the
        // relay runs (OpenTelemetry semantic conventions for messaging, "create").
        let destination = format!("{}:{}", topology::EXCHANGE, E::TYPE);
        let span = info_span!(
            "create",
            otel.name = format!("create {destination}"),
            otel.kind = "producer",
            messaging.system = "rabbitmq",
            messaging.operation.name = "create",
            messaging.operation.r#type = "create",
            messaging.destination.name = destination,
            messaging.rabbitmq.destination.routing_key = E::TYPE.as_str(),
            messaging.message.id = %event_id(aggregate_id, event_no),
            messaging.message.conversation_id = %event.order_id(),
        );
        match cause {
            Some(cause) => propagation::set_parent(&span, cause, self.outbox.source),
            // Nobody asked for it: it is where a trace begins.
            None if Span::current().is_none() => propagation::set_root(&span, self.outbox.source),
            None => {}
        }
        Ok(EventEnvelope {
            id: event_id(aggregate_id, event_no),
            event_type: E::TYPE,
            source: self.outbox.source.to_owned(),
            aggregate_id,
            event_no,
            order_id: event.order_id(),
            occurred_at,
            trace_context: propagation::trace_context_of(&span),
            asks: false,
            body: Bytes::from(body),
        })
    }

    /// Commits state and events, and wakes a relay.
    ///
    /// # Errors
    /// When the database refuses. The outcome is then unknown, as it is for any commit whose answer was lost.
    pub async fn commit(self) -> Result<(), DbErr> {
        let published = !self.events.is_empty() || !self.repeated.is_empty();
        for rows in portions(&self.events) {
            let insert = row::Entity::insert_many(rows.iter().cloned()).exec_without_returning(&self.transaction);
            statement(&self.transaction, "INSERT", "outbox", insert).await?;
        }
        let once = OnConflict::columns([row::Column::AggregateId, row::Column::EventNo]).do_nothing().to_owned();
        for rows in portions(&self.repeated) {
            let insert = row::Entity::insert_many(rows.iter().cloned())
                .on_conflict(once.clone())
                .exec_without_returning(&self.transaction);
            statement(&self.transaction, "INSERT", "outbox", insert).await?;
        }
        self.outbox.metrics.committing(self.transaction.commit()).await?;
        if published {
            self.outbox.wake.notify_one();
        }
        Ok(())
    }
}
