//! Both services as they are, on real databases, and a network that does what a history says.
//!
//! Requests go to the use cases, messages to the handlers, and the relays run one window at a time with a publisher
//! that notes what left. A crash is a future that is dropped half-way: what it held is rolled back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use chassis::identity::Identity;
use contracts::{Amount, EventEnvelope};
use invoices::{
    invoice::AmountLimit,
    service::{InvoiceError, InvoiceService},
};
use messaging::{Delivery, HandleError, Handler, Verdict};
use migration::Schema;
use orders::{
    order::PlaceOrder,
    service::{OrderError, OrderService, Placed},
};
use outbox::{Outbox, Patience, Relay};
use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend};
use serde_json::json;
use testkit::TestDatabase;
use tokio::sync::Notify;
use uuid::Uuid;

use super::{
    steps::{Action, Answer, Asked, Fact, LIMIT, Label, Message, Side, Step},
    wire::{Published, Wire, cut_off},
};

/// The tables of both databases, those first that refer to others.
const TABLES: [(Side, &[&str]); 2] =
    [(Side::Orders, &["order_history", "idempotency", "outbox", "orders"]), (Side::Invoices, &["outbox", "invoices"])];

/// What waits is due at once.
const NONE: Patience = Patience::new(Duration::ZERO);

/// Both services. One history after another runs on them.
pub(super) struct System {
    orders_db: TestDatabase,
    invoices_db: TestDatabase,
    outboxes: BTreeMap<Side, Outbox>,
    orders: OrderService,
    invoices: InvoiceService,
    handlers: BTreeMap<&'static str, Arc<dyn Handler>>,
}

impl System {
    pub(super) async fn start() -> Self {
        let orders_db = TestDatabase::create(Schema::Orders).await;
        let invoices_db = TestDatabase::create(Schema::Invoices).await;
        let limit = AmountLimit(Amount::try_from(i64::from(LIMIT)).unwrap());
        let outboxes = BTreeMap::from([
            (Side::Orders, Outbox::new(orders_db.connection().clone(), orders::NAME)),
            (Side::Invoices, Outbox::new(invoices_db.connection().clone(), invoices::NAME)),
        ]);
        let orders = OrderService::new(outboxes[&Side::Orders].clone(), None, NONE);
        let invoices = InvoiceService::new(outboxes[&Side::Invoices].clone(), limit, NONE);
        let handlers = orders::consumers(orders.clone()).into_iter().chain(invoices::consumers(invoices.clone()));
        let handlers = handlers.map(|(queue, handler)| (queue.name, handler)).collect();
        Self { orders_db, invoices_db, outboxes, orders, invoices, handlers }
    }

    pub(super) fn db(&self, side: Side) -> &DatabaseConnection {
        match side {
            Side::Orders => self.orders_db.connection(),
            Side::Invoices => self.invoices_db.connection(),
        }
    }

    /// Forgets everything, for the next history.
    pub(super) async fn clear(&self) {
        for (side, tables) in TABLES {
            for table in tables {
                self.db(side).execute_unprepared(&format!("DELETE FROM {table}")).await.unwrap();
            }
        }
    }

    /// Waits until nothing is left of transactions that were cut off: their end is the server's work, and takes a
    /// moment.
    async fn calm(&self) {
        for (side, tables) in TABLES {
            let transaction = self.outboxes[&side].begin().await.unwrap();
            if self.db(side).get_database_backend() == DbBackend::Postgres {
                let tables = tables.join(", ");
                let lock = format!("LOCK TABLE {tables}, outbox_lane IN ACCESS EXCLUSIVE MODE");
                transaction.db().execute_unprepared(&lock).await.unwrap();
            }
        }
    }
}

/// One history on the system, from an empty one.
pub(super) struct Run<'a> {
    pub(super) system: &'a System,
    /// What the clients know.
    pub(super) labels: BTreeMap<Uuid, Label>,
    /// The orders that clients were answered with, and the keys they gave.
    pub(super) promised: BTreeMap<Label, Option<&'static str>>,
    /// Everything that ever left an outbox, as it was when it did first.
    pub(super) published: BTreeMap<Fact, EventEnvelope>,
    /// How many deliveries were of something that had been delivered already.
    pub(super) redelivered: usize,
    /// How many messages the bus has lost.
    pub(super) vanished: usize,
    /// What the bus has, and keeps for ever.
    arrived: BTreeSet<Message>,
    delivered: BTreeSet<Message>,
}

impl<'a> Run<'a> {
    pub(super) async fn start(system: &'a System) -> Self {
        system.clear().await;
        Self {
            system,
            labels: BTreeMap::new(),
            promised: BTreeMap::new(),
            published: BTreeMap::new(),
            redelivered: 0,
            vanished: 0,
            arrived: BTreeSet::new(),
            delivered: BTreeSet::new(),
        }
    }

