//! The span of a GraphQL operation (OpenTelemetry semantic conventions for GraphQL servers).
//!
//! An answer with errors comes with status 200, so it is here that a trace says that something failed. The document and
//! its variables are in no span.

use std::future::Future;

use async_graphql::{Response, Value, parser::types::OperationType};
use tracing::{Instrument, field::Empty, info_span};

use super::endpoint::complete_codes;

/// How much of a name is kept: clients choose it.
const NAME: usize = 100;

/// Runs an operation in its span.
pub async fn in_operation_span(
    kind: OperationType,
    name: Option<&str>,
    run: impl Future<Output = Response>,
) -> Response {
    let kind = match kind {
        OperationType::Query => "query",
        OperationType::Mutation => "mutation",
        OperationType::Subscription => "subscription",
    };
    let span = info_span!(
        "operation",
        otel.name = kind,
        otel.kind = "server",
        graphql.operation.r#type = kind,
        graphql.operation.name = name.map(|name| &name[..name.floor_char_boundary(NAME)]),
        otel.status_code = Empty,
        error.r#type = Empty,
    );
    let mut response = run.instrument(span.clone()).await;
    complete_codes(&mut response);
    if let Some(error) = response.errors.first() {
        span.record("otel.status_code", "ERROR");
        if let Some(Value::String(code)) = error.extensions.as_ref().and_then(|extensions| extensions.get("code")) {
            span.record("error.type", code.as_str());
        }
    }
    response
}
