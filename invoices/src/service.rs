//! The use cases: issue, void or refund as orders come and go, pay, and look up.
//!
//! Each change is one transaction: the row and its event, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use chassis::{failpoint, identity::Identity, metrics::Metrics};
use chrono::{DateTime, Utc};
use contracts::{
    Event, EventType, InvoiceIssued, InvoicePaid, InvoiceRefunded, InvoiceRejected, InvoiceVoided, OrderCanceled,
    OrderCreated, TraceContext,
};
use messaging::{Decoded, Rejection, Verdict};
use outbox::{DbFailure, Outbox, Patience, Said, UnitOfWork, reconciler};
use sea_orm::DbErr;
use tracing::{error, info};
use uuid::Uuid;

use crate::{
    entity::{self, Content, Filter, Key, Row, Sort},
    invoice::{AmountLimit, Invoice, InvoiceStatus},
    metrics::{InvoiceMetrics, Transition},
    saga::{self, Input, State},
};

/// The use cases of invoices. Cheap to clone.
#[derive(Clone, Debug)]
pub struct InvoiceService {
    outbox: Outbox,
    limit: AmountLimit,
    patience: Patience,
    metrics: InvoiceMetrics,
}

/// Why a use case did not happen.
#[derive(Debug, thiserror::Error)]
pub enum InvoiceError {
    /// There is no such invoice, or it is somebody else's: nobody is told which.
    #[error("there is no invoice with this id")]
    NotFound,
    /// Only an issued invoice can be paid.
    #[error("only an issued invoice can be paid, and this one is {}", text(.0.status))]
    NotPayable(Invoice),
    /// The database is away, or another transaction was in the way for too long.
    #[error("the database is unavailable: {0}")]
    Unavailable(DbErr),
    /// A fault of ours.
    #[error(transparent)]
    Internal(DbErr),
}

fn text(status: InvoiceStatus) -> &'static str {
    match status {
        InvoiceStatus::Issued => "issued",
        InvoiceStatus::Paid => "paid",
        InvoiceStatus::Voided => "voided",
        InvoiceStatus::Refunded => "refunded",
        InvoiceStatus::Rejected => "rejected",
    }
}

