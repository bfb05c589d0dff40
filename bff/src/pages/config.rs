//! What the pages are told from outside.

use std::str::FromStr;

use reqwest::Url;

/// The settings of the pages.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct PagesConfig {
    /// Where the console's links to traces go, with {traceId} in it: http://localhost:16686/trace/{traceId}. Without it
    /// there are no links.
    #[arg(long, env = "TRACE_URL_TEMPLATE", value_name = "TRACE_URL_TEMPLATE")]
    pub trace_url_template: Option<TraceUrl>,
}

/// A URL with a place for a trace id.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct TraceUrl(String);

/// The place for the id.
const TRACE_ID: &str = "{traceId}";

impl FromStr for TraceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "{text:?} must be an http or https URL with {TRACE_ID}, like http://localhost:16686/trace/{TRACE_ID}"
            )
        };
        let url: Url = text.parse().map_err(|_| expected())?;
        let is_web = matches!(url.scheme(), "http" | "https");
        (is_web && text.contains(TRACE_ID)).then(|| Self(text.to_owned())).ok_or_else(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_url_is_one_of_the_web_with_a_place_for_the_id() {
        for (text, allowed) in [
            ("http://localhost:16686/trace/{traceId}", true),
            ("https://traces.example/search?q={traceId}", true),
            ("http://localhost:16686/trace/", false),
            ("javascript:alert('{traceId}')", false),
            ("{traceId}", false),
        ] {
            let read = text.parse::<TraceUrl>();
            assert_eq!(read.is_ok(), allowed, "{text}");
            if let Err(error) = read {
                assert!(error.contains(text) && error.contains("http://localhost:16686/trace/{traceId}"), "{error}");
            }
        }
    }
}
