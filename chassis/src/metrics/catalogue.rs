//! What is measured, as a document for people and for who writes rules and dashboards.

use std::fmt::Write;

use prometheus_client::metrics::MetricType;

use super::Label;

/// A family, as it was registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its name, with its suffixes.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels beside `service`.
    pub labels: &'static [Label],
    /// The upper bounds of a histogram, as text.
    pub buckets: Vec<String>,
}

/// The type of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How values are distributed.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl From<MetricType> for Kind {
    fn from(kind: MetricType) -> Self {
        match kind {
            MetricType::Counter => Self::Counter,
            MetricType::Histogram => Self::Histogram,
            MetricType::Gauge | MetricType::Info | MetricType::Unknown => Self::Gauge,
        }
    }
}

impl Described {
    fn unit(&self) -> &'static str {
        let name = self.name.strip_suffix("_total").unwrap_or(self.name);
        let units = [("_seconds", "seconds"), ("_bytes", "bytes")];
        units.into_iter().find(|(suffix, _)| name.ends_with(suffix)).map_or("", |(_, unit)| unit)
    }
}

/// A table of all families, in the order of their names; `processes` are the kinds of processes and what each has.
pub fn table(processes: &[(&str, Vec<Described>)]) -> String {
    let mut families: Vec<&Described> = processes.iter().flat_map(|(_, families)| families).collect();
    families.sort_by_key(|family| family.name);
    families.dedup();
    let mut text = String::from("| name | type | unit | labels | what it tells | of |\n|---|---|---|---|---|---|\n");
    for family in families {
        let Described { name, help, kind, .. } = family;
        let labels: Vec<String> = family.labels.iter().map(label).collect();
        let has = |of: &&(&str, Vec<Described>)| of.1.contains(family);
        let of: Vec<&str> = processes.iter().filter(has).map(|(process, _)| *process).collect();
        let (kind, unit, labels, of) = (kind.as_str(), family.unit(), labels.join(", "), of.join(", "));
        let buckets = match family.buckets.join(" ") {
            none if none.is_empty() => none,
            bounds => format!(". Up to {bounds}"),
        };
        // Writing into memory does not fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {unit} | {labels} | {help}{buckets} | {of} |");
    }
    text
}

fn label(label: &Label) -> String {
    match label.values {
        [] => format!("`{}`", label.name),
        values => format!("`{}` ({})", label.name, values.join(", ")),
    }
}
