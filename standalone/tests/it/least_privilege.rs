//! Each service with the rights that `infra/` gives it, on a real server: enough to run, and no more.

use std::sync::Arc;

use chassis::{listen::Listen, service::RunningService};
use contracts::Amount;
use invoices::invoice::AmountLimit;
use messaging::{BusStatus, EventBus, rabbitmq::RabbitMq};
use migration::Schema;
use reqwest::Client;
use sea_orm::ConnectionTrait;
use serde_json::{Value, json};
use testkit::{EventStream, TestBroker, eventually, roles::ServiceRoles};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_with_their_own_users_and_roles_take_an_order_to_its_end() {
    let Some(roles) = ServiceRoles::create().await else { return };
    let Some(broker) = TestBroker::start().await else { return };
    let [orders_user, invoices_user, bff_user] = broker.users().await;
    // The operator's part: the topology.
    let admin = RabbitMq::connect(broker.url()).unwrap();
    eventually("the topology is declared", || async { (admin.status() == BusStatus::Up).then_some(()) }).await;
    admin.close().await;

    let limit = AmountLimit(Amount::try_from(*Amount::RANGE.end()).unwrap());
    let config = orders::Config::embedded(Listen::anywhere(), &roles.service_url(Schema::Orders));
    let bus = connect(&orders_user);
    let orders = closing(orders::start(config, Arc::clone(&bus)).await.unwrap(), bus);
    let config = invoices::Config::embedded(Listen::anywhere(), &roles.service_url(Schema::Invoices), limit);
    let bus = connect(&invoices_user);
    let invoices = closing(invoices::start(config, Arc::clone(&bus)).await.unwrap(), bus);
    let config = bff::Config::new(Listen::anywhere(), orders.url().parse().unwrap(), invoices.url().parse().unwrap());
    let bus: Arc<dyn EventBus> = Arc::new(RabbitMq::connect_to_listen(&bff_user, "bff").unwrap());
    eventually("the bff is connected", || async { (bus.status() == BusStatus::Up).then_some(()) }).await;
    let bff = closing(bff::start(config, Arc::clone(&bus)).await.unwrap(), bus);
    let [paid, canceled] = [place(&orders).await, place(&orders).await];
    let invoice = first(&format!("{}/invoices?orderId={paid}", invoices.url()), "issued").await;
    post(&format!("{}/invoices/{}/pay", invoices.url(), invoice["id"].as_str().unwrap())).await;
    post(&format!("{}/orders/{canceled}/cancel", orders.url())).await;

    eventually("the order is paid", || async {
        let order: Value = get(&format!("{}/orders/{paid}", orders.url())).await;
        (order["status"] == "paid").then_some(())
    })
    .await;
    first(&format!("{}/invoices?orderId={canceled}", invoices.url()), "voided").await;
    // Its last news came over the broker.
    let query = "subscription($id: ID!) { orderUpdated(id: $id) { status } }";
    let third = place(&orders).await;
    let mut updates = EventStream::open(bff.url(), query, json!({ "id": third })).await;
    assert_eq!(updates.answer().await["data"]["orderUpdated"]["status"], "PENDING");
    post(&format!("{}/orders/{third}/cancel", orders.url())).await;
    assert_eq!(updates.answer().await["data"]["orderUpdated"]["status"], "CANCELED");
    drop(updates);
    for service in [bff, orders, invoices] {
        let ready = Client::new().get(format!("{}/readyz", service.url())).send().await.unwrap();
        assert_eq!(ready.status(), 200);
        service.stop().await;
    }
}

#[tokio::test]
async fn the_role_of_a_service_cannot_change_the_schema_nor_open_the_other_database() {
    let Some(roles) = ServiceRoles::create().await else { return };
    for (schema, other, table) in
        [(Schema::Orders, Schema::Invoices, "orders"), (Schema::Invoices, Schema::Orders, "invoices")]
    {
        let service = schema.to_string();
        let db = roles.connect(schema, &service).await.unwrap();
        for statement in [
            "CREATE TABLE mine (id INT)".to_owned(),
            "CREATE SCHEMA mine".to_owned(),
            "CREATE TEMPORARY TABLE mine (id INT)".to_owned(),
            format!("DROP TABLE {table}"),
            "DROP TABLE outbox".to_owned(),
            format!("ALTER TABLE {table} ADD COLUMN mine INT"),
            format!("CREATE INDEX mine ON {table} (id)"),
            format!("TRUNCATE {table}"),
            "CREATE ROLE mine".to_owned(),
        ] {
            let error = db.execute_unprepared(&statement).await.expect_err(&statement).to_string();
            assert!(error.contains("permission denied") || error.contains("must be owner"), "{statement}: {error}");
        }
        for statement in [format!("SELECT count(*) FROM {table}"), "DELETE FROM outbox".to_owned()] {
            db.execute_unprepared(&statement).await.unwrap();
        }
        for role in [service.clone(), format!("{service}_owner")] {
            let error = roles.connect(other, &role).await.expect_err("another's database").to_string();
            assert!(error.contains("permission denied for database"), "{error}");
        }
        db.close().await.unwrap();
    }
}

fn connect(url: &str) -> Arc<dyn EventBus> {
    Arc::new(RabbitMq::connect(url).unwrap())
}

fn closing(service: RunningService, bus: Arc<dyn EventBus>) -> RunningService {
    service.on_stop(move || async move { bus.close().await })
}

async fn place(orders: &RunningService) -> String {
    let request = Client::new().post(format!("{}/orders", orders.url())).json(&json!({ "amount": 1999 }));
    let order: Value = request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap();
    order["id"].as_str().unwrap().to_owned()
}

async fn get(url: &str) -> Value {
    Client::new().get(url).send().await.unwrap().json().await.unwrap()
}

async fn post(url: &str) {
    Client::new().post(url).send().await.unwrap().error_for_status().unwrap();
}

/// The first item of a page, once it has this status.
async fn first(url: &str, status: &str) -> Value {
    eventually(&format!("{url} is {status}"), || async {
        get(&format!("{url}&status={status}")).await["items"].get(0).cloned()
    })
    .await
}
