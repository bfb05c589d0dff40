//! The way of a span out of the process: through a bounded queue, in batches, on a thread of its own.
//!
//! A request never waits for a collector. Where the queue is full, or the collector does not take a batch, spans are
//! dropped, counted ([`dropped_spans`]) and spoken of once, not with each batch.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use opentelemetry::{Context, Key};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};

/// Those of all providers of the process.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many spans of this process were made and never exported, since its start: the queue was full, or the collector
/// did not take them.
pub fn dropped_spans() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// What the two ends of a queue know of each other.
#[derive(Debug)]
struct Queue {
    /// Spans that have ended and are not yet with the exporter.
    waiting: AtomicUsize,
    /// The most of them.
    size: usize,
    /// It was said that spans are lost.
    losing: AtomicBool,
    /// What had been dropped when it was said last.
    said: AtomicU64,
}

/// The SDK's batch processor behind a queue that counts what does not fit. Its own counts in private.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: BatchSpanProcessor,
    queue: Arc<Queue>,
}

impl Bounded {
    /// Batches for `exporter`; at most `size` spans wait.
    pub(super) fn new(exporter: impl SpanExporter + 'static, size: usize) -> Self {
        let queue = Arc::new(Queue {
            waiting: AtomicUsize::new(0),
            size,
            losing: AtomicBool::new(false),
            said: AtomicU64::new(dropped_spans()),
        });
        let counted = Counted { inner: exporter, queue: Arc::clone(&queue) };
        Self { inner: BatchSpanProcessor::builder(counted).build(), queue }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if !span.span_context.is_sampled() {
            return;
        }
        // Nothing is logged here: this runs inside the end of a span, where events go nowhere.
        if self.queue.waiting.fetch_add(1, Ordering::Relaxed) >= self.queue.size {
            self.queue.waiting.fetch_sub(1, Ordering::Relaxed);
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The exporter at the other end of the queue.
#[derive(Debug)]
struct Counted<E> {
    inner: E,
    queue: Arc<Queue>,
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        self.queue.waiting.fetch_sub(count, Ordering::Relaxed);
        let exported = self.inner.export(batch).await;
        if exported.is_err() {
            DROPPED.fetch_add(count as u64, Ordering::Relaxed);
        }
        self.queue.tell(exported.as_ref().err());
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl Queue {
    /// Says that spans are being lost when it begins, and how many it were when it is over.
    fn tell(&self, error: Option<&opentelemetry_sdk::error::OTelSdkError>) {
        let dropped = dropped_spans();
        let lost = dropped - self.said.swap(dropped, Ordering::Relaxed);
        match (error, lost) {
            (Some(error), _) if !self.losing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(%error, lost, queue.size = self.size, "spans cannot be exported, they are dropped: {error}");
            }
            (None, 1..) if !self.losing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(
                    lost,
                    queue.size = self.size,
                    "the queue of {} spans was full, {lost} were dropped",
                    self.size
                );
            }
            (None, 0) if self.losing.swap(false, Ordering::Relaxed) => {
                tracing::info!(dropped, "spans are exported again; {dropped} were dropped since the start");
            }
            _ => {}
        }
    }
}

/// Spans as lines on stdout, for a look without a collector (`OTEL_TRACES_EXPORTER=console`).
#[derive(Debug, Default)]
pub(super) struct Console {
    service: String,
}

impl SpanExporter for Console {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let mut lines = String::new();
        for span in batch {
            let taken = span.end_time.duration_since(span.start_time).unwrap_or_default();
            lines += &format!(
                "{} span {} parent {} {} {:?} {:?} {:.1}ms {:?}",
                span.span_context.trace_id(),
                span.span_context.span_id(),
                span.parent_span_id,
                self.service,
                span.span_kind,
                span.name,
                taken.as_secs_f64() * 1e3,
                span.status,
            );
            for attribute in &span.attributes {
                lines += &format!(" {}={}", attribute.key, attribute.value);
            }
            lines.push('\n');
        }
        // Nobody may be reading; that is no reason to fail.
        let _ = std::io::stdout().lock().write_all(lines.as_bytes());
        Ok(())
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.service =
            resource.get(&Key::from_static_str("service.name")).map(|name| name.to_string()).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;

    /// Takes a batch only when it is told to.
    #[derive(Debug)]
    struct Hanging(std::sync::Mutex<mpsc::Receiver<()>>);

    impl SpanExporter for Hanging {
        async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.0.lock().unwrap().recv();
            Ok(())
        }
    }

    /// The counts are the process's, so this is one test.
    #[test]
    fn a_collector_that_hangs_holds_up_nobody_and_what_does_not_fit_is_counted() {
        let (release, hanging) = mpsc::channel();
        let exporter = Hanging(std::sync::Mutex::new(hanging));
        let provider = SdkTracerProvider::builder().with_span_processor(Bounded::new(exporter, 100)).build();
        let tracer = provider.tracer("test");
        let began = Instant::now();
        for _ in 0..10_000 {
            tracer.start("span").end();
        }
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        // What waits, and the one batch that is with the exporter.
        assert!((9_800..=9_900).contains(&dropped_spans()), "{}", dropped_spans());
        drop(release);
        provider.shutdown().unwrap();
        let dropped = dropped_spans();

        #[derive(Debug)]
        struct Refusing;
        impl SpanExporter for Refusing {
            async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
                Err(opentelemetry_sdk::error::OTelSdkError::InternalFailure("no".into()))
            }
        }
        let provider = SdkTracerProvider::builder().with_span_processor(Bounded::new(Refusing, 100)).build();
        for _ in 0..7 {
            provider.tracer("test").start("span").end();
        }
        let _ = provider.shutdown();
        assert_eq!(dropped_spans() - dropped, 7);
    }
}
