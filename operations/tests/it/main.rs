//! The commands of an operator, as they are typed, on a real broker and a real database.

#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "helpers of tests are tests too")]

use std::sync::Arc;

use async_trait::async_trait;
use clap::Parser;
use contracts::{
    EventEnvelope, EventType, OrderCanceled, OrderPaid, TraceContext, event_id,
    topology::{INVOICES_ORDER_CANCELED, ORDERS, Queue},
};
use messaging::{
    Delivery, EventBus, HandleError, Handler, Outcome, Rejection, Verdict, in_process::InProcessBus, rabbitmq::RabbitMq,
};
use migration::Schema;
use operations::{Operation, Service};
use outbox::{DatabaseUrl, Outbox, Relay};
use sea_orm::{ConnectionTrait, Statement};
use serde_json::Value;
use testkit::{TestBroker, TestDatabase, eventually};
use uuid::Uuid;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    operation: Operation,
}

/// What the service of these tests consumes.
static QUEUES: [&Queue; 1] = [&ORDERS];

/// What a command answers.
async fn run(broker_url: Option<&str>, database_url: Option<DatabaseUrl>, line: &str) -> anyhow::Result<String> {
    let operation = Line::try_parse_from(std::iter::once("invoices").chain(line.split_whitespace()))?.operation;
    let broker_url = broker_url.map(Into::into);
    let service = Service { name: "invoices", queues: &QUEUES, broker_url, database_url };
    let mut out = Vec::new();
    operations::run(operation, service, &mut out).await?;
    Ok(String::from_utf8(out)?)
}

/// Rejects what is of customer `c1`, and takes all else.
struct Picky;

#[async_trait]
impl Handler for Picky {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        let is_bad = |delivery: &Delivery| delivery.event.body.windows(4).any(|window| window == b"\"c1\"");
        let bad = || Verdict::Reject(Rejection { reason: "conflict", error: "another amount".into() });
        Ok(batch.iter().map(|delivery| if is_bad(delivery) { bad() } else { Verdict::Done }).collect())
    }

    async fn is_available(&self) -> bool {
        true
    }
}

