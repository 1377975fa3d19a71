//! The spans of a run, in its folder: what the fleet sends, and a span of the lab's own for each fault.
//!
//! Where there is a collector the fleet sends its spans there as well, and the faults' spans follow when the run is over. The lab finds
//! it as the processes do: `OTEL_EXPORTER_OTLP_ENDPOINT`, or `HERD_COLLECTOR` if that is there, as it is in containers with the
//! profile `observe`.

mod faults;

use crate::screen::Screen;
use clap::Args;
use herd_experiment::{run::Plan, testbed::Progress};
use herd_spans::{Keeper, Kept, Receiver, SUMMARY_FILE};
use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::LazyLock};

/// The share of plain hits whose spans a run keeps where nobody says otherwise.
const HITS_BY_DEFAULT: f64 = 0.01;

/// Which spans a run keeps.
#[derive(Clone, Copy, Debug, Args)]
pub struct SpanChoice {
    /// The share of plain hits whose spans are kept, 0 to 1; rebuilds, faults, errors and whoever waited are kept always
    #[arg(long, env = "HERD_SAMPLE_HITS", value_name = "SHARE", default_value_t = HITS_BY_DEFAULT, value_parser = share)]
    pub sample_hits: f64,
    /// Keep no spans (OTEL_EXPORTER_OTLP_ENDPOINT works all the same)
    #[arg(long)]
    pub no_spans: bool,
}

impl Default for SpanChoice {
    /// As `HERD_SAMPLE_HITS` says, where it says something that can be.
    fn default() -> Self {
        let said = std::env::var("HERD_SAMPLE_HITS").ok().and_then(|said| share(&said).ok());
        Self { sample_hits: said.unwrap_or(HITS_BY_DEFAULT), no_spans: false }
    }
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be 0 to 1".to_owned()) }
}

impl SpanChoice {
    /// For the manifest: what was chosen, and where else spans go.
    pub(crate) fn options(self) -> BTreeMap<String, String> {
        let mut options = BTreeMap::new();
        if self.no_spans {
            options.insert("spans".to_owned(), "none are kept".to_owned());
        } else {
            options.insert("sample_hits".to_owned(), self.sample_hits.to_string());
        }
        if let Some(endpoint) = endpoint() {
            options.insert("spans_also_to".to_owned(), endpoint);
        }
        options
    }
}

/// Spans of a run that is under way.
#[derive(Debug)]
pub(crate) struct Recording {
    receiver: Receiver,
    sample_hits: f64,
}

impl Recording {
    /// Begins to receive them at this address, into the run's folder. A run is worth driving without: what keeps it from that
    /// is said.
    pub(crate) fn start(
        choice: SpanChoice,
        listen: SocketAddr,
        dir: &Path,
        plan: &Plan,
        screen: &Screen,
    ) -> Option<Self> {
        if choice.no_spans {
            return None;
        }
        let rungs = plan.scenario.rungs.iter().map(|rung| rung.name.clone()).collect();
        let keeper = Keeper::new(dir, rungs, choice.sample_hits);
        match Receiver::start(listen, keeper) {
            Ok(receiver) => Some(Self { receiver, sample_hits: choice.sample_hits }),
            Err(error) => {
                screen.note(&format!("this run keeps no spans: {error}"));
                None
            }
        }
    }

    /// What the processes of the fleet have to know, which reach the lab under this name.
    pub(crate) fn env(&self, lab_host: &str) -> [(String, String); 2] {
        let url = format!("http://{lab_host}:{}", self.receiver.address().port());
        [("HERD_SPANS_URL".to_owned(), url), ("HERD_SAMPLE_HITS".to_owned(), self.sample_hits.to_string())]
    }

