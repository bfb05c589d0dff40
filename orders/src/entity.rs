//! The tables `orders`, `order_history` and `idempotency`, and every statement on them.

#![allow(unreachable_pub, reason = "the derive wants its models public; the modules keep them in")]

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use contracts::{CustomerId, EventType};
use outbox::{Connection, padded, portions, statement};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, Order as Direction, QueryFilter, QueryOrder,
    QueryResult, QuerySelect, QueryTrait, Statement,
    entity::prelude::*,
    sea_query::{Expr, LockBehavior, LockType, OnConflict},
};
use serde::{Deserialize, Serialize};

use crate::{
    order::{HistoryEntry, InvoiceStatus, Order, OrderStatus},
    saga::State,
};

const ORDERS: &str = "orders";
const HISTORY: &str = "order_history";
const IDEMPOTENCY: &str = "idempotency";

/// The table `orders`.
mod orders {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "orders")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub customer_id: String,
        pub amount: i32,
        pub status: OrderStatus,
        pub invoice_status: InvoiceStatus,
        pub version: i64,
        pub event_no: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
        pub reconcile_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod history {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "order_history")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub order_id: Uuid,
        #[sea_orm(primary_key, auto_increment = false)]
        pub event_type: String,
        pub at: DateTimeUtc,
        pub trace_id: Option<String>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod idempotency {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "idempotency")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub client_id: String,
        #[sea_orm(primary_key, auto_increment = false)]
        pub key: String,
        pub request_hash: String,
        pub order_id: Uuid,
        pub created_at: DateTimeUtc,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

impl From<orders::Model> for Order {
    fn from(row: orders::Model) -> Self {
        Self {
            id: row.id,
            customer_id: row.customer_id,
            amount: row.amount,
            status: row.status,
            invoice_status: row.invoice_status,
            version: row.version,
            event_no: row.event_no,
            created_at: row.created_at,
            updated_at: row.updated_at,
            reconcile_at: row.reconcile_at,
        }
    }
}

impl From<&Order> for orders::ActiveModel {
    fn from(order: &Order) -> Self {
        Self {
            id: Set(order.id),
            customer_id: Set(order.customer_id.clone()),
            amount: Set(order.amount),
            status: Set(order.status),
            invoice_status: Set(order.invoice_status),
            version: Set(order.version),
            event_no: Set(order.event_no),
            created_at: Set(order.created_at),
            updated_at: Set(order.updated_at),
            reconcile_at: Set(order.reconcile_at),
        }
    }
}

/// What a list may be narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these.
    pub status: Option<Vec<OrderStatus>>,
    /// Exactly this customer.
    pub customer_id: Option<String>,
    /// At or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Before.
    pub created_before: Option<DateTime<Utc>>,
}

/// How a list is sorted; the id breaks ties.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// Newest first.
    #[default]
    CreatedAtDesc,
    /// Oldest first.
    CreatedAtAsc,
    /// Dearest first.
    AmountDesc,
    /// Cheapest first.
    AmountAsc,
}

/// Where a page ended: the sort key of its last order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    #[serde(deserialize_with = "chassis::cursor::plausible_instant")]
    at: DateTime<Utc>,
    amount: i32,
    id: Uuid,
}

impl From<&Order> for Key {
    fn from(order: &Order) -> Self {
        Self { at: order.created_at, amount: order.amount, id: order.id }
    }
}

/// Every query on behalf of somebody starts here: `owner` is whose orders may be found, everybody's when there is none.
fn of(owner: Option<&CustomerId>) -> sea_orm::Select<orders::Entity> {
    match owner {
        Some(owner) => orders::Entity::find().filter(orders::Column::CustomerId.eq(owner.as_str())),
        None => orders::Entity::find(),
    }
}

pub(crate) async fn find(db: &impl Connection, id: Uuid, owner: Option<&CustomerId>) -> Result<Option<Order>, DbErr> {
    let find = of(owner).filter(orders::Column::Id.eq(id)).one(db);
    Ok(statement(db, "SELECT", ORDERS, find).await?.map(Order::from))
}

pub(crate) async fn find_many(
    db: &impl Connection,
    ids: &[Uuid],
    owner: Option<&CustomerId>,
) -> Result<Vec<Order>, DbErr> {
    let find = of(owner).filter(orders::Column::Id.is_in(padded(ids.iter().copied()))).all(db);
    let rows = statement(db, "SELECT", ORDERS, find).await?;
    Ok(rows.into_iter().map(Order::from).collect())
}

/// Locks one order for a change that somebody asks for. An order of somebody else is not even waited for.
pub(crate) async fn lock_one(
    db: &impl Connection,
    id: Uuid,
    owner: Option<&CustomerId>,
) -> Result<Option<Order>, DbErr> {
    let lock = of(owner).filter(orders::Column::Id.eq(id)).lock_exclusive().one(db);
    Ok(statement(db, "SELECT", ORDERS, lock).await?.map(Order::from))
}

