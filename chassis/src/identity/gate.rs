//! Where requests are let in: before anything of them is read, and before any handler runs.

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, Method, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};

use super::{Authenticator, Caller, Refusal};
use crate::{graphql::SCHEMA_QUESTION, problem::Problem};

impl Authenticator {
    /// Puts the gate before all of `routes`: whoever passes it is in the extensions of the request.
    pub fn protect(&self, routes: Router) -> Router {
        routes.route_layer(middleware::from_fn_with_state(self.clone(), let_in))
    }

    /// The same for a subgraph. One question needs no token, since its answer is no secret and gateways ask it before
    /// anybody has come: [`SCHEMA_QUESTION`], to the letter. It is compared, not parsed.
    pub fn protect_subgraph(&self, routes: Router) -> Router {
        routes.route_layer(middleware::from_fn_with_state(self.clone(), let_in_or_show_schema))
    }

    /// Who sends a request with these headers.
    ///
    /// # Errors
    /// Why it is refused.
    pub fn caller_by_header(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        if self.is_open() {
            return Ok(Caller::ANYONE);
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let token = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => Some(bearer(value.to_str().map_err(|_| Refusal::Malformed)?)?),
            (Some(_), Some(_)) => return Err(Refusal::Malformed),
        };
        self.caller(token)
    }
}

/// The token in the credentials `Bearer <token>` (RFC 6750, section 2.1).
///
/// # Errors
/// [`Refusal::Missing`] for those of another scheme, [`Refusal::Malformed`] when there is not one token.
pub fn bearer(credentials: &str) -> Result<&str, Refusal> {
    let (scheme, token) = credentials.trim().split_once(' ').unwrap_or((credentials.trim(), ""));
    let token = token.trim_start();
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::Missing);
    }
    let well_formed = !token.is_empty() && !token.contains([' ', ',']);
    well_formed.then_some(token).ok_or(Refusal::Malformed)
}

async fn let_in(State(authenticator): State<Authenticator>, mut request: Request, next: Next) -> Response {
    match authenticator.caller_by_header(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn let_in_or_show_schema(state: State<Authenticator>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let may_be = *request.method() == Method::POST
        && length == Some(SCHEMA_QUESTION.len())
        && !headers.contains_key(header::AUTHORIZATION);
    if state.is_open() || !may_be {
        return let_in(state, request, next).await;
    }
    let (parts, body) = request.into_parts();
    match to_bytes(body, SCHEMA_QUESTION.len()).await {
        // Without a caller: nothing that belongs to anybody could be answered.
        Ok(body) if body == SCHEMA_QUESTION => next.run(Request::from_parts(parts, body.into())).await,
        _ => let_in(state, Request::from_parts(parts, Body::empty()), next).await,
    }
}

/// The caller, for handlers. A request that came by no gate has none, and is not answered.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get().cloned().ok_or_else(|| Problem::internal(&super::UNKNOWN_CALLER))
    }
}
