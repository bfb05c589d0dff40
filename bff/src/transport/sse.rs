//! Operations as an event stream: the *distinct connections mode* of the GraphQL over Server-Sent Events protocol, for
//! `EventSource`, `curl -N`, the npm client `graphql-sse`, and networks that let no WebSocket through.
//!
//! A request is the same as for plain HTTP, with `Accept: text/event-stream`. Each answer is an event `next`; `complete`
//! is the last one, also when the process stops. Refusals of the document are answers too: an `EventSource` cannot read
//! anything else. A comment every few seconds keeps gateways from taking a quiet stream for a dead one, and finds out
//! when the client has gone.

use std::{convert::Infallible, time::Duration};

use async_graphql::{Response as GraphqlResponse, parser::types::OperationType};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use chassis::{
    graphql::{self, GraphqlService},
    http,
    identity::{Caller, Refusal},
    problem::Problem,
};
use futures_util::{
    StreamExt,
    stream::{self, BoxStream},
};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use super::{Transports, gate::expired};
use crate::entry::Entry;

/// How long a stream is silent at most. Half of what the most impatient gateways allow.
const HEART_BEAT: Duration = Duration::from_secs(12);

/// Tells nginx, and with it Kong, to pass each event on at once.
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// When a client wants an event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Never,
    /// It takes JSON as well, which suits whatever has one answer. The npm client `urql` asks like that every time.
    ForSubscriptions,
    Always,
}

/// What a request's `Accept` says.
pub(super) fn wanted(headers: &HeaderMap) -> Wanted {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let media = accept.flat_map(|value| value.split(',')).filter_map(|range| range.split(';').next());
    let media: Vec<_> = media.map(|media| media.trim().to_ascii_lowercase()).collect();
    let takes = |names: &[&str]| media.iter().any(|media| names.contains(&media.as_str()));
    match takes(&["text/event-stream"]) {
        false => Wanted::Never,
        true if takes(&["application/graphql-response+json", "application/json", "application/*", "*/*"]) => {
            Wanted::ForSubscriptions
        }
        true => Wanted::Always,
    }
}

/// Streams the answers of a subscription, and gives any other request back for plain HTTP.
pub(super) async fn respond_to_subscription(
    transports: Transports,
    request: Request,
) -> Result<Result<Response, Request>, Problem> {
    let (parts, body) = request.into_parts();
    let caller = parts.extensions.get::<Caller>().cloned();
    let body = http::read_body(Request::from_parts(parts.clone(), body), &()).await?;
    let again = || Request::from_parts(parts.clone(), body.clone().into());
    // Whatever is wrong with it, plain HTTP has a better answer.
    let Ok(request) = graphql::read_request(again()).await else { return Ok(Err(again())) };
    match transports.0.entry.admit(request) {
        Ok(admitted) if Entry::operation_type(&admitted) == OperationType::Subscription => {
            let answers = transports.0.entry.stream(admitted);
            Ok(Ok(event_stream(&transports, caller, answers)))
        }
        _ => Ok(Err(again())),
    }
}

/// Runs the operation of `request` and streams its answers.
pub(super) async fn respond(transports: Transports, request: Request) -> Result<Response, Problem> {
    let shared = &transports.0;
    let by_get = *request.method() == Method::GET;
    let caller = request.extensions().get::<Caller>().cloned();
    let request = graphql::read_request(request).await?;
    let answers = match shared.entry.admit(request) {
        Ok(admitted) if by_get && Entry::operation_type(&admitted) == OperationType::Mutation => {
            return Ok(not_by_get());
        }
        Ok(admitted) if Entry::operation_type(&admitted) == OperationType::Subscription => {
            shared.entry.stream(admitted)
        }
        Ok(admitted) => {
            // The answer is made while it is sent, and still belongs to the trace of the request.
            let (entry, span) = (shared.entry.clone(), Span::current());
            stream::once(async move { entry.run(admitted).await }.instrument(span)).boxed()
        }
        Err(refusal) => stream::once(std::future::ready(GraphqlResponse::from_errors(vec![refusal]))).boxed(),
    };
    Ok(event_stream(&transports, caller, answers))
}

/// The answers as events, until the caller's token expires.
fn event_stream(
    transports: &Transports,
    caller: Option<Caller>,
    answers: BoxStream<'static, GraphqlResponse>,
) -> Response {
    let shared = &transports.0;
    // Held by the stream for as long as it is.
    let counted = shared.limits.gauges.event_streams.count();
    let answers = until_expired(caller, answers).take_until(shared.stop.clone().cancelled_owned()).boxed();
    let events = stream::unfold(Some((answers, counted)), |open| async {
        let (mut answers, counted) = open?;
        match timeout(HEART_BEAT, answers.next()).await {
            Ok(Some(answer)) => Some((next(answer), Some((answers, counted)))),
            // Not without a line of data, or an `EventSource` would keep it to itself.
            Ok(None) => Some((Bytes::from_static(b"event: complete\ndata:\n\n"), None)),
            Err(_) => Some((Bytes::from_static(b":\n\n"), Some((answers, counted)))),
        }
    });
    let mut response = Body::from_stream(events.map(Ok::<_, Infallible>)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// The answers, and where the token ends before they do, the reason as the last one.
fn until_expired(
    caller: Option<Caller>,
    answers: BoxStream<'static, GraphqlResponse>,
) -> BoxStream<'static, GraphqlResponse> {
    let expired = async move { expired(caller.as_ref()).await };
    let ended = || {
        let error = graphql::request_error(Refusal::Expired.code(), Refusal::Expired.to_string(), None);
        Some(GraphqlResponse::from_errors(vec![error]))
    };
    let open = Some((answers, Box::pin(expired)));
    stream::unfold(open, move |open| async move {
        let (mut answers, mut expired) = open?;
        tokio::select! {
            biased;
            () = &mut expired => ended().map(|last| (last, None)),
            answer = answers.next() => answer.map(|answer| (answer, Some((answers, expired)))),
        }
    })
    .boxed()
}

/// An answer as an event. JSON is one line, so it is one line of data.
fn next(mut response: GraphqlResponse) -> Bytes {
    graphql::complete_codes(&mut response);
    // Where nothing was executed, there is no data in the event either.
    let answer = match graphql::is_refusal(&response) {
        true => serde_json::json!({ "errors": response.errors }).to_string(),
        // Only a map with keys that are no texts could not be written, and there is none.
        false => serde_json::to_string(&response).unwrap_or_default(),
    };
    format!("event: next\ndata: {answer}\n\n").into()
}

/// Any page can have a browser send a GET, with the user's cookies.
fn not_by_get() -> Response {
    let problem =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED).code("METHOD_NOT_ALLOWED").detail("mutations are sent by POST");
    ([(header::ALLOW, HeaderValue::from_static("POST"))], problem).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_takes_nothing_else_gets_an_event_stream_for_everything() {
        for (accept, expected) in [
            ("text/event-stream", Wanted::Always),
            ("TEXT/EVENT-STREAM; q=1", Wanted::Always),
            ("text/event-stream, multipart/mixed", Wanted::Always),
            ("application/json, text/event-stream", Wanted::ForSubscriptions),
            ("*/*", Wanted::Never),
            ("application/json", Wanted::Never),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(wanted(&headers), expected, "{accept}");
        }
    }
}