/// Locks orders for a change, in the order of their ids: two transactions with overlapping batches then wait for
/// each other instead of deadlocking. (SQLite's single writer needs no row locks.)
pub(crate) async fn lock(
    db: &impl Connection,
    ids: impl IntoIterator<Item = Uuid>,
) -> Result<BTreeMap<Uuid, Order>, DbErr> {
    let lock = orders::Entity::find()
        .filter(orders::Column::Id.is_in(padded(ids)))
        .order_by_asc(orders::Column::Id)
        .lock_exclusive()
        .all(db);
    let rows = statement(db, "SELECT", ORDERS, lock).await?;
    Ok(rows.into_iter().map(|row| (row.id, row.into())).collect())
}

/// Locks orders that are due to be asked after, the longest due first. What another replica has in hand is left to it,
/// so this waits for nobody and the order of locking does not matter. While something about an order still waits in the
/// outbox, there is nothing to ask.
pub(crate) async fn lock_due(db: &impl Connection, limit: u64) -> Result<Vec<Order>, DbErr> {
    let lock = orders::Entity::find()
        .filter(Expr::col(orders::Column::ReconcileAt).lte(outbox::server_time(db.get_database_backend())))
        .filter(outbox::says_nothing_of((orders::Entity, orders::Column::Id)))
        .order_by_asc(orders::Column::ReconcileAt)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(db);
    let rows = statement(db, "SELECT", ORDERS, lock).await?;
    Ok(rows.into_iter().map(Order::from).collect())
}

pub(crate) async fn insert(db: &impl Connection, order: &Order) -> Result<(), DbErr> {
    let insert = orders::Entity::insert(orders::ActiveModel::from(order)).exec_without_returning(db);
    statement(db, "INSERT", ORDERS, insert).await?;
    Ok(())
}

/// Writes changed orders. They are locked, so every one of them exists and the insert turns into an update.
pub(crate) async fn save(db: &impl Connection, changed: &[&Order]) -> Result<(), DbErr> {
    use orders::Column::*;
    let update = OnConflict::column(Id)
        .update_columns([Status, InvoiceStatus, Version, EventNo, UpdatedAt, ReconcileAt])
        .to_owned();
    for portion in portions(changed) {
        let save = orders::Entity::insert_many(portion.iter().map(|order| orders::ActiveModel::from(*order)))
            .on_conflict(update.clone())
            .exec_without_returning(db);
        statement(db, "INSERT", ORDERS, save).await?;
    }
    Ok(())
}

/// One page more than `limit` long, so that the caller sees whether there is another.
pub(crate) async fn page(
    db: &impl Connection,
    filter: &Filter,
    sort: Sort,
    after: Option<Key>,
    limit: u64,
) -> Result<Vec<Order>, DbErr> {
    use orders::Column;
    let (column, direction) = match sort {
        Sort::CreatedAtDesc => (Column::CreatedAt, Direction::Desc),
        Sort::CreatedAtAsc => (Column::CreatedAt, Direction::Asc),
        Sort::AmountDesc => (Column::Amount, Direction::Desc),
        Sort::AmountAsc => (Column::Amount, Direction::Asc),
    };
    let mut query = orders::Entity::find();
    if let Some(status) = &filter.status {
        query = query.filter(Column::Status.is_in(status.iter().copied()));
    }
    if let Some(customer_id) = &filter.customer_id {
        query = query.filter(Column::CustomerId.eq(customer_id));
    }
    if let Some(from) = filter.created_from {
        query = query.filter(Column::CreatedAt.gte(from));
    }
    if let Some(before) = filter.created_before {
        query = query.filter(Column::CreatedAt.lt(before));
    }
    if let Some(key) = after {
        let value = match column {
            Column::Amount => Expr::value(key.amount),
            _ => Expr::value(key.at),
        };
        // A row comparison: the index (column, id) starts right there.
        let row = Expr::tuple([Expr::col(column), Expr::col(Column::Id)]);
        let end = Expr::tuple([value, Expr::value(key.id)]);
        query = query.filter(match direction {
            Direction::Desc => row.lt(end),
            _ => row.gt(end),
        });
    }
    let page = query.order_by(column, direction.clone()).order_by(Column::Id, direction).limit(limit + 1).all(db);
    let rows = statement(db, "SELECT", ORDERS, page).await?;
    Ok(rows.into_iter().map(Order::from).collect())
}

/// Orders in one state that wait for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    pub state: State,
    pub count: i64,
    /// When the first of them came into it.
    pub oldest: DateTime<Utc>,
}

/// The orders that wait for something, by state: the first hundred thousand in the order in which they are asked after,
/// so that a shop full of unpaid orders is not read to its end.
pub(crate) async fn waiting(db: &impl ConnectionTrait) -> Result<Vec<Waiting>, DbErr> {
    let sql = "SELECT status, invoice_status, COUNT(*) AS instances, MIN(updated_at) AS oldest FROM (SELECT status, \
               invoice_status, updated_at FROM orders WHERE reconcile_at IS NOT NULL ORDER BY reconcile_at LIMIT 100000) \
               AS waiting GROUP BY status, invoice_status";
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let waiting = |row: QueryResult| {
        let state = State { status: row.try_get("", "status")?, invoice: row.try_get("", "invoice_status")? };
        Ok(Waiting { state, count: row.try_get("", "instances")?, oldest: row.try_get("", "oldest")? })
    };
    rows.into_iter().map(waiting).collect()
}

