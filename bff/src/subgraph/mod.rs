//! The client of one service: a question by POST, an answer within its deadline, or an error that says which way it
//! failed.
//!
//! Invariants: a call ends at its deadline or at the request's, whichever comes first; an answer is read up to a bound;
//! nothing is sent twice; and each failed call leaves one line in the log. See [`error`] for what a client is told,
//! [`answer`] for how data and errors are brought together.

mod answer;
mod error;
mod operation;

use std::time::Duration;

use anyhow::Context;
use chassis::propagation;
use reqwest::{StatusCode, Url, header};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tracing::{Instrument, Span, field::Empty, info_span};

use answer::{Answer, Flaw};
pub(crate) use error::{ErrorKind, SubgraphError};
pub(crate) use operation::Operation;

/// The largest answer that is read, in bytes. A page of a hundred orders with their timelines is far smaller.
const ANSWER_LIMIT: usize = 8 * 1024 * 1024;

/// How long a connection may take. Only the first call after a pause pays for one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long an unused connection is kept. Shorter than a server would keep it, so that we do not send on one that is
/// being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The client of one service.
#[derive(Debug)]
pub(crate) struct Subgraph {
    name: &'static str,
    http: reqwest::Client,
    endpoint: Url,
    health: Url,
    timeout: Duration,
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

impl Subgraph {
    /// The client of the service `name` under the base URL `base`.
    pub(crate) fn new(name: &'static str, base: &Url, http: reqwest::Client, timeout: Duration) -> Self {
        Self { name, http, endpoint: below(base, "graphql"), health: below(base, "health"), timeout }
    }

    /// The service's name, as clients and operators know it.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Asks for one object; `None` when the service says that there is none.
    pub(crate) async fn object<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        deadline: Instant,
    ) -> Result<Option<T>, SubgraphError> {
        let answer = self.call(operation, deadline).await?;
        answer.into_object(operation).map_err(|flaw| {
            self.report(&flaw);
            flaw.into_error(self.name)
        })
    }

    /// Asks for `count` entities; each has its own fate, and a failed call is the fate of all.
    pub(crate) async fn entities<T: DeserializeOwned>(
        &self,
        operation: &Operation,
        count: usize,
        deadline: Instant,
    ) -> Vec<Result<Option<T>, SubgraphError>> {
        let answer = match self.call(operation, deadline).await {
            Ok(answer) => answer,
            Err(error) => return (0..count).map(|_| Err(error.clone())).collect(),
        };
        let entities = answer.into_entities(operation, count);
        if let Some(flaw) = entities.iter().find_map(|entity| entity.as_ref().err()) {
            self.report(flaw);
        }
        entities.into_iter().map(|entity| entity.map_err(|flaw| flaw.into_error(self.name))).collect()
    }

    /// Whether the service answers at all.
    pub(crate) async fn is_alive(&self) -> bool {
        let answer = self.http.get(self.health.clone()).timeout(self.timeout).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// One call in its span (OpenTelemetry semantic conventions for HTTP clients).
    async fn call(&self, operation: &Operation, deadline: Instant) -> Result<Answer, SubgraphError> {
        let span = info_span!(
            "call",
            otel.name = "POST",
            otel.kind = "client",
            http.request.method = "POST",
            server.address = self.endpoint.host_str(),
            server.port = self.endpoint.port_or_known_default().map(i64::from),
            url.full = self.endpoint.as_str(),
            http.response.status_code = Empty,
            otel.status_code = Empty,
            error.r#type = Empty,
        );
        async {
            let now = Instant::now();
            let limit = deadline.min(now + self.timeout);
            if limit <= now {
                // The request's time is up: what nobody waits for is not sent.
                return Err(self.failed(Failure::Timeout));
            }
            match tokio::time::timeout_at(limit, self.exchange(operation)).await {
                Ok(Ok(answer)) => Ok(answer),
                Ok(Err(failure)) => Err(self.failed(failure)),
                Err(_) => Err(self.failed(Failure::Timeout)),
            }
        }
        .instrument(span)
        .await
    }

    async fn exchange(&self, operation: &Operation) -> Result<Answer, Failure> {
        let mut request = self.http.post(self.endpoint.clone()).json(operation).build()?;
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
        propagation::inject_headers(request.headers_mut());

        let mut response = self.http.execute(request).await?;
        let status = response.status();
        Span::current().record("http.response.status_code", i64::from(status.as_u16()));
        if !status.is_success() {
            return Err(Failure::Status(status));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > ANSWER_LIMIT {
                return Err(Failure::TooLarge);
            }
            body.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&body)?)
    }

    fn failed(&self, failure: Failure) -> SubgraphError {
        let (kind, name) = failure.classify();
        let span = Span::current();
        span.record("otel.status_code", "ERROR");
        span.record("error.type", name.as_str());
        let cause = format!("{:#}", anyhow::Error::from(failure));
        tracing::warn!(subgraph = self.name, error = cause, "the call to {} failed: {cause}", self.name);
        SubgraphError { service: self.name, kind }
    }

    /// Logs an answer that cannot be used. An error about the client's input is the client's to read.
    fn report(&self, flaw: &Flaw) {
        match flaw {
            Flaw::Reported(error) if error.is_for_clients() => {}
            Flaw::Reported(error) => {
                tracing::warn!(subgraph = self.name, %error, "{} answered with an error: {error}", self.name);
            }
            Flaw::Unexplained(flaw) => {
                tracing::error!(
                    subgraph = self.name,
                    error = flaw,
                    "{} answered what was not asked: {flaw}",
                    self.name
                );
            }
        }
    }
}

/// Why a call brought no answer. The texts are for the log.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Transport(#[from] reqwest::Error),
    #[error("status {0}")]
    Status(StatusCode),
    #[error("the answer is larger than {ANSWER_LIMIT} bytes")]
    TooLarge,
    #[error("the answer is not GraphQL")]
    NotGraphql(#[from] serde_json::Error),
}

impl Failure {
    /// What it means to a client, and its name as `error.type` of the span.
    fn classify(&self) -> (ErrorKind, String) {
        match self {
            Self::Timeout => (ErrorKind::Timeout, "timeout".to_owned()),
            Self::Transport(error) if error.is_timeout() => (ErrorKind::Timeout, "timeout".to_owned()),
            Self::Transport(_) => (ErrorKind::Unavailable, "connection".to_owned()),
            // The service, or what stands before it, says that it cannot; any other refusal is about what we sent.
            Self::Status(status) if status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS => {
                (ErrorKind::Unavailable, status.as_str().to_owned())
            }
            Self::Status(status) => (ErrorKind::BadAnswer, status.as_str().to_owned()),
            Self::TooLarge => (ErrorKind::BadAnswer, "too_large".to_owned()),
            Self::NotGraphql(_) => (ErrorKind::BadAnswer, "not_graphql".to_owned()),
        }
    }
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
