//! TLS to the broker and to the database: a private authority is believed where it is named, and nobody else is.

use std::{path::Path, sync::Arc};

use chassis::listen::Listen;
use contracts::Amount;
use invoices::invoice::AmountLimit;
use messaging::{BusStatus, EventBus, rabbitmq::RabbitMq};
use migration::Schema;
use outbox::DatabaseUrl;
use reqwest::Client;
use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};
use serde_json::{Value, json};
use testkit::{
    eventually,
    tls::{SERVER_NAME, TlsServers},
};

/// The servers take a while to start, so one test does it all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_believed_by_its_certificate_and_its_name_only() {
    let Some(servers) = TlsServers::start().await else { return };
    services_work_over_tls(&servers).await;
    for (host, authority, expected) in [
        (SERVER_NAME, Some(servers.stranger()), "UnknownIssuer"),
        (SERVER_NAME, None, "UnknownIssuer"),
        ("127.0.0.1", Some(servers.authority()), "certificate not valid for name \"127.0.0.1\""),
    ] {
        for error in [
            broker_error(&broker_url(&servers, host, authority.as_deref())).await,
            database_error(&database_url(&servers, host, "postgres", authority.as_deref())).await,
        ] {
            assert!(error.contains(expected), "{host} {authority:?}: {error}");
            assert!(!error.contains("guest") && !error.contains("s3cret"), "{error}");
        }
    }
}

async fn services_work_over_tls(servers: &TlsServers) {
    let authority = servers.authority();
    let database = |name: &str| database_url(servers, SERVER_NAME, name, Some(&authority));
    let server = outbox::connect(&database("postgres"), "test").await.unwrap();
    for schema in [Schema::Orders, Schema::Invoices] {
        server.execute_unprepared(&format!("CREATE DATABASE {schema}")).await.unwrap();
        let db = outbox::connect(&database(&schema.to_string()), "test").await.unwrap();
        assert!(is_encrypted(&db).await);
        migration::up(&db, schema).await.unwrap();
        db.close().await.unwrap();
    }
    server.close().await.unwrap();

    let bus: Arc<dyn EventBus> =
        Arc::new(RabbitMq::connect(&broker_url(servers, SERVER_NAME, Some(&authority))).unwrap());
    let config = orders::Config::embedded(Listen::anywhere(), &database("orders"));
    let orders = orders::start(config, Arc::clone(&bus)).await.unwrap();
    let limit = AmountLimit(Amount::try_from(*Amount::RANGE.end()).unwrap());
    let config = invoices::Config::embedded(Listen::anywhere(), &database("invoices"), limit);
    let invoices = invoices::start(config, Arc::clone(&bus)).await.unwrap();

    let request = Client::new().post(format!("{}/orders", orders.url())).json(&json!({ "amount": 1999 }));
    let order: Value = request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    let url = format!("{}/invoices?orderId={}", invoices.url(), order["id"].as_str().unwrap());
    eventually("the order has its invoice", || async {
        let page: Value = Client::new().get(&url).send().await.unwrap().json().await.unwrap();
        page["items"].get(0).cloned()
    })
    .await;

    orders.stop().await;
    invoices.stop().await;
    bus.close().await;
}

fn broker_url(servers: &TlsServers, host: &str, authority: Option<&Path>) -> String {
    let url = format!("amqps://guest:guest@{host}:{}/%2f", servers.broker_port);
    match authority {
        Some(path) => format!("{url}?cacertfile={}", path.display()),
        None => url,
    }
}

fn database_url(servers: &TlsServers, host: &str, name: &str, authority: Option<&Path>) -> DatabaseUrl {
    let url = format!("postgres://postgres:s3cret@{host}:{}/{name}?sslmode=verify-full", servers.postgres_port);
    match authority {
        Some(path) => format!("{url}&sslrootcert={}", path.display()).parse().unwrap(),
        None => url.parse().unwrap(),
    }
}

async fn is_encrypted(db: &DatabaseConnection) -> bool {
    let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let row = db.query_one_raw(Statement::from_string(db.get_database_backend(), sql)).await.unwrap().unwrap();
    row.try_get("", "ssl").unwrap()
}

/// What the bus says in its report, once it has tried.
async fn broker_error(url: &str) -> String {
    let bus = RabbitMq::connect(url).unwrap();
    let error = eventually("the bus says what is wrong", || async {
        match bus.status() {
            BusStatus::Degraded(why) if !why.contains("still connecting") => Some(why),
            BusStatus::Degraded(_) => None,
            BusStatus::Up | BusStatus::Differs(_) => panic!("the broker should not be believed"),
        }
    })
    .await;
    bus.close().await;
    error
}

async fn database_error(url: &DatabaseUrl) -> String {
    let db = outbox::connect(url, "test").await.unwrap();
    db.ping().await.expect_err("the database should not be believed").to_string()
}
