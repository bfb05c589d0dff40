//! Distributions whose buckets remember a trace.

use std::fmt;

use opentelemetry::{TraceId, trace::TraceContextExt};
use prometheus_client::{
    encoding::{EncodeLabel, EncodeLabelSet, EncodeMetric, LabelSetEncoder, MetricEncoder},
    metrics::{MetricType, TypedMetric, exemplar::HistogramWithExemplars, family::MetricConstructor},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// A distribution. Each bucket keeps the trace of the last thing that fell into it, where that trace is recorded: the
/// *exemplar* of OpenMetrics, by which a dashboard leads from a slow bucket to a slow request.
#[derive(Debug, Clone)]
pub struct Histogram(HistogramWithExemplars<Exemplar>);

/// The trace of an exemplar. As text only when somebody asks.
#[derive(Debug, Clone, Copy)]
struct Exemplar(TraceId);

impl EncodeLabelSet for Exemplar {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        ("trace_id", self.0.to_string()).encode(encoder.encode_label())
    }
}

impl Histogram {
    /// One with these upper bounds.
    pub(super) fn new(buckets: &'static [f64]) -> Self {
        Self(HistogramWithExemplars::new(buckets.iter().copied()))
    }

    /// Counts `value`, as a part of the current trace.
    pub fn observe(&self, value: f64) {
        self.observe_in(&Span::current(), value);
    }

    /// Counts `value`, as a part of the trace of `span`.
    pub fn observe_in(&self, span: &Span, value: f64) {
        let context = span.context();
        let context = context.span().span_context().clone();
        // One that is not recorded leads nowhere.
        let exemplar = context.is_sampled().then(|| Exemplar(context.trace_id()));
        self.0.observe(value, exemplar, None);
    }
}

impl EncodeMetric for Histogram {
    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

/// Makes the histograms of a family.
#[derive(Debug, Clone, Copy)]
pub struct Buckets(pub(super) &'static [f64]);

impl MetricConstructor<Histogram> for Buckets {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0)
    }
}
