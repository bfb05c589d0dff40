//! Ready once each service was seen to have the schema that this build needs.
//!
//! Before that the API could only answer errors, so a load balancer should wait. Afterwards an outage does not make it
//! unready: taking every replica out of rotation would turn the outage of one service into one of all, where partial
//! answers were possible. A service that turns incompatible later is reported, in the log and as degraded.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use chassis::{
    backoff::Backoff,
    health::{CheckResult, Readiness},
};
use contracts::schemas;
use messaging::{BusStatus, EventBus};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    compose::Subgraphs,
    subgraph::{Subgraph, differences},
};

/// How often a compatible service is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The tasks that look at the services.
pub(crate) struct Watch(JoinSet<()>);

impl Watch {
    /// Stops looking.
    pub(crate) async fn stop(mut self) {
        self.0.shutdown().await;
    }
}

/// Picks one service.
type Select = fn(&Subgraphs) -> &Subgraph;

/// What is known of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Seen {
    /// It has not answered yet.
    Nothing,
    /// It was compatible when it was looked at last.
    Compatible,
    /// It never was.
    Incompatible,
    /// It was, and is not any more.
    Drifted,
}

/// [`Seen`], shared between the task and the check.
#[derive(Debug)]
struct State(AtomicU8);

impl State {
    fn get(&self) -> Seen {
        let seen = self.0.load(Ordering::Acquire);
        [Seen::Compatible, Seen::Incompatible, Seen::Drifted]
            .into_iter()
            .find(|s| *s as u8 == seen)
            .unwrap_or(Seen::Nothing)
    }

    fn set(&self, seen: Seen) {
        self.0.store(seen as u8, Ordering::Release);
    }
}

/// Starts to look at the services; the checks say what is known of each. The bus is reported, not required: without it
/// only live updates wait.
pub(crate) fn watch(subgraphs: &Arc<Subgraphs>, bus: &Arc<dyn EventBus>) -> (Arc<Readiness>, Watch) {
    let broker = Arc::clone(bus);
    let mut readiness = Readiness::default().check("broker", move || {
        let status = broker.status();
        async move { if matches!(status, BusStatus::Degraded(_)) { CheckResult::Degraded } else { CheckResult::Ok } }
    });
    let mut tasks = JoinSet::new();
    let services: [(Select, _); 2] = [(|all| &all.orders, schemas::ORDERS), (|all| &all.invoices, schemas::INVOICES)];
    for (select, schema) in services {
        let name = select(subgraphs).name();
        let state = Arc::new(State(AtomicU8::new(Seen::Nothing as u8)));
        let (known, subgraphs) = (Arc::clone(&state), Arc::clone(subgraphs));
        tasks.spawn(async move { look(select(&subgraphs), schema, &known).await });
        readiness = readiness.check(name, move || {
            let seen = state.get();
            async move {
                match seen {
                    Seen::Nothing => CheckResult::Failed("no answer yet"),
                    Seen::Incompatible => CheckResult::Failed("incompatible schema"),
                    Seen::Drifted => CheckResult::Degraded,
                    Seen::Compatible => CheckResult::Ok,
                }
            }
        });
    }
    (Arc::new(readiness), Watch(tasks))
}

/// Looks at the schema of one service, for ever.
async fn look(subgraph: &Subgraph, expected: &str, state: &State) {
    let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    let mut complaint = None;
    loop {
        let pause = match subgraph.sdl().await.map(|actual| judge(expected, &actual)) {
            // An outage says nothing about the schema.
            Err(_) => pauses.next_pause(),
            Ok(found) => {
                let name = subgraph.name();
                let was = state.get();
                let is = match (found.is_empty(), was) {
                    (true, _) => Seen::Compatible,
                    (false, Seen::Nothing | Seen::Incompatible) => Seen::Incompatible,
                    (false, Seen::Compatible | Seen::Drifted) => Seen::Drifted,
                };
                state.set(is);
                if is == Seen::Compatible {
                    if was != is {
                        tracing::info!(subgraph = name, "{name} answers, and has the schema that we need");
                    }
                    complaint = None;
                    pauses.reset();
                    LOOK_AGAIN
                } else {
                    // Once for each set of differences: it is looked at often.
                    if complaint.as_ref() != Some(&found) {
                        tracing::error!(
                            subgraph = name,
                            "the schema of {name} is not the one we need: {}",
                            found.join("; ")
                        );
                        complaint = Some(found);
                    }
                    pauses.next_pause()
                }
            }
        };
        sleep(pause).await;
    }
}

fn judge(expected: &str, actual: &str) -> Vec<String> {
    differences(expected, actual).unwrap_or_else(|error| vec![format!("it is no schema: {error}")])
}
