//! `ETag` and `If-None-Match` (RFC 9110, sections 8.8.3 and 13.1.2) for one resource: who looks at it again and again,
//! until it changes, is not sent it again.

use axum::{
    Json,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::pages::{fingerprint, is_known};

/// Answers with `body` as JSON, or 304 when the client has it. A cache may keep it for this client alone, and asks each
/// time.
pub fn json<B: Serialize>(request: &HeaderMap, body: B) -> Response {
    // A body that does not serialize is answered as Json answers it: 500, without a tag.
    let tag = serde_json::to_vec(&body).ok().map(|bytes| format!("\"{:016x}\"", fingerprint(&bytes)));
    let known = tag.as_deref().is_some_and(|tag| is_known(request, tag));
    let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { Json(body).into_response() };
    let headers = response.headers_mut();
    headers.extend(tag.and_then(|tag| HeaderValue::from_str(&tag).ok()).map(|tag| (header::ETAG, tag)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    response
}
