//! The whole system, started by the same functions as in production, on the back end that the environment names.

use std::{collections::BTreeMap, sync::Arc};

use bff::LiveGauges;
use chassis::{
    identity::IdentityConfig,
    listen::Listen,
    metrics::{self, Format, Metrics},
    service::RunningService,
};
use contracts::{Amount, topology::Queue};
use invoices::invoice::AmountLimit;
use messaging::{EventBus, Outcome, in_process::InProcessBus, rabbitmq::RabbitMq};
use migration::Schema;
use outbox::{DatabaseUrl, Patience};
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{PATIENCE, Scrape, TestBroker, TestDatabase, eventually};

/// Orders, invoices and the BFF, with a database each and a bus between them.
pub struct World {
    /// For requests.
    pub http: reqwest::Client,
    orders: Vec<RunningService>,
    invoices: Vec<RunningService>,
    bffs: Vec<RunningService>,
    gauges: LiveGauges,
    buses: Buses,
    orders_db: TestDatabase,
    invoices_db: TestDatabase,
    settings: Settings,
    // Dropped last: its virtual host goes with it.
    broker: Option<TestBroker>,
}

/// What may differ between worlds.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// How many of each service. An embedded system always has one: SQLite has one process.
    pub replicas: Option<usize>,
    /// How many of the BFF.
    pub bff_replicas: Option<usize>,
    /// The largest amount that is invoiced.
    pub amount_limit: Option<i64>,
    /// How long orders wait before they ask again.
    pub orders_patience: Option<Patience>,
    /// How long invoices wait before they ask again.
    pub invoices_patience: Option<Patience>,
    /// Another address for the database server, e.g. a proxy's.
    pub database_address: Option<std::net::SocketAddr>,
    /// Another address for the broker.
    pub broker_address: Option<std::net::SocketAddr>,
    /// Who is let in: everybody, unless it is said otherwise.
    pub identity: IdentityConfig,
    /// Another address for the broker, for the BFF alone.
    pub bff_broker_address: Option<std::net::SocketAddr>,
}

/// Each service has its own connection to the broker, as its own process would; in process there is one bus.
enum Buses {
    Embedded(Arc<dyn EventBus>),
    Broker(String),
}

/// Where an order stands in both services.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pair {
    /// The order's status.
    pub order: String,
    /// What orders know of the invoice.
    pub replica: String,
    /// The invoice's status; `absent` where there is none, `tombstone` where it has no content.
    pub invoice: String,
}

/// The pairs in which nothing more happens by itself.
const QUIESCENT: [(&str, &str, &str); 5] = [
    ("pending", "issued", "issued"),
    ("paid", "paid", "paid"),
    ("canceled", "voided", "voided"),
    ("canceled", "refunded", "refunded"),
    ("canceled", "rejected", "rejected"),
];

impl World {
    /// Starts everything.
    pub async fn start() -> Self {
        Self::with(Settings::default()).await
    }

    /// Starts everything with other settings.
    pub async fn with(settings: Settings) -> Self {
        let (orders_db, invoices_db, broker) =
            tokio::join!(TestDatabase::create(Schema::Orders), TestDatabase::create(Schema::Invoices), async {
                match std::env::var_os("TEST_BROKER_URL") {
                    Some(_) => TestBroker::start().await,
                    None => None,
                }
            });
        let buses = match &broker {
            Some(broker) => Buses::Broker(at(broker.url(), settings.broker_address)),
            None => Buses::Embedded(Arc::new(InProcessBus::new())),
        };
        let mut world = Self {
            http: reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap(),
            orders: Vec::new(),
            invoices: Vec::new(),
            bffs: Vec::new(),
            gauges: LiveGauges::default(),
            buses,
            orders_db,
            invoices_db,
            settings,
            broker,
        };
        world.start_orders().await;
        world.start_invoices().await;
        world.start_bff().await;
        world
    }

    /// Starts the orders service, on new ports.
    pub async fn start_orders(&mut self) {
        for _ in 0..self.replicas() {
            let (bus, owned) = self.bus();
            let mut config = orders::Config::embedded(Listen::anywhere(), &self.database_url(&self.orders_db));
            config.reconcile_after = self.settings.orders_patience.unwrap_or_default();
            config.identity = self.settings.identity.clone();
            self.orders.push(closing(orders::start(config, bus).await.unwrap(), owned));
        }
    }

    /// Starts the invoices service, on new ports.
    pub async fn start_invoices(&mut self) {
        let limit = self.settings.amount_limit.unwrap_or(*Amount::RANGE.end());
        let limit = AmountLimit(Amount::try_from(limit).unwrap());
        for _ in 0..self.replicas() {
            let (bus, owned) = self.bus();
            let mut config =
                invoices::Config::embedded(Listen::anywhere(), &self.database_url(&self.invoices_db), limit);
            config.reconcile_after = self.settings.invoices_patience.unwrap_or_default();
            config.identity = self.settings.identity.clone();
            self.invoices.push(closing(invoices::start(config, bus).await.unwrap(), owned));
        }
    }

