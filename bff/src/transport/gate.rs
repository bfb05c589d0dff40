//! Who comes in over which transport: by the header `Authorization` over HTTP, event streams included; over a WebSocket
//! by that header, or, since a page cannot set one there, by the payload of `connection_init`. What goes on ends when
//! its token does.

use std::time::SystemTime;

use axum::{
    Router,
    extract::{Request, State},
    http::header,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use chassis::identity::{Authenticator, Caller, Refusal, bearer};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use tokio::time::sleep;

use super::asks_for_socket;

/// The names under which clients send their credentials in `connection_init`.
const CREDENTIALS: [&str; 2] = ["Authorization", "authorization"];

/// Puts the gate before the routes of all transports.
pub(super) fn protect(authenticator: &Authenticator, routes: Router) -> Router {
    routes.route_layer(middleware::from_fn_with_state(authenticator.clone(), let_in))
}

async fn let_in(State(authenticator): State<Authenticator>, mut request: Request, next: Next) -> Response {
    let says_later = asks_for_socket(&request) && !request.headers().contains_key(header::AUTHORIZATION);
    match authenticator.caller_by_header(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
        }
        Err(Refusal::Missing) if says_later => {}
        Err(refusal) => return refusal.into_response(),
    }
    next.run(request).await
}

/// What a client says of itself when it begins.
#[derive(Debug, Default)]
pub(super) struct Credentials(Option<SecretString>);

impl Credentials {
    /// Takes them from the payload of `connection_init`.
    pub(super) fn from_payload(payload: Option<Value>) -> Self {
        let found = CREDENTIALS.iter().find_map(|name| payload.as_ref()?.get(name)?.as_str().map(SecretString::from));
        Self(found)
    }

    /// Who has them; without any, who opened the socket.
    ///
    /// # Errors
    /// Why they are refused.
    pub(super) fn caller(&self, authenticator: &Authenticator, opened_by: Option<&Caller>) -> Result<Caller, Refusal> {
        match (&self.0, opened_by) {
            _ if authenticator.is_open() => Ok(Caller::ANYONE),
            (Some(credentials), _) => authenticator.caller(Some(bearer(credentials.expose_secret())?)),
            // It may have taken its time.
            (None, Some(caller)) => authenticator.caller(caller.token.as_ref().map(|token| token.expose())),
            (None, None) => Err(Refusal::Missing),
        }
    }
}

/// Waits until the caller's token would be refused; for ever where there is none.
pub(super) async fn expired(caller: Option<&Caller>) {
    let Some(token) = caller.and_then(|caller| caller.token.as_ref()) else { return std::future::pending().await };
    // By the clock on the wall, which is what the token is about: it may be set, or the machine may have slept.
    while let Ok(left) = token.valid_until().duration_since(SystemTime::now())
        && !left.is_zero()
    {
        sleep(left.min(LOOK_AGAIN)).await;
    }
}

/// How often the clock on the wall is looked at.
const LOOK_AGAIN: std::time::Duration = std::time::Duration::from_secs(30);
