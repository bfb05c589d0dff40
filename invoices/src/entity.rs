//! The table `invoices`, and every statement on it.

#![allow(unreachable_pub, reason = "the derive wants its models public; the modules keep them in")]

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use contracts::CustomerId;
use outbox::{Connection, padded, portions, statement};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, ExprTrait, Order as Direction, QueryFilter, QueryOrder,
    QuerySelect, Statement,
    entity::prelude::*,
    sea_query::{Expr, LockBehavior, LockType, OnConflict},
};
use serde::{Deserialize, Serialize};

use crate::{
    invoice::{Invoice, InvoiceStatus},
    saga::State,
};

const INVOICES: &str = "invoices";

mod invoices {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "invoices")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub number: i64,
        pub order_id: Uuid,
        pub customer_id: Option<String>,
        pub amount: Option<i32>,
        pub status: InvoiceStatus,
        pub version: i64,
        pub created_at: DateTimeUtc,
        pub updated_at: DateTimeUtc,
        pub paid_at: Option<DateTimeUtc>,
        pub reconcile_at: Option<DateTimeUtc>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

/// A row of the table: an invoice, or a tombstone without customer and amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub id: Uuid,
    /// Given by the database when the row is inserted; 0 before.
    pub number: i64,
    pub order_id: Uuid,
    pub content: Option<Content>,
    pub status: InvoiceStatus,
    /// The number of events emitted. Every change emits one, but the filling of a tombstone, which does not count.
    pub version: i64,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub paid_at: Option<DateTime<Utc>>,
    /// When to ask the orders service again for the content of a tombstone; nothing for an invoice.
    pub reconcile_at: Option<DateTime<Utc>>,
}

/// What an invoice copies from its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    pub customer_id: String,
    pub amount: i32,
}

impl Row {
    /// A new row at version 1.
    pub fn new(order_id: Uuid, status: InvoiceStatus, content: Option<Content>) -> Self {
        let now = contracts::now();
        Self {
            id: Uuid::now_v7(),
            number: 0,
            order_id,
            content,
            status,
            version: 1,
            created_at: now,
            updated_at: now,
            paid_at: None,
            reconcile_at: None,
        }
    }

    /// How the saga sees it.
    pub fn state(&self) -> State {
        match self.content {
            Some(_) => State::Present(self.status),
            None => State::Tombstone,
        }
    }

    /// The invoice, unless it is a tombstone.
    pub fn into_invoice(self) -> Option<Invoice> {
        let Content { customer_id, amount } = self.content?;
        Some(Invoice {
            id: self.id,
            number: self.number,
            order_id: self.order_id,
            customer_id,
            amount,
            status: self.status,
            created_at: self.created_at,
            paid_at: self.paid_at,
        })
    }
}

impl From<invoices::Model> for Row {
    fn from(row: invoices::Model) -> Self {
        Self {
            id: row.id,
            number: row.number,
            order_id: row.order_id,
            content: row.customer_id.zip(row.amount).map(|(customer_id, amount)| Content { customer_id, amount }),
            status: row.status,
            version: row.version,
            created_at: row.created_at,
            updated_at: row.updated_at,
            paid_at: row.paid_at,
            reconcile_at: row.reconcile_at,
        }
    }
}

impl From<&Row> for invoices::ActiveModel {
    fn from(row: &Row) -> Self {
        Self {
            id: Set(row.id),
            number: if row.number == 0 { NotSet } else { Set(row.number) },
            order_id: Set(row.order_id),
            customer_id: Set(row.content.as_ref().map(|content| content.customer_id.clone())),
            amount: Set(row.content.as_ref().map(|content| content.amount)),
            status: Set(row.status),
            version: Set(row.version),
            created_at: Set(row.created_at),
            updated_at: Set(row.updated_at),
            paid_at: Set(row.paid_at),
            reconcile_at: Set(row.reconcile_at),
        }
    }
}

/// What a list may be narrowed to.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Any of these.
    pub status: Option<Vec<InvoiceStatus>>,
    /// The invoice of this order.
    pub order_id: Option<Uuid>,
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
}

