//! The use cases: place, cancel, look up, and follow what the invoices service says.
//!
//! Each change is one transaction: the row, its history and its event, or nothing.

use std::collections::{BTreeMap, BTreeSet};

use chassis::{failpoint, identity::Identity, metrics::Metrics, propagation};
use contracts::{
    Amount, Customer, CustomerId, EventType, InvalidValue, OrderCanceled, OrderCreated, OrderPaid, TraceContext,
};
use outbox::{DbFailure, Outbox, Patience, Said as Repeated, UnitOfWork, reconciler};
use sea_orm::DbErr;
use sha2::{Digest, Sha256};
use tracing::{error, info};
use uuid::Uuid;

use crate::{
    entity::{self, Filter, Key, Sort, UsedKey},
    metrics::{OrderMetrics, Transition},
    order::{HistoryEntry, InvalidField, InvoiceStatus, NewOrder, Order, OrderStatus, PlaceOrder},
    saga::{self, Awaits, Input, State},
};

/// The use cases of orders. Cheap to clone.
#[derive(Clone, Debug)]
pub struct OrderService {
    outbox: Outbox,
    default_customer: Option<CustomerId>,
    patience: Patience,
    metrics: OrderMetrics,
}

/// Why a use case did not happen.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Fields of the request are not what they may be.
    #[error("the request is not valid")]
    Invalid(Vec<InvalidField>),
    /// The idempotency key was used with other input.
    #[error("the idempotency key was used before with different input")]
    KeyReused,
    /// The request names a customer, and is somebody else's.
    #[error("must be your own id, or left out")]
    OtherCustomer,
    /// There is no such order, or it is somebody else's: nobody is told which.
    #[error("there is no order with this id")]
    NotFound,
    /// The database is away, or another transaction was in the way for too long.
    #[error("the database is unavailable: {0}")]
    Unavailable(DbErr),
    /// A fault of ours.
    #[error(transparent)]
    Internal(DbErr),
}

impl From<DbErr> for OrderError {
    fn from(error: DbErr) -> Self {
        match DbFailure::of(&error) {
            DbFailure::Unavailable | DbFailure::Contended => Self::Unavailable(error),
            DbFailure::Mismatch | DbFailure::Fault => Self::Internal(error),
        }
    }
}

/// The answer to a placed order.
#[derive(Debug, Clone)]
pub struct Placed {
    /// The order, in its present state.
    pub order: Order,
    /// True when the same request was answered before and nothing was created now.
    pub replayed: bool,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page {
    /// The orders.
    pub orders: Vec<Order>,
    /// Whether more follow.
    pub has_next: bool,
}

/// One thing that the invoices service said.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    pub order_id: Uuid,
    pub input: Input,
    pub event_type: EventType,
    pub at: chrono::DateTime<chrono::Utc>,
    pub trace_context: TraceContext,
    /// It asks for our side of the flow.
    pub asks: bool,
}

/// What something that the invoices service said was for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// News.
    New,
    /// It had been said before.
    Known,
    /// About an order that does not exist here.
    Unknown,
}

impl OrderService {
    /// The use cases over a database and its outbox. What waits for an answer is asked after once `patience` is over.
    pub fn new(outbox: Outbox, default_customer: Option<CustomerId>, patience: Patience) -> Self {
        Self { outbox, default_customer, patience, metrics: OrderMetrics::register(&Metrics::new("nobody")) }
    }

    /// The same, with what happens counted in `metrics`.
    pub fn measured_by(self, metrics: &Metrics) -> Self {
        OrderMetrics::look_at(self.outbox.db(), metrics);
        Self { metrics: OrderMetrics::register(metrics), ..self }
    }

    /// Whether the database answers.
    pub(crate) async fn is_available(&self) -> bool {
        self.outbox.is_available().await
    }

