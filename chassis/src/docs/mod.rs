//! The description of a REST API, OpenAPI 3.1: the document at `/openapi.json`, and at `/docs` Swagger UI, which shows it.
//!
//! Gateways serve a service under a prefix that it does not know, so everything here names its neighbours relatively.
//! Swagger UI is vendored in `chassis/swagger-ui` and embedded; see [`pages`](crate::pages).

mod answers;
pub mod schema;

use std::{collections::HashMap, sync::Arc};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use utoipa::openapi::OpenApi;

use crate::{
    http::PathParameter,
    pages::{Asset, Freshness, with_policy},
    problem::Problem,
};

pub use answers::{CommonAnswers, InvalidParameters};

/// Swagger UI sets styles from scripts, and its icons are `data:` URLs within its stylesheet. It asks nobody but us.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const DOCUMENT: &str = "index.html";

macro_rules! own {
    ($($name:literal),*) => {
        [$(($name, include_bytes!(concat!("../../swagger-ui/", $name)).as_slice())),*]
    };
}

macro_rules! vendored {
    ($($name:literal),*) => {
        [$((
            $name,
            include_bytes!(concat!("../../swagger-ui/dist/", $name, ".br")).as_slice(),
            include_bytes!(concat!("../../swagger-ui/dist/", $name, ".gz")).as_slice(),
        )),*]
    };
}

/// The document as it is served and committed.
pub fn to_text(document: &OpenApi) -> String {
    // It holds texts and numbers only, which always serialize.
    let mut text = document.to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// The routes: the document, and the pages. They are open to everybody: what they tell is no secret.
pub fn routes(document: &OpenApi) -> Router {
    let document = Arc::new(Asset::plain("openapi.json", to_text(document).into(), Freshness::Checked));
    let own = own!("index.html", "page.css", "initializer.js")
        .map(|(name, content)| (name, Asset::plain(name, Bytes::from_static(content), Freshness::Checked)));
    let vendored = vendored!("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")
        .map(|(name, brotli, gzip)| (name, Asset::compressed(name, brotli, gzip, Freshness::Checked)));
    let files: Arc<HashMap<&str, Asset>> = Arc::new(own.into_iter().chain(vendored).collect());
    let serve = move |name: &str, headers: &HeaderMap| match files.get(name) {
        Some(file) => file.respond(headers),
        None => Problem::no_such_path().into_response(),
    };
    let page = serve.clone();
    let pages = Router::new()
        .route("/docs", get(|| async { (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "docs/")]) }))
        .route("/docs/", get(move |headers: HeaderMap| async move { page(DOCUMENT, &headers) }))
        .route(
            "/docs/{name}",
            get(move |PathParameter(name): PathParameter, headers: HeaderMap| async move { serve(&name, &headers) }),
        );
    Router::new()
        .route("/openapi.json", get(move |headers: HeaderMap| async move { document.respond(&headers) }))
        .merge(with_policy(pages, POLICY))
}
