//! Requests that a service answers: how many, how they end, how long they take (RED).
//!
//! Routes, not paths, and methods that exist: a client chooses both. Names and buckets are those of OpenTelemetry's semantic
//! conventions for HTTP, with Prometheus' spelling.

use std::{fmt, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::Method,
    middleware::Next,
    response::Response,
};

use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use super::{Gauge, Histograms, LabelValue, Metrics, Raised};
use crate::{health, label_set, label_value};

/// The bounds for requests between services and their clients, in seconds (OpenTelemetry semantic conventions,
/// `http.server.request.duration`). Objectives have to be one of them.
pub const BUCKETS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

label_value! {
    /// A method of HTTP, as far as it is one.
    pub enum HttpMethod {
        /// `GET`
        Get => "GET",
        /// `HEAD`
        Head => "HEAD",
        /// `POST`
        Post => "POST",
        /// `PUT`
        Put => "PUT",
        /// `PATCH`
        Patch => "PATCH",
        /// `DELETE`
        Delete => "DELETE",
        /// `OPTIONS`
        Options => "OPTIONS",
        /// `CONNECT`
        Connect => "CONNECT",
        /// `TRACE`
        Trace => "TRACE",
        /// Any other word.
        Other => "_OTHER",
    }
}

impl From<&Method> for HttpMethod {
    fn from(method: &Method) -> Self {
        Self::ALL.iter().copied().find(|known| known.as_str() == method.as_str()).unwrap_or(Self::Other)
    }
}

/// Why a request brought no good answer (OpenTelemetry semantic conventions, `error.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorType {
    /// A status that says so.
    Status(u16),
    /// A word of ours.
    Named(&'static str),
}

impl ErrorType {
    /// Whoever asked went away before there was an answer.
    pub const CANCELED: Self = Self::Named("canceled");
}

impl LabelValue for ErrorType {}

impl EncodeLabelValue for ErrorType {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.encode(encoder),
            Self::Named(name) => name.encode(encoder),
        }
    }
}

label_set! {
    /// An answered request.
    struct Answered {
        method: HttpMethod,
        route: Arc<str>,
        status_code: Option<u16>,
        error_type: Option<ErrorType>,
    }
}

/// The route of what has none.
const UNMATCHED: &str = "unmatched";

/// What is counted of the requests of a service. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct HttpMetrics {
    duration: Histograms<Answered>,
    active: Gauge,
}

impl HttpMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        Self {
            duration: metrics.histograms(
                "http_server_request_duration_seconds",
                "Time from a request to the head of its answer, by the pattern of its route; probes are not counted",
                BUCKETS,
            ),
            active: metrics.gauge("http_server_active_requests", "Requests that have no answer yet"),
        }
    }
}

/// Counts one request. Inside its span, so that an exemplar leads to it.
pub(crate) async fn measure(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str);
    if health::PROBES.contains(&route) {
        return next.run(request).await;
    }
    let mut counting = Counting {
        _active: Raised::new(&metrics.active),
        began: Instant::now(),
        request: Answered {
            method: HttpMethod::from(request.method()),
            route: route.into(),
            status_code: None,
            error_type: Some(ErrorType::CANCELED),
        },
        metrics,
    };
    let response = next.run(request).await;
    let status = response.status();
    counting.request.status_code = Some(status.as_u16());
    counting.request.error_type = status.is_server_error().then_some(ErrorType::Status(status.as_u16()));
    response
}

/// A request that is counted when it ends, also when its client gives up and it is dropped.
struct Counting {
    metrics: HttpMetrics,
    request: Answered,
    began: Instant,
    _active: Raised,
}

impl Drop for Counting {
    fn drop(&mut self) {
        self.metrics.duration.get_or_create(&self.request).observe(self.began.elapsed().as_secs_f64());
    }
}
