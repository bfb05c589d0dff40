//! Calls to one service, over HTTP.
//!
//! Invariants: a call ends within the service's time limit; an answer is read up to a bound; a mutation is sent once, and
//! a query once more only where the connection failed, so that nobody can have answered it; each failed call leaves one
//! line in the log. The bounds of [`bulkhead`](super::bulkhead) and [`breaker`](super::breaker) hold for all calls.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use axum::body::Bytes;
use chassis::{identity::Caller, propagation};
use reqwest::{StatusCode, Url, header};
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, field::Empty, info_span};

use super::{
    breaker::Breaker,
    bulkhead::{Bulkhead, Full},
    error::{ErrorKind, SubgraphError},
    metrics::{CallMetrics, OneCallMetrics, Rejection, Request},
};

/// The largest answer that is read, in bytes. A page of a hundred orders with their timelines is far smaller.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// How long a connection may take. Only the first call after a pause pays for one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an unused connection is kept. Shorter than a server would keep it, so that we do not send on one that is
/// being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// What a service is allowed to cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// How long one call may take.
    pub(crate) timeout: Duration,
    /// How many calls may be on their way.
    pub(crate) calls: usize,
    /// How many more may wait for their turn.
    pub(crate) waiting: usize,
}

/// The client of one service.
#[derive(Debug)]
pub(super) struct Client {
    name: &'static str,
    http: reqwest::Client,
    endpoint: Url,
    timeout: Duration,
    bulkhead: Bulkhead,
    breaker: Breaker,
    metrics: OneCallMetrics,
}

/// The connections to all services. Redirects and proxies are for the open internet; here they would only send a
/// client's data where nobody expects it.
pub(crate) fn http_client() -> anyhow::Result<reqwest::Client> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
        .context("cannot set up the HTTP client")
}

