//! `application/problem+json` (RFC 9457): the one shape of every answer that is not a success.
//!
//! A client reads what it can mend. What it cannot is one fixed sentence with a trace id; the detail is in the log.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::propagation::current_trace_id;

/// An answer that is not a success (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The HTTP status, repeated.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The status in words.
    pub title: String,
    /// What happened, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub detail: Option<String>,
    /// A stable word for programs, e.g. `ORDER_NOT_FOUND`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^[A-Z][A-Z_]*$")]
    pub code: Option<&'static str>,
    /// The fields at fault.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub errors: Vec<FieldError>,
    /// Where to find the detail in the logs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, pattern = "^[0-9a-f]{32}$")]
    pub trace_id: Option<String>,
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FieldError {
    /// Where it is in the body (JSON Pointer, RFC 6901), e.g. `/amount`; `?limit` for a query parameter; the name of a
    /// header.
    pub pointer: String,
    /// What was given and what is allowed.
    pub detail: String,
}

impl FieldError {
    /// A field and what is wrong with it.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

impl Problem {
    /// A status with its standard words and nothing else.
    pub fn new(status: StatusCode) -> Self {
        Self {
            status: status.as_u16(),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            detail: None,
            code: None,
            errors: Vec::new(),
            trace_id: None,
        }
    }

    /// What happened, for people.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// A stable word for programs.
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// 422: the body is well-formed, but these fields are not what they may be.
    pub fn invalid(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY).code("INVALID_INPUT");
        problem.detail = Some("the request is well-formed, but some fields are not allowed as they are".to_owned());
        problem.errors = errors;
        problem
    }

    /// 403: whoever asks may not act for somebody else, whom these fields name.
    pub fn forbidden(errors: Vec<FieldError>) -> Self {
        let mut problem = Self::new(StatusCode::FORBIDDEN).code("FORBIDDEN");
        problem.detail = Some("the token does not allow this".to_owned());
        problem.errors = errors;
        problem
    }

    /// 404: there is nothing under this path.
    pub fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND).code("NOT_FOUND").detail("there is nothing under this path")
    }

    /// 405: the path exists, but not with this method. The `Allow` header says which do.
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED)
            .code("METHOD_NOT_ALLOWED")
            .detail("the path does not know this method; see the Allow header")
    }

    /// 503: what the answer needs is away for the moment. The cause goes to the log, never to the client.
    pub fn unavailable(cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(error = %cause, "answered 503: {cause}");
        let mut problem = Self::new(StatusCode::SERVICE_UNAVAILABLE)
            .code("SERVICE_UNAVAILABLE")
            .detail("a part of the service is unavailable; try again");
        problem.trace_id = current_trace_id();
        problem
    }

    /// 500: a fault of ours. The cause goes to the log, never to the client.
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(error = %cause, "answered 500: {cause}");
        let mut problem =
            Self::new(StatusCode::INTERNAL_SERVER_ERROR).code("INTERNAL").detail("something went wrong on our side");
        problem.trace_id = current_trace_id();
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        response
    }
}
