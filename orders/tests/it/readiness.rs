//! What the service says about the servers that it works with.

use std::sync::Arc;

use chassis::listen::Listen;
use messaging::{EventBus, rabbitmq::RabbitMq};
use migration::Schema;
use serde_json::{Value, json};
use testkit::{TestBroker, TestDatabase, eventually};

#[tokio::test]
async fn a_queue_of_another_kind_is_shown_and_stops_nothing() {
    let Some(broker) = TestBroker::start().await else { return };
    broker.declare_queue("orders.dlq", json!({ "x-max-length": 7 })).await;
    let database = TestDatabase::create(Schema::Orders).await;
    let bus: Arc<dyn EventBus> = Arc::new(RabbitMq::connect(broker.url()).unwrap());
    let config = orders::Config::embedded(Listen::anywhere(), &database.url());
    let service = orders::start(config, Arc::clone(&bus)).await.unwrap();

    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let report = eventually("the broker is there", || async {
        let report = http.get(format!("{}/readyz", service.url())).send().await.unwrap();
        assert_eq!(report.status(), 200);
        let report: Value = report.json().await.unwrap();
        (report["checks"]["broker"] == "ok").then_some(report)
    })
    .await;

    assert_eq!(report["checks"], json!({ "broker": "ok", "database": "ok", "topology": "degraded" }));
    service.stop().await;
    bus.close().await;
}
