//! Setting a virtual host up, on a real broker.

use contracts::{broker::Definitions, topology::ORDERS};
use messaging::{
    BusStatus, EventBus,
    rabbitmq::{
        RabbitMq,
        setup::{self, Applied, How},
    },
};
use serde_json::json;
use testkit::TestBroker;

use crate::support::eventually;

async fn set_up(broker: &TestBroker) -> Vec<Applied> {
    let mut applied = Vec::new();
    setup::apply(broker.admin_url(), &Definitions::of(broker.vhost()), |step| applied.push(step)).await.unwrap();
    applied
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_up_is_what_the_services_declare_and_a_second_time_changes_nothing() {
    let Some(broker) = TestBroker::start().await else { return };

    let first = set_up(&broker).await;
    let again = set_up(&broker).await;

    assert!(first.iter().any(|step| step.what == "queue orders.retry.5s" && step.how == How::Created), "{first:?}");
    assert!(again.iter().all(|step| step.how == How::Kept), "{again:?}");
    let bus = RabbitMq::connect(broker.url()).unwrap();
    eventually("the bus to find all as it would declare it", || bus.status() == BusStatus::Up).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_of_another_kind_is_kept_and_named() {
    let Some(broker) = TestBroker::start().await else { return };
    broker.declare_queue(ORDERS.name, json!({ "x-max-length": 7 })).await;

    let applied = set_up(&broker).await;

    let differing: Vec<_> = applied.iter().filter(|step| !matches!(step.how, How::Created | How::Kept)).collect();
    let [Applied { what, how: How::Differs(why) }] = differing.as_slice() else { panic!("{differing:?}") };
    assert!(what == "queue orders" && why.contains("x-max-length"), "{what}: {why}");
}
