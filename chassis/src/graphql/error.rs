//! The errors a GraphQL client sees at the top level: a code for programs, a sentence for people, nothing internal.

use async_graphql::{Error, ErrorExtensions};

use crate::propagation::current_trace_id;

/// A failure that no `userErrors` entry can carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// An argument is not what it may be.
    #[error("{0}")]
    BadUserInput(String),
    /// A cursor that was not made here, or belongs to another sort.
    #[error("{0}")]
    BadCursor(String),
    /// It is somebody else's.
    #[error("{0}")]
    Forbidden(String),
    /// What the answer needs is away for the moment.
    #[error("a part of the service is unavailable; try again")]
    Unavailable,
    /// A fault of ours; the detail is in the log under the trace id.
    #[error("something went wrong on our side")]
    Internal,
}

impl ApiError {
    fn code(&self) -> &'static str {
        match self {
            Self::BadUserInput(_) => "BAD_USER_INPUT",
            Self::BadCursor(_) => "BAD_CURSOR",
            Self::Forbidden(_) => "FORBIDDEN",
            Self::Unavailable => "SERVICE_UNAVAILABLE",
            Self::Internal => "INTERNAL",
        }
    }

    /// Logs the cause and answers [`ApiError::Internal`].
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "answered INTERNAL: {cause}");
        Self::Internal
    }

    /// Logs the cause and answers [`ApiError::Unavailable`].
    pub fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(error = %cause, "answered SERVICE_UNAVAILABLE: {cause}");
        Self::Unavailable
    }
}

impl ErrorExtensions for ApiError {
    fn extend(&self) -> Error {
        let trace_id = matches!(self, Self::Internal | Self::Unavailable).then(current_trace_id).flatten();
        Error::new(self.to_string()).extend_with(|_, extensions| {
            extensions.set("code", self.code());
            if let Some(trace_id) = trace_id {
                extensions.set("traceId", trace_id);
            }
        })
    }
}

/// Shorthand for an argument that is not allowed: names it, says what was given and what may be.
pub fn bad_user_input(text: impl Into<String>) -> Error {
    ApiError::BadUserInput(text.into()).extend()
}
