//! The second listener: metrics for Prometheus, apart from the API, so that no gateway can publish them by accident.

use std::sync::Arc;

use axum::{Router, http::header, routing::get};
use chassis::{health::Readiness, listen::Listener, service::RunningService};

/// Prometheus text format, version 0.0.4.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(crate) fn start(listener: Listener) -> RunningService {
    let text = format!(
        "# HELP build_info What is running; always 1.\n# TYPE build_info gauge\nbuild_info{{service=\"tandem\",version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    let routes =
        Router::new().route("/metrics", get(move || async move { ([(header::CONTENT_TYPE, CONTENT_TYPE)], text) }));
    RunningService::start("metrics", listener, routes, Arc::new(Readiness::default()))
}
