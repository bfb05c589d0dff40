//! Which web pages may use the API. For a request a browser asks permission, or shows the page nothing of the answer
//! (CORS, Fetch standard, section 3.2), so the permission is a header. It asks none before it opens a WebSocket, and
//! sends the user's cookies along, so there the server has to look at where the page comes from (RFC 6455, section 10.2).

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

/// How long a browser may remember a permission. Chromium remembers none for longer than two hours.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// The origins whose pages may use the API beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Any,
    /// These, as browsers write them: `https://shop.example`.
    These(Vec<String>),
}

/// None but our own.
impl Default for Origins {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Origins {
    /// The layer that gives browsers their permission; `None` where no other page has one. Listed origins may send the
    /// user's credentials along; where all pages are allowed, none may.
    pub(crate) fn cors(&self) -> Option<CorsLayer> {
        let layer = CorsLayer::new()
            .allow_methods([Method::GET, Method::POST])
            // Which headers a client adds is its own affair: what we believe of them does not depend on the page.
            .allow_headers(AllowHeaders::mirror_request())
            .expose_headers([header::RETRY_AFTER])
            .max_age(REMEMBERED);
        match self {
            Self::Any => Some(layer.allow_origin(Any)),
            Self::These(origins) if origins.is_empty() => None,
            Self::These(origins) => {
                let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
                Some(layer.allow_origin(origins.collect::<Vec<_>>()).allow_credentials(true))
            }
        }
    }

    /// Whether a request may open a socket. Without an `Origin` no page stands behind it; a page of our own host is at
    /// home.
    pub(crate) fn allow(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else { return true };
        let Ok(origin) = origin.to_str() else { return false };
        match self {
            Self::Any => true,
            Self::These(allowed) => allowed.iter().any(|one| one == origin) || is_own(origin, headers),
        }
    }
}

fn is_own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = origin.parse::<Uri>().ok().and_then(|origin| origin.authority().cloned());
    matches!((host, authority), (Some(host), Some(authority)) if authority.as_str().eq_ignore_ascii_case(host))
}

/// A list from the configuration: origins separated by commas, or `*`.
impl std::str::FromStr for Origins {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "*" {
            return Ok(Self::Any);
        }
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let checked = origins.map(|origin| {
            let expected = || format!("{origin:?} is no origin; origins look like https://shop.example or http://localhost:5173, separated by commas, or * for all");
            let uri: Uri = origin.parse().map_err(|_| expected())?;
            let plain = matches!(uri.scheme_str(), Some("http" | "https")) && uri.path() == "/" && uri.query().is_none();
            (plain && !origin.ends_with('/')).then(|| origin.to_ascii_lowercase()).ok_or_else(expected)
        });
        Ok(Self::These(checked.collect::<Result<_, String>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(list: &str, origin: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "api.example:8000".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        list.parse::<Origins>().unwrap().allow(&headers)
    }

    #[test]
    fn pages_of_listed_origins_and_our_own_may_open_sockets_and_programs_always() {
        let list = "https://shop.example, http://localhost:5173";
        for origin in
            [None, Some("https://shop.example"), Some("http://localhost:5173"), Some("http://api.example:8000")]
        {
            assert!(allowed(list, origin), "{origin:?}");
        }
        for origin in
            ["https://evil.example", "http://shop.example", "https://shop.example.evil", "null", "api.example"]
        {
            assert!(!allowed(list, Some(origin)), "{origin}");
            assert!(!allowed("", Some(origin)), "{origin}");
            assert!(allowed("*", Some(origin)), "{origin}");
        }
    }

    #[test]
    fn what_is_no_origin_is_named() {
        for text in ["shop.example", "https://shop.example/", "https://shop.example/path", "ftp://shop", "a,https://b"]
        {
            let error = text.parse::<Origins>().unwrap_err();
            assert!(error.contains("https://shop.example or http://localhost:5173"), "{error}");
        }
    }
}