/// Where a page ended: the sort key of its last invoice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    #[serde(deserialize_with = "chassis::cursor::plausible_instant")]
    at: DateTime<Utc>,
    id: Uuid,
}

impl From<&Invoice> for Key {
    fn from(invoice: &Invoice) -> Self {
        Self { at: invoice.created_at, id: invoice.id }
    }
}

/// Every query for clients starts here: a tombstone is no invoice yet, and `owner` is whose invoices may be found,
/// everybody's when there is none.
fn visible(owner: Option<&CustomerId>) -> sea_orm::Select<invoices::Entity> {
    let visible = invoices::Entity::find().filter(invoices::Column::Amount.is_not_null());
    match owner {
        Some(owner) => visible.filter(invoices::Column::CustomerId.eq(owner.as_str())),
        None => visible,
    }
}

pub(crate) async fn find_many(
    db: &impl Connection,
    ids: &[Uuid],
    owner: Option<&CustomerId>,
) -> Result<Vec<Invoice>, DbErr> {
    let find = visible(owner).filter(invoices::Column::Id.is_in(padded(ids.iter().copied()))).all(db);
    let rows = statement(db, "SELECT", INVOICES, find).await?;
    Ok(rows.into_iter().filter_map(|row| Row::from(row).into_invoice()).collect())
}

pub(crate) async fn find_by_orders(
    db: &impl Connection,
    order_ids: &[Uuid],
    owner: Option<&CustomerId>,
) -> Result<Vec<Invoice>, DbErr> {
    let find = visible(owner).filter(invoices::Column::OrderId.is_in(padded(order_ids.iter().copied()))).all(db);
    let rows = statement(db, "SELECT", INVOICES, find).await?;
    Ok(rows.into_iter().filter_map(|row| Row::from(row).into_invoice()).collect())
}

/// Locks an invoice for a change that somebody asks for. An invoice of somebody else is not even waited for.
pub(crate) async fn lock(db: &impl Connection, id: Uuid, owner: Option<&CustomerId>) -> Result<Option<Row>, DbErr> {
    let lock = visible(owner).filter(invoices::Column::Id.eq(id)).lock_exclusive().one(db);
    Ok(statement(db, "SELECT", INVOICES, lock).await?.map(Row::from))
}

/// Locks the rows of these orders, in the order of their ids: two transactions with overlapping batches then wait
/// for each other instead of deadlocking. (SQLite's single writer needs no row locks.)
pub(crate) async fn lock_by_orders(
    db: &impl Connection,
    order_ids: impl IntoIterator<Item = Uuid>,
) -> Result<BTreeMap<Uuid, Row>, DbErr> {
    let lock = invoices::Entity::find()
        .filter(invoices::Column::OrderId.is_in(padded(order_ids)))
        .order_by_asc(invoices::Column::OrderId)
        .lock_exclusive()
        .all(db);
    let rows = statement(db, "SELECT", INVOICES, lock).await?;
    Ok(rows.into_iter().map(|row| (row.order_id, row.into())).collect())
}

/// Locks tombstones whose content is due to be asked for, the longest due first. What another replica has in hand is
/// left to it, so this waits for nobody and the order of locking does not matter. While something about one still waits
/// in the outbox, there is nothing to ask.
pub(crate) async fn lock_due(db: &impl Connection, limit: u64) -> Result<Vec<Row>, DbErr> {
    let lock = invoices::Entity::find()
        .filter(Expr::col(invoices::Column::ReconcileAt).lte(outbox::server_time(db.get_database_backend())))
        .filter(outbox::says_nothing_of((invoices::Entity, invoices::Column::Id)))
        .order_by_asc(invoices::Column::ReconcileAt)
        .limit(limit)
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .all(db);
    let rows = statement(db, "SELECT", INVOICES, lock).await?;
    Ok(rows.into_iter().map(Row::from).collect())
}

/// How many invoices wait for something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// For their payment.
    pub issued: i64,
    /// For their order.
    pub tombstones: i64,
    /// Since when the first of those is there.
    pub oldest_tombstone: Option<DateTime<Utc>>,
}

