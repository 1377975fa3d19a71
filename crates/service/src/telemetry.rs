//! Logs to standard error, and spans over OTLP to where `OTEL_EXPORTER_OTLP_ENDPOINT` says (or to `HERD_COLLECTOR`, if it is there),
//! to the lab of a run, or to both.
//!
//! With neither set there are no spans at all. Which are made is decided in [`crate::trace`]; here they wait in a bounded queue
//! and go out in batches. A collector that is away, or slower than the process, loses spans: they are counted in
//! `herd_spans_dropped_total`, and the next batch that gets through carries a span that says how many. Nothing waits for a
//! collector but the last flush, and that for two seconds at most. The exporter lives on a thread of its own, so that it takes
//! no turn on the thread that serves requests.

mod export;

pub use export::DROPPED_ATTRIBUTE;
pub(crate) use export::Queue;

use crate::collector::{self, Collector};
use crate::metrics::Metrics;
use crate::trace::{self, Recorder, Sampling};
use opentelemetry::KeyValue;
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use std::str::FromStr;
use std::time::Duration;
use tokio::sync::oneshot;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// How long one message to a collector, and the last flush, may take.
const EXPORT_MAX: Duration = Duration::from_secs(2);

/// By how much the exporter's thread gives way to those that serve.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// How long the last flush of spans may take.
pub const FLUSH_MAX: Duration = EXPORT_MAX;

/// Spans that wait for export at most; later ones are dropped.
const QUEUED_SPANS_MAX: usize = 8192;

/// How long a span waits for others, give or take half of it, unless `OTEL_BSP_SCHEDULE_DELAY` (milliseconds) says otherwise.
const DELAY: Duration = Duration::from_secs(2);

/// Environment variable: where spans go. Unset or empty: nowhere, or only to the lab.
pub const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Which log lines are written, in the syntax of tracing's env-filter; checked when it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilter(String);

impl FromStr for LogFilter {
    type Err = tracing_subscriber::filter::ParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        EnvFilter::builder().parse(text)?;
        Ok(Self(text.to_owned()))
    }
}

impl std::fmt::Display for LogFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why telemetry cannot start.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// Another subscriber is already installed.
    #[error("logging is already set up in this process")]
    AlreadySet(#[from] tracing::subscriber::SetGlobalDefaultError),
    /// The exporter refused its settings.
    #[error("the span exporter's settings ({ENDPOINT_VARIABLE} and its siblings) are bad")]
    Exporter(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No thread for the exporter.
    #[error("the span exporter's thread cannot start")]
    Thread(#[source] std::io::Error),
}

/// Which spans go where; flatten it into a process's settings with `#[command(flatten)]`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct SpanArgs {
    /// Also send spans to this OTLP/gRPC address: that of the lab, which keeps them with its run
    #[arg(long, env = "HERD_SPANS_URL", value_name = "URL")]
    pub spans_url: Option<String>,
    /// The share of plain hits whose spans are kept, 0 to 1; rebuilds, errors and whoever waited are kept always
    /// [default: what OTEL_TRACES_SAMPLER says, else 0.01]
    #[arg(long, env = "HERD_SAMPLE_HITS", value_name = "SHARE", value_parser = share)]
    pub sample_hits: Option<f64>,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be 0 to 1".to_owned()) }
}

impl SpanArgs {
    /// `None`: nothing is kept.
    fn sampling(&self) -> Option<Sampling> {
        match self.sample_hits {
            Some(share) => Some(Sampling::hits(share)),
            None => {
                let name = std::env::var("OTEL_TRACES_SAMPLER").unwrap_or_default();
                Sampling::named(&name, std::env::var("OTEL_TRACES_SAMPLER_ARG").ok().as_deref())
            }
        }
    }

    fn exporters(&self) -> Result<Vec<SpanExporter>, TelemetryError> {
        let build = |endpoint: Option<&str>| {
            let builder = SpanExporter::builder().with_tonic().with_timeout(EXPORT_MAX);
            let builder = match endpoint {
                Some(endpoint) => builder.with_endpoint(endpoint),
                // The exporter reads the environment itself.
                None => builder,
            };
            builder.build().map_err(|e| TelemetryError::Exporter(Box::new(e)))
        };
        let lab = self.spans_url.as_deref().filter(|url| !url.trim().is_empty());
        let mut exporters = Vec::new();
        match collector::find() {
            Some(Collector::Named) => exporters.push(build(None)?),
            Some(Collector::Found(address)) => exporters.push(build(Some(&address))?),
            None => {}
        }
        if let Some(lab) = lab {
            exporters.push(build(Some(lab))?);
        }
        Ok(exporters)
    }
}

/// Running telemetry; end it with [`Telemetry::flush`].
#[derive(Debug)]
#[must_use = "spans that are not flushed at exit are lost"]
pub struct Telemetry {
    exporting: Option<Exporting>,
}

#[derive(Debug)]
struct Exporting {
    /// Ends the export: what is queued is sent, then it is said that it is done.
    stop: oneshot::Sender<oneshot::Sender<()>>,
    /// Ends the exporter's runtime when dropped.
    _runtime: oneshot::Sender<()>,
}

/// Starts logging and, if there is somewhere to send them, the export of spans, for the whole process.
///
/// # Errors
/// The exporter's settings are bad or a subscriber is already installed.
pub fn start(
    role: &'static str,
    instance: &str,
    log: &LogFilter,
    spans: &SpanArgs,
) -> Result<Telemetry, TelemetryError> {
    let lines = EnvFilter::builder().parse_lossy(&log.0);
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let to_stderr =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_filter(lines);
    let exporting = match spans.sampling() {
        Some(sampling) => start_exporting(role, instance, sampling, spans)?,
        None => None,
    };
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(to_stderr))?;
    Ok(Telemetry { exporting })
}