    /// Has a step happen, and answers what its callers learn.
    ///
    /// # Errors
    /// What no caller should ever see.
    pub(super) async fn perform(&mut self, step: &Step) -> Result<Vec<Answer>, String> {
        let answers = self.take(step).await?;
        if step.reconciles() {
            self.wait_for_reconcilers().await?;
        }
        Ok(answers)
    }

    async fn take(&mut self, step: &Step) -> Result<Vec<Answer>, String> {
        match step {
            Step::Do(action) => {
                let raw = self.act(action).await?;
                Ok(vec![self.learn(action, raw)])
            }
            Step::Unacknowledged(batch) => {
                self.act(&Action::Deliver(batch.clone())).await?;
                self.note_delivered(batch);
                Ok(vec![Answer::Processed])
            }
            Step::CutOff(action, polls) => {
                let raw = cut_off(self.act(action), *polls).await.transpose()?;
                self.system.calm().await;
                Ok(match raw {
                    Some(raw) => vec![self.learn(action, raw)],
                    None => {
                        self.find_unanswered(action).await;
                        vec![]
                    }
                })
            }
            Step::Together(one, other) => {
                let (first, second) = tokio::join!(self.act(one), self.act(other));
                let (first, second) = (first?, second?);
                // Who was answered with the order of the other learns of it second.
                if matches!(&first, Raw::Placed(Placed { replayed: true, .. })) {
                    let second = self.learn(other, second);
                    return Ok(vec![self.learn(one, first), second]);
                }
                Ok(vec![self.learn(one, first), self.learn(other, second)])
            }
            Step::Relay(side, lost) => self.relay(*side, lost, false, &[]).await,
            Step::RelayDies(side, lost) => self.relay(*side, lost, true, &[]).await,
            Step::Vanish(side, lost) => self.relay(*side, &[], false, lost).await,
        }
    }