/// The invoices that wait for something, up to a hundred thousand of each kind, from an index each.
pub(crate) async fn waiting(db: &impl ConnectionTrait) -> Result<Waiting, DbErr> {
    let sql = "SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM invoices WHERE status = 'issued' LIMIT 100000) AS open) AS \
               issued, COUNT(*) AS tombstones, MIN(updated_at) AS oldest FROM (SELECT updated_at FROM invoices WHERE \
               reconcile_at IS NOT NULL AND amount IS NULL ORDER BY reconcile_at LIMIT 100000) AS missing";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await?;
    let row = row.ok_or_else(|| DbErr::RecordNotFound("a count without a row".to_owned()))?;
    Ok(Waiting {
        issued: row.try_get("", "issued")?,
        tombstones: row.try_get("", "tombstones")?,
        oldest_tombstone: row.try_get("", "oldest")?,
    })
}

/// Inserts rows whose order has none yet, and answers those that were inserted. The unique order id decides: a row
/// that is there already, or that another transaction commits meanwhile, stays as it is.
pub(crate) async fn insert_missing(db: &impl Connection, rows: &[Row]) -> Result<Vec<Row>, DbErr> {
    let once = OnConflict::column(invoices::Column::OrderId).do_nothing().to_owned();
    let mut inserted = Vec::with_capacity(rows.len());
    for portion in portions(rows) {
        let insert = invoices::Entity::insert_many(portion.iter().map(invoices::ActiveModel::from))
            .on_conflict(once.clone())
            .exec_with_returning(db);
        let portion = statement(db, "INSERT", INVOICES, insert).await?;
        inserted.extend(portion.into_iter().map(Row::from));
    }
    Ok(inserted)
}

/// Writes changed rows. They are locked, so every one of them exists and the insert turns into an update.
pub(crate) async fn save(db: &impl Connection, changed: &[&Row]) -> Result<(), DbErr> {
    use invoices::Column::*;
    let update = OnConflict::column(Id)
        .update_columns([CustomerId, Amount, Status, Version, UpdatedAt, PaidAt, ReconcileAt])
        .to_owned();
    for portion in portions(changed) {
        let save = invoices::Entity::insert_many(portion.iter().map(|row| invoices::ActiveModel::from(*row)))
            .on_conflict(update.clone())
            .exec_without_returning(db);
        statement(db, "INSERT", INVOICES, save).await?;
    }
    Ok(())
}

/// One invoice more than `limit`, so that the caller sees whether there is another page.
pub(crate) async fn page(
    db: &impl Connection,
    owner: Option<&CustomerId>,
    filter: &Filter,
    sort: Sort,
    after: Option<Key>,
    limit: u64,
) -> Result<Vec<Invoice>, DbErr> {
    use invoices::Column;
    let direction = match sort {
        Sort::CreatedAtDesc => Direction::Desc,
        Sort::CreatedAtAsc => Direction::Asc,
    };
    let mut query = visible(owner);
    if let Some(status) = &filter.status {
        query = query.filter(Column::Status.is_in(status.iter().copied()));
    }
    if let Some(order_id) = filter.order_id {
        query = query.filter(Column::OrderId.eq(order_id));
    }
    if let Some(from) = filter.created_from {
        query = query.filter(Column::CreatedAt.gte(from));
    }
    if let Some(before) = filter.created_before {
        query = query.filter(Column::CreatedAt.lt(before));
    }
    if let Some(key) = after {
        // A row comparison: the index (created_at, id) starts right there.
        let row = Expr::tuple([Expr::col(Column::CreatedAt), Expr::col(Column::Id)]);
        let end = Expr::tuple([Expr::value(key.at), Expr::value(key.id)]);
        query = query.filter(match direction {
            Direction::Desc => row.lt(end),
            _ => row.gt(end),
        });
    }
    let page =
        query.order_by(Column::CreatedAt, direction.clone()).order_by(Column::Id, direction).limit(limit + 1).all(db);
    let rows = statement(db, "SELECT", INVOICES, page).await?;
    Ok(rows.into_iter().filter_map(|row| Row::from(row).into_invoice()).collect())
}
