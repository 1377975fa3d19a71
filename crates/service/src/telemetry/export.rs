//! From ended spans to a collector: a bounded queue, batches, and a count of what was lost on the way.

use super::EXPORT_MAX;
use futures::future::join_all;
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

/// Spans of this process that were lost since it began: once where the queue was full, and once for each collector that did not take
/// them.
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

    /// Sends what is queued now, to all collectors at once: none waits for another.
    async fn drain<E: SpanExporter>(&mut self, outlets: &mut [Outlet<E>]) {
        let mut spans = Vec::with_capacity(self.spans.len());
        while spans.len() < self.spans.max_capacity()
            && let Ok(span) = self.spans.try_recv()
        {
            spans.push(span);
        }
        let full = self.full.swap(0, Ordering::Relaxed);
        let sending = outlets.iter_mut().map(|outlet| outlet.send(&spans, full, &self.dropped));
        join_all(sending).await;
    }
}

impl<E: SpanExporter> Outlet<E> {
    /// Sends spans in batches, with a word on what it did not get before, `full` that did not fit the queue among it. What it does not
    /// take is lost to it; once it does not answer, the rest is, too: it would hold up what comes later.
    async fn send(&mut self, spans: &[SpanData], full: u64, dropped: &Counter) {
        self.lost += full;
        let mut rest = spans;
        while !rest.is_empty() || self.lost > 0 {
            let (batch, later) = rest.split_at(rest.len().min(BATCH_MAX));
            let told = batch.iter().cloned().chain((self.lost > 0).then(|| lost_span(self.lost))).collect();
            let answer = timeout(EXPORT_MAX, self.exporter.export(told)).await;
            rest = later;
            let missed = match answer {
                Ok(Ok(())) => {
                    self.lost = 0;
                    continue;
                }
                Ok(Err(_)) => batch.len(),
                Err(_) => batch.len() + std::mem::take(&mut rest).len(),
            };
            let missed = u64::try_from(missed).unwrap_or(u64::MAX);
            self.lost += missed;
            dropped.inc_by(missed);
            if rest.is_empty() {
                return;
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
        silent: Arc<AtomicBool>,
    }

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            if self.silent.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
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

    /// A collector that never answers takes nothing from the other, not even at the end, and is waited for once.
    #[tokio::test]
    async fn a_silent_collector_holds_up_no_other() {
        let dropped = Counter::default();
        let (queue, queued) = queue(2_000, dropped.clone());
        (0..1_500).for_each(|_| queue.offer(span()));
        let (there, silent) = (Collector::default(), Collector::default());
        silent.silent.store(true, Ordering::Relaxed);
        let (stop, stopping) = oneshot::channel();
        let (done, _over) = oneshot::channel();
        stop.send(done).unwrap();
        let exporting = tokio::spawn(queued.export(vec![silent, there.clone()], Duration::ZERO, stopping));
        while there.got.lock().unwrap().len() < 1_500 {
            assert!(!exporting.is_finished(), "the silent one is still waited for");
            tokio::task::yield_now().await;
        }
        assert_eq!(dropped.get(), 0, "nobody's patience has ended yet");
        exporting.await.unwrap();
        assert_eq!(dropped.get(), 1_500, "the rest of what it did not take is not tried");
    }
}
