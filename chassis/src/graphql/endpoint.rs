//! GraphQL over HTTP: POST and GET, one operation a request, strict about media types.
//!
//! Follows the GraphQL-over-HTTP draft. The ready-made integration is not used, because it runs mutations by GET and
//! accepts `text/plain`, both of which any web page can send without asking the browser's permission.

use async_graphql::{
    Executor, Request as GraphqlRequest, Response as GraphqlResponse, ServerError, Value, Variables,
    parser::types::{DocumentOperations, OperationType},
};
use axum::{
    Json,
    extract::{RawQuery, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use serde::Deserialize;

use crate::{http, problem::Problem};

const GRAPHQL_JSON: &str = "application/graphql-response+json; charset=utf-8";
const PLAIN_JSON: &str = "application/json; charset=utf-8";

/// The route of a schema.
pub fn endpoint<E: Executor>(executor: E) -> MethodRouter {
    let by_get = executor.clone();
    get(move |headers: HeaderMap, RawQuery(query): RawQuery| async move {
        let media = MediaType::negotiate(&headers)?;
        let request = from_query(query.as_deref().unwrap_or_default())?;
        run(&by_get, request, &Method::GET, media).await
    })
    .post(move |request: Request| async move {
        let media = MediaType::negotiate(request.headers())?;
        http::require_json(request.headers())?;
        let request = from_body(&http::read_body(request, &()).await?)?;
        run(&executor, request, &Method::POST, media).await
    })
}

/// Reads a request, whichever way it comes: GET with parameters, or POST with JSON.
///
/// # Errors
/// As [`endpoint`] answers them: 400, 413, 415.
pub async fn read_request(request: Request) -> Result<GraphqlRequest, Problem> {
    if *request.method() == Method::GET {
        return from_query(request.uri().query().unwrap_or_default());
    }
    http::require_json(request.headers())?;
    from_body(&http::read_body(request, &()).await?)
}

/// A document that cannot be parsed, in one sentence.
pub fn syntax_error(error: &ServerError) -> ServerError {
    let mut refusal = ServerError::new(first_line(&error.message), None);
    refusal.locations.clone_from(&error.locations);
    refusal.extensions.get_or_insert_default().set("code", "GRAPHQL_PARSE_FAILED");
    refusal
}

/// Whether nothing was executed: such errors have no path, and the answer has no `data` at all (GraphQL specification,
/// section 7.1).
pub fn is_refusal(response: &GraphqlResponse) -> bool {
    response.data == Value::Null && !response.errors.is_empty() && response.errors.iter().all(|e| e.path.is_empty())
}

/// Gives each error a code that has none.
pub fn complete_codes(response: &mut GraphqlResponse) {
    let code = if is_refusal(response) { "GRAPHQL_VALIDATION_FAILED" } else { "BAD_USER_INPUT" };
    for error in &mut response.errors {
        let extensions = error.extensions.get_or_insert_default();
        if extensions.get("code").is_none() {
            extensions.set("code", code);
        }
    }
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

async fn run<E: Executor>(
    executor: &E,
    mut request: GraphqlRequest,
    method: &Method,
    media: MediaType,
) -> Result<Response, Problem> {
    let name = request.operation_name.clone();
    let kind = match request.parsed_query() {
        Ok(document) => operation_type(&document.operations, name.as_deref()),
        Err(error) => {
            return Ok(answer(GraphqlResponse::from_errors(vec![syntax_error(&error)]), media));
        }
    };
    if method == Method::GET && kind == Some(OperationType::Mutation) {
        let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED)
            .code("METHOD_NOT_ALLOWED")
            .detail("mutations are sent by POST");
        return Ok(([(header::ALLOW, HeaderValue::from_static("POST"))], problem).into_response());
    }
    if kind == Some(OperationType::Subscription) {
        return Err(malformed(
            "a subscription needs a transport that goes on: Accept: text/event-stream, or a WebSocket",
        ));
    }
    Ok(answer(executor.execute(request).await, media))
}

/// The type of the operation that may run: the named one; without a name any that is there. So a document that holds
/// a mutation beside a query counts as one, whatever the executor would choose.
fn operation_type(operations: &DocumentOperations, name: Option<&str>) -> Option<OperationType> {
    match (operations, name) {
        (DocumentOperations::Single(operation), _) => Some(operation.node.ty),
        (DocumentOperations::Multiple(all), Some(name)) => all.get(name).map(|operation| operation.node.ty),
        (DocumentOperations::Multiple(all), None) => {
            let types = || all.values().map(|operation| operation.node.ty);
            types().find(|ty| *ty != OperationType::Query).or_else(|| types().next())
        }
    }
}

/// The parser draws the place with an arrow over several lines; a client wants the sentence.
fn first_line(message: &str) -> String {
    let line = message.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("syntax error");
    format!("syntax error: {}", line.trim_start_matches(['=', ' ', '|']))
}

fn answer(mut response: GraphqlResponse, media: MediaType) -> Response {
    let before_execution = is_refusal(&response);
    complete_codes(&mut response);
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
