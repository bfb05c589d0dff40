//! The metrics of a service: counted where things happen, read by Prometheus on a listener of their own.
//!
//! [`Metrics`] is the registry of one service instance. It is a value, not a global: a test that starts two services, and
//! `tandem`, which runs all of them in one process, count them apart. Every series says whose it is in the label
//! `service`. Who measures something owns the type for it, makes it with these methods, and is the only one who writes it.
//!
//! Labels are types ([`label_set!`](crate::label_set), [`label_value!`](crate::label_value)), so what a label can be is
//! written down where it is measured, and no text of a client ever becomes one: a time series costs memory in Prometheus
//! for hours. `docs/metrics.md` is printed from what is registered here.

mod catalogue;
mod exposition;
mod histogram;
pub mod http;
mod label;
mod listener;
mod observed;
mod process;
mod reading;

use std::{
    fmt,
    future::Future,
    iter,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use futures_util::future::join_all;
pub use prometheus_client::metrics::{counter::Counter, gauge::Gauge};
use prometheus_client::{
    metrics::{MetricType, family::Family},
    registry::{Metric, Registry, Unit},
};

pub use catalogue::{Described, Kind, table};
pub use exposition::Format;
pub use histogram::{Buckets, Histogram};
pub use label::{Label, LabelSet, LabelValue, encode_label, encode_value};
pub use listener::{MetricsListen, MetricsServer};
pub use process::of_process;
/// For the macros.
#[doc(hidden)]
pub use prometheus_client::encoding;
pub use reading::Reading;

use label::NoLabels;
use observed::Observed;
use reading::Source;

/// Counters that are told apart by labels.
pub type Counters<L> = Family<L, Counter>;

/// Gauges that are told apart by labels.
pub type Gauges<L> = Family<L, Gauge>;

/// Histograms that are told apart by labels.
pub type Histograms<L> = Family<L, Histogram, Buckets>;

/// The metrics of one service instance. Clones are the same.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    service: &'static str,
    registry: RwLock<Registry>,
    described: Mutex<Vec<Described>>,
    sources: Mutex<Vec<Arc<dyn Source>>>,
    collection_errors: Counters<Collector>,
}

crate::label_set! {
    /// What is read when somebody asks, and not counted as it happens.
    pub(crate) struct Collector {
        collector: &'static str,
    }
}

impl Metrics {
    /// For the service of this name.
    pub fn new(service: &'static str) -> Self {
        let label = ("service".into(), service.into());
        let inner = Inner {
            service,
            registry: RwLock::new(Registry::with_labels(iter::once(label))),
            described: Mutex::default(),
            sources: Mutex::default(),
            collection_errors: Counters::default(),
        };
        let metrics = Self(Arc::new(inner));
        metrics.add(
            "metrics_collection_errors_total",
            "Readings that failed or took too long; what they would have told is left out until the next succeeds",
            MetricType::Counter,
            Collector::LABELS,
            &[],
            metrics.0.collection_errors.clone(),
        );
        metrics
    }

