//! GraphQL over HTTP: POST and GET, one operation a request, strict about media types.
//!
//! Follows the GraphQL-over-HTTP draft. The ready-made integration is not used, because it runs mutations by GET and
//! accepts `text/plain`, both of which any web page can send without asking the browser's permission. Being strict
//! about the two is all the protection against cross-site request forgery that is needed (ADR 0008).

use async_graphql::{Response as GraphqlResponse, ServerError, Value, parser::types::OperationType};
use axum::{
    Json,
    extract::Request,
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};

use super::{
    media_type::MediaType,
    parameters::{malformed, read_request},
    service::GraphqlService,
};
use crate::problem::Problem;

/// The route of a schema.
pub fn endpoint<S: GraphqlService>(service: S) -> MethodRouter {
    let by_get = service.clone();
    get(move |request| answer_to(by_get.clone(), request)).post(move |request| answer_to(service.clone(), request))
}

async fn answer_to<S: GraphqlService>(service: S, request: Request) -> Result<Response, Problem> {
    let media = MediaType::negotiate(request.headers())?;
    let method = request.method().clone();
    let request = read_request(request).await?;
    run(&service, service.admit(request), &method, media).await
}

/// Answers a request that came by `method` with these headers, for a transport that had to read it first: `admitted` is
/// what [`GraphqlService::admit`] said of it.
///
/// # Errors
/// As the endpoint answers them: 406, and 400 for a subscription.
pub async fn respond<S: GraphqlService>(
    service: &S,
    admitted: Result<S::Admitted, ServerError>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, Problem> {
    run(service, admitted, method, MediaType::negotiate(headers)?).await
}

async fn run<S: GraphqlService>(
    service: &S,
    admitted: Result<S::Admitted, ServerError>,
    method: &Method,
    media: MediaType,
) -> Result<Response, Problem> {
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(refusal) => return Ok(answer(GraphqlResponse::from_errors(vec![refusal]), media)),
    };
    match S::operation_type(&admitted) {
        OperationType::Query => {}
        // A link or an image on any page sends a GET, with the user's cookies.
        OperationType::Mutation if method != Method::POST => {
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED)
                .code("METHOD_NOT_ALLOWED")
                .detail("mutations are sent by POST");
            return Ok(([(header::ALLOW, HeaderValue::from_static("POST"))], problem).into_response());
        }
        OperationType::Mutation => {}
        OperationType::Subscription => {
            return Err(malformed(
                "a subscription needs a transport that goes on: Accept: text/event-stream, or a WebSocket",
            ));
        }
    }
    Ok(answer(service.run(admitted).await, media))
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

/// The HTTP form of an answer.
///
/// 400 for a request error where the media type has statuses, though newer drafts would have 422 for some of them:
/// clients and their tests expect 400, and both are within what the draft demands.
fn answer(mut response: GraphqlResponse, media: MediaType) -> Response {
    complete_codes(&mut response);
    let refused = is_refusal(&response);
    let status = match media {
        MediaType::GraphqlResponse if refused => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    let mut answer = if refused {
        (status, Json(serde_json::json!({ "errors": response.errors }))).into_response()
    } else {
        (status, Json(response)).into_response()
    };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, media.content_type());
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    // What a GET answers is as fresh as the services are, and may be one user's.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
