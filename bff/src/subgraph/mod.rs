//! The client of one service: a question by POST, an answer within its deadline, or an error that says which way it
//! failed.
//!
//! Here a question meets those that are on their way already ([`flights`]), and data and errors are brought together
//! ([`answer`]); [`client`] makes the calls, [`bulkhead`] and [`breaker`] say whether one may be made, and [`error`] what a
//! client is told. [`compatibility`] looks whether the service still is the one that this build was made for.

mod answer;
mod breaker;
mod bulkhead;
mod client;
mod compatibility;
mod error;
mod flights;
mod metrics;
mod operation;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::body::Bytes;
use chassis::{graphql::SCHEMA_QUESTION, identity::Caller, metrics::Metrics};
use futures_util::{
    FutureExt,
    future::{BoxFuture, join},
};
use reqwest::Url;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, timeout_at};

use answer::{Answer, Flaw};
use client::Client;
pub(crate) use client::{Limits, http_client};
pub(crate) use compatibility::differences;
pub(crate) use error::{ErrorKind, SubgraphError};
use flights::Flights;
pub(crate) use metrics::CallMetrics;
use metrics::{BreakerState, InState, OfSubgraph};
pub(crate) use operation::Operation;

/// How many more calls one question for entities may cost, where the service gives up on all of them for the sake of
/// some. Enough to find two among a hundred.
const MORE_CALLS: usize = 32;

/// One service.
#[derive(Debug)]
pub(crate) struct Subgraph {
    client: Arc<Client>,
    flights: Flights,
}

/// On what terms a service is asked.
#[derive(Debug, Clone)]
pub(crate) struct Terms {
    /// When whoever asks stops to wait.
    pub(crate) deadline: Instant,
    /// For whom. Its token goes along.
    pub(crate) caller: Caller,
    /// What is read must not have been asked for before now.
    pub(crate) alone: bool,
}

impl Subgraph {
    /// The service `name` under the base URL `base`.
    pub(crate) fn new(
        name: &'static str,
        base: &Url,
        http: reqwest::Client,
        limits: Limits,
        metrics: &CallMetrics,
    ) -> Self {
        Self { client: Arc::new(Client::new(name, base, http, limits, metrics)), flights: Flights::default() }
    }