fn event(customer: &str) -> EventEnvelope {
    let id = Uuid::now_v7();
    EventEnvelope {
        id: event_id(id, 1),
        event_type: EventType::OrderCreated,
        source: "orders".into(),
        aggregate_id: id,
        event_no: 1,
        order_id: id,
        occurred_at: contracts::now(),
        trace_context: TraceContext::default(),
        asks: false,
        body: format!(r#"{{"id":"{id}","amount":100,"customer":{{"id":"{customer}"}}}}"#).into(),
    }
}

/// A virtual host with two dead letters and a healthy message behind it.
async fn with_two_letters() -> Option<(TestBroker, Vec<EventEnvelope>)> {
    let broker = TestBroker::start().await?;
    let bus = RabbitMq::connect_as(broker.url(), "invoices").unwrap();
    let window = vec![event("c1"), event("c1")];
    let subscription = bus.subscribe(&ORDERS, Arc::new(Picky));
    let mut publisher = bus.publisher();
    publisher.ready().await;
    assert_eq!(publisher.publish(&window).await.unwrap(), [Outcome::Accepted, Outcome::Accepted]);
    eventually("both are among the dead letters", || async {
        let list = run(Some(broker.url()), None, "dead-letters list").await.unwrap();
        list.contains("2 in all").then_some(())
    })
    .await;
    subscription.stop().await;
    bus.close().await;
    Some((broker, window))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_listed_shown_sent_back_and_dropped() {
    let Some((broker, window)) = with_two_letters().await else { return };
    let (first, second) = (window[0].id, window[1].id);
    let run = async |line: &str| run(Some(broker.url()), None, line).await.unwrap();

    let list = run("dead-letters list").await;
    let row = list.lines().nth(1).unwrap();
    for cell in ["orders.dlq", &first.to_string(), "order.created", "conflict", "another amount"] {
        assert!(row.contains(cell), "{cell}: {list}");
    }
    let shown = run(&format!("dead-letters show --id {second}")).await;
    assert!(shown.contains(r#""amount":100"#) && !shown.contains(&first.to_string()), "{shown}");
    let json: Value = serde_json::from_str(&run(&format!("dead-letters list --json --id {first}")).await).unwrap();
    assert_eq!(
        (&json["reason"], &json["service"], &json["retries"]),
        (&"conflict".into(), &"invoices".into(), &0.into())
    );
    for none in ["--reason fault", "--older-than 1h", "--limit 0"] {
        assert_eq!(run(&format!("dead-letters list {none}")).await, "nothing\n", "{none}");
    }

    for dry in ["redrive", "drop"] {
        let answer = run(&format!("dead-letters {dry} --reason conflict")).await;
        assert!(answer.contains("2 would be") && answer.contains("--yes"), "{answer}");
    }
    assert!(run("dead-letters list").await.contains("2 in all"), "a dry run changed something");

    assert!(run(&format!("dead-letters redrive --yes --id {first}")).await.ends_with("1 sent back\n"));
    assert!(run("dead-letters drop --yes").await.ends_with("1 dropped\n"));
    assert_eq!(run("dead-letters list").await, "nothing\n");

    // What was sent back is rejected again, by the one that consumes it now.
    let bus = RabbitMq::connect(broker.url()).unwrap();
    bus.subscribe(&ORDERS, Arc::new(Picky));
    eventually("it is here again", || async {
        run("dead-letters list").await.contains(&first.to_string()).then_some(())
    })
    .await;
    bus.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parked_events_are_listed_sent_again_and_dropped() {
    let database = TestDatabase::create(Schema::Orders).await;
    let outbox = Outbox::new(database.connection().clone(), "orders");
    let bus: Arc<dyn EventBus> = Arc::new(InProcessBus::new());
    let rejecting = bus.subscribe(&INVOICES_ORDER_CANCELED, Arc::new(RejectAll));
    let relay = Relay::start(&outbox, &bus);
    let run = async |line: &str| run(None, Some(database.url()), line).await.unwrap();
    for _ in 0..2 {
        let mut work = outbox.begin().await.unwrap();
        let id = Uuid::now_v7();
        work.publish(id, 1, &OrderCanceled { id }).unwrap();
        work.publish(id, 2, &OrderPaid { id }).unwrap();
        work.commit().await.unwrap();
    }
    eventually("both are parked", || async {
        run("dead-letters list --outbox").await.contains("2 in all").then_some(())
    })
    .await;

    let list = run("dead-letters list --outbox --reason malformed --json").await;
    let items: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((&items[0]["place"], &items[0]["type"]), (&"outbox".into(), &"order.canceled".into()));
    let id = items[0]["id"].as_str().unwrap();
    assert!(run("dead-letters drop --outbox").await.contains("2 would be dropped"));

    // Now somebody takes them.
    rejecting.stop().await;
    bus.subscribe(&INVOICES_ORDER_CANCELED, Arc::new(Picky));
    assert!(run(&format!("dead-letters redrive --outbox --yes --id {id}")).await.ends_with("1 sent back\n"));
    assert!(run("dead-letters drop --outbox --yes").await.ends_with("1 dropped\n"));
    let db = database.connection();
    eventually("the outbox is empty", || async {
        let row = Statement::from_string(db.get_database_backend(), "SELECT seq FROM outbox");
        db.query_all_raw(row).await.unwrap().is_empty().then_some(())
    })
    .await;
    relay.stop().await;
}

struct RejectAll;

#[async_trait]
impl Handler for RejectAll {
    async fn handle(&self, batch: &[Delivery]) -> Result<Vec<Verdict>, HandleError> {
        let bad = || Verdict::Reject(Rejection { reason: "malformed", error: "no order".into() });
        Ok(batch.iter().map(|_| bad()).collect())
    }

    async fn is_available(&self) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_set_up_by_one_command() {
    let Some(broker) = TestBroker::start().await else { return };
    let line = format!("broker-setup --admin-url {} --vhost {}", broker.admin_url(), broker.vhost());
    let first = run(None, None, &line).await.unwrap();
    assert!(first.contains("created  queue orders.retry.30s") && first.ends_with("is set up\n"), "{first}");
    let again = run(None, None, &line).await.unwrap();
    assert!(
        again.lines().all(|line| !line.starts_with("created")) && again.contains("kept     policy orders"),
        "{again}"
    );
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_named() {
    for (line, named) in [
        ("dead-letters list", "BROKER_URL"),
        ("dead-letters list --outbox", "DATABASE_URL"),
        ("dead-letters list --older-than soon", "30s, 15m, 2h, 7d"),
        ("dead-letters list --queue elsewhere", "does not consume the queue elsewhere, but orders"),
        ("dead-letters redrive --rate 0", "--rate"),
    ] {
        let error = run(None, None, line).await.unwrap_err();
        assert!(format!("{error:#}").contains(named), "{line}: {error:#}");
    }
}
