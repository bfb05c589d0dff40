//! Which form of a content a client gets (RFC 9110, section 12.5.3).

use axum::http::{HeaderMap, header};

/// A form of a content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Brotli,
    Gzip,
    Identity,
}

impl Encoding {
    /// Its name in `Content-Encoding`; none for the content as it is.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::Brotli => Some("br"),
            Self::Gzip => Some("gzip"),
            Self::Identity => None,
        }
    }

    /// The one that a client likes most: of `compressed`, which begin with the best, or the content as it is. Who
    /// accepts none of them gets that too: the specification allows it, and an error would help nobody.
    pub(crate) fn choose(headers: &HeaderMap, compressed: impl Iterator<Item = Self>) -> Self {
        let mut best = (Self::Identity, asked(headers, "identity").unwrap_or(0.0));
        for encoding in compressed {
            let weight = encoding.name().and_then(|name| asked(headers, name)).unwrap_or(0.0);
            if weight > best.1 {
                best = (encoding, weight);
            }
        }
        best.0
    }
}

/// The weight that a client gives to a coding, by its name or by `*`.
fn asked(headers: &HeaderMap, name: &str) -> Option<f32> {
    let mut any = None;
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    for entry in values.flat_map(|value| value.split(',')) {
        let mut parts = entry.split(';').map(str::trim);
        let coding = parts.next().unwrap_or_default();
        let weight = parts.find_map(|parameter| parameter.strip_prefix("q=")?.parse().ok()).unwrap_or(1.0);
        if coding.eq_ignore_ascii_case(name) {
            return Some(weight);
        }
        if coding == "*" && name != "identity" {
            any = Some(weight);
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_gets_the_best_form_that_it_accepts() {
        let both = || [Encoding::Brotli, Encoding::Gzip].into_iter();
        let gzip = || std::iter::once(Encoding::Gzip);
        for (accept, of_both, of_gzip) in [
            ("gzip, deflate, br, zstd", Encoding::Brotli, Encoding::Gzip),
            ("gzip, deflate", Encoding::Gzip, Encoding::Gzip),
            ("GZIP", Encoding::Gzip, Encoding::Gzip),
            ("br;q=0.5, gzip;q=0.9, identity;q=0.1", Encoding::Gzip, Encoding::Gzip),
            ("br", Encoding::Brotli, Encoding::Identity),
            ("*", Encoding::Brotli, Encoding::Gzip),
            ("*;q=0.5, br;q=0", Encoding::Gzip, Encoding::Gzip),
            ("gzip;q=0", Encoding::Identity, Encoding::Identity),
            ("identity, gzip;q=0.5", Encoding::Identity, Encoding::Identity),
            ("identity;q=0", Encoding::Identity, Encoding::Identity),
            ("zstd", Encoding::Identity, Encoding::Identity),
            ("", Encoding::Identity, Encoding::Identity),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(accept))]);
            assert_eq!(Encoding::choose(&headers, both()), of_both, "{accept}");
            assert_eq!(Encoding::choose(&headers, gzip()), of_gzip, "{accept}");
        }
        assert_eq!(Encoding::choose(&HeaderMap::new(), both()), Encoding::Identity);
    }
}
