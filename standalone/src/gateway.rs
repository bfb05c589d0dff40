//! The front on port 8000: the paths that Kong serves, so that every command of the README works with and without
//! it. Requests are handed to the services' own routers, in memory; nothing is added that Kong would not.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderValue, Method, Uri, header},
    response::{IntoResponse, Response},
};
use chassis::{health::Readiness, listen::Listener, problem::Problem, service::RunningService};
use tower::ServiceExt;

#[derive(Clone)]
struct Upstreams {
    orders: Router,
    invoices: Router,
    bff: Router,
}

/// Which service a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Orders,
    Invoices,
    Bff,
    Index,
}

pub(crate) fn start(
    listener: Listener,
    orders: &RunningService,
    invoices: &RunningService,
    bff: &RunningService,
) -> RunningService {
    let upstreams = Upstreams { orders: orders.routes(), invoices: invoices.routes(), bff: bff.routes() };
    let routes = Router::new().fallback(move |request| forward(upstreams.clone(), request));
    RunningService::start_bare("gateway", listener, routes, Arc::new(Readiness::default()))
}

async fn forward(upstreams: Upstreams, mut request: Request) -> Response {
    let Some((target, path)) = route(request.method(), request.uri().path()) else {
        return Problem::no_such_path().into_response();
    };
    let upstream = match target {
        Target::Orders => upstreams.orders,
        Target::Invoices => upstreams.invoices,
        Target::Bff => upstreams.bff,
        // A person's browser goes to the console; the BFF knows how.
        Target::Index if bff::is_browser(request.headers()) => upstreams.bff,
        Target::Index => return index(),
    };
    let uri = match request.uri().query() {
        Some(query) => format!("{path}?{query}").parse::<Uri>(),
        None => path.parse(),
    };
    match uri {
        Ok(uri) => *request.uri_mut() = uri,
        Err(_) => return Problem::no_such_path().into_response(),
    }
    // A router never fails: its error type has no values.
    upstream.oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// The service of a path, and the path as that service knows it.
fn route<'p>(method: &Method, path: &'p str) -> Option<(Target, &'p str)> {
    if path == "/" {
        return matches!(*method, Method::GET | Method::HEAD).then_some((Target::Index, path));
    }
    let services = [
        ("/orders", Target::Orders),
        ("/invoices", Target::Invoices),
        ("/console", Target::Bff),
        ("/playground", Target::Bff),
    ];
    for (prefix, target) in services {
        let Some(rest) = path.strip_prefix(prefix) else { continue };
        return match rest {
            // What a service serves at its own root.
            "/health" | "/livez" | "/readyz" | "/openapi.json" | "/docs" if target != Target::Bff => {
                Some((target, rest))
            }
            _ if target != Target::Bff && rest.strip_prefix("/docs/").is_some_and(is_file_name) => Some((target, rest)),
            // A gateway that strips the first segment made this path; clients still use it.
            "/orders" if target == Target::Orders && method == Method::POST => Some((target, rest)),
            _ if rest.is_empty() || rest.starts_with('/') => Some((target, path)),
            _ => None,
        };
    }
    matches!(path, "/graphql" | "/graphql/ws" | "/health" | "/livez" | "/readyz").then_some((Target::Bff, path))
}

/// As Kong's expression has it: the folder itself, or a file in it.
fn is_file_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn index() -> Response {
    let index = Json(serde_json::json!({
        "name": "tandem",
        "console": "/console",
        "playground": "/playground",
        "graphql": "/graphql",
        "orders": "/orders",
        "invoices": "/invoices",
        "health": "/health",
    }));
    ([(header::VARY, HeaderValue::from_static("Accept"))], index).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_gateway_finds_its_service() {
        assert_eq!(route(&Method::GET, "/"), Some((Target::Index, "/")));
        for (path, expected) in [
            ("/", None),
            ("/graphql", Some((Target::Bff, "/graphql"))),
            ("/graphql/ws", Some((Target::Bff, "/graphql/ws"))),
            ("/health", Some((Target::Bff, "/health"))),
            ("/orders", Some((Target::Orders, "/orders"))),
            ("/orders/1/cancel", Some((Target::Orders, "/orders/1/cancel"))),
            ("/orders/health", Some((Target::Orders, "/health"))),
            ("/orders/readyz", Some((Target::Orders, "/readyz"))),
            ("/orders/orders", Some((Target::Orders, "/orders"))),
            ("/orders/openapi.json", Some((Target::Orders, "/openapi.json"))),
            ("/orders/docs", Some((Target::Orders, "/docs"))),
            ("/orders/docs/", Some((Target::Orders, "/docs/"))),
            ("/orders/docs/swagger-ui.css", Some((Target::Orders, "/docs/swagger-ui.css"))),
            ("/orders/docs/a/b", Some((Target::Orders, "/orders/docs/a/b"))),
            ("/orders/docs/%2e", Some((Target::Orders, "/orders/docs/%2e"))),
            ("/invoices/docs/", Some((Target::Invoices, "/docs/"))),
            ("/console/docs", Some((Target::Bff, "/console/docs"))),
            ("/invoices", Some((Target::Invoices, "/invoices"))),
            ("/invoices/health", Some((Target::Invoices, "/health"))),
            ("/invoices/1/pay", Some((Target::Invoices, "/invoices/1/pay"))),
            ("/console", Some((Target::Bff, "/console"))),
            ("/console/health", Some((Target::Bff, "/console/health"))),
            ("/playground/assets/a.js", Some((Target::Bff, "/playground/assets/a.js"))),
            ("/consoles", None),
            ("/ordersx", None),
            ("/nothing", None),
        ] {
            assert_eq!(route(&Method::POST, path), expected, "{path}");
        }
    }
}
