//! The transports of operations that go on: event streams ([`sse`]) and WebSockets ([`websocket`]), beside plain HTTP.
//!
//! All of them hand a request to the one entry (`crate::entry`), so what is refused by one is refused by all. Here it is
//! only decided which transport a request wants, and that everything ends when the process stops: hyper waits for no
//! upgraded connection, and an event stream would have it wait for ever.

mod gate;
mod origin;
mod protocol;
mod socket;
mod sse;
mod websocket;

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use chassis::{identity::Authenticator, problem::Problem};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::LiveConfig, entry::Entry};
pub use origin::Origins;
use sse::Wanted;

/// What the transports of a process share.
#[derive(Clone)]
pub(crate) struct Transports(Arc<Shared>);

struct Shared {
    entry: Entry,
    authenticator: Authenticator,
    limits: LiveConfig,
    origins: Origins,
    /// Fires when the process stops.
    stop: CancellationToken,
    /// The tasks of WebSockets.
    sockets: TaskTracker,
}

impl Transports {
    /// To `entry`, for whom `authenticator` lets in, within `limits`, for our own pages and those of `origins`.
    pub(crate) fn new(entry: Entry, authenticator: Authenticator, limits: LiveConfig, origins: Origins) -> Self {
        let (stop, sockets) = (CancellationToken::new(), TaskTracker::new());
        Self(Arc::new(Shared { entry, authenticator, limits, origins, stop, sockets }))
    }

    /// The routes: `/graphql` with all transports around `plain`, and `/graphql/ws` for WebSockets alone.
    pub(crate) fn routes(&self, plain: MethodRouter) -> Router {
        let choose = middleware::from_fn_with_state(self.clone(), choose);
        // The common answer to other methods would be put in after the layer below, which has to see OPTIONS.
        let refuse = || async { Problem::method_not_allowed() };
        let routes = Router::new()
            .route("/graphql", plain.layer(choose).fallback(refuse))
            .route("/graphql/ws", get(websocket::upgrade).with_state(self.clone()).fallback(refuse));
        let routes = gate::protect(&self.0.authenticator, routes);
        // Around everything else, so that a page can read a refusal as well.
        match self.0.origins.cors() {
            Some(cors) => routes.layer(cors),
            None => routes,
        }
    }

    /// Ends all streams and sockets, in the words of their protocols.
    pub(crate) fn end(&self) {
        self.0.stop.cancel();
    }

    /// Waits until the last socket has ended.
    pub(crate) async fn ended(&self) {
        self.0.sockets.close();
        self.0.sockets.wait().await;
    }
}

/// Hands a request for `/graphql` to the transport that it asks for.
async fn choose(State(transports): State<Transports>, request: Request, next: Next) -> Response {
    if asks_for_socket(&request) {
        return websocket::accept(transports, request).await.into_response();
    }
    let headers = request.headers();
    let operation = matches!(*request.method(), Method::GET | Method::POST);
    match sse::wanted(headers) {
        Wanted::Always if operation => sse::respond(transports, request).await.into_response(),
        Wanted::ForSubscriptions if operation => sse::respond_or_plainly(transports, request).await.into_response(),
        _ => next.run(request).await,
    }
}

/// Whether it wants to become a WebSocket. The gate lets such a request in before it has said who it is, so that it may get
/// nothing but a WebSocket.
fn asks_for_socket(request: &Request) -> bool {
    *request.method() == Method::GET && names(request.headers(), &header::UPGRADE, "websocket")
}

/// Whether a header that is a list of tokens has this one.
fn names(headers: &axum::http::HeaderMap, name: &header::HeaderName, token: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(token))
}
