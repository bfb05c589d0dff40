//! The outbox on its own: a bus that the test controls, a real database.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use chassis::metrics::{self, Format, Metrics};
use contracts::{EventEnvelope, OrderPaid, event_id, topology::Queue};
use messaging::{BusStatus, EventBus, HandleError, Handler, Listener, Outcome, PublishError, Publisher, Subscription};
use migration::Schema;
use outbox::{DbFailure, Outbox, Relay, Said, parked};
use sea_orm::{ConnectionTrait, DbBackend, Statement, TransactionTrait};
use testkit::{Scrape, TestDatabase, eventually};
use uuid::Uuid;

/// A bus that does what it is told and remembers what it saw.
#[derive(Default)]
struct ScriptedBus {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// What to answer to the next windows; after that everything is accepted.
    script: VecDeque<Answer>,
    accepted: Vec<EventEnvelope>,
    windows: usize,
}

#[derive(Clone, Copy)]
enum Answer {
    Fail,
    Panic,
    Refuse { permanent: bool },
}

#[async_trait]
impl EventBus for ScriptedBus {
    fn measured_by(&self, _: &Metrics) -> Arc<dyn EventBus> {
        unreachable!("nobody measures it")
    }

    fn publisher(&self) -> Box<dyn Publisher> {
        Box::new(ScriptedPublisher(Arc::clone(&self.state)))
    }

    fn subscribe(&self, _: &'static Queue, _: Arc<dyn Handler>) -> Subscription {
        unreachable!("the outbox consumes nothing")
    }

    fn listen(&self, _: Arc<dyn Listener>) -> Subscription {
        unreachable!("the outbox listens to nothing")
    }

    fn status(&self) -> BusStatus {
        BusStatus::Up
    }

    async fn close(&self) {}
}

struct ScriptedPublisher(Arc<Mutex<State>>);

#[async_trait]
impl Publisher for ScriptedPublisher {
    async fn ready(&mut self) {}

    async fn publish(&mut self, window: &[EventEnvelope]) -> Result<Vec<Outcome>, PublishError> {
        let mut state = self.0.lock().unwrap();
        state.windows += 1;
        match state.script.pop_front() {
            Some(Answer::Panic) => {
                drop(state);
                panic!("as the script says");
            }
            Some(Answer::Fail) => Err(PublishError::Unavailable("as the script says".to_owned())),
            Some(Answer::Refuse { permanent }) => {
                Ok(vec![Outcome::Refused { reason: "as the script says".to_owned(), permanent }; window.len()])
            }
            None => {
                state.accepted.extend_from_slice(window);
                Ok(vec![Outcome::Accepted; window.len()])
            }
        }
    }
}

struct Bench {
    database: TestDatabase,
    outbox: Outbox,
    state: Arc<Mutex<State>>,
    bus: Arc<dyn EventBus>,
}

impl Bench {
    async fn new(script: &[Answer]) -> Self {
        let database = TestDatabase::create(Schema::Orders).await;
        let bus = ScriptedBus::default();
        bus.state.lock().unwrap().script = script.iter().copied().collect();
        let outbox = Outbox::new(database.connection().clone(), "test");
        Self { outbox, state: Arc::clone(&bus.state), bus: Arc::new(bus), database }
    }

    async fn publish(&self, aggregate: Uuid, event_no: i64) {
        let mut work = self.outbox.begin().await.unwrap();
        work.publish(aggregate, event_no, &OrderPaid { id: aggregate }).unwrap();
        work.commit().await.unwrap();
    }

    /// (rows, of them parked)
    async fn rows(&self) -> (usize, usize) {
        let db = self.database.connection();
        let sql = "SELECT (parked_at IS NOT NULL) AS parked FROM outbox";
        let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap();
        let parked = rows.iter().filter(|row| row.try_get::<bool>("", "parked").unwrap()).count();
        (rows.len(), parked)
    }

    async fn drained(&self) {
        eventually("the outbox is empty", || async { (self.rows().await == (0, 0)).then_some(()) }).await;
    }

    fn accepted(&self) -> Vec<(Uuid, i64)> {
        self.state.lock().unwrap().accepted.iter().map(|event| (event.aggregate_id, event.event_no)).collect()
    }
}