    /// What was asked after is asked after again after a pause, which is over now.
    async fn wait_for_reconcilers(&self) -> Result<(), String> {
        for (side, table) in [(Side::Orders, "orders"), (Side::Invoices, "invoices")] {
            let due = format!("UPDATE {table} SET reconcile_at = created_at WHERE reconcile_at IS NOT NULL");
            self.system.db(side).execute_unprepared(&due).await.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// What arrived of a batch, as the bus would deliver it.
    fn deliveries(&self, batch: &[Message]) -> Vec<Delivery> {
        let there = batch.iter().filter(|message| self.arrived.contains(message));
        there
            .map(|message| Delivery {
                event: EventEnvelope { asks: message.asks, ..self.published[&message.fact].clone() },
                redelivered: self.delivered.contains(message),
            })
            .collect()
    }

    async fn act(&self, action: &Action) -> Result<Raw, String> {
        let id = |label: &Label| {
            let known = self.labels.iter().find(|(_, known)| *known == label);
            known.map_or_else(Uuid::now_v7, |(id, _)| *id)
        };
        match action {
            Action::Place(_, Asked { amount, customer, key }) => {
                let asked = PlaceOrder {
                    amount: Some(json!(amount)),
                    customer_id: Some(json!(customer)),
                    idempotency_key: key.map(str::to_owned),
                };
                match self.system.orders.place(&Identity::Anyone, asked).await {
                    Ok(placed) => Ok(Raw::Placed(placed)),
                    Err(OrderError::KeyReused) => Ok(Raw::Other(Answer::KeyReused)),
                    Err(error) => Err(format!("{error:?}")),
                }
            }
            Action::Cancel(label) => match self.system.orders.cancel(&Identity::Anyone, id(label)).await {
                Ok(_) => Ok(Raw::Other(Answer::Canceled)),
                Err(OrderError::NotFound) => Ok(Raw::Other(Answer::NotFound)),
                Err(error) => Err(format!("{error:?}")),
            },
            Action::Pay(label) => {
                let invoice = self.invoice_id(id(label)).await.unwrap_or_else(Uuid::now_v7);
                match self.system.invoices.pay(&Identity::Anyone, invoice).await {
                    Ok(_) => Ok(Raw::Other(Answer::Paid)),
                    Err(InvoiceError::NotFound) => Ok(Raw::Other(Answer::NotFound)),
                    Err(InvoiceError::NotPayable(_)) => Ok(Raw::Other(Answer::NotPayable)),
                    Err(error) => Err(format!("{error:?}")),
                }
            }
            Action::Deliver(batch) => {
                let deliveries = self.deliveries(batch);
                let Some(queue) = batch.first().and_then(|message| message.queue()) else {
                    return Ok(Raw::Other(Answer::Processed));
                };
                let verdicts = handle(&self.system.handlers[queue.name], &deliveries).await?;
                match verdicts.iter().all(|verdict| matches!(verdict, Verdict::Done | Verdict::Duplicate)) {
                    true => Ok(Raw::Other(Answer::Processed)),
                    false => Err(format!("the verdicts on {batch:?}: {verdicts:?}")),
                }
            }
            Action::Reconcile(side) => {
                let pass = match side {
                    Side::Orders => self.system.orders.reconcile().await,
                    Side::Invoices => self.system.invoices.reconcile().await,
                };
                pass.map(|pass| Raw::Other(Answer::Asked(pass))).map_err(|error| error.to_string())
            }
        }
    }

    /// In words of the model.
    fn learn(&mut self, action: &Action, raw: Raw) -> Answer {
        if let Action::Deliver(batch) = action {
            self.note_delivered(batch);
        }
        match (raw, action) {
            (Raw::Other(answer), _) => answer,
            (Raw::Placed(Placed { order, replayed }), Action::Place(label, asked)) => {
                if !replayed {
                    self.labels.insert(order.id, *label);
                    self.promised.insert(*label, asked.key);
                }
                // An order that nobody has placed, when it is unknown.
                Answer::Placed { order: self.labels.get(&order.id).copied().unwrap_or(Label(usize::MAX)), replayed }
            }
            (Raw::Placed(placed), _) => unreachable!("{placed:?} to {action:?}"),
        }
    }

    fn note_delivered(&mut self, batch: &[Message]) {
        for message in batch.iter().filter(|message| self.arrived.contains(message)) {
            self.redelivered += usize::from(!self.delivered.insert(*message));
        }
    }

    /// The order of a request whose answer was lost, if it was placed.
    async fn find_unanswered(&mut self, action: &Action) {
        let Action::Place(label, _) = action else { return };
        for id in super::rows::order_ids(self.system).await {
            self.labels.entry(id).or_insert(*label);
        }
    }

    /// The row of an order's invoice, also one that no client may see yet.
    async fn invoice_id(&self, order: Uuid) -> Option<Uuid> {
        super::rows::invoice_id(self.system, order).await
    }

    /// Has a window leave, of which `vanishing` is never delivered.
    async fn relay(
        &mut self,
        side: Side,
        lost: &[Fact],
        dies: bool,
        vanishing: &[Fact],
    ) -> Result<Vec<Answer>, String> {
        let published = Published::default();
        let died = Arc::new(Notify::new());
        let wire = Wire {
            labels: self.labels.clone(),
            lost: lost.to_vec(),
            dies: dies.then(|| Arc::clone(&died)),
            published: Arc::clone(&published),
        };
        tokio::select! {
            relayed = Relay::once(&self.system.outboxes[&side], Box::new(wire)) => {
                relayed.map_err(|error| error.to_string())?;
            }
            () = died.notified() => {}
        }
        if dies {
            self.system.calm().await;
        }
        // What was refused is tried again after a pause, which is over now.
        let due = "UPDATE outbox SET retry_at = NULL WHERE retry_at IS NOT NULL";
        self.system.db(side).execute_unprepared(due).await.map_err(|error| error.to_string())?;

        let mut messages = BTreeSet::new();
        for (fact, event) in std::mem::take(&mut *published.lock().unwrap()) {
            let message = Message { fact, asks: event.asks };
            messages.insert(message);
            if vanishing.contains(&fact) {
                self.vanished += 1;
            } else {
                self.arrived.insert(message);
            }
            let first = self.published.entry(fact).or_insert_with(|| EventEnvelope { asks: false, ..event.clone() });
            // Whatever is said again is the same, but for the question and for the trace that it is said in.
            let said = EventEnvelope { asks: false, trace_context: first.trace_context.clone(), ..event };
            if *first != said {
                return Err(format!("{fact:?} left again as something else: {said:?}, before {first:?}"));
            }
        }
        Ok(vec![Answer::Published(messages)])
    }
}

enum Raw {
    Placed(Placed),
    Other(Answer),
}

/// As the bus does: a conflict is tried again, and what lies in the batch is a fault.
async fn handle(handler: &Arc<dyn Handler>, batch: &[Delivery]) -> Result<Vec<Verdict>, String> {
    for _ in 0..5 {
        match handler.handle(batch).await {
            Err(HandleError::Contended(_)) => {}
            Err(error) => return Err(error.to_string()),
            Ok(verdicts) if verdicts.len() == batch.len() => return Ok(verdicts),
            Ok(verdicts) => return Err(format!("{} verdicts to {} deliveries", verdicts.len(), batch.len())),
        }
    }
    Err("a conflict without end".to_owned())
}