    async fn start_bff(&mut self) {
        // The bff keeps nothing, so there may be many of it also where there is one of each service.
        for _ in 0..self.settings.bff_replicas.unwrap_or(1) {
            let (bus, owned) = match &self.buses {
                Buses::Embedded(bus) => (Arc::clone(bus), None),
                Buses::Broker(url) => {
                    let bus: Arc<dyn EventBus> = Arc::new(
                        RabbitMq::connect_to_listen(&at(url, self.settings.bff_broker_address), "bff").unwrap(),
                    );
                    (Arc::clone(&bus), Some(bus))
                }
            };
            let mut config = bff::Config::new(
                Listen::anywhere(),
                self.orders_url().parse().unwrap(),
                self.invoices_url().parse().unwrap(),
            );
            config.api.live.gauges = self.gauges.clone();
            config.identity = self.settings.identity.clone();
            // A machine that is busy must not make a service look slow.
            (config.api.subgraph_timeout, config.api.request_timeout) = (PATIENCE / 2, PATIENCE);
            self.bffs.push(closing(bff::start(config, bus).await.unwrap(), owned));
        }
    }

    /// Stops the BFF in order.
    pub async fn stop_bff(&mut self) {
        for service in self.bffs.drain(..) {
            service.stop().await;
        }
    }

    /// Stops the invoices service in order.
    pub async fn stop_invoices(&mut self) {
        for service in self.invoices.drain(..) {
            service.stop().await;
        }
    }

    /// Stops the orders service in order.
    pub async fn stop_orders(&mut self) {
        for service in self.orders.drain(..) {
            service.stop().await;
        }
    }

    fn replicas(&self) -> usize {
        match self.buses {
            Buses::Embedded(_) => 1,
            Buses::Broker(_) => self.settings.replicas.unwrap_or(1),
        }
    }

    /// A bus for one service, and whether it is its own.
    fn bus(&self) -> (Arc<dyn EventBus>, Option<Arc<dyn EventBus>>) {
        match &self.buses {
            Buses::Embedded(bus) => (Arc::clone(bus), None),
            Buses::Broker(url) => {
                let bus: Arc<dyn EventBus> = Arc::new(RabbitMq::connect(url).unwrap());
                (Arc::clone(&bus), Some(bus))
            }
        }
    }

    /// A connection to the bus for the test itself, e.g. to deliver a message again.
    pub fn test_bus(&self) -> Arc<dyn EventBus> {
        self.bus().0
    }

    fn database_url(&self, database: &TestDatabase) -> DatabaseUrl {
        match self.settings.database_address {
            Some(address) => database.url_at(address),
            None => database.url(),
        }
    }

    /// The metrics of all services, as a scrape of each would find them now.
    pub async fn scrape(&self) -> Scrape {
        let services = self.orders.iter().chain(&self.invoices).chain(&self.bffs);
        let measured: Vec<Metrics> = services.filter_map(RunningService::metrics).collect();
        Scrape::read(metrics::render(&measured, Format::Text).await)
    }

    /// The base URL of an orders replica.
    pub fn orders_url(&self) -> &str {
        self.orders.first().unwrap().url()
    }

    /// The base URLs of all orders replicas.
    pub fn orders_urls(&self) -> Vec<String> {
        self.orders.iter().map(|service| service.url().to_owned()).collect()
    }

    /// The base URL of an invoices replica.
    pub fn invoices_url(&self) -> &str {
        self.invoices.first().unwrap().url()
    }

    /// The base URL of the BFF.
    pub fn bff_url(&self) -> &str {
        self.bffs.first().unwrap().url()
    }

    /// The base URLs of all BFF replicas.
    pub fn bff_urls(&self) -> Vec<String> {
        self.bffs.iter().map(|service| service.url().to_owned()).collect()
    }

    /// What all BFF replicas hold open now.
    pub fn live_gauges(&self) -> &LiveGauges {
        &self.gauges
    }

    /// The database of orders, to look at.
    pub fn orders_db(&self) -> &DatabaseConnection {
        self.orders_db.connection()
    }

    /// The database of invoices, to look at.
    pub fn invoices_db(&self) -> &DatabaseConnection {
        self.invoices_db.connection()
    }

    /// Places an order by REST and answers its id.
    pub async fn place(&self, amount: i32) -> Uuid {
        let url = format!("{}/orders", self.orders_url());
        let response = self.http.post(url).json(&json!({ "amount": amount })).send().await.unwrap();
        assert_eq!(response.status(), 201);
        let body: Value = response.json().await.unwrap();
        body["id"].as_str().unwrap().parse().unwrap()
    }

    /// Runs an operation at the BFF and answers the whole response.
    pub async fn graphql(&self, query: &str, variables: Value) -> Value {
        graphql(&self.http, self.bff_url(), query, variables).await
    }

