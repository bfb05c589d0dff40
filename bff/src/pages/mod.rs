//! The pages for people: the console at `/console`, the playground at `/playground`, and the way to them from `/`.
//!
//! Everything they need is embedded in the program and served from here, so they work without a network, and a strict
//! policy forbids them anything else. What carries the hash of its content in its path is kept by browsers for ever;
//! the two HTML documents, which name those paths, are asked for again each time.

mod config;
mod console;
mod playground;

use axum::{
    Json, Router,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use chassis::pages::with_policy;

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