    /// The service that is measured.
    pub fn service(&self) -> &'static str {
        self.0.service
    }

    /// What is registered, in the order in which it was.
    pub fn described(&self) -> Vec<Described> {
        lock(&self.0.described).clone()
    }

    /// A counter. Its name ends with `_total`.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        self.add(name, help, MetricType::Counter, &[], &[], counter.clone());
        counter
    }

    /// Counters with labels.
    pub fn counters<L: LabelSet>(&self, name: &'static str, help: &'static str) -> Counters<L> {
        let counters = Counters::default();
        self.add(name, help, MetricType::Counter, L::LABELS, &[], counters.clone());
        counters
    }

    /// A gauge.
    pub fn gauge(&self, name: &'static str, help: &'static str) -> Gauge {
        let gauge = Gauge::default();
        self.add(name, help, MetricType::Gauge, &[], &[], gauge.clone());
        gauge
    }

    /// Gauges with labels.
    pub fn gauges<L: LabelSet>(&self, name: &'static str, help: &'static str) -> Gauges<L> {
        let gauges = Gauges::default();
        self.add(name, help, MetricType::Gauge, L::LABELS, &[], gauges.clone());
        gauges
    }

    /// A histogram with these upper bounds, `+Inf` not among them.
    pub fn histogram(&self, name: &'static str, help: &'static str, buckets: &'static [f64]) -> Histogram {
        let histogram = Histogram::new(buckets);
        self.add(name, help, MetricType::Histogram, &[], buckets, histogram.clone());
        histogram
    }

    /// Histograms with labels.
    pub fn histograms<L: LabelSet>(
        &self,
        name: &'static str,
        help: &'static str,
        buckets: &'static [f64],
    ) -> Histograms<L> {
        let histograms = Family::new_with_constructor(Buckets(buckets));
        self.add(name, help, MetricType::Histogram, L::LABELS, buckets, histograms.clone());
        histograms
    }

    /// A gauge that is looked up whenever somebody asks; without a value it is left out.
    pub fn observed(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.all_observed(name, help, move || read().map(|value| (NoLabels, value)).into_iter().collect());
    }

    /// Gauges with labels that are looked up whenever somebody asks.
    pub fn all_observed<L: LabelSet>(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<(L, f64)> + Send + Sync + 'static,
    ) {
        let observed = Observed { kind: MetricType::Gauge, values: Box::new(read) };
        self.add(name, help, MetricType::Gauge, L::LABELS, &[], observed);
    }

    /// A counter that somebody else counts, looked up whenever somebody asks. It never falls.
    pub fn counted(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        self.all_counted(name, help, move || read().map(|value| (NoLabels, value)).into_iter().collect());
    }

    /// Counters with labels that somebody else counts.
    pub fn all_counted<L: LabelSet>(
        &self,
        name: &'static str,
        help: &'static str,
        read: impl Fn() -> Vec<(L, f64)> + Send + Sync + 'static,
    ) {
        let counted = Observed { kind: MetricType::Counter, values: Box::new(read) };
        self.add(name, help, MetricType::Counter, L::LABELS, &[], counted);
    }

    /// A reading of something far away, such as a database: taken when somebody asks and the last one is older than
    /// `fresh`, within a second. One that fails is counted under the name `collector` and holds nothing, so that what is
    /// served is never older than it looks.
    pub fn reading<T, F, Fut, E>(&self, collector: &'static str, fresh: Duration, read: F) -> Reading<T>
    where
        T: Clone + Send + 'static,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        E: fmt::Display,
    {
        let failures = self.0.collection_errors.get_or_create_owned(&Collector { collector });
        let (reading, source) = reading::new(collector, fresh, failures, read);
        lock(&self.0.sources).push(source);
        reading
    }

    /// Takes all readings that are due.
    async fn refresh(&self) {
        let sources = lock(&self.0.sources).clone();
        join_all(sources.iter().map(|source| source.refresh())).await;
    }

    fn add(
        &self,
        name: &'static str,
        help: &'static str,
        kind: MetricType,
        labels: &'static [Label],
        buckets: &'static [f64],
        metric: impl Metric,
    ) {
        lock(&self.0.described).push(Described {
            name,
            help,
            kind: kind.into(),
            labels,
            buckets: buckets.iter().map(f64::to_string).collect(),
        });
        // The library adds these itself.
        let name = name.strip_suffix("_total").unwrap_or(name);
        let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
        let with_unit = units.into_iter().find_map(|(suffix, unit)| Some((name.strip_suffix(suffix)?, unit)));
        let mut registry = self.0.registry.write().unwrap_or_else(PoisonError::into_inner);
        match with_unit {
            Some((name, unit)) => registry.register_with_unit(name, help, unit, metric),
            None => registry.register(name, help, metric),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metrics({})", self.0.service)
    }
}

/// What all of `metrics` say now, each family once.
pub async fn render(metrics: &[Metrics], format: Format) -> String {
    join_all(metrics.iter().map(Metrics::refresh)).await;
    exposition::render(metrics.iter().map(|metrics| &metrics.0.registry), format)
}

/// Raises a gauge by one until it is dropped, also when what it counts is given up.
#[derive(Debug)]
pub struct Raised(Gauge);

impl Raised {
    /// One more.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
