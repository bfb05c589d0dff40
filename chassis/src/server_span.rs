//! A span and an access line for each request that a service answers (OpenTelemetry semantic conventions for HTTP
//! servers).
//!
//! Probes get neither: they would be most of what a trace store and a log hold. Nothing here tells who asked, or for what
//! but the route: addresses, query strings and the client's own words in a path are personal data or may be.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Method, StatusCode, Version},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, Span, field::Empty, info, info_span};

use crate::{health::PROBES, propagation};

/// What stands in a path for what is not shown.
const REDACTED: &str = "REDACTED";

/// Answers a request of `service` in its span, as a part of the caller's trace.
pub(crate) async fn trace_request(State(service): State<&'static str>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    if route.is_some_and(|route| PROBES.contains(&route)) {
        return next.run(request).await;
    }
    let method = known_method(request.method());
    let span = info_span!(
        "request",
        otel.name = name(method, route),
        otel.kind = "server",
        http.request.method = method.unwrap_or("_OTHER"),
        http.route = route,
        url.path = shown_path(request.uri().path(), route),
        url.scheme = "http",
        network.protocol.version = protocol_version(request.version()),
        http.response.status_code = Empty,
        otel.status_code = Empty,
        error.r#type = Empty,
    );
    propagation::set_parent_from_headers(&span, request.headers(), service);
    let mut access =
        Access { span: span.clone(), method, route: route.map(str::to_owned), began: Instant::now(), status: None };
    let response = next.run(request).instrument(span).await;
    access.status = Some(response.status());
    response
}

/// A request that is being answered. It is told of when it is dropped, also where that is because its client has gone.
struct Access {
    span: Span,
    method: Option<&'static str>,
    route: Option<String>,
    began: Instant,
    /// None until there is an answer.
    status: Option<StatusCode>,
}

impl Drop for Access {
    fn drop(&mut self) {
        let error = match self.status {
            Some(status) if status.is_server_error() => Some(status.as_str().to_owned()),
            Some(_) => None,
            None => Some("canceled".to_owned()),
        };
        if let Some(error) = &error {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", error.as_str());
        }
        let status = self.status.map(|status| i64::from(status.as_u16()));
        self.span.record("http.response.status_code", status);
        let outcome = self.status.as_ref().map_or("canceled", StatusCode::as_str);
        info!(
            target: "access",
            parent: &self.span,
            {
                http.request.method = self.method.unwrap_or("_OTHER"),
                http.route = self.route,
                http.response.status_code = status,
                error.r#type = error,
                duration_ms = duration_ms(self.began)
            },
            "{} {outcome}",
            name(self.method, self.route.as_deref())
        );
    }
}

/// `{method} {route}`, as many names as there are routes.
fn name(method: Option<&'static str>, route: Option<&str>) -> String {
    let method = method.unwrap_or("HTTP");
    route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
}

/// Milliseconds since `began`, to the microsecond.
fn duration_ms(began: Instant) -> f64 {
    began.elapsed().as_micros() as f64 / 1e3
}

/// The methods of RFC 9110 and PATCH; a client may invent others, and there would be a span name for each.
fn known_method(method: &Method) -> Option<&'static str> {
    ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"]
        .into_iter()
        .find(|known| *known == method.as_str())
}

fn protocol_version(version: Version) -> Option<&'static str> {
    match version {
        Version::HTTP_10 => Some("1.0"),
        Version::HTTP_11 => Some("1.1"),
        Version::HTTP_2 => Some("2"),
        _ => None,
    }
}

/// The path with only what is ours in it: the words of the route, and ids that our services gave. What else a client
/// writes there is its own, a name or a token.
fn shown_path(path: &str, route: Option<&str>) -> String {
    let mut route = route.unwrap_or_default().split('/');
    let segments = path.split('/').map(|segment| {
        let ours = route.next() == Some(segment) || segment.is_empty() || uuid::Uuid::try_parse(segment).is_ok();
        if ours { segment } else { REDACTED }
    });
    segments.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_what_is_ours_and_nothing_of_the_clients_own_words() {
        let id = "01932b5c-6f00-7000-8000-000000000001";
        let by_id = Some("/orders/{id}");
        for (path, route, expected) in [
            ("/orders", Some("/orders"), "/orders".to_owned()),
            (&format!("/orders/{id}"), by_id, format!("/orders/{id}")),
            (&format!("/orders/{id}/cancel"), Some("/orders/{id}/cancel"), format!("/orders/{id}/cancel")),
            ("/orders/ada@example.com", by_id, "/orders/REDACTED".to_owned()),
            ("/ada@example.com/orders", None, "/REDACTED/REDACTED".to_owned()),
            ("/", None, "/".to_owned()),
        ] {
            assert_eq!(shown_path(path, route), expected, "{path}");
        }
    }

    #[test]
    fn an_invented_method_gets_no_name_of_its_own() {
        assert_eq!(name(known_method(&Method::POST), Some("/orders")), "POST /orders");
        assert_eq!(name(known_method(&Method::GET), None), "GET");
        assert_eq!(name(known_method(&"BREW".parse().unwrap()), Some("/orders")), "HTTP /orders");
    }
}
