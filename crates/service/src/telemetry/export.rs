//! From ended spans to a collector: a bounded queue, batches, and a count of what was lost on the way.

use super::EXPORT_MAX;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use prometheus_client::metrics::counter::Counter;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

/// Spans in one message at most.
const BATCH_MAX: usize = 512;

/// Attribute of the span by which a process says that it lost some: how many.
pub const DROPPED_ATTRIBUTE: &str = "herd.spans.dropped";

/// Spans of this process that no collector got, since it began.
pub(crate) static DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The near end of the queue. Cloning shares it.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    spans: mpsc::Sender<SpanData>,
    /// What did not fit.
    full: Arc<AtomicU64>,
    half_full: Arc<Notify>,
    dropped: Counter,
}

/// The far end.
#[derive(Debug)]
pub(crate) struct Queued {
    spans: mpsc::Receiver<SpanData>,
    full: Arc<AtomicU64>,
    half_full: Arc<Notify>,
    dropped: Counter,
}

/// A collector, and what is lost to it that it was not told of yet.
struct Outlet<E> {
    exporter: E,
    lost: u64,
}

/// A queue for so many spans, which counts what is lost.
pub(crate) fn queue(spans_max: usize, dropped: Counter) -> (Queue, Queued) {
    let (sender, receiver) = mpsc::channel(spans_max);
    let (full, half_full) = (Arc::<AtomicU64>::default(), Arc::<Notify>::default());
    let queue =
        Queue { spans: sender, full: full.clone(), half_full: half_full.clone(), dropped: dropped.clone() };
    (queue, Queued { spans: receiver, full, half_full, dropped })
}

impl Queue {
    /// Takes a span if there is room; never waits. It wakes nobody until the queue is half full: an exporter that woke for each span
    /// would take the processor from the request that follows.
    pub(crate) fn offer(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.full.fetch_add(1, Ordering::Relaxed);
            self.dropped.inc();
        }
        if self.spans.capacity() < self.spans.max_capacity() / 2 {
            self.half_full.notify_one();
        }
    }
}