impl From<DbErr> for InvoiceError {
    fn from(error: DbErr) -> Self {
        match DbFailure::of(&error) {
            DbFailure::Unavailable | DbFailure::Contended => Self::Unavailable(error),
            DbFailure::Mismatch | DbFailure::Fault => Self::Internal(error),
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The invoices.
    pub invoices: Vec<Invoice>,
    /// Whether more follow.
    pub has_next: bool,
}

impl InvoiceService {
    /// The use cases over a database and its outbox. An order that was canceled and never arrived is asked for once
    /// `patience` is over.
    pub fn new(outbox: Outbox, limit: AmountLimit, patience: Patience) -> Self {
        Self { outbox, limit, patience, metrics: InvoiceMetrics::register(&Metrics::new("nobody")) }
    }

    /// The same, with what happens counted in `metrics`.
    pub fn measured_by(self, metrics: &Metrics) -> Self {
        InvoiceMetrics::look_at(self.outbox.db(), metrics);
        Self { metrics: InvoiceMetrics::register(metrics), ..self }
    }

    /// Whether the database answers.
    pub(crate) async fn is_available(&self) -> bool {
        self.outbox.is_available().await
    }

    /// Issues the invoices of a batch of orders, in one transaction. A duplicate changes no row, so it emits no
    /// event. Answers what is not simply done, by its place in the batch.
    pub(crate) async fn issue(&self, orders: &[Decoded<'_, OrderCreated>]) -> Result<Vec<(usize, Verdict)>, DbErr> {
        // One statement may touch a row once only, and in the order of the ids, so that two replicas with
        // overlapping batches wait for each other instead of deadlocking.
        let mut first: BTreeMap<Uuid, &Decoded<'_, OrderCreated>> = BTreeMap::new();
        for order in orders {
            first.entry(order.event.id).or_insert(order);
        }
        let new: Vec<Row> = first.values().filter_map(|order| self.invoice_for(&order.event)).collect();
        failpoint!("issue.marked", if first.values().any(|order| order.event.customer.id.as_str() == "failpoint"));

        let asked = asked(orders);
        let mut work = self.outbox.begin().await?;
        let mut rows: BTreeMap<Uuid, Row> = BTreeMap::new();
        let mut moved = Moved::default();
        for row in entity::insert_missing(work.db(), &new).await? {
            moved.note(row.order_id, State::Absent, row.state());
            publish(&mut work, &row, first.get(&row.order_id).map(|order| order.trace_context()), Say::Now)?;
            rows.insert(row.order_id, row);
        }
        let present: Vec<Uuid> = first.keys().filter(|id| !rows.contains_key(*id)).copied().collect();
        if !present.is_empty() {
            let mut locked = entity::lock_by_orders(work.db(), present).await?;
            let mut filled = Vec::new();
            for (order_id, row) in &mut locked {
                let Some(order) = first.get(order_id) else { continue };
                // Filling a tombstone emits nothing: that it is void was said when it was made.
                if let (State::Present(status), None) = saga::step(row.state(), self.created(&order.event))
                    && row.state() == State::Tombstone
                {
                    row.status = status;
                    row.content = Some(content_of(&order.event));
                    row.reconcile_at = None;
                    filled.push(*order_id);
                    moved.note(*order_id, State::Tombstone, row.state());
                }
                if asked.contains(order_id) {
                    moved.answered += 1;
                    publish(&mut work, row, Some(order.trace_context()), Say::Again { asks: false })?;
                }
            }
            let filled: Vec<&Row> = filled.iter().filter_map(|id| locked.get(id)).collect();
            entity::save(work.db(), &filled).await?;
            rows.append(&mut locked);
        }
        failpoint!("issue.mid-transaction");
        work.commit().await?;
        self.count(&moved);
        let verdict = |order: &Decoded<'_, OrderCreated>| {
            if let Some(rejection) = contradiction(order, rows.get(&order.event.id)?) {
                return Some(Verdict::Reject(rejection));
            }
            // The first of several in one batch is the one that was new.
            let is_new = moved.orders.remove(&order.event.id);
            (!is_new).then(|| self.known(EventType::OrderCreated))
        };
        Ok(with_places(orders, verdict))
    }

    /// Voids or refunds the invoices of a batch of canceled orders, in one transaction. An order that has not
    /// arrived gets a tombstone, in the same table: so the unique order id arbitrates between the two. Answers as
    /// [`InvoiceService::issue`].
    pub(crate) async fn cancel(&self, orders: &[Decoded<'_, OrderCanceled>]) -> Result<Vec<(usize, Verdict)>, DbErr> {
        let mut first: BTreeMap<Uuid, &Decoded<'_, OrderCanceled>> = BTreeMap::new();
        for order in orders {
            first.entry(order.event.id).or_insert(order);
        }
        let tombstone = |order_id: &Uuid| {
            let row = Row::new(*order_id, InvoiceStatus::Voided, None);
            Row { reconcile_at: Some(self.patience.first(row.created_at)), ..row }
        };
        let tombstones: Vec<Row> = first.keys().map(tombstone).collect();

        let asked = asked(orders);
        let mut work = self.outbox.begin().await?;
        let mut moved = Moved::default();
        let inserted = entity::insert_missing(work.db(), &tombstones).await?;
        for row in &inserted {
            moved.note(row.order_id, State::Absent, State::Tombstone);
            publish(&mut work, row, first.remove(&row.order_id).map(|order| order.trace_context()), Say::Now)?;
        }
        let mut changed = Vec::new();
        // A rejected invoice has nothing to void: the first cancellation changes as little as the second, and nobody can
        // tell them apart.
        let mut rejected = BTreeSet::new();
        for mut row in entity::lock_by_orders(work.db(), first.keys().copied()).await?.into_values() {
            let (after, emitted) = saga::step(row.state(), Input::OrderCanceled);
            let cause = first.get(&row.order_id).map(|order| order.trace_context());
            if row.state() == State::Present(InvoiceStatus::Rejected) {
                rejected.insert(row.order_id);
            }
            if let (State::Present(status), Some(_)) = (after, emitted) {
                moved.note(row.order_id, row.state(), after);
                row.change(status, work.now());
                publish(&mut work, &row, cause, Say::Now)?;
                changed.push(row);
            } else if asked.contains(&row.order_id) {
                moved.answered += 1;
                publish(&mut work, &row, cause, Say::Again { asks: false })?;
            }
        }
        entity::save(work.db(), &changed.iter().collect::<Vec<_>>()).await?;
        work.commit().await?;
        self.count(&moved);
        let verdict = |order: &Decoded<'_, OrderCanceled>| {
            let is_new = moved.orders.remove(&order.event.id) || rejected.contains(&order.event.id);
            (!is_new).then(|| self.known(EventType::OrderCanceled))
        };
        Ok(with_places(orders, verdict))
    }

    fn known(&self, event_type: EventType) -> Verdict {
        self.metrics.known(event_type);
        Verdict::Duplicate
    }

    /// Counts what is committed.
    fn count(&self, moved: &Moved) {
        moved.transitions.iter().for_each(|transition| self.metrics.moved(*transition));
        self.metrics.answered(moved.answered);
    }

    /// Asks the orders service again for the content of tombstones that should have it: a batch in one transaction. What
    /// a running [`Reconciler`](outbox::Reconciler) does again and again, for those who decide themselves when.
    ///
    /// # Errors
    /// A failure of the database: nothing was asked.
    pub async fn reconcile(&self) -> Result<reconciler::Pass, DbErr> {
        let mut work = self.outbox.begin().await?;
        let now = contracts::now();
        let mut due = entity::lock_due(work.db(), reconciler::BATCH).await?;
        if due.is_empty() {
            return Ok(reconciler::Pass::default());
        }
        let mut pass = reconciler::Pass { looked_at: due.len() as u64, ..Default::default() };
        for row in &mut due {
            // An older build fills a tombstone and leaves the time to ask where it was.
            if row.state() != State::Tombstone {
                row.reconcile_at = None;
                continue;
            }
            publish(&mut work, row, None, Say::Again { asks: true })?;
            row.reconcile_at = self.patience.next(row.updated_at, now);
            pass.asked += 1;
            pass.overdue += 1;
            if row.reconcile_at.is_none() {
                error!(order.id = %row.order_id, "gave up to ask for order {}: it has not come in a month", row.order_id);
            }
        }
        entity::save(work.db(), &due.iter().collect::<Vec<_>>()).await?;
        work.commit().await?;
        Ok(pass)
    }

    /// Pays an invoice. Paying a paid one changes nothing and succeeds.
    ///
    /// # Errors
    /// [`InvoiceError::NotFound`], [`InvoiceError::NotPayable`], or a failure of the database.
    pub async fn pay(&self, caller: &Identity, id: Uuid) -> Result<Invoice, InvoiceError> {
        let mut work = self.outbox.begin().await?;
        let mut row = entity::lock(work.db(), id, caller.scope()).await?.ok_or(InvoiceError::NotFound)?;
        let (after, emitted) = saga::step(row.state(), Input::Pay);
        if let (State::Present(status), Some(_)) = (after, emitted) {
            let transition = Transition { from: row.state(), to: after };
            row.change(status, work.now());
            row.paid_at = Some(row.updated_at);
            publish(&mut work, &row, None, Say::Now)?;
            entity::save(work.db(), &[&row]).await?;
            work.commit().await?;
            self.metrics.moved(transition);
            info!(invoice.id = %id, order.id = %row.order_id, "paid invoice {id}");
        }
        let invoice = row.into_invoice().ok_or(InvoiceError::NotFound)?;
        match invoice.status {
            InvoiceStatus::Paid => Ok(invoice),
            _ => Err(InvoiceError::NotPayable(invoice)),
        }
    }

    /// One invoice.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn find(&self, caller: &Identity, id: Uuid) -> Result<Option<Invoice>, InvoiceError> {
        Ok(self.find_many(caller, &[id]).await?.pop())
    }

    /// Those of these invoices that exist and are the caller's, in any order.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn find_many(&self, caller: &Identity, ids: &[Uuid]) -> Result<Vec<Invoice>, InvoiceError> {
        Ok(entity::find_many(self.outbox.db(), ids, caller.scope()).await?)
    }

