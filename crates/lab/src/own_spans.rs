//! What the lab itself does, as a trace beside those of the fleet: a span for the run, below it one for each rung.
//!
//! Sent to the collector that the fleet's processes would find (`OTEL_EXPORTER_OTLP_ENDPOINT`, else `HERD_COLLECTOR` if it is there);
//! without one there are none, and they cost nothing. In Jaeger they tell which rung a herd belongs to.

use crate::spans;
use anyhow::Context as _;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::time::Duration;
use tokio::runtime::Runtime;
use tracing::{Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    filter::{FilterExt as _, Targets, filter_fn},
    layer::Layer,
    registry::LookupSpan,
};

/// How long the export may take, and the last flush.
const EXPORT_MAX: Duration = Duration::from_secs(2);

/// Crates whose spans are sent. Those of libraries would only describe the export itself.
const OURS: [&str; 2] = ["herd_lab", "herd_experiment"];

/// The export of the lab's own spans; end it with [`OwnSpans::flush`].
#[derive(Debug)]
#[must_use = "spans that are not flushed at exit are lost"]
pub struct OwnSpans {
    provider: SdkTracerProvider,
    /// The exporter's: the lab's own is busy with the load.
    runtime: Runtime,
}

impl OwnSpans {
    /// The export to the collector that the environment names, if it is there; `None` without one.
    ///
    /// # Errors
    /// The exporter refuses its settings, or cannot have a thread.
    pub fn of_environment() -> anyhow::Result<Option<Self>> {
        spans::endpoint().map(|endpoint| Self::to(&endpoint)).transpose()
    }

    fn to(endpoint: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("own-spans")
            .enable_all()
            .build()
            .context("no thread for the lab's own spans")?;
        // The channel's worker is spawned where it is built.
        let exporter = {
            let _entered = runtime.enter();
            SpanExporter::builder()
                .with_tonic()
                .with_endpoint(endpoint)
                .with_timeout(EXPORT_MAX)
                .build()
                .with_context(|| format!("spans cannot be sent to {endpoint}"))?
        };
        let resource = Resource::builder()
            .with_service_name("herd-lab")
            .with_attribute(KeyValue::new("service.instance.id", "lab"))
            .build();
        let provider =
            SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
        Ok(Self { provider, runtime })
    }

    /// What turns the lab's spans into those of OpenTelemetry.
    pub fn layer<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let ours = Targets::new().with_targets(OURS.map(|target| (target, LevelFilter::INFO)));
        tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("herdproof"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours.and(filter_fn(|about| about.is_span())))
            .boxed()
    }

    /// Sends what is left, for two seconds at most. A collector that is away is no reason to end badly.
    ///
    /// # Panics
    /// Inside an asynchronous task.
    pub fn flush(self) {
        let _ = self.provider.shutdown_with_timeout(EXPORT_MAX);
        self.runtime.shutdown_timeout(EXPORT_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_spans::{Keeper, Receiver, Spans};
    use std::net::Ipv4Addr;
    use tracing_subscriber::layer::SubscriberExt as _;

    /// Goal: a run is one tree with its rungs below it; what libraries trace is not sent.
    #[test]
    fn a_run_is_one_tree() {
        let folder = tempfile::tempdir().unwrap();
        let mut keeper = Keeper::new(folder.path(), vec!["run".to_owned()], 1.0);
        keeper.begins("run");
        let receiver = Receiver::start((Ipv4Addr::LOCALHOST, 0).into(), keeper).unwrap();
        let own = OwnSpans::to(&format!("http://{}", receiver.address())).unwrap();
        let subscriber = tracing_subscriber::registry().with(own.layer());
        tracing::subscriber::with_default(subscriber, || {
            let run = tracing::info_span!("herd.run", herd.scenario = "waiters");
            let _in_run = run.enter();
            drop(tracing::info_span!("herd.rung", herd.rung = "error"));
            drop(tracing::info_span!(target: "h2::codec", "frame"));
        });
        own.flush();
        assert_eq!(receiver.finish().lost, 0);
        let spans = Spans::read(folder.path()).unwrap();
        let root = spans.all().iter().find(|found| found.span.name == "herd.run").expect("the run");
        assert_eq!(root.service, "herd-lab");
        let tree = spans.tree(&root.span.trace_id).unwrap();
        let rows: Vec<_> =
            tree.walk().into_iter().map(|(depth, found)| (depth, found.span.name.as_str())).collect();
        assert_eq!(rows, [(0, "herd.run"), (1, "herd.rung")]);
        assert_eq!(spans.all().len(), 2);
    }
}
