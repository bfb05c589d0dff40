//! What is counted of the calls to the services. Names as in OpenTelemetry's conventions for HTTP clients.

use std::{sync::Arc, time::Instant};

use chassis::{
    label_set, label_value,
    metrics::{
        Counter, Counters, Histogram, Histograms, Metrics,
        http::{BUCKETS, ErrorType, HttpMethod},
    },
};
use reqwest::Url;

/// Keys of entities in one question.
const BATCHES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0];

label_set! {
    struct Called {
        subgraph: &'static str,
        server_address: Arc<str>,
        server_port: u16,
        method: HttpMethod,
        status_code: Option<u16>,
        error_type: Option<ErrorType>,
    }
}

label_value! {
    /// Why a call was not made.
    pub(super) enum Rejection {
        /// Too many wait.
        Busy => "busy",
        /// The time was up before there was a place.
        Timeout => "timeout",
        /// The service is left alone.
        CircuitOpen => "circuit_open",
    }
}

label_set! {
    struct Rejected { subgraph: &'static str, reason: Rejection }
}

label_set! {
    pub(super) struct OfSubgraph { pub(super) subgraph: &'static str }
}

label_value! {
    /// How a circuit breaker is.
    pub(super) enum BreakerState {
        /// Calls go through.
        Closed => "closed",
        /// None does.
        Open => "open",
        /// One does, and decides.
        HalfOpen => "half_open",
    }
}

label_set! {
    pub(super) struct InState { pub(super) subgraph: &'static str, pub(super) state: BreakerState }
}

/// What is counted of all services. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct CallMetrics {
    duration: Histograms<Called>,
    rejected: Counters<Rejected>,
    batch_size: Histograms<OfSubgraph>,
}

impl CallMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            duration: metrics.histograms(
                "http_client_request_duration_seconds",
                "Time of a request to a service until its whole answer is there; the wait for a place not included",
                BUCKETS,
            ),
            rejected: metrics.counters(
                "subgraph_calls_rejected_total",
                "Calls to a service that were not made: too many were on their way, or it is left alone",
            ),
            batch_size: metrics.histograms(
                "subgraph_entities_batch_size",
                "Objects that one call to a service asks for by their keys",
                BATCHES,
            ),
        }
    }

    /// Those of one service.
    pub(super) fn of(&self, subgraph: &'static str, endpoint: &Url) -> OneCallMetrics {
        let answered = Called {
            subgraph,
            server_address: endpoint.host_str().unwrap_or_default().into(),
            server_port: endpoint.port_or_known_default().unwrap_or_default(),
            method: HttpMethod::Post,
            status_code: Some(200),
            error_type: None,
        };
        let rejected = |reason| self.rejected.get_or_create_owned(&Rejected { subgraph, reason });
        OneCallMetrics {
            succeeded: self.duration.get_or_create_owned(&answered),
            busy: rejected(Rejection::Busy),
            timeout: rejected(Rejection::Timeout),
            circuit_open: rejected(Rejection::CircuitOpen),
            batch_size: self.batch_size.get_or_create_owned(&OfSubgraph { subgraph }),
            duration: self.duration.clone(),
            answered,
        }
    }
}

/// What is counted of one service.
#[derive(Debug)]
pub(super) struct OneCallMetrics {
    succeeded: Histogram,
    busy: Counter,
    timeout: Counter,
    circuit_open: Counter,
    batch_size: Histogram,
    duration: Histograms<Called>,
    answered: Called,
}

impl OneCallMetrics {
    /// Counts a call that was not made.
    pub(super) fn rejected(&self, reason: Rejection) {
        match reason {
            Rejection::Busy => &self.busy,
            Rejection::Timeout => &self.timeout,
            Rejection::CircuitOpen => &self.circuit_open,
        }
        .inc();
    }

    /// Counts a question about so many entities.
    pub(super) fn batch(&self, keys: usize) {
        self.batch_size.observe(keys as f64);
    }

    /// Begins a request that may take until `limit`.
    pub(super) fn begin(&self, limit: tokio::time::Instant) -> Request<'_> {
        Request { metrics: self, began: Instant::now(), limit, status_code: None, failure: None }
    }
}

/// A request on its way: counted when it ends, also when it is given up.
pub(super) struct Request<'a> {
    metrics: &'a OneCallMetrics,
    began: Instant,
    limit: tokio::time::Instant,
    status_code: Option<u16>,
    /// `None` within for none.
    failure: Option<Option<&'static str>>,
}

impl Request<'_> {
    /// The head of the answer is there.
    pub(super) fn answered(&mut self, status: u16) {
        self.status_code = Some(status);
    }

    /// It has ended, with this `error.type` if it is no success.
    pub(super) fn ended(mut self, failure: Option<&'static str>) {
        self.failure = Some(failure);
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        let error_type = match (self.failure, self.status_code) {
            (Some(None), Some(200)) => return self.metrics.succeeded.observe(seconds),
            (Some(None), _) => None,
            (Some(Some("status")), Some(status)) => Some(ErrorType::Status(status)),
            (Some(Some(failure)), _) => Some(ErrorType::Named(failure)),
            (None, _) if tokio::time::Instant::now() >= self.limit => Some(ErrorType::Named("timeout")),
            (None, _) => Some(ErrorType::CANCELED),
        };
        let labels = Called { status_code: self.status_code, error_type, ..self.metrics.answered.clone() };
        self.metrics.duration.get_or_create(&labels).observe(seconds);
    }
}
