//! In which form a client is answered: negotiation by the `Accept` header (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::problem::Problem;

/// The forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    /// `application/json`, for clients that ask for nothing else: the status is 200 for everything that was understood
    /// as GraphQL.
    Json,
    /// `application/graphql-response+json`: the status says what happened.
    GraphqlResponse,
}

/// What we offer, the default first.
const OFFERED: [MediaType; 2] = [MediaType::Json, MediaType::GraphqlResponse];

impl MediaType {
    /// Chooses what the client likes best.
    ///
    /// # Errors
    /// 406 where it accepts nothing that we offer.
    pub(super) fn negotiate(headers: &HeaderMap) -> Result<Self, Problem> {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let texts: Vec<&str> =
            values.flat_map(|value| value.split(',')).filter(|text| !text.trim().is_empty()).collect();
        if texts.is_empty() {
            return Ok(OFFERED[0]);
        }
        let ranges: Vec<Range> =
            texts.into_iter().enumerate().filter_map(|(at, text)| Range::parse(text, at)).collect();
        // Of equals the one that is named more exactly, then the one that is named first, then our default.
        let liking = |media: Self| {
            let best = ranges.iter().filter(|range| range.matches(media)).max_by_key(|range| range.exactness);
            best.filter(|range| range.quality > 0)
                .map(|range| (range.quality, range.exactness, std::cmp::Reverse(range.at)))
        };
        let liked = OFFERED.into_iter().rev().filter_map(|media| Some((liking(media)?, media)));
        liked.max_by_key(|(liking, _)| *liking).map(|(_, media)| media).ok_or_else(|| {
            Problem::new(StatusCode::NOT_ACCEPTABLE)
                .code("NOT_ACCEPTABLE")
                .detail("the answer is application/graphql-response+json or application/json, in UTF-8")
        })
    }

    /// The value of `Content-Type`.
    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json; charset=utf-8",
            Self::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
        })
    }

    fn essence(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GraphqlResponse => "application/graphql-response+json",
        }
    }
}

/// A media range of an `Accept` header.
struct Range {
    /// `type/subtype`, either of which may be `*`.
    essence: String,
    /// In thousandths.
    quality: u16,
    /// 0 for `*/*`, 1 for `type/*`, 2 for a media type.
    exactness: u8,
    /// Its place in the header.
    at: usize,
}

impl Range {
    /// `None` for what we cannot satisfy whatever the media type, another charset for example.
    fn parse(text: &str, at: usize) -> Option<Self> {
        let mut parts = text.split(';').map(|part| part.trim().to_ascii_lowercase());
        let essence = parts.next()?;
        let mut quality = 1000;
        for parameter in parts {
            match parameter.split_once('=') {
                Some(("q", q)) => {
                    let q: f32 = q.parse().ok().filter(|q| (0.0..=1.0).contains(q))?;
                    quality = (q * 1000.0) as u16;
                }
                Some(("charset", charset)) if !matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "*") => {
                    return None;
                }
                _ => {}
            }
        }
        let exactness = match essence.split_once('/')? {
            ("*", "*") => 0,
            (_, "*") => 1,
            _ => 2,
        };
        Some(Self { essence, quality, exactness, at })
    }

    fn matches(&self, media: MediaType) -> bool {
        match self.exactness {
            0 => true,
            1 => media.essence().split('/').next() == self.essence.split('/').next(),
            _ => media.essence() == self.essence,
        }
    }
}

#[cfg(test)]
mod tests {
    use MediaType::{GraphqlResponse, Json};

    use super::*;

    #[test]
    fn a_client_gets_what_it_likes_best() {
        for (accept, expected) in [
            (&[][..], Some(Json)),
            (&[""], Some(Json)),
            (&["*/*"], Some(Json)),
            (&["application/*"], Some(Json)),
            (&["application/json"], Some(Json)),
            (&["application/graphql-response+json"], Some(GraphqlResponse)),
            (&["Application/GraphQL-Response+JSON; charset=\"UTF-8\""], Some(GraphqlResponse)),
            (&["application/graphql-response+json, application/json;q=0.9"], Some(GraphqlResponse)),
            (&["application/json;q=0.9, application/graphql-response+json"], Some(GraphqlResponse)),
            (&["application/json, application/graphql-response+json"], Some(Json)),
            (&["application/graphql-response+json, application/json"], Some(GraphqlResponse)),
            (&["*/*, application/graphql-response+json"], Some(GraphqlResponse)),
            (&["application/json;q=0, */*"], Some(GraphqlResponse)),
            (&["text/html", "application/json;q=0.1"], Some(Json)),
            (&["multipart/mixed;deferSpec=20220824, application/json"], Some(Json)),
            (&["application/json; charset=latin1, application/graphql-response+json;q=0.1"], Some(GraphqlResponse)),
            (&["text/html"], None),
            (&["application/json;q=0"], None),
            (&["application/json;q=2"], None),
            (&["application/json; charset=iso-8859-1"], None),
            (&["nonsense"], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(header::ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(MediaType::negotiate(&headers).ok(), expected, "{accept:?}");
        }
    }
}