/// Adds what happened. A thing that is there already stays as it is; answers what was not.
pub(crate) async fn remember(
    db: &impl Connection,
    entries: &[HistoryEntry],
) -> Result<BTreeSet<(Uuid, EventType)>, DbErr> {
    let mut new = BTreeSet::new();
    let once = OnConflict::columns([history::Column::OrderId, history::Column::EventType]).do_nothing().to_owned();
    for portion in portions(entries) {
        let rows = portion.iter().map(|entry| history::ActiveModel {
            order_id: Set(entry.order_id),
            event_type: Set(entry.event_type.as_str().to_owned()),
            at: Set(entry.at),
            trace_id: Set(entry.trace_id.clone()),
        });
        let insert = history::Entity::insert_many(rows).on_conflict(once.clone()).exec_with_returning(db);
        for row in statement(db, "INSERT", HISTORY, insert).await? {
            new.insert((row.order_id, event_type_of(&row)?));
        }
    }
    Ok(new)
}

fn event_type_of(row: &history::Model) -> Result<EventType, DbErr> {
    row.event_type.parse().map_err(|e| DbErr::Type(format!("order_history: {e}")))
}

/// When this happened to each of these orders, where it did.
pub(crate) async fn times_of(
    db: &impl Connection,
    event_type: EventType,
    ids: &[Uuid],
) -> Result<BTreeMap<Uuid, DateTime<Utc>>, DbErr> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let find = history::Entity::find()
        .filter(history::Column::OrderId.is_in(padded(ids.iter().copied())))
        .filter(history::Column::EventType.eq(event_type.as_str()))
        .all(db);
    let rows = statement(db, "SELECT", HISTORY, find).await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row.at)).collect())
}

/// What happened to each of these orders, oldest first.
pub(crate) async fn timelines(db: &impl Connection, ids: &[Uuid]) -> Result<Vec<HistoryEntry>, DbErr> {
    let find = history::Entity::find()
        .filter(history::Column::OrderId.is_in(padded(ids.iter().copied())))
        .order_by_asc(history::Column::At)
        .all(db);
    let rows = statement(db, "SELECT", HISTORY, find).await?;
    let entries = rows.into_iter().map(|row| {
        let event_type = event_type_of(&row)?;
        Ok(HistoryEntry { order_id: row.order_id, event_type, at: row.at, trace_id: row.trace_id })
    });
    let mut entries = entries.collect::<Result<Vec<_>, DbErr>>()?;
    // Things of one millisecond in the order of an order's life.
    entries.sort_by_key(|entry| (entry.at, EventType::ALL.iter().position(|t| *t == entry.event_type)));
    Ok(entries)
}

/// An idempotency key that was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UsedKey {
    pub request_hash: String,
    pub order_id: Uuid,
}

/// Takes an idempotency key, or says what it was used for. On PostgreSQL a second request waits here for the first
/// one's transaction to end, so that nobody sees a key "in progress".
pub(crate) async fn take_key(
    db: &impl Connection,
    client_id: &str,
    key: &str,
    used_for: UsedKey,
    now: DateTime<Utc>,
) -> Result<Option<UsedKey>, DbErr> {
    let row = idempotency::ActiveModel {
        client_id: Set(client_id.to_owned()),
        key: Set(key.to_owned()),
        request_hash: Set(used_for.request_hash),
        order_id: Set(used_for.order_id),
        created_at: Set(now),
    };
    let insert = idempotency::Entity::insert(row)
        .on_conflict(
            OnConflict::columns([idempotency::Column::ClientId, idempotency::Column::Key]).do_nothing().to_owned(),
        )
        .exec_without_returning(db);
    let inserted = statement(db, "INSERT", IDEMPOTENCY, insert).await?;
    if inserted > 0 {
        return Ok(None);
    }
    let find = idempotency::Entity::find_by_id((client_id.to_owned(), key.to_owned())).one(db);
    let used = statement(db, "SELECT", IDEMPOTENCY, find).await?;
    used.map(|row| Some(UsedKey { request_hash: row.request_hash, order_id: row.order_id }))
        .ok_or_else(|| DbErr::RecordNotFound("an idempotency key that was there a moment ago".to_owned()))
}

/// Forgets up to `limit` idempotency keys that were taken before `before`, and answers how many.
pub(crate) async fn forget_keys(db: &impl Connection, before: DateTime<Utc>, limit: u64) -> Result<u64, DbErr> {
    use idempotency::Column;
    let oldest = idempotency::Entity::find()
        .select_only()
        .columns([Column::ClientId, Column::Key])
        .filter(Column::CreatedAt.lt(before))
        .order_by_asc(Column::CreatedAt)
        .limit(limit)
        .into_query();
    let key = Expr::tuple([Expr::col(Column::ClientId), Expr::col(Column::Key)]);
    let delete = idempotency::Entity::delete_many().filter(key.in_subquery(oldest)).exec(db);
    Ok(statement(db, "DELETE", IDEMPOTENCY, delete).await?.rows_affected)
}