impl Client {
    pub(super) fn new(
        name: &'static str,
        base: &Url,
        http: reqwest::Client,
        limits: Limits,
        metrics: &CallMetrics,
    ) -> Self {
        let endpoint = below(base, "graphql");
        Self {
            name,
            http,
            metrics: metrics.of(name, &endpoint),
            endpoint,
            timeout: limits.timeout,
            bulkhead: Bulkhead::new(limits.calls, limits.waiting),
            breaker: Breaker::new(name),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn bulkhead(&self) -> &Bulkhead {
        &self.bulkhead
    }

    pub(super) fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    pub(super) fn metrics(&self) -> &OneCallMetrics {
        &self.metrics
    }

    /// Sends `body` for `caller` and answers with the body of the answer; `repeatable` when sending it twice does no harm.
    /// In its span (OpenTelemetry semantic conventions for HTTP clients), unless it is asked in no request's name.
    pub(super) async fn fetch(
        self: Arc<Self>,
        body: Bytes,
        repeatable: bool,
        caller: Caller,
    ) -> Result<Bytes, SubgraphError> {
        if Span::current().is_none() {
            return self.guarded(body, repeatable, &caller).await.map_err(|failure| self.failed(failure));
        }
        let span = info_span!(
            "call",
            otel.name = "POST /graphql",
            otel.kind = "client",
            http.request.method = "POST",
            url.template = "/graphql",
            network.protocol.version = "1.1",
            server.address = self.endpoint.host_str(),
            server.port = self.endpoint.port_or_known_default().map(i64::from),
            url.full = self.endpoint.as_str(),
            http.request.resend_count = Empty,
            http.response.status_code = Empty,
            otel.status_code = Empty,
            error.r#type = Empty,
        );
        async { self.guarded(body, repeatable, &caller).await.map_err(|failure| self.failed(failure)) }
            .instrument(span)
            .await
    }

    /// Makes the call when there is room for it and hope.
    async fn guarded(&self, body: Bytes, repeatable: bool, caller: &Caller) -> Result<Bytes, Failure> {
        let limit = Instant::now() + self.timeout;
        let rejected = |reason, failure| {
            self.metrics.rejected(reason);
            failure
        };
        let _place = match timeout_at(limit, self.bulkhead.enter()).await {
            Ok(Ok(place)) => place,
            Ok(Err(Full)) => return Err(rejected(Rejection::Busy, Failure::Busy)),
            Err(_) => return Err(rejected(Rejection::Timeout, Failure::Timeout)),
        };
        let permit = self.breaker.permit().ok_or_else(|| rejected(Rejection::CircuitOpen, Failure::LeftAlone))?;
        let attempts = self.attempts(&body, repeatable, caller, limit);
        let answer = timeout_at(limit, attempts).await.unwrap_or(Err(Failure::Timeout));
        match &answer {
            Err(failure) if failure.is_of_service() => permit.failed(),
            _ => permit.succeeded(),
        }
        answer
    }

    /// One attempt, and another where the connection failed.
    async fn attempts(
        &self,
        body: &Bytes,
        repeatable: bool,
        caller: &Caller,
        limit: Instant,
    ) -> Result<Bytes, Failure> {
        match self.measured_exchange(body, caller, limit).await {
            Err(Failure::Connection(error)) if repeatable && !error.is_timeout() => {
                Span::current().record("http.request.resend_count", 1);
                tracing::debug!(subgraph = self.name, "asking {} again, the connection failed", self.name);
                self.measured_exchange(body, caller, limit).await
            }
            answer => answer,
        }
    }

    async fn measured_exchange(&self, body: &Bytes, caller: &Caller, limit: Instant) -> Result<Bytes, Failure> {
        let mut request = self.metrics.begin(limit);
        let answer = self.exchange(body.clone(), caller, &mut request).await;
        request.ended(answer.as_ref().err().map(Failure::error_type));
        answer
    }

    async fn exchange(&self, body: Bytes, caller: &Caller, measured: &mut Request<'_>) -> Result<Bytes, Failure> {
        const JSON: header::HeaderValue = header::HeaderValue::from_static("application/json");
        let request = self.http.post(self.endpoint.clone()).header(header::CONTENT_TYPE, JSON).body(body);
        let mut request = request.build().map_err(Failure::Connection)?;
        request.headers_mut().insert(header::ACCEPT, JSON);
        if let Some(token) = &caller.token {
            request.headers_mut().insert(header::AUTHORIZATION, token.to_header());
        }
        match Span::current().is_none() {
            true => propagation::inject_unsampled(request.headers_mut()),
            false => propagation::inject_headers(request.headers_mut()),
        }

        let mut response = self.http.execute(request).await.map_err(Failure::Connection)?;
        let status = response.status();
        measured.answered(status.as_u16());
        Span::current().record("http.response.status_code", i64::from(status.as_u16()));
        if !status.is_success() {
            return Err(Failure::Status(status));
        }
        if !is_json(response.headers()) {
            return Err(Failure::NotJson);
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Failure::Broken)? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    /// The request's own time is up.
    pub(super) fn out_of_time(&self) -> SubgraphError {
        self.failed(Failure::Timeout)
    }

    /// The answer is none.
    pub(super) fn no_graphql(&self, error: &serde_json::Error) -> SubgraphError {
        self.failed(Failure::NotGraphql(error.to_string()))
    }

    fn failed(&self, failure: Failure) -> SubgraphError {
        let (kind, name) = failure.classify();
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        span.record("error.type", name.as_str());
        let service = self.name;
        // What was not even tried is no news: that the service fails was said when it began to.
        let quiet = matches!(failure, Failure::LeftAlone);
        let cause = format!("{:#}", anyhow::Error::from(failure));
        if quiet {
            tracing::debug!(subgraph = service, error = cause, "the call to {service} was not made: {cause}");
        } else {
            tracing::warn!(subgraph = service, error = cause, "the call to {service} failed: {cause}");
        }
        SubgraphError { service, kind }
    }
}

/// Why a call brought no answer. The texts are for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Connection(reqwest::Error),
    #[error("the answer broke off")]
    Broken(#[source] reqwest::Error),
    #[error("too many calls are waiting already")]
    Busy,
    #[error("it failed too often and is left alone for a while")]
    LeftAlone,
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer is not declared as JSON")]
    NotJson,
    #[error("the answer is larger than {ANSWER_LIMIT} bytes")]
    TooLarge,
    #[error("the answer is not GraphQL: {0}")]
    NotGraphql(String),
}

impl Failure {
    /// What it means to a client, and its name as `error.type` of the span.
    fn classify(&self) -> (ErrorKind, String) {
        match self {
            Self::Timeout => (ErrorKind::Timeout, "timeout".to_owned()),
            Self::Connection(error) | Self::Broken(error) if error.is_timeout() => {
                (ErrorKind::Timeout, "timeout".to_owned())
            }
            Self::Connection(_) | Self::Broken(_) => (ErrorKind::Unavailable, "connection".to_owned()),
            Self::Busy => (ErrorKind::Unavailable, "busy".to_owned()),
            Self::LeftAlone => (ErrorKind::Unavailable, "circuit_open".to_owned()),
            // The service, or what stands before it, says that it cannot; any other refusal is about what we sent.
            Self::Status(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                (ErrorKind::Unavailable, status.as_str().to_owned())
            }
            // Verified here a moment ago: its time was over on the way, or the service has other keys.
            Self::Status(StatusCode::UNAUTHORIZED) => (ErrorKind::Unauthenticated, "401".to_owned()),
            Self::Status(status) => (ErrorKind::BadAnswer, status.as_str().to_owned()),
            Self::NotJson => (ErrorKind::BadAnswer, "not_json".to_owned()),
            Self::TooLarge => (ErrorKind::BadAnswer, "too_large".to_owned()),
            Self::NotGraphql(_) => (ErrorKind::BadAnswer, "not_graphql".to_owned()),
        }
    }

    /// The word for it where a status is counted apart.
    fn error_type(&self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connection(error) | Self::Broken(error) if error.is_timeout() => "timeout",
            Self::Connection(_) | Self::Broken(_) => "connection",
            Self::Busy => "busy",
            Self::LeftAlone => "circuit_open",
            Self::Status(_) => "status",
            Self::NotJson => "not_json",
            Self::TooLarge => "too_large",
            Self::NotGraphql(_) => "not_graphql",
        }
    }

    /// Whether it says that the service is in trouble.
    fn is_of_service(&self) -> bool {
        match self {
            Self::Timeout | Self::Connection(_) | Self::Broken(_) => true,
            Self::Status(status) => status.is_server_error(),
            Self::Busy | Self::LeftAlone | Self::NotJson | Self::TooLarge | Self::NotGraphql(_) => false,
        }
    }
}

/// Whether a body is declared as what a GraphQL service answers with.
fn is_json(headers: &header::HeaderMap) -> bool {
    let media = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(media.as_str(), "application/json" | "application/graphql-response+json")
}

/// `base` with one more segment.
fn below(base: &Url, segment: &str) -> Url {
    let mut url = base.clone();
    // Refused only for URLs like `mailto:`; the configuration lets in none.
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(segment);
    }
    url
}
