//! One order is one trace, across three processes, a database and a broker: its exact tree, also after a crash and for a
//! message that came twice.
//!
//! Only with PostgreSQL and RabbitMQ. `cargo test --workspace --test it one_order_is_one_trace -- --nocapture` shows the
//! waterfall that is in the README.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use migration::Schema;
use reqwest::{Client, Url};
use serde_json::{Value, json};
use testkit::{
    PATIENCE, TestBroker, TestDatabase, eventually,
    otlp::{OtlpReceiver, ReceivedSpan},
    processes::{self, Process},
    proxy::Proxy,
    waterfall,
};
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// What becomes of one `createOrder`.
const TREE: &str = "\
bff      POST /graphql SERVER
bff        mutation SERVER
bff          Mutation.createOrder INTERNAL
bff            POST /graphql CLIENT
orders           POST /graphql SERVER
orders             mutation SERVER
orders               BEGIN CLIENT
orders               INSERT orders CLIENT
orders               INSERT order_history CLIENT
orders               create tandem.events:order.created PRODUCER
orders                 publish tandem.events:order.created CLIENT ~parent
invoices               process tandem.events:order.created:orders CONSUMER ~parent
invoices                 BEGIN CLIENT
invoices                 INSERT invoices CLIENT
invoices                 create tandem.events:invoice.issued PRODUCER
invoices                   publish tandem.events:invoice.issued CLIENT ~parent
orders                     process tandem.events:invoice.issued:orders.invoice-events CONSUMER ~parent
orders                       BEGIN CLIENT
orders                       SELECT orders CLIENT
orders                       INSERT orders CLIENT
orders                       INSERT order_history CLIENT
orders                       COMMIT CLIENT
orders                       ack orders.invoice-events CLIENT
invoices                 INSERT outbox CLIENT
invoices                 COMMIT CLIENT
invoices                 ack orders CLIENT
orders               INSERT outbox CLIENT
orders               COMMIT CLIENT
";

/// A delivery of `order.created` that found no database.
const FAILED: &str = "\
invoices               process tandem.events:order.created:orders CONSUMER !unavailable ~parent
invoices                 BEGIN CLIENT !connection
";

/// Everything that a span of ours may say; more would be somebody's data.
const ATTRIBUTES: [&str; 30] = [
    "db.collection.name",
    "db.namespace",
    "db.operation.name",
    "db.query.summary",
    "db.response.status_code",
    "db.system.name",
    "error.type",
    "graphql.operation.name",
    "graphql.operation.type",
    "http.request.method",
    "http.request.resend_count",
    "http.response.status_code",
    "http.route",
    "messaging.batch.message_count",
    "messaging.destination.name",
    "messaging.message.conversation_id",
    "messaging.message.id",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.rabbitmq.destination.routing_key",
    "messaging.rabbitmq.message.delivery_count",
    "messaging.rabbitmq.message.delivery_tag",
    "messaging.system",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.full",
    "url.path",
    "url.scheme",
    "url.template",
];

/// The three services, with something between them and what they stand on.
struct System {
    receiver: OtlpReceiver,
    orders: Process,
    invoices: Process,
    bff: Process,
    /// Between orders and the broker.
    orders_broker: Arc<Proxy>,
    /// Between invoices and its database.
    invoices_database: Arc<Proxy>,
    orders_db: TestDatabase,
    invoices_db: TestDatabase,
    broker: TestBroker,
    http: Client,
}

async fn proxy_of(url: &str, port: u16) -> Arc<Proxy> {
    let url: Url = url.parse().unwrap();
    Proxy::to(&format!("{}:{}", url.host_str().unwrap(), url.port().unwrap_or(port))).await
}

/// `url` by way of `proxy`.
fn by_way_of(url: &str, proxy: &Proxy) -> String {
    let mut url: Url = url.parse().unwrap();
    url.set_host(Some(&proxy.address().ip().to_string())).unwrap();
    url.set_port(Some(proxy.address().port())).unwrap();
    url.into()
}

