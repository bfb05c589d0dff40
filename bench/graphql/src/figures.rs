//! Durations, and what is said of many of them.

use std::{fmt, time::Duration};

/// Many durations of one thing.
#[derive(Debug, Default, Clone)]
pub(crate) struct Durations(Vec<Duration>);

impl Durations {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The smallest one that this part of them does not exceed; zero when there is none.
    pub(crate) fn quantile(&self, part: f64) -> Millis {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        Millis(sorted.get((last as f64 * part).round() as usize).copied().unwrap_or_default())
    }

    pub(crate) fn median(&self) -> Millis {
        self.quantile(0.5)
    }

    pub(crate) fn longest(&self) -> Millis {
        self.quantile(1.0)
    }
}

impl FromIterator<Duration> for Durations {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        Self(durations.into_iter().collect())
    }
}

impl IntoIterator for Durations {
    type Item = Duration;
    type IntoIter = std::vec::IntoIter<Duration>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<Duration> for Durations {
    fn extend<I: IntoIterator<Item = Duration>>(&mut self, durations: I) {
        self.0.extend(durations);
    }
}

/// A duration as tables show it, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Eq, Ord)]
pub(crate) struct Millis(pub(crate) Duration);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.2}", self.0.as_secs_f64() * 1e3);
        f.pad(&text)
    }
}
