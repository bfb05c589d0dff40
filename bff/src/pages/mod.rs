//! The pages for people: the console at `/console`, the playground at `/playground`, and the way to them from `/`.
//!
//! Everything they need is embedded in the program and served from here, so they work without a network, and a strict
//! policy forbids them anything else. What carries the hash of its content in its path is kept by browsers for ever;
//! the two HTML documents, which name those paths, are asked for again each time.

mod asset;
mod config;
mod console;
mod encoding;
mod playground;

use axum::{
    Json, Router,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};

pub use config::{PagesConfig, TraceUrl};

/// The routes of all pages.
pub(crate) fn routes(config: &PagesConfig) -> Router {
    Router::new()
        .route("/", get(index))
        .merge(with_policy(console::routes(config), console::POLICY))
        .merge(with_policy(playground::routes(), playground::POLICY))
}

/// Whether a person's browser asks: it wants HTML and says so, while programs take what they get.
pub fn is_browser(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| range.split(';').next().is_some_and(|media| media.trim().eq_ignore_ascii_case("text/html")))
}

/// Browsers go to the console, programs get a list of what is here.
async fn index(headers: HeaderMap) -> Response {
    let response = match is_browser(&headers) {
        true => Redirect::temporary("/console").into_response(),
        false => Json(serde_json::json!({
            "name": "bff",
            "console": "/console",
            "playground": "/playground",
            "graphql": "/graphql",
            "health": "/health",
        }))
        .into_response(),
    };
    ([(header::VARY, HeaderValue::from_static("Accept"))], response).into_response()
}

/// Puts the headers around pages that keep a browser from doing more with them than they are for (OWASP Secure Headers
/// Project).
fn with_policy(routes: Router, policy: &'static str) -> Router {
    let secure = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    routes.layer(middleware::from_fn(move |request: Request, next: Next| {
        let secure = secure.clone();
        async move {
            let mut response = next.run(request).await;
            for (name, value) in secure {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
    }))
}