    /// Places an order: the row, its history and `order.created` in one transaction.
    ///
    /// # Errors
    /// [`OrderError::Invalid`], [`OrderError::OtherCustomer`], [`OrderError::KeyReused`], or a failure of the database.
    pub async fn place(&self, caller: &Identity, asked: PlaceOrder) -> Result<Placed, OrderError> {
        let unnamed = match caller {
            Identity::Customer(own) => Some(own),
            Identity::Anyone => self.default_customer.as_ref(),
            Identity::Operator(_) => None,
        };
        let new = NewOrder::check(asked, unnamed).map_err(OrderError::Invalid)?;
        own_or_refused(caller, Some(new.customer_id.as_str()))?;
        let mut work = self.outbox.begin().await?;
        let now = work.now();
        let order = Order {
            id: Uuid::now_v7(),
            customer_id: new.customer_id.to_string(),
            amount: new.amount.get(),
            status: OrderStatus::Pending,
            invoice_status: InvoiceStatus::None,
            version: 1,
            event_no: 1,
            created_at: now,
            updated_at: now,
            reconcile_at: Some(self.patience.first(now)),
        };
        if let Some(key) = &new.idempotency_key {
            let request_hash = hash_of(&new);
            let this = UsedKey { request_hash: request_hash.clone(), order_id: order.id };
            if let Some(used) = entity::take_key(work.db(), &key_space(caller), key.as_str(), this, now).await? {
                if used.request_hash != request_hash {
                    return Err(OrderError::KeyReused);
                }
                let order =
                    entity::find(work.db(), used.order_id, caller.scope()).await?.ok_or(OrderError::NotFound)?;
                return Ok(Placed { order, replayed: true });
            }
        }
        entity::insert(work.db(), &order).await?;
        entity::remember(work.db(), &[happened_now(&order, EventType::OrderCreated)]).await?;
        let event = OrderCreated { id: order.id, amount: new.amount, customer: Customer { id: new.customer_id } };
        work.publish(order.id, order.event_no, &event)?;
        failpoint!("place.before-commit");
        work.commit().await?;
        failpoint!("place.after-commit");
        self.metrics.created();
        info!(order.id = %order.id, order.amount = order.amount, "placed order {}", order.id);
        Ok(Placed { order, replayed: false })
    }

    /// Cancels an order. Canceling a canceled one changes nothing and succeeds.
    ///
    /// # Errors
    /// [`OrderError::NotFound`], or a failure of the database.
    pub async fn cancel(&self, caller: &Identity, id: Uuid) -> Result<Order, OrderError> {
        let mut work = self.outbox.begin().await?;
        let mut order = entity::lock_one(work.db(), id, caller.scope()).await?.ok_or(OrderError::NotFound)?;
        let mut history = Vec::new();
        if let Some(transition) = self.apply(&mut work, &mut order, Input::Cancel, None, &mut history)? {
            entity::save(work.db(), &[&order]).await?;
            entity::remember(work.db(), &history).await?;
            work.commit().await?;
            self.metrics.moved(transition);
            info!(order.id = %id, "canceled order {id}");
        }
        Ok(order)
    }

    /// Follows what the invoices service said: a batch in one transaction. Answers for each what it was.
    pub(crate) async fn follow(&self, said: &[Said]) -> Result<Vec<Heard>, DbErr> {
        let mut work = self.outbox.begin().await?;
        let ids: BTreeSet<Uuid> = said.iter().map(|said| said.order_id).collect();
        let mut orders = entity::lock(work.db(), ids).await?;
        let mut changed = BTreeSet::new();
        let mut transitions = Vec::new();
        let mut invoiced = Vec::new();
        let mut history = Vec::new();
        let mut asked = BTreeMap::new();
        for said in said {
            let Some(order) = orders.get_mut(&said.order_id) else { continue };
            if said.asks {
                asked.insert(order.id, &said.trace_context);
            }
            history.push(HistoryEntry {
                order_id: order.id,
                event_type: said.event_type,
                at: said.at,
                trace_id: said.trace_context.trace_id().map(str::to_owned),
            });
            if let Some(transition) =
                self.apply(&mut work, order, said.input, Some(&said.trace_context), &mut history)?
            {
                changed.insert(order.id);
                transitions.push(transition);
                if transition.is_invoiced() {
                    invoiced.push((order.created_at, &said.trace_context));
                }
            }
        }
        let changed: Vec<&Order> = changed.iter().filter_map(|id| orders.get(id)).collect();
        entity::save(work.db(), &changed).await?;
        let mut new = entity::remember(work.db(), &history).await?;
        let asked: Vec<_> = asked.iter().filter_map(|(id, cause)| Some((orders.get(id)?, Some(*cause)))).collect();
        repeat(&mut work, &asked, false).await?;
        work.commit().await?;

        transitions.into_iter().for_each(|transition| self.metrics.moved(transition));
        invoiced.into_iter().for_each(|(since, trace_context)| self.metrics.invoiced(since, trace_context));
        self.metrics.answered(asked.len());
        let heard = |said: &Said| match orders.contains_key(&said.order_id) {
            false => Heard::Unknown,
            // The first of several in one batch is the one that was new.
            true if new.remove(&(said.order_id, said.event_type)) => Heard::New,
            true => {
                self.metrics.known(said.event_type);
                Heard::Known
            }
        };
        Ok(said.iter().map(heard).collect())
    }

