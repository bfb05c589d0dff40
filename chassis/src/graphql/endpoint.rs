//! GraphQL over HTTP: POST and GET, one operation a request, strict about media types.
//!
//! Follows the GraphQL-over-HTTP draft. The ready-made integration is not used, because it runs mutations by GET and
//! accepts `text/plain`, both of which any web page can send without asking the browser's permission.

use async_graphql::{
    Request as GraphqlRequest, Response as GraphqlResponse, Value, Variables, parser::types::OperationType,
};
use axum::{
    Json,
    extract::{RawQuery, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::Deserialize;

use super::service::GraphqlService;
use crate::{http, problem::Problem};

const GRAPHQL_JSON: &str = "application/graphql-response+json; charset=utf-8";
const PLAIN_JSON: &str = "application/json; charset=utf-8";

/// The route of a schema.
pub fn endpoint<S: GraphqlService>(service: S) -> MethodRouter {
    let by_get = service.clone();
    get(move |headers: HeaderMap, RawQuery(query): RawQuery| async move {
        let media = MediaType::negotiate(&headers)?;
        let request = from_query(query.as_deref().unwrap_or_default())?;
        run(&by_get, request, &Method::GET, media).await
    })
    .post(move |request: Request| async move {
        let media = MediaType::negotiate(request.headers())?;
        http::require_json(request.headers())?;
        let request = from_body(&http::read_body(request, &()).await?)?;
        run(&service, request, &Method::POST, media).await
    })
}

/// The two media types of an answer, and the status codes that go with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MediaType {
    /// The status says what happened.
    GraphqlResponse,
    /// For older clients: 200 for everything that was understood as GraphQL.
    Json,
}

impl MediaType {
    fn negotiate(headers: &HeaderMap) -> Result<Self, Problem> {
        let accept: Vec<&str> =
            headers.get_all(header::ACCEPT).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).collect();
        if accept.iter().all(|range| range.trim().is_empty()) {
            return Ok(Self::Json);
        }
        let best = accept
            .iter()
            .filter_map(|range| {
                let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
                let media = match parts.next()?.as_str() {
                    "application/graphql-response+json" => Self::GraphqlResponse,
                    "application/json" | "application/*" | "*/*" => Self::Json,
                    _ => return None,
                };
                let quality = parts
                    .find_map(|parameter| parameter.strip_prefix("q=").map(|q| q.parse::<f32>().unwrap_or(0.0)))
                    .unwrap_or(1.0);
                (quality > 0.0).then_some((media, quality))
            })
            // The first of the best: `max_by` alone would take the last.
            .rev()
            .max_by(|a, b| a.1.total_cmp(&b.1));
        best.map(|(media, _)| media).ok_or_else(|| {
            Problem::new(StatusCode::NOT_ACCEPTABLE)
                .code("NOT_ACCEPTABLE")
                .detail("the answer is application/graphql-response+json or application/json")
        })
    }
}

/// A request's body or parameters (GraphQL over HTTP, section 5).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    query: String,
    #[serde(default)]
    operation_name: Option<String>,
    #[serde(default)]
    variables: Option<serde_json::Map<String, serde_json::Value>>,
    #[serde(default)]
    extensions: Option<serde_json::Map<String, serde_json::Value>>,
}

impl From<Parameters> for GraphqlRequest {
    fn from(parameters: Parameters) -> Self {
        let mut request = Self::new(parameters.query);
        // Some clients send an empty name where they mean none.
        request.operation_name = parameters.operation_name.filter(|name| !name.is_empty());
        if let Some(variables) = parameters.variables {
            request.variables = Variables::from_json(serde_json::Value::Object(variables));
        }
        for (name, value) in parameters.extensions.into_iter().flatten() {
            request.extensions.insert(name, Value::from_json(value).unwrap_or_default());
        }
        request
    }
}

fn from_body(body: &[u8]) -> Result<GraphqlRequest, Problem> {
    let value: serde_json::Value =
        serde_json::from_slice(body).map_err(|e| malformed(&format!("the body is not JSON: {e}")))?;
    if value.is_array() {
        return Err(malformed("batches are not accepted: send one operation a request"));
    }
    let parameters: Parameters =
        serde_json::from_value(value).map_err(|e| malformed(&format!("the body is not a GraphQL request: {e}")))?;
    Ok(parameters.into())
}

fn from_query(query: &str) -> Result<GraphqlRequest, Problem> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Texts {
        query: Option<String>,
        operation_name: Option<String>,
        variables: Option<String>,
        extensions: Option<String>,
    }
    let texts: Texts = serde_urlencoded::from_str(query).map_err(|e| malformed(&format!("the query string: {e}")))?;
    let object = |name: &str, text: Option<String>| match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => serde_json::from_str(text).map_err(|e| malformed(&format!("{name} is not a JSON object: {e}"))),
    };
    let parameters = Parameters {
        query: texts.query.filter(|q| !q.is_empty()).ok_or_else(|| malformed("the parameter query is missing"))?,
        operation_name: texts.operation_name,
        variables: object("variables", texts.variables)?,
        extensions: object("extensions", texts.extensions)?,
    };
    Ok(parameters.into())
}

fn malformed(detail: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST).code("BAD_REQUEST").detail(detail)
}

async fn run<S: GraphqlService>(
    service: &S,
    request: GraphqlRequest,
    method: &Method,
    media: MediaType,
) -> Result<Response, Problem> {
    let admitted = match service.admit(request) {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(answer(refusal, media)),
    };
    match S::operation_type(&admitted) {
        OperationType::Query => {}
        // Also a link or an image on any page sends a GET, with the user's cookies.
        OperationType::Mutation if method == Method::GET => {
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED)
                .code("METHOD_NOT_ALLOWED")
                .detail("mutations are sent by POST");
            return Ok(([(header::ALLOW, HeaderValue::from_static("POST"))], problem).into_response());
        }
        OperationType::Mutation => {}
        OperationType::Subscription => {
            return Err(malformed("subscriptions are not served over plain HTTP requests"));
        }
    }
    Ok(answer(service.run(admitted).await, media))
}

fn answer(mut response: GraphqlResponse, media: MediaType) -> Response {
    // A request error stops before execution: it has no path, and the answer has no `data` at all
    // (GraphQL specification, section 7.1).
    let before_execution = response.data == Value::Null
        && !response.errors.is_empty()
        && response.errors.iter().all(|e| e.path.is_empty());
    for error in &mut response.errors {
        let code = if before_execution { "GRAPHQL_VALIDATION_FAILED" } else { "BAD_USER_INPUT" };
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", code);
        }
    }
    let status = match media {
        MediaType::GraphqlResponse if before_execution => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let body = if before_execution {
        Json(serde_json::json!({ "errors": response.errors })).into_response()
    } else {
        Json(response).into_response()
    };
    let media = match media {
        MediaType::GraphqlResponse => GRAPHQL_JSON,
        MediaType::Json => PLAIN_JSON,
    };
    let mut http = (status, body).into_response();
    http.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    http.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    http
}
