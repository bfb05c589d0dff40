//! A span for each statement, of a request or of a message (OpenTelemetry semantic conventions for database clients).
//!
//! They are made where a statement is written, which knows what it does to which table; nobody has to read it out of the
//! SQL. The text and its values are in no span. Work that nobody asked for, the relay's looks and the housekeeping, has
//! no trace and so no spans.

use std::future::Future;

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr,
    SqlxError, Statement,
};
use tracing::{Instrument, Span, field::Empty, info_span};

/// The port that is not worth a word.
const POSTGRES_PORT: u16 = 5432;

/// Where statements run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    system: &'static str,
    /// The name of the database.
    namespace: Option<String>,
    address: Option<String>,
    port: Option<u16>,
}

impl Place {
    /// Where the statements of `db` run.
    pub(crate) fn of(db: &DatabaseConnection) -> Self {
        match db.get_database_backend() {
            DbBackend::Postgres => {
                let options = db.get_postgres_connection_pool().connect_options();
                Self {
                    system: "postgresql",
                    namespace: options.get_database().map(str::to_owned),
                    address: Some(options.get_host().to_owned()),
                    port: Some(options.get_port()).filter(|port| *port != POSTGRES_PORT),
                }
            }
            // A file's path would tell more of the machine than of the database.
            _ => Self { system: "sqlite", namespace: None, address: None, port: None },
        }
    }
}

/// What statements run on: the pool, or a transaction.
pub trait Connection: ConnectionTrait {
    /// Where that is.
    fn place(&self) -> Place;
}

impl Connection for DatabaseConnection {
    fn place(&self) -> Place {
        Place::of(self)
    }
}

/// The transaction of a [`UnitOfWork`](crate::UnitOfWork).
#[derive(Debug)]
pub struct Transaction {
    inner: DatabaseTransaction,
    place: Place,
}

impl Transaction {
    pub(crate) fn new(inner: DatabaseTransaction, place: Place) -> Self {
        Self { inner, place }
    }

    pub(crate) async fn commit(self) -> Result<(), DbErr> {
        in_span(|| self.place.clone(), "COMMIT", None, self.inner.commit()).await
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.inner.execute_raw(statement).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.inner.execute_unprepared(sql).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.inner.query_one_raw(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.inner.query_all_raw(statement).await
    }
}

impl Connection for Transaction {
    fn place(&self) -> Place {
        self.place.clone()
    }
}

/// Runs a statement that does `operation` to `table`, on `db`, in its span.
///
/// # Errors
/// Those of the statement.
pub async fn statement<T>(
    db: &impl Connection,
    operation: &'static str,
    table: &'static str,
    run: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    in_span(|| db.place(), operation, Some(table), run).await
}

pub(crate) async fn in_span<T>(
    place: impl FnOnce() -> Place,
    operation: &'static str,
    table: Option<&'static str>,
    run: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    if Span::current().is_none() {
        return run.await;
    }
    let Place { system, namespace, address, port } = place();
    let summary = table.map_or_else(|| operation.to_owned(), |table| format!("{operation} {table}"));
    let span = info_span!(
        "statement",
        otel.name = summary,
        otel.kind = "client",
        otel.status_code = Empty,
        error.r#type = Empty,
        db.system.name = system,
        db.namespace = namespace,
        db.operation.name = operation,
        db.collection.name = table,
        db.query.summary = summary,
        db.response.status_code = Empty,
        server.address = address,
        server.port = port.map(i64::from),
    );
    let result = run.instrument(span.clone()).await;
    if let Err(error) = &result {
        let code = code(error);
        span.record("otel.status_code", "ERROR");
        span.record("error.type", code.as_deref().unwrap_or("connection"));
        span.record("db.response.status_code", code);
    }
    result
}

/// PostgreSQL's SQLSTATE, or SQLite's result code; none where the server did not answer.
fn code(error: &DbErr) -> Option<String> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error)) | DbErr::Query(RuntimeErr::SqlxError(error))) = error else {
        return None;
    };
    match &**error {
        SqlxError::Database(error) => error.code().map(|code| code.into_owned()),
        _ => None,
    }
}