    /// The invoices of these orders that are the caller's, in any order.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn find_by_orders(&self, caller: &Identity, order_ids: &[Uuid]) -> Result<Vec<Invoice>, InvoiceError> {
        Ok(entity::find_by_orders(self.outbox.db(), order_ids, caller.scope()).await?)
    }

    /// A page of invoices: of the caller's own, where it may see no others.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn list(
        &self,
        caller: &Identity,
        filter: &Filter,
        sort: Sort,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Page, InvoiceError> {
        let mut invoices = entity::page(self.outbox.db(), caller.scope(), filter, sort, after, limit as u64).await?;
        let has_next = invoices.len() > limit;
        invoices.truncate(limit);
        Ok(Page { invoices, has_next })
    }

    fn created(&self, order: &OrderCreated) -> Input {
        Input::OrderCreated { allowed: self.limit.allows(order.amount) }
    }

    /// The row that a new order starts with.
    fn invoice_for(&self, order: &OrderCreated) -> Option<Row> {
        match saga::step(State::Absent, self.created(order)).0 {
            State::Present(status) => Some(Row::new(order.id, status, Some(content_of(order)))),
            State::Absent | State::Tombstone => None,
        }
    }
}

/// What a batch changes.
#[derive(Default)]
struct Moved {
    transitions: Vec<Transition>,
    /// Of which orders.
    orders: BTreeSet<Uuid>,
    /// How many questions it answers.
    answered: usize,
}