/// The address of this process's collector, if it has one besides a lab: what [`ENDPOINT_VARIABLE`] names, else `HERD_COLLECTOR` where
/// that leads anywhere. It is looked up, which takes up to a second: ask once.
#[must_use]
pub fn collector() -> Option<String> {
    match collector::find()? {
        Collector::Named => std::env::var(ENDPOINT_VARIABLE).ok().map(|address| address.trim().to_owned()),
        Collector::Found(address) => Some(address),
    }
}

/// Shows on `/metrics` how many spans were lost.
pub(crate) fn register(metrics: &Metrics) {
    metrics.registry().register(
        "herd_spans_dropped",
        "Spans that were lost: once where the queue was full, and once for each collector that did not take them",
        export::DROPPED.clone(),
    );
}

fn start_exporting(
    role: &'static str,
    instance: &str,
    sampling: Sampling,
    spans: &SpanArgs,
) -> Result<Option<Exporting>, TelemetryError> {
    let (runtime, handle) = exporter_runtime().map_err(TelemetryError::Thread)?;
    // The channel's worker is spawned where it is built.
    let entered = handle.enter();
    let mut exporters = spans.exporters()?;
    drop(entered);
    if exporters.is_empty() {
        return Ok(None);
    }
    let resource = Resource::builder()
        .with_service_name(format!("herd-{role}"))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    exporters.iter_mut().for_each(|exporter| exporter.set_resource(&resource));
    let asked = std::env::var("OTEL_BSP_SCHEDULE_DELAY").ok().and_then(|millis| millis.parse().ok());
    // Not zero: it would spin.
    let delay = asked.map_or(DELAY, |millis: u64| Duration::from_millis(millis.max(1)));
    let (queue, queued) = export::queue(QUEUED_SPANS_MAX, export::DROPPED.clone());
    let (stop, stopping) = oneshot::channel();
    handle.spawn(queued.export(exporters, delay, stopping));
    trace::record_with(Recorder { queue, sampling });
    Ok(Some(Exporting { stop, _runtime: runtime }))
}

/// A runtime on a thread of its own, which ends when the sender is dropped.
fn exporter_runtime() -> std::io::Result<(oneshot::Sender<()>, tokio::runtime::Handle)> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    std::thread::Builder::new().name("span-export".to_owned()).spawn(move || {
        // Requests first. Elsewhere than on Linux this would be the whole process's; where it may not be, spans are as urgent.
        #[cfg(target_os = "linux")]
        let _ = rustix::process::nice(NICE);
        // Err is the signal: the sender was dropped.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_background();
    })?;
    Ok((stop, handle))
}

impl Telemetry {
    /// Exports what is queued, for [`FLUSH_MAX`] at most, and ends the export. A collector that is away is no reason to end
    /// badly: its spans are lost, which is its own fault.
    pub async fn flush(self) {
        let Some(Exporting { stop, _runtime }) = self.exporting else { return };
        trace::stop_recording();
        let (done, flushed) = oneshot::channel();
        if stop.send(done).is_ok() {
            let _ = tokio::time::timeout(FLUSH_MAX, flushed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log filter is checked when it is read.
    #[test]
    fn log_filters() {
        assert!("info,herd_edge=debug".parse::<LogFilter>().is_ok());
        assert!("herd_edge=loud".parse::<LogFilter>().is_err());
    }

    /// A share is one, or a mistake.
    #[test]
    fn shares() {
        assert_eq!(share("0.25"), Ok(0.25));
        assert!(share("2").is_err() && share("often").is_err() && share("NaN").is_err());
    }

    /// What is asked for by name goes before the standard's variable.
    #[test]
    fn hits_by_name() {
        let asked = SpanArgs { sample_hits: Some(0.5), ..SpanArgs::default() };
        assert_eq!(asked.sampling(), Some(Sampling::hits(0.5)));
    }
}
