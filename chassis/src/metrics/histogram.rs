//! Distributions whose buckets remember a trace.

use std::fmt;

use contracts::TraceContext;
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
        let context = Span::current().context();
        let context = context.span().span_context().clone();
        // One that is not recorded leads nowhere.
        let exemplar = context.is_sampled().then(|| Exemplar(context.trace_id()));
        self.0.observe(value, exemplar, None);
    }

    /// Counts `value`, as a part of a trace that was stored.
    pub fn observe_for(&self, trace_context: &TraceContext, value: f64) {
        // `00-<trace id>-<parent id>-<flags>`, whose last bit says that the trace is recorded (W3C Trace Context).
        let flags = trace_context.traceparent.as_deref().and_then(|parent| parent.rsplit('-').next());
        let is_sampled = flags.and_then(|flags| u8::from_str_radix(flags, 16).ok()).is_some_and(|flags| flags & 1 == 1);
        let trace_id = trace_context.trace_id().filter(|_| is_sampled).and_then(|id| TraceId::from_hex(id).ok());
        self.0.observe(value, trace_id.map(Exemplar), None);
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