    /// The service's name, as clients and operators know it.
    pub(crate) fn name(&self) -> &'static str {
        self.client.name()
    }

    /// Asks for one object; `None` when the service says that there is none.
    pub(crate) async fn object<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        terms: &Terms,
    ) -> Result<Option<T>, SubgraphError> {
        let answer = self.call(operation, terms).await?;
        answer.into_object(operation).map_err(|flaw| {
            self.report(&flaw);
            flaw.into_error(self.name())
        })
    }

    /// Asks for entities, one for each key of `operation`; each has its own fate, and a failed call is the fate of all.
    pub(crate) async fn entities<T: DeserializeOwned + Send>(
        &self,
        operation: &Operation,
        terms: &Terms,
    ) -> Vec<Result<Option<T>, SubgraphError>> {
        self.part_of_entities(operation, terms, &AtomicUsize::new(MORE_CALLS)).await
    }

    /// The same for a part of them. A service may give up on all for the sake of one (async-graphql does): then the halves
    /// are asked for apart, and theirs, as long as `more_calls` allows, until the one at fault is alone.
    fn part_of_entities<'a, T: DeserializeOwned + Send>(
        &'a self,
        operation: &'a Operation,
        terms: &'a Terms,
        more_calls: &'a AtomicUsize,
    ) -> BoxFuture<'a, Vec<Result<Option<T>, SubgraphError>>> {
        async move {
            let count = operation.keys();
            self.client.metrics().batch(count);
            let answer = match self.call(operation, terms).await {
                Ok(answer) => answer,
                Err(error) => return (0..count).map(|_| Err(error.clone())).collect(),
            };
            if answer.gives_up_on_all(operation) && count > 1 && take_two(more_calls) {
                let (first, second) = operation.halves();
                let first = self.part_of_entities(&first, terms, more_calls);
                let second = self.part_of_entities(&second, terms, more_calls);
                let (mut entities, rest) = join(first, second).await;
                entities.extend(rest);
                return entities;
            }
            let entities = answer.into_entities(operation, count);
            if let Some(flaw) = entities.iter().find_map(|entity| entity.as_ref().err()) {
                self.report(flaw);
            }
            entities.into_iter().map(|entity| entity.map_err(|flaw| flaw.into_error(self.name()))).collect()
        }
        .boxed()
    }

    /// The schema that the service has now, as text (Federation's `_service`).
    pub(crate) async fn sdl(&self) -> Result<String, SubgraphError> {
        #[derive(serde::Deserialize)]
        struct Body {
            data: Data,
        }
        #[derive(serde::Deserialize)]
        struct Data {
            #[serde(rename = "_service")]
            service: Service,
        }
        #[derive(serde::Deserialize)]
        struct Service {
            sdl: String,
        }
        // The one question that a service answers to anybody.
        let question = Bytes::from_static(SCHEMA_QUESTION.as_bytes());
        let body = Arc::clone(&self.client).fetch(question, true, Caller::ANYONE).await?;
        let body: Body = serde_json::from_slice(&body).map_err(|error| self.client.no_graphql(&error))?;
        Ok(body.data.service.sdl)
    }

    /// One question, one answer.
    async fn call(&self, operation: &Operation, terms: &Terms) -> Result<Answer, SubgraphError> {
        if terms.deadline <= Instant::now() {
            // The request's time is up: what nobody waits for is not sent.
            return Err(self.client.out_of_time());
        }
        let body = Bytes::from(serde_json::to_vec(operation).map_err(|error| self.client.no_graphql(&error))?);
        let client = Arc::clone(&self.client);
        let landed = if operation.is_query() && !terms.alone {
            let flight =
                self.flights.join(&terms.caller, &body, || client.fetch(body.clone(), true, terms.caller.clone()));
            timeout_at(terms.deadline, flight).await
        } else {
            // Whether it ends well, badly or not at all: what is read from now on may be another.
            let _closed = (!operation.is_query()).then(|| Closing(&self.flights));
            timeout_at(terms.deadline, client.fetch(body, operation.is_query(), terms.caller.clone())).await
        };
        let body = landed.unwrap_or_else(|_| Err(self.client.out_of_time()))?;
        serde_json::from_slice(&body).map_err(|error| self.client.no_graphql(&error))
    }

    /// Logs an answer that cannot be used. An error about the client's input is the client's to read.
    fn report(&self, flaw: &Flaw) {
        let name = self.name();
        match flaw {
            Flaw::Reported(error) if error.is_for_clients() => {}
            Flaw::Reported(error) => {
                tracing::warn!(subgraph = name, %error, "{name} answered with an error: {error}");
            }
            Flaw::Unexplained(flaw) => {
                tracing::error!(subgraph = name, error = flaw, "{name} answered what was not asked: {flaw}");
            }
        }
    }
}

/// Has what holds the calls to `all` services back looked up.
pub(crate) fn look_at(all: &[&Subgraph], metrics: &Metrics) {
    let clients: Vec<Arc<Client>> = all.iter().map(|subgraph| Arc::clone(&subgraph.client)).collect();
    let of_clients = |read: fn(&Client) -> usize| {
        let clients = clients.clone();
        move || {
            let of = |client: &Arc<Client>| (OfSubgraph { subgraph: client.name() }, read(client) as f64);
            clients.iter().map(of).collect()
        }
    };
    metrics.all_observed(
        "subgraph_calls_active",
        "Calls to a service that are on their way",
        of_clients(|client| client.bulkhead().active()),
    );
    metrics.all_observed(
        "subgraph_calls_waiting",
        "Calls to a service that wait for a place",
        of_clients(|client| client.bulkhead().waiting()),
    );
    metrics.all_observed(
        "subgraph_circuit_breaker_state",
        "1 for the state that the circuit breaker of a service is in, and 0 for the others",
        move || {
            let states = clients.iter().flat_map(|client| {
                let now = client.breaker().state();
                BreakerState::ALL.iter().map(move |state| {
                    let is_it = f64::from(u8::from(*state == now));
                    (InState { subgraph: client.name(), state: *state }, is_it)
                })
            });
            states.collect()
        },
    );
}

/// Takes two calls out of what is left, if there are so many.
fn take_two(calls: &AtomicUsize) -> bool {
    calls.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(2)).is_ok()
}

/// Lets nobody join a query that began before a mutation ended.
struct Closing<'a>(&'a Flights);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}
