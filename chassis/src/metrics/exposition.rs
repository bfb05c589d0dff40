//! What is answered to a scrape.
//!
//! The library writes OpenMetrics, one registry after the other. Several services in one process have the same families,
//! and both formats want each family once, with all its series together: so the texts are taken apart and put together by
//! family. Prometheus' own text format differs in little: counters have their suffix in the name of the family, there are
//! no units, no exemplars and no end mark.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{PoisonError, RwLock},
};

use axum::http::{HeaderMap, HeaderValue, header};
use prometheus_client::{encoding::text::encode_registry, registry::Registry};

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0, which has exemplars.
    OpenMetrics,
}

const OPEN_METRICS: &str = "application/openmetrics-text";

impl Format {
    /// What a client asks for: OpenMetrics where it names that, and else what everybody can read.
    pub(super) fn wanted(headers: &HeaderMap) -> Self {
        let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let wanted = accepted.flat_map(|value| value.split(',')).any(|range| {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let named = parts.next().as_deref() == Some(OPEN_METRICS);
            named && !parts.any(|parameter| parameter.strip_prefix("q=").is_some_and(is_zero))
        });
        if wanted { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        })
    }
}

fn is_zero(quality: &str) -> bool {
    quality.parse::<f32>() == Ok(0.0)
}

/// The families of all registries, each once.
pub(super) fn render<'a>(registries: impl Iterator<Item = &'a RwLock<Registry>>, format: Format) -> String {
    let texts: Vec<String> = registries.map(encode).collect();
    let mut families: Vec<Family<'_>> = Vec::new();
    let mut places: HashMap<&str, usize> = HashMap::new();
    for text in &texts {
        for family in split(text) {
            match places.get(family.name) {
                Some(place) => families[*place].series.extend(family.series),
                None => {
                    places.insert(family.name, families.len());
                    families.push(family);
                }
            }
        }
    }
    let mut answer = String::with_capacity(texts.iter().map(String::len).sum());
    for family in families {
        family.write(&mut answer, format);
    }
    if format == Format::OpenMetrics {
        answer.push_str("# EOF\n");
    }
    answer
}

fn encode(registry: &RwLock<Registry>) -> String {
    let mut text = String::new();
    // Writing into memory does not fail, and a family that cannot be written leaves out itself only.
    let _ = encode_registry(&mut text, &registry.read().unwrap_or_else(PoisonError::into_inner));
    text
}

/// A family as the library wrote it.
struct Family<'a> {
    name: &'a str,
    /// The words of its `# HELP`, `# TYPE` and `# UNIT`, after the name.
    help: &'a str,
    kind: &'a str,
    unit: Option<&'a str>,
    /// Texts of whole lines.
    series: Vec<&'a str>,
}

const HELP: &str = "# HELP ";

/// The families of one registry.
fn split(text: &str) -> impl Iterator<Item = Family<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let begun = rest.strip_prefix(HELP)?;
        let end = begun.find("\n# HELP ").map_or(begun.len(), |end| end + 1);
        rest = &begun[end..];
        let mut family = Family { name: "", help: "", kind: "", unit: None, series: Vec::new() };
        let (head, mut body) = begun[..end].split_once('\n')?;
        (family.name, family.help) = head.split_once(' ')?;
        while let Some((comment, after)) = body.strip_prefix("# ").and_then(|body| body.split_once('\n')) {
            let (keyword, of_name) = comment.split_once(' ')?;
            let value = of_name.split_once(' ').map(|(_, value)| value)?;
            match keyword {
                "TYPE" => family.kind = value,
                _ => family.unit = Some(value),
            }
            body = after;
        }
        family.series.push(body);
        Some(family)
    })
}

impl Family<'_> {
    fn write(&self, out: &mut String, format: Format) {
        let Self { name, help, kind, .. } = self;
        let suffix = if format == Format::Text && *kind == "counter" { "_total" } else { "" };
        let _ = writeln!(out, "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}");
        match (format, self.unit) {
            (Format::OpenMetrics, Some(unit)) => {
                let _ = writeln!(out, "# UNIT {name} {unit}");
            }
            (Format::OpenMetrics, None) | (Format::Text, _) => {}
        }
        for series in &self.series {
            match format {
                Format::OpenMetrics => out.push_str(series),
                Format::Text => {
                    for line in series.lines() {
                        out.push_str(line.rfind(" # {trace_id=").map_or(line, |exemplar| &line[..exemplar]));
                        out.push('\n');
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Metrics, render};

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let of_prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;\
                             version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (of_prometheus, Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.0, text/plain", Format::Text),
            ("text/html,*/*;q=0.8", Format::Text),
            ("application/openmetrics-texts", Format::Text),
        ] {
            let headers = [(header::ACCEPT, accept.parse().unwrap())].into_iter().collect();
            assert_eq!(Format::wanted(&headers), expected, "{accept}");
        }
        assert_eq!(Format::wanted(&HeaderMap::new()), Format::Text);
    }

    fn two_services() -> [Metrics; 2] {
        ["orders", "invoices"].map(|service| {
            let metrics = Metrics::new(service);
            metrics.counter("things_total", "Things that happened").inc_by(7);
            metrics.histogram("waiting_seconds", "How long it took", &[0.5]).observe(0.25);
            metrics
        })
    }

    #[tokio::test]
    async fn services_in_one_process_share_their_families() {
        let text = render(&two_services(), Format::Text).await;
        let things = "# HELP things_total Things that happened.
# TYPE things_total counter
things_total{service=\"orders\"} 7
things_total{service=\"invoices\"} 7
# HELP waiting_seconds How long it took.
# TYPE waiting_seconds histogram
waiting_seconds_sum{service=\"orders\"} 0.25
waiting_seconds_count{service=\"orders\"} 1
waiting_seconds_bucket{service=\"orders\",le=\"0.5\"} 1
waiting_seconds_bucket{service=\"orders\",le=\"+Inf\"} 1
waiting_seconds_sum{service=\"invoices\"} 0.25
";
        assert!(text.contains(things), "{text}");
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }

    #[tokio::test]
    async fn open_metrics_has_units_and_an_end() {
        let text = render(&two_services(), Format::OpenMetrics).await;
        let head = "# HELP waiting_seconds How long it took.\n# TYPE waiting_seconds histogram\n\
                    # UNIT waiting_seconds seconds\n";
        assert!(text.contains(head) && text.contains("# TYPE things counter\nthings_total{"), "{text}");
        assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
        assert_eq!(text.matches("# TYPE waiting_seconds ").count(), 1, "{text}");
    }
}
