//! What is there at the end: the rows of both databases, past the services, and the dead letters.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use contracts::topology::QUEUES;
use lapin::options::BasicGetOptions;
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, QueryResult, Statement};
use tokio::time::sleep;
use uuid::Uuid;

use crate::{
    broker::{self, Management},
    check, poison,
    replica::Service,
    system::System,
    tap::{self, Tap},
};

/// How long the system may need to come to rest.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the queues have to stay empty: the broker's figures are up to five seconds old.
pub(crate) const REST: Duration = Duration::from_secs(6);

/// An order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderRow {
    pub(crate) customer: String,
    pub(crate) amount: i64,
    pub(crate) status: String,
    pub(crate) invoice_status: String,
    pub(crate) event_no: i64,
}

/// An invoice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InvoiceRow {
    pub(crate) id: Uuid,
    pub(crate) number: i64,
    pub(crate) order: Uuid,
    /// Neither for a tombstone.
    pub(crate) customer: Option<String>,
    pub(crate) amount: Option<i64>,
    pub(crate) status: String,
    pub(crate) version: i64,
}

/// Everything there is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Snapshot {
    pub(crate) orders: BTreeMap<Uuid, OrderRow>,
    pub(crate) invoices: Vec<InvoiceRow>,
    /// The order of each idempotency key.
    pub(crate) keys: BTreeMap<String, Uuid>,
    /// What still waits in an outbox, parked or not.
    pub(crate) outbox: Vec<String>,
    /// What the queues still hold, dead letters apart.
    pub(crate) queued: BTreeMap<String, u64>,
    /// The tokens among the dead letters of `orders`.
    pub(crate) poison: BTreeSet<String>,
    /// Dead letters that are not known to be poison.
    pub(crate) strangers: Vec<String>,
}

/// How many events wait in both outboxes.
pub(crate) async fn waiting(system: &System) -> anyhow::Result<u64> {
    let mut count = 0;
    for service in [Service::Orders, Service::Invoices] {
        for row in rows(&connect(system, service).await?, "SELECT count(*) AS n FROM outbox").await? {
            count += row.try_get::<i64>("", "n")?.unsigned_abs();
        }
    }
    Ok(count)
}

/// The one number that a query answers, as `n`.
pub(crate) async fn count(db: &DatabaseConnection, sql: &str) -> anyhow::Result<i64> {
    Ok(rows(db, sql).await?.first().context("no row")?.try_get("", "n")?)
}

/// Waits until nothing happens any more: outboxes and queues are empty, every order has come to an end, and the tap,
/// where there is one, has seen all of it. What has not come to rest in time is for the invariants to name.
pub(crate) async fn at_rest(system: &System, management: &Management, tap: Option<&Tap>) -> anyhow::Result<Snapshot> {
    let began = Instant::now();
    let mut since = Instant::now();
    loop {
        let restless = match management.queues().await {
            Ok(queues) => queues.iter().any(|(name, messages)| !name.ends_with(".dlq") && *messages > 0),
            Err(_) => true,
        };
        if restless || waiting(system).await? > 0 {
            since = Instant::now();
        }
        let over = began.elapsed() > PATIENCE;
        if since.elapsed() > REST || over {
            let snapshot = take(system, management).await?;
            let seen = || tap.is_none_or(|tap| check::unseen(&snapshot, &tap.published()).is_empty());
            if over || (check::unsettled(&snapshot) == 0 && seen()) {
                return Ok(snapshot);
            }
        }
        sleep(Duration::from_millis(500)).await;
    }
}

async fn take(system: &System, management: &Management) -> anyhow::Result<Snapshot> {
    let mut snapshot = Snapshot::default();
    let orders = connect(system, Service::Orders).await?;
    for row in rows(&orders, "SELECT id, customer_id, amount, status, invoice_status, event_no FROM orders").await? {
        let order = OrderRow {
            customer: row.try_get("", "customer_id")?,
            amount: row.try_get::<i32>("", "amount")?.into(),
            status: row.try_get("", "status")?,
            invoice_status: row.try_get("", "invoice_status")?,
            event_no: row.try_get("", "event_no")?,
        };
        snapshot.orders.insert(row.try_get("", "id")?, order);
    }
    for row in rows(&orders, "SELECT key, order_id FROM idempotency").await? {
        snapshot.keys.insert(row.try_get("", "key")?, row.try_get("", "order_id")?);
    }
    let invoices = connect(system, Service::Invoices).await?;
    let sql = "SELECT number, id, order_id, customer_id, amount, status, version FROM invoices";
    for row in rows(&invoices, sql).await? {
        snapshot.invoices.push(InvoiceRow {
            id: row.try_get("", "id")?,
            number: row.try_get("", "number")?,
            order: row.try_get("", "order_id")?,
            customer: row.try_get("", "customer_id")?,
            amount: row.try_get::<Option<i32>>("", "amount")?.map(i64::from),
            status: row.try_get("", "status")?,
            version: row.try_get("", "version")?,
        });
    }
    for db in [&orders, &invoices] {
        let sql = "SELECT event_type, event_id, attempts, parked_at IS NOT NULL AS parked FROM outbox";
        for row in rows(db, sql).await? {
            let (kind, id): (String, Uuid) = (row.try_get("", "event_type")?, row.try_get("", "event_id")?);
            let (attempts, parked): (i32, bool) = (row.try_get("", "attempts")?, row.try_get("", "parked")?);
            snapshot.outbox.push(format!("{kind} {id}, {attempts} attempts, parked: {parked}"));
        }
    }
    let queues = management.queues().await?;
    let queued = queues.into_iter().filter(|(name, messages)| !name.ends_with(".dlq") && *messages > 0);
    snapshot.queued = queued.filter(|(name, _)| name != tap::QUEUE).collect();
    read_dead_letters(&dead_letters(&system.broker_url()).await?, &mut snapshot);
    Ok(snapshot)
}

