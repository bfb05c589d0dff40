//! The console: plain files in `web/console`, served as they are.
//!
//! Its assets live in a folder that is named by the hash over all of them. Relative imports stay within it, so a page
//! never mixes files of two versions, and nothing has to be built.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    body::Bytes,
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
    response::IntoResponse,
    routing::get,
};
use chassis::{
    pages::{Asset, Freshness, fingerprint},
    problem::Problem,
};

use super::config::PagesConfig;

/// Nothing inline, and no text that becomes markup: not even by mistake (Trusted Types).
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const DOCUMENT: &str = include_str!("../../web/console/index.html");

/// The folder of the assets, as the document names it.
const FOLDER: &str = "/console/assets/";

macro_rules! files {
    ($($name:literal),*) => {
        &[$(($name, include_bytes!(concat!("../../web/console/", $name)))),*]
    };
}

const FILES: &[(&str, &[u8])] =
    files!("api.js", "app.js", "dom.js", "icon.svg", "list.js", "live.js", "order.js", "row.js", "style.css");

/// The routes: the document, its settings, and the rest.
pub(super) fn routes(config: &PagesConfig) -> Router {
    let version = format!("{:016x}", fingerprint(FILES.iter().flat_map(|(_, content)| *content)));
    let document = DOCUMENT.replace(FOLDER, &format!("{FOLDER}{version}/"));
    let document = Arc::new(Asset::plain("index.html", document.into(), Freshness::Checked));
    let files: HashMap<&str, Asset> = FILES
        .iter()
        .map(|&(name, content)| (name, Asset::plain(name, Bytes::from_static(content), Freshness::Immutable)))
        .collect();
    let files = Arc::new(files);

    let page = get(move |headers: HeaderMap| async move { document.respond(&headers) });
    let asset = get(move |Path((folder, name)): Path<(String, String)>, headers: HeaderMap| async move {
        match files.get(name.as_str()).filter(|_| folder == version) {
            Some(file) => file.respond(&headers),
            None => Problem::no_such_path().into_response(),
        }
    });
    let settings = serde_json::json!({ "traceUrlTemplate": config.trace_url_template });
    let uncached = [(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let settings = get(move || async move { (uncached, Json(settings)) });
    Router::new()
        .route("/console", page.clone())
        .route("/console/", page)
        .route("/console/config.json", settings)
        .route("/console/assets/{version}/{name}", asset)
}
