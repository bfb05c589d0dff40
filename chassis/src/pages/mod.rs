//! How pages for people are served: everything they need is embedded in the program, in compressed forms, so they work
//! without a network, and a strict policy forbids them anything else. [`docs`](crate::docs) and the BFF have such pages.

mod asset;
mod encoding;

use axum::{
    Router,
    extract::Request,
    http::{HeaderName, HeaderValue, header},
    middleware::{self, Next},
};

pub(crate) use asset::is_known;
pub use asset::{Asset, Freshness, fingerprint};

/// Puts the headers around pages that keep a browser from doing more with them than they are for (OWASP Secure Headers
/// Project). `policy` is the content security policy.
pub fn with_policy(routes: Router, policy: &'static str) -> Router {
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