    /// Ends the files, with the faults of the run in them, and says what is in them.
    pub(crate) async fn finish(self, dir: &Path, screen: &Screen) {
        let faults = faults::spans(dir);
        if let (Some(spans), Some(endpoint)) = (&faults, endpoint())
            && let Err(why) = faults::export(spans.clone(), endpoint.clone()).await
        {
            screen.note(&format!("the spans of the faults did not reach {endpoint}: {why}"));
        }
        let receiver = self.receiver;
        let ended = tokio::task::spawn_blocking(move || {
            if let Some(spans) = faults {
                receiver.with(|keeper| keeper.keep(spans));
            }
            receiver.finish()
        });
        match ended.await {
            Ok(kept) => screen.note(&told(&kept)),
            Err(error) => screen.note(&format!("the span files are not whole: {error}")),
        }
    }
}

/// What the run loop says, on the screen, and to the recording where a rung begins.
pub(crate) struct Heard<'a> {
    pub(crate) screen: &'a Screen,
    pub(crate) recording: Option<&'a Recording>,
}

impl Progress for Heard<'_> {
    fn note(&self, line: &str) {
        self.screen.note(line);
    }

    fn step(&self, what: &str, done: u64, total: u64) {
        self.screen.step(what, done, total);
    }

    fn begins(&self, rung: &str) {
        if let Some(recording) = self.recording {
            recording.receiver.with(|keeper| keeper.begins(rung));
        }
    }
}

/// What a report of this run has to say about spans that are not there. Nothing, where all are.
pub(crate) fn missing(dir: &Path) -> Option<String> {
    let text = std::fs::read(dir.join(SUMMARY_FILE)).ok()?;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    let left_out: u64 = kept.files.iter().map(|file| file.left_out).sum();
    let mut parts = Vec::new();
    if left_out > 0 {
        parts.push(format!("{left_out} are left out of its files, which were full"));
    }
    if kept.lost > 0 {
        parts.push(format!("{} did not reach the lab", kept.lost));
    }
    parts.extend(kept.error);
    (!parts.is_empty()).then(|| format!("not all spans of the run were kept: {}", parts.join("; ")))
}

fn told(kept: &Kept) -> String {
    let spans: u64 = kept.files.iter().map(|file| file.spans).sum();
    let bytes: u64 = kept.files.iter().map(|file| file.bytes).sum();
    let (files, left_out) = (kept.files.len(), kept.files.iter().map(|file| file.left_out).sum::<u64>());
    #[expect(clippy::cast_precision_loss, reason = "64 MB at most")]
    let megabytes = bytes as f64 / 1e6;
    format!(
        "{spans} spans in {files} files spans-<rung>.json ({megabytes:.1} MB), {left_out} left out, {} lost",
        kept.lost
    )
}

/// The collector that the lab's own spans go to. It is looked for when it is first asked for, and not again.
pub(crate) fn endpoint() -> Option<String> {
    static FOUND: LazyLock<Option<String>> = LazyLock::new(herd_service::telemetry::collector);
    FOUND.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_spans::KeptFile;

    /// Goal: a report says what is missing, and nothing where nothing is.
    #[test]
    fn missing_spans_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let write = |kept: &Kept| {
            std::fs::write(dir.path().join(SUMMARY_FILE), serde_json::to_vec(kept).unwrap()).unwrap();
        };
        assert_eq!(missing(dir.path()), None);
        write(&Kept { files: vec![KeptFile { spans: 3, ..KeptFile::default() }], ..Kept::default() });
        assert_eq!(missing(dir.path()), None);
        let file = KeptFile { spans: 3, left_out: 7, ..KeptFile::default() };
        write(&Kept { files: vec![file], lost: 2, ..Kept::default() });
        let told = missing(dir.path()).unwrap();
        assert!(told.contains("7 are left out") && told.contains("2 did not reach"), "{told}");
    }

    /// Goal: shares that cannot be are refused.
    #[test]
    fn shares() {
        assert_eq!(share("1"), Ok(1.0));
        assert!(share("1.5").is_err() && share("-1").is_err() && share("all").is_err());
    }
}
