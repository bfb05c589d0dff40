//! What every HTTP surface of ours has in common: a span a request, problem+json for every error, a bound on bodies,
//! and a server that finishes its requests when it is told to stop.

use std::time::Duration;

use axum::{
    Router,
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Request, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware,
    response::IntoResponse,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    background::panic_text,
    listen::Listener,
    metrics::{self, Metrics, http::HttpMetrics},
    problem::Problem,
    server_span::trace_request,
};

/// The largest body that is read, in bytes. Everything we accept is far smaller.
pub const BODY_LIMIT: usize = 128 * 1024;

/// How long a client may take for the head of a request, the wait for it on an idle connection included. Without a limit
/// half a line a minute holds a connection for ever. Longer than the 60 s that gateways keep idle connections to us: the
/// side that sends must be the one that closes, or a request meets a closing connection.
const HEADER_READ: Duration = Duration::from_secs(75);

/// How long requests in flight may take to finish once the server stops.
const FINISH: Duration = Duration::from_secs(8);

/// Puts the common layers around the routes of a service: errors of the router itself become problems, a panic in a
/// handler a plain 500, and each request gets its span and is counted.
pub fn finish(routes: Router, metrics: &Metrics) -> Router {
    let measure = middleware::from_fn_with_state(HttpMetrics::register(metrics), metrics::http::measure);
    guarded(routes)
        .layer(measure)
        .layer(middleware::from_fn_with_state(metrics.service(), trace_request))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_LIMIT))
}

/// The same for what nobody has to hear of.
pub(crate) fn guarded(routes: Router) -> Router {
    routes
        .fallback(|| async { Problem::no_such_path() })
        .method_not_allowed_fallback(|| async { Problem::method_not_allowed() })
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic_text(panic.as_ref());
            Problem::internal(&format_args!("a handler panicked: {text}")).into_response()
        }))
}

/// The one parameter of a path, as text: what it may be is the handler's business. A path that is not UTF-8 names
/// nothing.
#[derive(Debug)]
pub struct PathParameter(pub String);

impl<S: Send + Sync> FromRequestParts<S> for PathParameter {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(text)| Self(text)).map_err(|_| Problem::no_such_path())
    }
}

/// A JSON body as it came: an `application/json` document within the bound. What it may contain is the handler's
/// business.
#[derive(Debug)]
pub struct JsonBody(pub serde_json::Value);

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        require_json(request.headers())?;
        let bytes = read_body(request, state).await?;
        serde_json::from_slice(&bytes).map(Self).map_err(|e| {
            Problem::new(StatusCode::BAD_REQUEST).code("MALFORMED_JSON").detail(format!("the body is not JSON: {e}"))
        })
    }
}

/// Reads the whole body within [`BODY_LIMIT`].
///
/// # Errors
/// 413 above the bound, 400 when the connection broke.
pub async fn read_body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    Bytes::from_request(request, state).await.map_err(|rejection| match rejection {
        BytesRejection::FailedToBufferBody(rejection) if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE)
                .code("BODY_TOO_LARGE")
                .detail(format!("the body may have {BODY_LIMIT} bytes at most"))
        }
        _ => Problem::new(StatusCode::BAD_REQUEST).detail("the body could not be read"),
    })
}

/// Refuses a body that is not declared as JSON: a form or a plain text can be sent by any web page without asking.
///
/// # Errors
/// 415, naming what was sent.
pub fn require_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE);
    if given.is_some_and(is_json) {
        return Ok(());
    }
    let given = given.and_then(|v| v.to_str().ok()).map_or_else(|| "none".to_owned(), |v| format!("{v:?}"));
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE)
        .code("UNSUPPORTED_MEDIA_TYPE")
        .detail(format!("the content type must be application/json in UTF-8, not {given}")))
}

fn is_json(value: &HeaderValue) -> bool {
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(|part| part.trim().to_ascii_lowercase());
    parts.next().as_deref() == Some("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some(("charset", charset)) => matches!(charset.trim_matches('"'), "utf-8" | "utf8"),
            _ => true,
        })
}

/// Serves until `stop`, then finishes the requests in flight, for [`FINISH`] at most.
pub(crate) async fn serve(listener: Listener, routes: Router, stop: CancellationToken) {
    let connections = TaskTracker::new();
    let mut acceptors = JoinSet::new();
    for socket in listener.into_sockets() {
        acceptors.spawn(accept(socket, routes.clone(), stop.clone(), connections.clone()));
    }
    while acceptors.join_next().await.is_some() {}
    connections.close();
    if timeout(FINISH, connections.wait()).await.is_err() {
        tracing::warn!("requests were still running {FINISH:?} after the server stopped accepting");
    }
}

async fn accept(socket: TcpListener, routes: Router, stop: CancellationToken, connections: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                // Answers are small: waiting to fill a packet only adds latency.
                let _ = stream.set_nodelay(true);
                connections.spawn(serve_connection(stream, routes.clone(), stop.clone()));
            }
            // Most often no file handle is left; one is free again when a connection ends.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection: {error}");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, routes: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    // An error here is a client that went away or sent no HTTP: nothing that anybody should act on.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_in_utf_8_is_json() {
        for (value, expected) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON;charset=\"UTF-8\"", true),
            ("application/json; charset=latin1", false),
            ("text/plain", false),
            ("application/x-www-form-urlencoded", false),
            ("application/jsonx", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(value)), expected, "{value}");
        }
    }
}
