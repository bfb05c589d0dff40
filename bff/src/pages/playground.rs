//! The playground: GraphiQL, built from `web/playground` by its `npm run build`, whose output is committed, so that
//! building the program needs no Node.

use std::{collections::HashMap, sync::Arc};

use axum::{Router, http::HeaderMap, response::IntoResponse, routing::get};
use chassis::{
    http::PathParameter,
    pages::{Asset, Freshness},
    problem::Problem,
};

/// Styles may be inline: the editor sets them from scripts, and without that it loses its layout. Its fonts are `data:`
/// URLs within its stylesheet.
pub(super) const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
    font-src 'self' data:; img-src 'self' data:; connect-src 'self'; worker-src 'self'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

/// Path, Brotli and gzip of each file.
const FILES: &[(&str, &[u8], &[u8])] = include!(concat!(env!("OUT_DIR"), "/playground.rs"));

const DOCUMENT: &str = "index.html";

/// The routes: the document, and the rest under paths that have the hash of the content in them.
pub(super) fn routes() -> Router {
    let files: Arc<HashMap<&str, Asset>> = Arc::new(
        FILES
            .iter()
            .map(|&(path, brotli, gzip)| {
                let freshness = if path == DOCUMENT { Freshness::Checked } else { Freshness::Immutable };
                (path, Asset::compressed(path, brotli, gzip, freshness))
            })
            .collect(),
    );
    let serve = move |path: &str, headers: &HeaderMap| match files.get(path) {
        Some(file) => file.respond(headers),
        None => Problem::no_such_path().into_response(),
    };
    let (page, asset) = (serve.clone(), serve);
    let page = get(move |headers: HeaderMap| async move { page(DOCUMENT, &headers) });
    let asset = get(move |PathParameter(name): PathParameter, headers: HeaderMap| async move {
        asset(&format!("assets/{name}"), &headers)
    });
    Router::new()
        .route("/playground", page.clone())
        .route("/playground/", page)
        .route("/playground/assets/{name}", asset)
}