    /// Asks the invoices service again about orders whose answer is due: a batch in one transaction. What a running
    /// [`Reconciler`](outbox::Reconciler) does again and again, for those who decide themselves when.
    ///
    /// An older build, which runs beside this one for a while, settles orders and leaves the time to ask where it was:
    /// that is made up for here.
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
        for order in &mut due {
            let awaits = order.state().awaits();
            order.reconcile_at = match awaits {
                Awaits::Nothing => None,
                Awaits::Payment | Awaits::Answer => self.patience.next(order.updated_at, now),
            };
            pass.asked += u64::from(awaits != Awaits::Nothing);
            pass.overdue += u64::from(awaits == Awaits::Answer);
            if awaits == Awaits::Answer && order.reconcile_at.is_none() {
                error!(order.id = %order.id, "gave up to ask about order {}: it has no answer after a month", order.id);
            }
        }
        let waiting = due.iter().filter(|order| order.state().awaits() != Awaits::Nothing);
        repeat(&mut work, &waiting.map(|order| (order, None)).collect::<Vec<_>>(), true).await?;
        entity::save(work.db(), &due.iter().collect::<Vec<_>>()).await?;
        work.commit().await?;
        Ok(pass)
    }

    /// Applies one input to a locked order: its state, its event, its history. `None` when it changes nothing.
    fn apply(
        &self,
        work: &mut UnitOfWork,
        order: &mut Order,
        input: Input,
        cause: Option<&TraceContext>,
        history: &mut Vec<HistoryEntry>,
    ) -> Result<Option<Transition>, DbErr> {
        let before = order.state();
        let (after, emitted) = saga::step(before, input);
        if after == before {
            return Ok(None);
        }
        order.status = after.status;
        order.invoice_status = after.invoice;
        order.version += 1;
        order.updated_at = work.now();
        order.reconcile_at = match after.awaits() {
            Awaits::Nothing => None,
            // The first change of most orders is that they have an invoice. To move the time with it would cost an index
            // entry each.
            Awaits::Payment | Awaits::Answer => order.reconcile_at.or(Some(self.patience.first(order.updated_at))),
        };
        if let Some(event_type) = emitted {
            order.event_no += 1;
            let trace_context =
                cause.cloned().unwrap_or_else(|| propagation::trace_context_of(&tracing::Span::current()));
            let (id, event_no) = (order.id, order.event_no);
            match order.status {
                OrderStatus::Paid => work.publish_in(&trace_context, id, event_no, &OrderPaid { id })?,
                OrderStatus::Canceled => work.publish_in(&trace_context, id, event_no, &OrderCanceled { id })?,
                // What tells of a pending order is published where it is placed.
                OrderStatus::Pending => {}
            }
            history.push(HistoryEntry {
                order_id: order.id,
                event_type,
                at: order.updated_at,
                trace_id: trace_context.trace_id().map(str::to_owned),
            });
        }
        Ok(Some(Transition { from: before, to: after }))
    }

    /// One order.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn find(&self, caller: &Identity, id: Uuid) -> Result<Option<Order>, OrderError> {
        Ok(entity::find(self.outbox.db(), id, caller.scope()).await?)
    }

    /// Those of these orders that exist and are the caller's, in any order.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn find_many(&self, caller: &Identity, ids: &[Uuid]) -> Result<Vec<Order>, OrderError> {
        Ok(entity::find_many(self.outbox.db(), ids, caller.scope()).await?)
    }

    /// What happened to these orders, oldest first. Whose they are was asked when they were found.
    ///
    /// # Errors
    /// A failure of the database.
    pub async fn timelines(&self, ids: &[Uuid]) -> Result<Vec<HistoryEntry>, OrderError> {
        Ok(entity::timelines(self.outbox.db(), ids).await?)
    }

    /// A page of orders: of the caller's own, where it may see no others.
    ///
    /// # Errors
    /// [`OrderError::OtherCustomer`], or a failure of the database.
    pub async fn list(
        &self,
        caller: &Identity,
        filter: &Filter,
        sort: Sort,
        after: Option<Key>,
        limit: usize,
    ) -> Result<Page, OrderError> {
        own_or_refused(caller, filter.customer_id.as_deref())?;
        let mut filter = filter.clone();
        if let Some(own) = caller.scope() {
            filter.customer_id = Some(own.to_string());
        }
        let mut orders = entity::page(self.outbox.db(), &filter, sort, after, limit as u64).await?;
        let has_next = orders.len() > limit;
        orders.truncate(limit);
        Ok(Page { orders, has_next })
    }
}

