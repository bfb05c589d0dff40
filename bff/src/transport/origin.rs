//! Which web pages may open a WebSocket. A browser asks no permission before it opens one, and sends the user's
//! cookies along, so the server has to look at where the page comes from (RFC 6455, section 10.2).

use axum::http::{HeaderMap, Uri, header};

/// The origins whose pages may use the API beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// All of them.
    Any,
    /// These, as browsers write them: `https://shop.example`.
    These(Vec<String>),
}

impl Origins {
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
