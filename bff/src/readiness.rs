//! Ready once each service has answered once.
//!
//! Before that the API could only answer errors, so a load balancer should wait. Afterwards an outage does not make it
//! unready: taking every replica out of rotation would turn the outage of one service into one of all, where partial
//! answers were possible.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chassis::{
    backoff::Backoff,
    health::{CheckResult, Readiness},
};
use messaging::{BusStatus, EventBus};
use tokio::task::JoinSet;

use crate::{compose::Subgraphs, subgraph::Subgraph};

/// The tasks that wait for the services. Each ends when its service has answered.
pub(crate) struct Watch(JoinSet<()>);

impl Watch {
    /// Stops waiting.
    pub(crate) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

/// Starts to wait for the services; the checks say for which it still does. The bus is reported, not required: without it only live updates wait.
pub(crate) fn watch(subgraphs: &Arc<Subgraphs>, bus: &Arc<dyn EventBus>) -> (Arc<Readiness>, Watch) {
    let broker = Arc::clone(bus);
    let mut readiness = Readiness::default().check("broker", move || {
        let status = broker.status();
        async move { if matches!(status, BusStatus::Degraded(_)) { CheckResult::Degraded } else { CheckResult::Ok } }
    });
    let mut tasks = JoinSet::new();
    for select in [orders, invoices] {
        let name = select(subgraphs).name();
        let seen = Arc::new(AtomicBool::new(false));
        let (answered, subgraphs) = (Arc::clone(&seen), Arc::clone(subgraphs));
        tasks.spawn(async move {
            until_answered(select(&subgraphs)).await;
            tracing::info!("the {name} service answers");
            answered.store(true, Ordering::Release);
        });
        readiness = readiness.check(name, move || {
            let seen = seen.load(Ordering::Acquire);
            async move { if seen { CheckResult::Ok } else { CheckResult::Failed("no answer yet") } }
        });
    }
    (Arc::new(readiness), Watch(tasks))
}

fn orders(subgraphs: &Subgraphs) -> &Subgraph {
    &subgraphs.orders
}

fn invoices(subgraphs: &Subgraphs) -> &Subgraph {
    &subgraphs.invoices
}

async fn until_answered(subgraph: &Subgraph) {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    while !subgraph.is_alive().await {
        tokio::time::sleep(backoff.next_pause()).await;
    }
}