/// Says again what is known of these orders: that they were placed and, of canceled ones, that they were canceled. With
/// `asks`, the last thing said of each asks for an answer.
async fn repeat(work: &mut UnitOfWork, orders: &[(&Order, Option<&TraceContext>)], asks: bool) -> Result<(), DbErr> {
    let canceled: Vec<Uuid> =
        orders.iter().filter(|(order, _)| order.status == OrderStatus::Canceled).map(|(order, _)| order.id).collect();
    let canceled_at = entity::times_of(work.db(), EventType::OrderCanceled, &canceled).await?;
    for (order, cause) in orders {
        let created = match order.as_created() {
            Ok(created) => created,
            // Stored by other rules than today's. One such order must not keep the others from being asked after.
            Err(error) => {
                error!(order.id = %order.id, "cannot say again that order {} was placed: {error}", order.id);
                continue;
            }
        };
        let canceled_at = canceled_at.get(&order.id);
        let said = Repeated { aggregate_id: order.id, event_no: 1, occurred_at: order.created_at, event: &created };
        work.repeat(*cause, said, asks && canceled_at.is_none())?;
        if let Some(at) = canceled_at {
            let event = &OrderCanceled { id: order.id };
            // Nothing is said of an order after it was canceled.
            let said = Repeated { aggregate_id: order.id, event_no: order.event_no, occurred_at: *at, event };
            work.repeat(*cause, said, asks)?;
        }
    }
    Ok(())
}

impl Order {
    fn state(&self) -> State {
        State { status: self.status, invoice: self.invoice_status }
    }

    /// `order.created`, as it was said when the order was placed.
    fn as_created(&self) -> Result<OrderCreated, InvalidValue> {
        let amount = Amount::try_from(i64::from(self.amount))?;
        let id: CustomerId = self.customer_id.parse()?;
        Ok(OrderCreated { id: self.id, amount, customer: Customer { id } })
    }
}

fn happened_now(order: &Order, event_type: EventType) -> HistoryEntry {
    HistoryEntry { order_id: order.id, event_type, at: order.created_at, trace_id: propagation::current_trace_id() }
}

/// Refuses the name of a customer to anybody but this customer and those who may see everybody's orders. It reveals
/// nothing: whether there is such a customer was not looked at.
fn own_or_refused(caller: &Identity, named: Option<&str>) -> Result<(), OrderError> {
    match (caller.scope(), named) {
        (Some(own), Some(named)) if own.as_str() != named => Err(OrderError::OtherCustomer),
        _ => Ok(()),
    }
}

/// The name space of a caller's idempotency keys, so that nobody's key can be another's. Subjects are as long as the
/// column, and personal; a fingerprint is neither.
fn key_space(caller: &Identity) -> String {
    let of = |kind: &str, subject: &str| format!("{kind}-{}", base16(&Sha256::digest(subject)));
    match caller {
        Identity::Anyone => "anyone".to_owned(),
        Identity::Customer(customer) => of("customer", customer.as_str()),
        Identity::Operator(subject) => of("operator", subject),
    }
}

fn base16(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fingerprint of what was asked. It need not resist attack: a client can only collide with itself.
fn hash_of(new: &NewOrder) -> String {
    let input = serde_json::json!([new.amount, new.customer_id]).to_string();
    Uuid::new_v5(&Uuid::NAMESPACE_OID, input.as_bytes()).to_string()
}