#[tokio::test]
async fn a_rollback_publishes_nothing() {
    let bench = Bench::new(&[]).await;
    let order = Uuid::now_v7();
    let mut work = bench.outbox.begin().await.unwrap();
    work.publish(order, 1, &OrderPaid { id: order }).unwrap();
    drop(work);
    let committed = Uuid::now_v7();
    bench.publish(committed, 1).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    bench.drained().await;
    relay.stop().await;
    assert_eq!(bench.accepted(), [(committed, 1)]);
}

#[tokio::test]
async fn an_event_waits_until_the_bus_has_accepted_it() {
    let bench = Bench::new(&[Answer::Fail, Answer::Fail, Answer::Refuse { permanent: false }]).await;
    let order = Uuid::now_v7();
    bench.publish(order, 1).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    bench.drained().await;
    relay.stop().await;
    assert_eq!(bench.accepted(), [(order, 1)]);
    assert!(bench.state.lock().unwrap().windows >= 4);
}

/// A relay that is gone would leave a service that answers, and whose events stay.
#[tokio::test]
async fn a_relay_that_panics_goes_on() {
    let bench = Bench::new(&[Answer::Panic; 4]).await;
    let order = Uuid::now_v7();
    bench.publish(order, 1).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    bench.drained().await;
    relay.stop().await;
    assert_eq!(bench.accepted(), [(order, 1)]);
}

/// A full queue refuses again and again; no number of refusals makes an event somebody's work, and meanwhile others
/// overtake it.
#[tokio::test]
async fn a_refused_event_is_tried_again_and_never_given_up() {
    let bench = Bench::new(&[Answer::Refuse { permanent: false }; 3]).await;
    let refused = Uuid::now_v7();
    bench.publish(refused, 1).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    eventually("it was refused three times", || async {
        (bench.state.lock().unwrap().script.is_empty()).then_some(())
    })
    .await;
    let other = Uuid::now_v7();
    bench.publish(other, 1).await;
    bench.drained().await;
    relay.stop().await;
    assert_eq!(bench.accepted(), [(other, 1), (refused, 1)]);
}

#[tokio::test]
async fn what_can_never_be_delivered_is_parked_and_does_not_stop_the_rest() {
    let bench = Bench::new(&[Answer::Refuse { permanent: true }]).await;
    bench.publish(Uuid::now_v7(), 1).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    eventually("the event is parked", || async { (bench.rows().await == (1, 1)).then_some(()) }).await;
    let order = Uuid::now_v7();
    bench.publish(order, 1).await;
    eventually("the next one went", || async { (bench.accepted() == [(order, 1)]).then_some(()) }).await;
    relay.stop().await;
    assert_eq!(bench.rows().await, (1, 1));
}

#[tokio::test]
async fn the_same_event_twice_is_refused_by_the_database() {
    let bench = Bench::new(&[]).await;
    let order = Uuid::now_v7();
    bench.publish(order, 1).await;
    let mut work = bench.outbox.begin().await.unwrap();
    work.publish(order, 1, &OrderPaid { id: order }).unwrap();
    assert!(work.commit().await.is_err());
}

/// Three replicas relay one outbox while events are written: each event of an aggregate leaves after the one before
/// it, every one leaves, and in a quiet system each leaves once. (An embedded outbox has one relay.)
#[tokio::test]
async fn the_events_of_an_aggregate_leave_in_order() {
    let bench = Bench::new(&[]).await;
    let replicas = if bench.database.connection().get_database_backend() == DbBackend::Sqlite { 1 } else { 3 };
    let relays: Vec<Relay> = (0..replicas).map(|_| Relay::start(&bench.outbox, &bench.bus)).collect();
    let aggregates: Vec<Uuid> = (0..40).map(|_| Uuid::now_v7()).collect();
    for event_no in 1..=10 {
        for aggregate in &aggregates {
            bench.publish(*aggregate, event_no).await;
        }
    }
    bench.drained().await;
    for relay in relays {
        relay.stop().await;
    }
    let accepted = bench.accepted();
    assert_eq!(accepted.len(), 400);
    for aggregate in &aggregates {
        let numbers: Vec<i64> = accepted.iter().filter(|(id, _)| id == aggregate).map(|(_, no)| *no).collect();
        assert_eq!(numbers, (1..=10).collect::<Vec<i64>>(), "{aggregate}");
    }
}

