//! Metrics as Prometheus would read them: the text of a scrape, and the numbers in it.

use std::collections::BTreeMap;

/// What a scrape answered.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    /// As it came, in Prometheus' text format.
    pub text: String,
    samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Scrape {
    /// Reads a text in Prometheus' format, or in OpenMetrics.
    pub fn read(text: String) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let samples = lines.map(|line| sample(line).unwrap_or_else(|| panic!("not a sample: {line}"))).collect();
        Self { text, samples }
    }

    /// The sum of all series of this name that have these labels. An empty value is for a label that is empty or not
    /// there.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|sample| sample.value).sum()
    }

    /// The only series of this name that has these labels; `None` when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let values: Vec<f64> = self.matching(name, labels).map(|sample| sample.value).collect();
        assert!(values.len() <= 1, "{name} {labels:?} is {} series", values.len());
        values.first().copied()
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.samples.len()
    }

    /// The values that a label has in any series.
    pub fn label_values(&self, name: &str, label: &str) -> Vec<&str> {
        let named = self.samples.iter().filter(|sample| sample.name == name);
        let mut values: Vec<&str> = named.filter_map(|sample| sample.labels.get(label).map(String::as_str)).collect();
        values.sort_unstable();
        values.dedup();
        values
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let has = |(label, value): &(&str, &str)| sample.labels.get(*label).map_or("", String::as_str) == *value;
            sample.name == name && labels.iter().all(has)
        })
    }
}

/// `name{label="value",…} number`, and in OpenMetrics perhaps an exemplar behind it.
fn sample(line: &str) -> Option<Sample> {
    let line = line.split(" # ").next()?;
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let mut rest = labels;
    let mut labels = BTreeMap::new();
    while let Some((label, after)) = rest.split_once("=\"") {
        // None of our values has a quote in it.
        let (value, after) = after.split_once('"')?;
        labels.insert(label.trim_start_matches(',').to_owned(), value.to_owned());
        rest = after;
    }
    Some(Sample { name: name.to_owned(), labels, value: value.parse().ok()? })
}
