//! Logs to standard error, and spans over OTLP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set or `HERD_COLLECTOR` is there.
//!
//! Without a collector there is no OpenTelemetry at all. With a collector that is away, spans are dropped from a bounded
//! queue, silently; nothing waits for it but the last flush, and that for two seconds at most. The exporter lives on a thread
//! of its own, so that it takes no turn on the thread that serves requests.

use crate::collector::{self, Collector};
use crate::trace;
use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits,
};
use std::str::FromStr;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, Targets, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

/// How long the last flush of spans may take.
pub const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Spans that wait for export at most; later ones are dropped.
const QUEUED_SPANS_MAX: usize = 8192;

/// Environment variable: where spans go. Unset or empty: nowhere.
pub const ENDPOINT_VARIABLE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Crates whose spans would only describe the export itself or every frame on a connection.
const NOT_EXPORTED: [&str; 6] = ["h2", "hyper", "hyper_util", "tonic", "tower", "opentelemetry"];

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

/// Running telemetry; end it with [`Telemetry::flush`].
#[derive(Debug)]
#[must_use = "spans that are not flushed at exit are lost"]
pub struct Telemetry {
    exporting: Option<Exporting>,
}

#[derive(Debug)]
struct Exporting {
    provider: SdkTracerProvider,
    /// Ends the exporter's runtime when dropped.
    _runtime: tokio::sync::oneshot::Sender<()>,
}

/// Starts logging and, if an endpoint is set, the export of spans, for the whole process.
///
/// # Errors
/// The exporter's settings are bad or a subscriber is already installed.
pub fn start(role: &'static str, instance: &str, log: &LogFilter) -> Result<Telemetry, TelemetryError> {
    let wanted = EnvFilter::builder().parse_lossy(&log.0);
    // Spans belong to the exporter: log lines carry the reference id where they need one.
    let lines = wanted.and(filter_fn(|about| about.is_event()));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let to_stderr =
        tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(ansi).with_filter(lines);
    let subscriber = tracing_subscriber::registry().with(to_stderr);

    let Some(collector) = collector::find() else {
        tracing::subscriber::set_global_default(subscriber)?;
        return Ok(Telemetry { exporting: None });
    };
    let exporting = start_exporting(role, instance, &collector)?;
    let ours = Targets::new()
        .with_default(LevelFilter::INFO)
        .with_targets(NOT_EXPORTED.map(|t| (t, LevelFilter::OFF)));
    let tracer = exporting.provider.tracer("herdproof");
    let exported = tracing_opentelemetry::layer()
        .with_tracer(tracer)
        .with_location(false)
        .with_threads(false)
        .with_target(false)
        .with_tracked_inactivity(false)
        .with_filter(ours.and(filter_fn(|about| about.is_span())));
    tracing::subscriber::set_global_default(subscriber.with(exported))?;
    trace::set_enabled(true);
    Ok(Telemetry { exporting: Some(exporting) })
}

fn start_exporting(
    role: &'static str,
    instance: &str,
    collector: &Collector,
) -> Result<Exporting, TelemetryError> {
    let (runtime, handle) = exporter_runtime().map_err(TelemetryError::Thread)?;
    // The channel's worker is spawned where it is built.
    let entered = handle.enter();
    let exporter = SpanExporter::builder().with_tonic().with_timeout(FLUSH_MAX);
    let exporter = match collector {
        Collector::Named => exporter,
        Collector::Found(address) => exporter.with_endpoint(address),
    };
    let exporter = exporter.build().map_err(|e| TelemetryError::Exporter(Box::new(e)))?;
    drop(entered);
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUED_SPANS_MAX)
        .with_max_export_batch_size(512)
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let resource = Resource::builder()
        .with_service_name(format!("herd-{role}"))
        .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .build();
    let limits = SpanLimits { max_links_per_span: 128, max_events_per_span: 64, ..SpanLimits::default() };
    let provider = SdkTracerProvider::builder()
        .with_sampler(sampler())
        .with_span_limits(limits)
        .with_resource(resource)
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
        .build();
    Ok(Exporting { provider, _runtime: runtime })
}

/// A runtime on a thread of its own, which ends when the sender is dropped.
fn exporter_runtime() -> std::io::Result<(tokio::sync::oneshot::Sender<()>, tokio::runtime::Handle)> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("span-export".to_owned()).spawn(move || {
        // Err is the signal: the sender was dropped.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_background();
    })?;
    Ok((stop, handle))
}

/// The sampler that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name; parent-based, always on, by default.
fn sampler() -> Sampler {
    let name = std::env::var("OTEL_TRACES_SAMPLER").unwrap_or_default();
    let argument = std::env::var("OTEL_TRACES_SAMPLER_ARG").ok();
    sampler_of(&name, argument.as_deref())
}

fn sampler_of(name: &str, argument: Option<&str>) -> Sampler {
    let ratio = argument.and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0).clamp(0.0, 1.0);
    match name {
        "always_on" => Sampler::AlwaysOn,
        "always_off" => Sampler::AlwaysOff,
        "traceidratio" => Sampler::TraceIdRatioBased(ratio),
        "parentbased_always_off" => Sampler::ParentBased(Box::new(Sampler::AlwaysOff)),
        "parentbased_traceidratio" => Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio))),
        _ => Sampler::ParentBased(Box::new(Sampler::AlwaysOn)),
    }
}

impl Telemetry {
    /// Exports what is queued, for [`FLUSH_MAX`] at most, off the runtime's thread, and ends the export.
    pub async fn flush(self) {
        let Some(exporting) = self.exporting else { return };
        trace::set_enabled(false);
        let (done, flushed) = tokio::sync::oneshot::channel();
        let started = std::thread::Builder::new().name("span-flush".to_owned()).spawn(move || {
            // A collector that is away is no reason to end badly: its spans are lost, which is its own fault.
            let _ = exporting.provider.shutdown_with_timeout(FLUSH_MAX);
            let _ = done.send(());
        });
        if started.is_ok() {
            let _ = tokio::time::timeout(FLUSH_MAX, flushed).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The standard's sampler names are understood; anything else is the default.
    #[test]
    fn samplers() {
        assert!(matches!(sampler_of("always_off", None), Sampler::AlwaysOff));
        assert!(
            matches!(sampler_of("traceidratio", Some("0.25")), Sampler::TraceIdRatioBased(r) if r == 0.25)
        );
        assert!(matches!(sampler_of("traceidratio", Some("7")), Sampler::TraceIdRatioBased(r) if r == 1.0));
        assert!(matches!(sampler_of("", None), Sampler::ParentBased(_)));
    }

    /// A log filter is checked when it is read.
    #[test]
    fn log_filters() {
        assert!("info,herd_edge=debug".parse::<LogFilter>().is_ok());
        assert!("herd_edge=loud".parse::<LogFilter>().is_err());
    }
}