#[tokio::test]
async fn an_event_carries_the_metadata_of_the_contract() {
    let bench = Bench::new(&[]).await;
    let order = Uuid::now_v7();
    bench.publish(order, 3).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    bench.drained().await;
    relay.stop().await;
    let event = bench.state.lock().unwrap().accepted[0].clone();
    assert_eq!((event.id, event.event_no, event.order_id), (event_id(order, 3), 3, order));
    assert_eq!((event.source.as_str(), event.event_type.as_str()), ("test", "order.paid"));
    assert_eq!(event.body, format!(r#"{{"id":"{order}"}}"#));
}

/// What a consumer makes of the failure of a statement, on a real database.
async fn handle_error_of(statement: &str) -> HandleError {
    let database = TestDatabase::create(Schema::Orders).await;
    let error = database.connection().execute_unprepared(statement).await.unwrap_err();
    DbFailure::into_handle_error(&error)
}

#[tokio::test]
async fn a_row_at_fault_is_searched_for_and_a_missing_migration_is_waited_for() {
    let duplicate = handle_error_of("INSERT INTO outbox_lane (lane) VALUES (0)").await;
    assert!(matches!(duplicate, HandleError::Fault(_)), "{duplicate:?}");
    for statement in ["SELECT * FROM of_tomorrow", "SELECT of_tomorrow FROM outbox"] {
        let missing = handle_error_of(statement).await;
        assert!(matches!(missing, HandleError::Unavailable(_)), "{missing:?}");
    }
}

/// A machine that stands still for longer than a session may idle in its transaction is no fault of a message.
#[tokio::test]
async fn a_session_that_the_server_has_ended_is_waited_for() {
    let database = TestDatabase::create(Schema::Orders).await;
    let db = database.connection();
    if db.get_database_backend() == DbBackend::Sqlite {
        return;
    }
    let stuck = db.begin().await.unwrap();
    stuck.execute_unprepared("SET LOCAL idle_in_transaction_session_timeout = '20ms'").await.unwrap();
    eventually("the server has ended the session", || async {
        let stuck = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'";
        let left = db.query_one_raw(Statement::from_string(DbBackend::Postgres, stuck)).await.unwrap();
        left.is_none().then_some(())
    })
    .await;

    let error = stuck.execute_unprepared("SELECT 1").await.unwrap_err();
    let error = DbFailure::into_handle_error(&error);

    assert!(matches!(&error, HandleError::Unavailable(why) if why.contains("idle-in-transaction")), "{error:?}");
}

#[tokio::test]
async fn a_parked_event_leaves_when_it_is_sent_again_and_is_gone_when_it_is_dropped() {
    let bench = Bench::new(&[Answer::Refuse { permanent: true }; 2]).await;
    let relay = Relay::start(&bench.outbox, &bench.bus);
    for parked in 1..=2 {
        bench.publish(Uuid::now_v7(), 1).await;
        eventually("it is parked", || async { (bench.rows().await == (parked, parked)).then_some(()) }).await;
    }
    let db = bench.database.connection();
    let events = parked::list(db).await.unwrap();
    let [again, dropped] = events.as_slice() else { panic!("{events:?}") };
    assert_eq!((again.error.as_str(), again.event_type.as_str()), ("as the script says", "order.paid"));

    assert!(parked::discard(db, dropped).await.unwrap());
    assert!(parked::redrive(db, again).await.unwrap());

    bench.drained().await;
    relay.stop().await;
    assert_eq!(bench.accepted(), [(again.order_id, 1)]);
    assert!(!parked::redrive(db, again).await.unwrap(), "it is not parked any more");
    assert!(!parked::discard(db, dropped).await.unwrap(), "it is gone");
}

/// An event that is said again is the same one, also when it is written down twice.
#[tokio::test]
async fn what_is_said_again_has_the_same_id_and_waits_once() {
    let bench = Bench::new(&[]).await;
    let id = Uuid::now_v7();
    bench.publish(id, 1).await;
    let event = OrderPaid { id };
    let said = |event_no| Said { aggregate_id: id, event_no, occurred_at: contracts::now(), event: &event };
    let mut work = bench.outbox.begin().await.unwrap();
    work.repeat(None, said(1), true).unwrap();
    work.repeat(None, said(2), true).unwrap();
    work.repeat(None, said(2), true).unwrap();
    work.commit().await.unwrap();
    assert_eq!(bench.rows().await, (2, 0));

    let relay = Relay::start(&bench.outbox, &bench.bus);
    bench.drained().await;
    relay.stop().await;
    let accepted = bench.state.lock().unwrap().accepted.clone();
    let seen: Vec<_> = accepted.iter().map(|event| (event.id, event.asks)).collect();
    assert_eq!(seen, [(event_id(id, 1), false), (event_id(id, 2), true)]);
}

/// A migration adds columns while the build before it still runs. On PostgreSQL a prepared `SELECT *` fails from then on,
/// on every connection that has it.
#[tokio::test]
async fn windows_go_on_leaving_when_a_newer_build_adds_a_column() {
    let bench = Bench::new(&[]).await;
    let relay_one = || async {
        bench.publish(Uuid::now_v7(), 1).await;
        Relay::once(&bench.outbox, bench.bus.publisher()).await.unwrap();
    };
    relay_one().await;
    let db = bench.database.connection();
    db.execute_unprepared("ALTER TABLE outbox ADD COLUMN of_tomorrow INTEGER NULL").await.unwrap();
    relay_one().await;
    assert_eq!(bench.rows().await, (0, 0));
}

/// Each size of a window with statements of its own would be hundreds of long texts on each connection.
#[tokio::test]
async fn windows_of_any_size_are_few_statements() {
    let bench = Bench::new(&[]).await;
    for events in 1..=100 {
        let mut work = bench.outbox.begin().await.unwrap();
        let id = Uuid::now_v7();
        for event_no in 1..=events {
            let event = OrderPaid { id };
            let said = Said { aggregate_id: id, event_no, occurred_at: contracts::now(), event: &event };
            if event_no % 2 == 0 {
                work.publish(id, event_no, &event).unwrap();
            } else {
                work.repeat(None, said, false).unwrap();
            }
        }
        work.commit().await.unwrap();
        Relay::once(&bench.outbox, bench.bus.publisher()).await.unwrap();
    }
    assert_eq!(bench.rows().await, (0, 0));
    // Two kinds of INSERT in four sizes, a DELETE in eight, and a handful that have one.
    if let Some(statements) = bench.database.prepared_statements().await {
        assert!(statements < 30, "{statements}");
    }
}

/// It happened long ago, and it has not waited since then: an alert on the age would fire for every question of a
/// reconciler.
#[tokio::test]
async fn what_is_said_again_waits_since_it_was_said_again() {
    let database = TestDatabase::create(Schema::Orders).await;
    let measured = Metrics::new("orders");
    let outbox = Outbox::measured(database.connection().clone(), &measured);
    let id = Uuid::now_v7();
    let mut work = outbox.begin().await.unwrap();
    let occurred_at = contracts::now() - chrono::TimeDelta::hours(3);
    work.repeat(None, Said { aggregate_id: id, event_no: 1, occurred_at, event: &OrderPaid { id } }, true).unwrap();
    work.commit().await.unwrap();

    let scrape = || async { Scrape::read(metrics::render(std::slice::from_ref(&measured), Format::Text).await) };
    let waiting = scrape().await;
    assert_eq!(waiting.value("outbox_unpublished_messages", &[]), Some(1.0));
    let age = waiting.value("outbox_oldest_unpublished_age_seconds", &[]).unwrap();
    assert!((0.0..3600.0).contains(&age), "{age}");

    let bus = ScriptedBus::default();
    assert!(Relay::once(&outbox, bus.publisher()).await.unwrap());
    let published = scrape().await;
    assert_eq!(published.value("outbox_publish_lag_seconds_count", &[]), Some(1.0));
    let lag = published.value("outbox_publish_lag_seconds_sum", &[]).unwrap();
    assert!((0.0..3600.0).contains(&lag), "{lag}");
    // What it happened at is what the event says.
    assert_eq!(bus.state.lock().unwrap().accepted[0].occurred_at, occurred_at);
}