impl Moved {
    fn note(&mut self, order_id: Uuid, from: State, to: State) {
        self.transitions.push(Transition { from, to });
        self.orders.insert(order_id);
    }
}

/// The verdicts of those orders that have one, by their place in the batch.
fn with_places<E>(
    orders: &[Decoded<'_, E>],
    mut verdict: impl FnMut(&Decoded<'_, E>) -> Option<Verdict>,
) -> Vec<(usize, Verdict)> {
    orders.iter().filter_map(|order| Some((order.index, verdict(order)?))).collect()
}

impl Row {
    fn change(&mut self, status: InvoiceStatus, now: DateTime<Utc>) {
        self.status = status;
        self.version += 1;
        self.updated_at = now;
    }
}

fn content_of(order: &OrderCreated) -> Content {
    Content { customer_id: order.customer.id.to_string(), amount: order.amount.get() }
}

/// Two messages about one order that say different things: one of them is wrong, and somebody has to look.
fn contradiction(order: &Decoded<'_, OrderCreated>, row: &Row) -> Option<Rejection> {
    let said = content_of(&order.event);
    let known = row.content.as_ref().filter(|known| **known != said)?;
    // Which field, not what is in it: this text goes to logs and headers, and a customer's id is personal data.
    let field = if known.amount == said.amount { "customer" } else { "amount" };
    let error = format!("order {} has an invoice already, with another {field}", order.event.id);
    Some(Rejection { reason: "conflict", error })
}

/// The orders about which one of these messages asks for an answer.
fn asked<E: Event>(orders: &[Decoded<'_, E>]) -> BTreeSet<Uuid> {
    orders.iter().filter(|order| order.delivery.event.asks).map(Decoded::order_id).collect()
}

/// How an event is said.
#[derive(Debug, Clone, Copy)]
enum Say {
    /// As the news that it is.
    Now,
    /// As it was said before, for somebody who missed it or, if it asks, for an answer.
    Again { asks: bool },
}

/// Publishes what a row has become.
fn publish(work: &mut UnitOfWork, row: &Row, cause: Option<&TraceContext>, say: Say) -> Result<(), DbErr> {
    fn append<E: Event>(
        work: &mut UnitOfWork,
        row: &Row,
        cause: Option<&TraceContext>,
        say: Say,
        event: &E,
    ) -> Result<(), DbErr> {
        // The time is the row's: said again, it is the same event to the last byte.
        let said = Said { aggregate_id: row.id, event_no: row.version, occurred_at: row.updated_at, event };
        match say {
            Say::Now => work.say(cause, said),
            Say::Again { asks } => work.repeat(cause, said, asks),
        }
    }

    let (id, order_id) = (row.id, row.order_id);
    match row.status {
        InvoiceStatus::Issued => append(work, row, cause, say, &InvoiceIssued { id, order_id }),
        InvoiceStatus::Paid => append(work, row, cause, say, &InvoicePaid { id, order_id }),
        InvoiceStatus::Voided => append(work, row, cause, say, &InvoiceVoided { id, order_id }),
        InvoiceStatus::Refunded => append(work, row, cause, say, &InvoiceRefunded { id, order_id }),
        InvoiceStatus::Rejected => append(work, row, cause, say, &InvoiceRejected { id, order_id }),
    }
}