impl System {
    /// Starts it; `None` where there are no servers.
    async fn start() -> Option<Self> {
        let broker = TestBroker::start().await?;
        let orders_db = TestDatabase::create(Schema::Orders).await;
        let invoices_db = TestDatabase::create(Schema::Invoices).await;
        let receiver = OtlpReceiver::start().await;
        let orders_broker = proxy_of(broker.url(), 5672).await;
        let invoices_database = proxy_of(invoices_db.url().as_str(), 5432).await;
        let orders = Self::start_orders(&receiver, &orders_db, &broker, &orders_broker).await;
        let invoices = Self::start_invoices(&receiver, &invoices_db, &invoices_database, &broker).await;
        let environment = [
            ("ORDERS_URL", orders.url.as_str()),
            ("INVOICES_URL", &invoices.url),
            ("BROKER_URL", broker.url()),
            // A machine that is busy must not make a service look slow.
            ("SUBGRAPH_TIMEOUT_MS", "30000"),
            ("REQUEST_TIMEOUT_MS", "30000"),
        ];
        let bff = Self::start_one("bff", &receiver, &environment).await;
        let system = Self {
            receiver,
            orders,
            invoices,
            bff,
            orders_broker,
            invoices_database,
            orders_db,
            invoices_db,
            broker,
            http: Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
        };
        for url in [&system.orders.url, &system.invoices.url, &system.bff.url] {
            system.reports(url, "broker", "ok").await;
        }
        Some(system)
    }

    async fn start_one(name: &str, receiver: &OtlpReceiver, environment: &[(&str, &str)]) -> Process {
        let program = processes::program(env!("CARGO_BIN_EXE_tandem"), name);
        let mut environment = environment.to_vec();
        // Soon, so that what happened before a crash is known.
        environment.extend([("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint()), ("OTEL_BSP_SCHEDULE_DELAY", "20")]);
        processes::start(&program, &environment).await
    }

    async fn start_orders(receiver: &OtlpReceiver, db: &TestDatabase, broker: &TestBroker, proxy: &Proxy) -> Process {
        let url = db.url();
        let broker = by_way_of(broker.url(), proxy);
        Self::start_one("orders", receiver, &[("DATABASE_URL", url.as_str()), ("BROKER_URL", &broker)]).await
    }

    async fn start_invoices(receiver: &OtlpReceiver, db: &TestDatabase, proxy: &Proxy, broker: &TestBroker) -> Process {
        let url = db.url_at(proxy.address());
        Self::start_one("invoices", receiver, &[("DATABASE_URL", url.as_str()), ("BROKER_URL", broker.url())]).await
    }

    /// Waits until the readiness of the service at `url` says this of `check`.
    async fn reports(&self, url: &str, check: &str, expected: &str) {
        eventually(&format!("{url} says {check}: {expected}"), || async {
            let ready = self.http.get(format!("{url}/readyz")).send().await.unwrap();
            let is_ready = ready.status().is_success();
            let report: Value = ready.json().await.unwrap();
            (is_ready && report["checks"][check] == expected).then_some(())
        })
        .await;
    }

    /// Places an order at the bff, as a part of a trace with this id.
    async fn place(&self, trace_id: &str) -> Value {
        let query = "mutation CreateOrder($customer: ID) {
            createOrder(input: { amount: 4711, customerId: $customer }) { order { id } userErrors { message } }
        }";
        let request = self
            .http
            .post(format!("{}/graphql", self.bff.url))
            .header("traceparent", format!("00-{trace_id}-00f067aa0ba902b7-01"))
            .json(&json!({ "query": query, "variables": { "customer": "personal-customer" } }));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        answer["data"]["createOrder"]["order"]["id"].as_str().unwrap_or_else(|| panic!("{answer}")).into()
    }

    /// Stops everything in order, which sends the last spans, and answers the logs.
    async fn stop(self) -> Vec<String> {
        let mut logs = self.bff.stop().await;
        logs.extend(self.orders.stop().await);
        logs.extend(self.invoices.stop().await);
        logs
    }
}

fn a_trace_id() -> String {
    Uuid::new_v4().simple().to_string()
}

/// Waits until the trace satisfies `is_complete`, and fails with what there is of it.
async fn trace_that(
    receiver: &OtlpReceiver,
    trace_id: &str,
    what: &str,
    is_complete: impl Fn(&[ReceivedSpan]) -> bool,
) -> Vec<ReceivedSpan> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let spans = receiver.trace(trace_id);
        if is_complete(&spans) {
            return spans;
        }
        assert!(
            Instant::now() < deadline,
            "{what}; this is the trace:\n{}\n{}",
            waterfall::waterfall(&spans),
            waterfall::outline(&spans)
        );
        sleep(Duration::from_millis(20)).await;
    }
}