impl Queued {
    /// Exports what is queued to every collector every `delay`, give or take half of it, or when the queue is half full, until `stop` is
    /// told; then what is still queued, and says that it is done. The time is drawn: an expiry gives all processes of a fleet their
    /// spans at the same moment, and exports at the same moment would be a herd of their own.
    pub(crate) async fn export<E: SpanExporter>(
        mut self,
        exporters: Vec<E>,
        delay: Duration,
        mut stop: oneshot::Receiver<oneshot::Sender<()>>,
    ) {
        let mut outlets: Vec<_> =
            exporters.into_iter().map(|exporter| Outlet { exporter, lost: 0 }).collect();
        loop {
            let stopping = tokio::select! {
                stopping = &mut stop => Some(stopping),
                () = tokio::time::sleep(delay.mul_f64(rand::random_range(0.5..1.5))) => None,
                () = self.half_full.notified() => None,
            };
            self.drain(&mut outlets).await;
            if let Some(stopping) = stopping {
                if let Ok(done) = stopping {
                    // Whoever asked may have lost patience.
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    /// Sends what is queued now.
    async fn drain<E: SpanExporter>(&mut self, outlets: &mut [Outlet<E>]) {
        loop {
            let mut batch = Vec::with_capacity(self.spans.len().min(BATCH_MAX));
            while batch.len() < BATCH_MAX {
                let Ok(span) = self.spans.try_recv() else { break };
                batch.push(span);
            }
            let last = batch.len() < BATCH_MAX;
            self.send(outlets, batch).await;
            if last {
                return;
            }
        }
    }

    /// Sends a batch to every collector, with a word on what it did not get before. What it does not take is lost to it.
    async fn send<E: SpanExporter>(&self, outlets: &mut [Outlet<E>], batch: Vec<SpanData>) {
        let spans = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let full = self.full.swap(0, Ordering::Relaxed);
        for outlet in outlets {
            outlet.lost += full;
            let mut batch = batch.clone();
            batch.extend((outlet.lost > 0).then(|| lost_span(outlet.lost)));
            if batch.is_empty() {
                continue;
            }
            match timeout(EXPORT_MAX, outlet.exporter.export(batch)).await {
                Ok(Ok(())) => outlet.lost = 0,
                Ok(Err(_)) | Err(_) => {
                    outlet.lost += spans;
                    self.dropped.inc_by(spans);
                }
            }
        }
    }
}

/// So that whoever looks at traces knows that some are missing.
fn lost_span(lost: u64) -> SpanData {
    let now = SystemTime::now();
    let context = SpanContext::new(
        TraceId::from_bytes(rand::random::<u128>().max(1).to_be_bytes()),
        SpanId::from_bytes(rand::random::<u64>().max(1).to_be_bytes()),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let lost_attribute = KeyValue::new(DROPPED_ATTRIBUTE, i64::try_from(lost).unwrap_or(i64::MAX));
    SpanData {
        span_context: context,
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "spans dropped".into(),
        start_time: now,
        end_time: now,
        attributes: vec![lost_attribute],
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::builder("herdproof").build(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
    use std::sync::Mutex;
    use std::sync::atomic::AtomicBool;

    #[derive(Clone, Debug, Default)]
    struct Collector {
        got: Arc<Mutex<Vec<SpanData>>>,
        away: Arc<AtomicBool>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            if self.away.load(Ordering::Relaxed) {
                return Err(OTelSdkError::InternalFailure("away".to_owned()));
            }
            self.got.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn span() -> SpanData {
        lost_span(0)
    }

    async fn export(queued: Queued, collectors: Vec<Collector>) {
        let (stop, stopping) = oneshot::channel();
        let (done, over) = oneshot::channel();
        stop.send(done).unwrap();
        queued.export(collectors, Duration::ZERO, stopping).await;
        over.await.unwrap();
    }

    fn lost(spans: &[SpanData]) -> Vec<String> {
        let about = spans.iter().flat_map(|span| &span.attributes).filter(|a| a.value != 0_i64.into());
        about.map(|attribute| attribute.value.to_string()).collect()
    }

    /// A queue that is half full is not left to wait.
    #[tokio::test]
    async fn a_half_full_queue_is_sent_at_once() {
        let (queue, queued) = queue(8, Counter::default());
        let (_stop, stopping) = oneshot::channel();
        let collector = Collector::default();
        let exporting =
            tokio::spawn(queued.export(vec![collector.clone()], Duration::from_secs(3_600), stopping));
        (0..5).for_each(|_| queue.offer(span()));
        while collector.got.lock().unwrap().len() < 5 {
            tokio::task::yield_now().await;
        }
        exporting.abort();
    }

    /// A full queue drops, counts, and the next batch says so.
    #[tokio::test]
    async fn a_full_queue_counts_what_it_drops() {
        let dropped = Counter::default();
        let (queue, queued) = queue(3, dropped.clone());
        (0..10).for_each(|_| queue.offer(span()));
        assert_eq!(dropped.get(), 7);
        let collector = Collector::default();
        export(queued, vec![collector.clone()]).await;
        let got = collector.got.lock().unwrap();
        assert_eq!((got.len(), lost(&got)), (4, vec!["7".to_owned()]));
        assert_eq!(dropped.get(), 7, "what says so is not counted itself");
    }

    /// A collector that is away loses the spans, and they are counted; the other one gets them all.
    #[tokio::test]
    async fn a_collector_that_is_away_is_counted() {
        let dropped = Counter::default();
        let (queue, queued) = queue(2_000, dropped.clone());
        (0..1_000).for_each(|_| queue.offer(span()));
        let (there, gone) = (Collector::default(), Collector::default());
        gone.away.store(true, Ordering::Relaxed);
        export(queued, vec![gone, there.clone()]).await;
        assert_eq!(dropped.get(), 1_000);
        let got =
            there.got.lock().unwrap().iter().filter(|s| lost(std::slice::from_ref(s)).is_empty()).count();
        assert_eq!(got, 1_000);
    }
}