    /// Runs an operation at the orders subgraph.
    pub async fn orders_graphql(&self, query: &str, variables: Value) -> Value {
        graphql(&self.http, self.orders_url(), query, variables).await
    }

    /// Runs an operation at the invoices subgraph.
    pub async fn invoices_graphql(&self, query: &str, variables: Value) -> Value {
        graphql(&self.http, self.invoices_url(), query, variables).await
    }

    /// The invoice of an order once it has this status.
    pub async fn invoice_of(&self, order: Uuid, status: &str) -> Value {
        let url = format!("{}/invoices?orderId={order}&status={status}", self.invoices_url());
        eventually(&format!("the invoice of {order} is {status}"), || async {
            let page: Value = self.http.get(&url).send().await.unwrap().json().await.unwrap();
            page["items"].get(0).cloned()
        })
        .await
    }

    /// Where every order stands.
    pub async fn pairs(&self) -> BTreeMap<Uuid, Pair> {
        let mut pairs = BTreeMap::new();
        for row in rows(self.orders_db(), "SELECT id, status, invoice_status FROM orders").await {
            let text = |name| row.try_get::<String>("", name).unwrap();
            let pair = Pair { order: text("status"), replica: text("invoice_status"), invoice: "absent".to_owned() };
            pairs.insert(row.try_get::<Uuid>("", "id").unwrap(), pair);
        }
        for row in rows(self.invoices_db(), "SELECT order_id, status, amount FROM invoices").await {
            let status = match row.try_get::<Option<i32>>("", "amount").unwrap() {
                Some(_) => row.try_get::<String>("", "status").unwrap(),
                None => "tombstone".to_owned(),
            };
            let order: Uuid = row.try_get("", "order_id").unwrap();
            let none = || Pair { order: "absent".to_owned(), replica: "absent".to_owned(), invoice: String::new() };
            pairs.entry(order).or_insert_with(none).invoice = status;
        }
        pairs
    }

    /// How many events wait in both outboxes, and how many of them are parked.
    pub async fn waiting(&self) -> (usize, usize) {
        let mut counts = (0, 0);
        for db in [self.orders_db(), self.invoices_db()] {
            for row in rows(db, "SELECT (parked_at IS NOT NULL) AS parked FROM outbox").await {
                counts.0 += 1;
                counts.1 += usize::from(row.try_get::<bool>("", "parked").unwrap());
            }
        }
        counts
    }

    /// Why a message of `queue` was set aside for somebody to look at: among the dead letters of the broker, or, in
    /// process, in the publisher's own `outcomes`.
    pub async fn set_aside(&self, queue: &Queue, outcomes: &[Outcome]) -> String {
        match &self.broker {
            Some(broker) => {
                eventually("there is a dead letter", || async { broker.first_dead_letter(queue).await }).await
            }
            None => outcomes
                .iter()
                .find_map(|outcome| match outcome {
                    Outcome::Refused { reason, permanent: true } => Some(reason.clone()),
                    _ => None,
                })
                .unwrap(),
        }
    }

    /// Waits until nothing more will happen by itself: no event waits, and every order and its invoice stand in one
    /// of the pairs that the saga may end in.
    pub async fn settle(&self) -> BTreeMap<Uuid, Pair> {
        let settled =
            |pair: &Pair| QUIESCENT.contains(&(pair.order.as_str(), pair.replica.as_str(), pair.invoice.as_str()));
        let mut last = String::new();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while tokio::time::Instant::now() < deadline {
            let (waiting, parked) = self.waiting().await;
            let pairs = self.pairs().await;
            let unsettled: Vec<_> = pairs.iter().filter(|(_, pair)| !settled(pair)).take(5).collect();
            if waiting == parked && unsettled.is_empty() {
                return pairs;
            }
            last = format!("{waiting} events wait, {parked} of them parked; not settled: {unsettled:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("the system did not settle within {PATIENCE:?}: {last}");
    }
}

/// Runs an operation at `url` and answers the whole response.
pub async fn graphql(http: &reqwest::Client, url: &str, query: &str, variables: Value) -> Value {
    let body = json!({ "query": query, "variables": variables });
    http.post(format!("{url}/graphql")).json(&body).send().await.unwrap().json().await.unwrap()
}

async fn rows(db: &DatabaseConnection, sql: &str) -> Vec<sea_orm::QueryResult> {
    db.query_all_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap()
}

/// A service that closes its own connection to the broker when it stops, as its process does.
fn closing(service: RunningService, bus: Option<Arc<dyn EventBus>>) -> RunningService {
    match bus {
        Some(bus) => service.on_stop(move || async move { bus.close().await }),
        None => service,
    }
}

/// `url` with another host and port.
fn at(url: &str, address: Option<std::net::SocketAddr>) -> String {
    let Some(address) = address else { return url.to_owned() };
    let mut url: reqwest::Url = url.parse().unwrap();
    url.set_host(Some(&address.ip().to_string())).unwrap();
    url.set_port(Some(address.port())).unwrap();
    url.into()
}
