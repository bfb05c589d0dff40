//! Numbers that exist anyway and are looked up when somebody asks.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder},
    metrics::{MetricType, exemplar::Exemplar},
};

use super::{LabelSet, label::NoLabels};

/// A family of looked-up numbers: for each set of labels one, and none where there is nothing to tell.
pub(super) struct Observed<L> {
    pub(super) kind: MetricType,
    pub(super) values: Box<dyn Fn() -> Vec<(L, f64)> + Send + Sync>,
}

impl<L: LabelSet> EncodeMetric for Observed<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (labels, value) in (self.values)() {
            let mut encoder = encoder.encode_family(&labels)?;
            match self.kind {
                MetricType::Counter => encoder.encode_counter(&value, None::<&Exemplar<NoLabels, f64>>)?,
                _ => encoder.encode_gauge(&value)?,
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        self.kind
    }
}

impl<L> fmt::Debug for Observed<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())
    }
}