/// A dead letter.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetter {
    queue: String,
    body: Vec<u8>,
    why: String,
}

impl DeadLetter {
    fn token(&self) -> Option<String> {
        poison::token_in(&self.body).filter(|_| self.queue == "orders.dlq")
    }

    /// Whether it is not known to be poison.
    pub(crate) fn is_stranger(&self) -> bool {
        self.token().is_none()
    }

    /// Whether it tells of an order.
    pub(crate) fn is_of(&self, order: Uuid) -> bool {
        let text = String::from_utf8_lossy(&self.body[..self.body.len().min(1000)]);
        text.contains(&order.to_string())
    }
}

impl fmt::Display for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let body: String = String::from_utf8_lossy(&self.body).chars().take(200).collect();
        write!(f, "{}: {body} {}", self.queue, self.why)
    }
}

fn read_dead_letters(letters: &[DeadLetter], snapshot: &mut Snapshot) {
    for letter in letters {
        match letter.token() {
            Some(token) => drop(snapshot.poison.insert(token)),
            None => snapshot.strangers.push(letter.to_string()),
        }
    }
}

/// Looks at every dead letter; all of them go back when the connection closes.
pub(crate) async fn dead_letters(url: &str) -> anyhow::Result<Vec<DeadLetter>> {
    let (connection, channel) = broker::connect(url).await?;
    let mut letters = Vec::new();
    for queue in QUEUES {
        let name = queue.dead_letter_name();
        while let Some(message) = channel.basic_get(name.as_str().into(), BasicGetOptions::default()).await? {
            let headers = message.delivery.properties.headers().clone().unwrap_or_default();
            let why = ["x-error", "x-first-death-reason"].iter().find_map(|name| headers.inner().get(*name));
            let why = why.map(|why| format!("{why:?}")).unwrap_or_default();
            letters.push(DeadLetter { queue: name.clone(), body: message.delivery.data.clone(), why });
        }
    }
    connection.close(200, "seen".into()).await?;
    Ok(letters)
}

/// How many of these orders have an invoice.
pub(crate) async fn invoiced(system: &System, orders: &[Uuid]) -> anyhow::Result<usize> {
    let ids: Vec<_> = orders.iter().map(|id| format!("'{id}'")).collect();
    let sql = format!("SELECT order_id FROM invoices WHERE amount IS NOT NULL AND order_id IN ({})", ids.join(","));
    Ok(rows(&connect(system, Service::Invoices).await?, &sql).await?.len())
}

/// How many events of orders wait because the broker refused them.
pub(crate) async fn refused(system: &System) -> anyhow::Result<usize> {
    let sql = "SELECT seq FROM outbox WHERE attempts > 0";
    Ok(rows(&connect(system, Service::Orders).await?, sql).await?.len())
}

/// Does something to the database of a service, past the service.
pub(crate) async fn execute(system: &System, service: Service, sql: &str) -> anyhow::Result<()> {
    connect(system, service).await?.execute_unprepared(sql).await.with_context(|| sql.to_owned())?;
    Ok(())
}

/// The database of a service, past its proxies.
pub(crate) async fn connect(system: &System, service: Service) -> anyhow::Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(system.database_url(service));
    options.sqlx_logging(false).max_connections(1);
    let db = Database::connect(options).await?;
    ensure!(db.get_database_backend() == DbBackend::Postgres, "not PostgreSQL");
    Ok(db)
}

async fn rows(db: &DatabaseConnection, sql: &str) -> anyhow::Result<Vec<QueryResult>> {
    Ok(db.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await?)
}