async fn assert_outline(receiver: &OtlpReceiver, trace_id: &str, expected: &str) {
    let what = format!("the trace should be\n{expected}");
    trace_that(receiver, trace_id, &what, |spans| waterfall::outline(spans) == expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_order_is_one_trace() {
    let Some(system) = System::start().await else { return };
    // The first of a process opens its connections; the second is what an operator sees every day.
    for trace_id in [a_trace_id(), a_trace_id()] {
        let order = system.place(&trace_id).await;
        assert_outline(&system.receiver, &trace_id, TREE).await;
        assert_attributes(&system, &trace_id, order.as_str().unwrap());
        waterfall::show(&system.receiver.trace(&trace_id));
    }
    let receiver = system.receiver.clone();
    let logs = system.stop().await;

    // Nothing came after it, and nothing beside it: what polls has no trace.
    let spans = receiver.spans();
    let traces: BTreeSet<_> = spans.iter().map(ReceivedSpan::trace_id).collect();
    assert_eq!((traces.len(), spans.len()), (2, 2 * TREE.lines().count()), "{}", waterfall::outline(&spans));

    // Each event of the log that belongs to a request or a message names its trace.
    let outcomes: Vec<Value> = logs.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (target, services) in [("access", &["bff", "orders"][..]), ("outcome", &["invoices", "orders"])] {
        for service in services {
            let lines: Vec<&Value> = outcomes
                .iter()
                .filter(|event| event["target"] == target && event["service.name"] == *service)
                .collect();
            let with_trace =
                lines.iter().filter(|event| traces.contains(event["trace_id"].as_str().unwrap_or_default()));
            assert_eq!(with_trace.count(), 2, "{target} of {service}: {lines:?}");
        }
    }
    let text = logs.join("\n");
    assert!(!text.contains("personal-customer"), "{text}");
}

/// The attributes of the semantic conventions, and no others.
fn assert_attributes(system: &System, trace_id: &str, order: &str) {
    let spans = system.receiver.trace(trace_id);
    let of = |service: &str, name: &str, key: &str| {
        let span = spans.iter().find(|span| span.service == service && span.span.name == name);
        span.unwrap_or_else(|| panic!("{service} has no span {name}")).attribute(key).unwrap_or_default()
    };
    let namespace =
        |db: &TestDatabase| db.url().as_str().rsplit('/').next().unwrap().split('?').next().unwrap().to_owned();
    let (orders_db, invoices_db) = (namespace(&system.orders_db), namespace(&system.invoices_db));
    let process = "process tandem.events:order.created:orders";
    let publish = "publish tandem.events:order.created";
    for (service, name, key, expected) in [
        ("bff", "POST /graphql", "http.request.method", "POST"),
        ("bff", "mutation", "graphql.operation.type", "mutation"),
        ("bff", "mutation", "graphql.operation.name", "CreateOrder"),
        ("orders", "POST /graphql", "http.route", "/graphql"),
        ("orders", "POST /graphql", "url.path", "/graphql"),
        ("orders", "POST /graphql", "url.scheme", "http"),
        ("orders", "POST /graphql", "http.response.status_code", "200"),
        ("orders", "INSERT orders", "db.system.name", "postgresql"),
        ("orders", "INSERT orders", "db.operation.name", "INSERT"),
        ("orders", "INSERT orders", "db.collection.name", "orders"),
        ("orders", "INSERT orders", "db.query.summary", "INSERT orders"),
        ("orders", "INSERT orders", "db.namespace", &orders_db),
        ("invoices", "INSERT invoices", "db.namespace", &invoices_db),
        ("invoices", "COMMIT", "db.operation.name", "COMMIT"),
        ("orders", "create tandem.events:order.created", "messaging.operation.type", "create"),
        ("orders", publish, "messaging.system", "rabbitmq"),
        ("orders", publish, "messaging.operation.name", "publish"),
        ("orders", publish, "messaging.operation.type", "send"),
        ("orders", publish, "messaging.destination.name", "tandem.events:order.created"),
        ("orders", publish, "messaging.message.conversation_id", order),
        ("invoices", process, "messaging.operation.type", "process"),
        ("invoices", process, "messaging.destination.name", "tandem.events:order.created:orders"),
        ("invoices", process, "messaging.rabbitmq.destination.routing_key", "order.created"),
        ("invoices", process, "messaging.rabbitmq.message.delivery_count", "1"),
        ("invoices", "ack orders", "messaging.operation.type", "settle"),
    ] {
        assert_eq!(of(service, name, key), expected, "{service} {name} {key}");
    }
    let call = spans.iter().find(|span| span.service == "bff" && span.span.kind == 3).unwrap();
    assert_eq!(call.attribute("url.template").as_deref(), Some("/graphql"));
    assert_eq!(call.attribute("http.response.status_code").as_deref(), Some("200"));

    for span in &spans {
        for attribute in &span.span.attributes {
            assert!(ATTRIBUTES.contains(&attribute.key.as_str()), "{}: {attribute:?}", span.span.name);
        }
        // Neither who, nor how much, nor the document: not in an attribute, an event or a status.
        let text = format!("{:?}", span.span);
        for secret in ["personal-customer", "4711", "createOrder(", "VALUES", "$1"] {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
}

/// orders dies after it has committed an order and before the broker has its event: what another process publishes later
/// is in the trace of the request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_commit_and_publish_does_not_cut_the_trace() {
    let Some(mut system) = System::start().await else { return };
    system.orders_broker.cut().await;
    system.reports(&system.orders.url, "broker", "degraded").await;
    let trace_id = a_trace_id();
    system.place(&trace_id).await;
    let committed = |spans: &[ReceivedSpan]| spans.iter().filter(|span| span.span.name == "POST /graphql").count() == 3;
    trace_that(&system.receiver, &trace_id, "the request should be answered", committed).await;
    system.orders.kill().await;

    system.orders_broker.restore().await;
    system.orders =
        System::start_orders(&system.receiver, &system.orders_db, &system.broker, &system.orders_broker).await;
    assert_outline(&system.receiver, &trace_id, TREE).await;
    system.stop().await;
}

/// invoices finds no database, dies, and its successor gets the message again: each attempt is in the trace, beside the
/// others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_comes_again_is_one_more_attempt_in_the_same_trace() {
    let Some(mut system) = System::start().await else { return };
    system.invoices_database.cut().await;
    let trace_id = a_trace_id();
    system.place(&trace_id).await;
    let attempts = |spans: &[ReceivedSpan]| {
        let processing = spans.iter().filter(|span| span.span.name == "process tandem.events:order.created:orders");
        processing.map(|span| span.attribute("messaging.rabbitmq.message.delivery_count").unwrap()).collect::<Vec<_>>()
    };
    let failed = |spans: &[ReceivedSpan]| !attempts(spans).is_empty();
    trace_that(&system.receiver, &trace_id, "a first attempt should fail", failed).await;
    system.invoices.kill().await;

    system.invoices_database.restore().await;
    system.invoices =
        System::start_invoices(&system.receiver, &system.invoices_db, &system.invoices_database, &system.broker).await;
    let receiver = system.receiver.clone();
    // How often it tried before it died is chance; that each try is there, and as what, is not.
    let without_failures = |spans: &[ReceivedSpan]| waterfall::outline(spans).replace(FAILED, "");
    let what = format!("but for the failed attempts the trace should be\n{TREE}");
    let spans = trace_that(&receiver, &trace_id, &what, |spans| without_failures(spans) == TREE).await;
    waterfall::show(&spans);
    assert!(waterfall::outline(&spans).contains(FAILED), "{}", waterfall::outline(&spans));
    let attempts = attempts(&spans);
    assert_eq!((&*attempts[0], &**attempts.last().unwrap()), ("1", "2"), "{attempts:?}");
    system.stop().await;
}

/// What an operator sends back, days after perhaps, begins a trace that links to the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_sent_back_begins_a_new_trace_with_a_link() {
    let Some(system) = System::start().await else { return };
    let (first, second) = (a_trace_id(), a_trace_id());
    let order = system.place(&first).await;
    assert_outline(&system.receiver, &first, TREE).await;
    // The same order with another amount: somebody has to look at it.
    let body = json!({ "id": order, "amount": 1, "customer": { "id": "personal-customer" } });
    system.broker.publish("orders", &body, &[("traceparent", &format!("00-{second}-00f067aa0ba902b7-01"))]).await;
    let rejected =
        |spans: &[ReceivedSpan]| spans.iter().any(|span| span.attribute("error.type").as_deref() == Some("conflict"));
    trace_that(&system.receiver, &second, "the contradiction should be rejected", rejected).await;
    eventually("the dead letter is sent back", || async {
        let program = processes::program(env!("CARGO_BIN_EXE_tandem"), "invoices");
        let redrive = tokio::process::Command::new(program)
            .args(["dead-letters", "redrive", "--queue", "orders", "--reason", "conflict", "--json", "--yes"])
            .env_clear()
            .env("BROKER_URL", system.broker.url())
            .output()
            .await
            .unwrap();
        assert!(redrive.status.success(), "{redrive:?}");
        String::from_utf8(redrive.stdout).unwrap().contains("conflict").then_some(())
    })
    .await;
    let linked = eventually("there is a trace that links to the old one", || async {
        let is_linked = |span: &ReceivedSpan| {
            let links = &span.span.links;
            links.iter().any(|link| link.trace_id == hex_bytes(&second)) && span.trace_id() != second
        };
        system.receiver.spans().into_iter().find(is_linked)
    })
    .await;
    assert_eq!((&*linked.service, &*linked.span.name), ("invoices", "process orders"));
    assert!(linked.span.parent_span_id.is_empty());
    system.stop().await;
}

fn hex_bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}
