//! What can go wrong with a call to a service, and how much of it a client is told.
//!
//! A client learns which service failed and in which of a few ways. Hosts, URLs and what the libraries say stay in
//! the log, written once where the call failed, however many fields share the error.

use std::fmt;

use async_graphql::{Error, ErrorExtensions};
use chassis::propagation::current_trace_id;
use serde::Deserialize;
use serde_json::Value;

/// Codes of a service that are about the client's input. Their messages are written for clients.
const FOR_CLIENTS: [&str; 3] = ["BAD_USER_INPUT", "BAD_CURSOR", "FORBIDDEN"];

/// A call that brought no answer, or an answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{service}: {kind}")]
pub(crate) struct SubgraphError {
    /// The service that was called.
    pub(crate) service: &'static str,
    /// What happened.
    pub(crate) kind: ErrorKind,
}

/// In which way a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ErrorKind {
    /// The service cannot be reached, broke off, or says itself that it cannot work.
    #[error("unavailable")]
    Unavailable,
    /// The service did not answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The service does not take the client's token.
    #[error("the token was not taken")]
    Unauthenticated,
    /// The answer is not what was asked for.
    #[error("an answer that is not what was asked for")]
    BadAnswer,
    /// The service answered with an error of its own.
    #[error("{0}")]
    Graphql(GraphqlError),
}

/// An entry of `errors` in a service's answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct GraphqlError {
    /// The service's sentence.
    pub(crate) message: String,
    /// Where in the service's answer, e.g. `["_entities", 3]`.
    #[serde(default)]
    pub(crate) path: Vec<Value>,
    /// The service's code is in here.
    #[serde(default)]
    extensions: Extensions,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
struct Extensions {
    code: Option<String>,
}

impl GraphqlError {
    /// The service's code, if it gave one.
    pub(crate) fn code(&self) -> Option<&str> {
        self.extensions.code.as_deref()
    }

    /// Whether the client's input is at fault, not a program.
    pub(crate) fn is_for_clients(&self) -> bool {
        self.code().is_some_and(|code| FOR_CLIENTS.contains(&code))
    }
}

impl fmt::Display for GraphqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code().unwrap_or("no code"))
    }
}

impl From<GraphqlError> for ErrorKind {
    fn from(error: GraphqlError) -> Self {
        match error.code() {
            Some("SERVICE_UNAVAILABLE") => Self::Unavailable,
            Some("TIMEOUT") => Self::Timeout,
            _ => Self::Graphql(error),
        }
    }
}

impl SubgraphError {
    /// What the client is told.
    pub(crate) fn to_client(&self) -> Error {
        let service = self.service;
        let (code, message) = match &self.kind {
            ErrorKind::Unavailable => {
                ("SERVICE_UNAVAILABLE", format!("the {service} service is unavailable; try again"))
            }
            ErrorKind::Timeout => ("TIMEOUT", format!("the {service} service did not answer in time; try again")),
            ErrorKind::Unauthenticated => {
                ("UNAUTHENTICATED", format!("the {service} service does not take the token, or not any more"))
            }
            ErrorKind::Graphql(error) if error.is_for_clients() => {
                let code = error.code().unwrap_or_default();
                return Error::new(&error.message).extend_with(|_, extensions| {
                    extensions.set("code", code);
                    extensions.set("service", service);
                });
            }
            ErrorKind::BadAnswer | ErrorKind::Graphql(_) => ("INTERNAL", "something went wrong on our side".to_owned()),
        };
        Error::new(message).extend_with(|_, extensions| {
            extensions.set("code", code);
            extensions.set("service", service);
            if let Some(trace_id) = current_trace_id() {
                extensions.set("traceId", trace_id);
            }
        })
    }
}
