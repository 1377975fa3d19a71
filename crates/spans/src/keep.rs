//! The files being written.

use crate::json::{Resource, ResourceSpans, Scope, ScopeSpans, Span, Value};
use opentelemetry_proto::tonic::trace::v1 as proto;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// All span files of a run together, bytes.
pub const BYTES_MAX: u64 = 64 << 20;

/// One span file, bytes.
pub const FILE_BYTES_MAX: u64 = 16 << 20;

/// Beside the span files: what is in them and what is not.
pub const SUMMARY_FILE: &str = "spans.kept.json";

/// Beside the span files, if no span is known to be lost: a line `{"n": .., "x": .., "d": ..}` for each fetch that the origin's own spans tell
/// of, with its number in the ledger, its trace, and its end in Unix microseconds.
pub const FETCHES_FILE: &str = "traced.jsonl";

/// Fetches in it at most; a run with more has no such file.
const FETCHES_MAX: usize = 1_000_000;

/// Attribute of the span by which a process says how many it lost.
const LOST_ATTRIBUTE: &str = "herd.spans.dropped";

/// New waiters that a rebuild gets in a file of which a quarter is full.
const WAITERS_WHEN_SCARCE: u32 = 100;

const HEAD: &[u8] = b"{\"resourceSpans\":[\n";
const TAIL: &[u8] = b"\n]}\n";

/// What is in the span files of a run and what is not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The share of plain hits that was sampled.
    pub sample_hits: f64,
    /// Spans of which the processes said that they lost them: their queues were full, or the lab did not take them. What a process
    /// took along that was killed, nobody can say.
    pub lost: u64,
    /// Why files are not whole, if they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// One file a rung.
    pub files: Vec<KeptFile>,
}

/// A span file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptFile {
    /// The rung.
    pub rung: String,
    /// The file's name.
    pub file: String,
    /// Spans in it.
    pub spans: u64,
    /// Its size.
    pub bytes: u64,
    /// Spans that came and are not in it, as it was full.
    pub left_out: u64,
}

/// Keeps what it is given in the files of the rungs.
#[derive(Debug)]
pub struct Keeper {
    dir: PathBuf,
    rungs: Vec<String>,
    bytes_max: u64,
    kept: Kept,
    files: Vec<OpenFile>,
    /// What the origin told of its fetches, also where a file was full.
    fetches: Vec<Fetch>,
}

/// A line of [`FETCHES_FILE`].
#[derive(Debug, Serialize)]
struct Fetch {
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "x")]
    trace: String,
    #[serde(rename = "d")]
    done_us: u64,
}

#[derive(Debug)]
struct OpenFile {
    to: BufWriter<File>,
    /// Spans that begin from here on are this rung's, until the next one begins. Unix nanoseconds.
    begins: u64,
    bytes_max: u64,
    /// Traces of which something is in it.
    begun: HashSet<String>,
    /// Requests in it, by the rebuild that they waited for.
    waiters: HashMap<String, u32>,
    about: KeptFile,
}

impl Keeper {
    /// Keeps spans of these rungs in `dir`, which is there.
    #[must_use]
    pub fn new(dir: &Path, rungs: Vec<String>, sample_hits: f64) -> Self {
        let kept = Kept { sample_hits, ..Kept::default() };
        Self {
            dir: dir.to_path_buf(),
            rungs,
            bytes_max: BYTES_MAX,
            kept,
            files: Vec::new(),
            fetches: Vec::new(),
        }
    }

    /// The same with another limit for all files together.
    #[must_use]
    pub fn within(self, bytes_max: u64) -> Self {
        Self { bytes_max, ..self }
    }

    /// A rung begins now: spans that begin from now on are its own.
    pub fn begins(&mut self, rung: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.begins_at(rung, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The same at another time, Unix nanoseconds.
    pub fn begins_at(&mut self, rung: &str, unix_nanos: u64) {
        let written: u64 = self.files.iter().map(|file| file.about.bytes).sum();
        let left = self.rungs.len().saturating_sub(self.files.len()).max(1) as u64;
        let share = self.bytes_max.saturating_sub(written) / left;
        // What comes before the first rung is the first rung's.
        let begins = if self.files.is_empty() { 0 } else { unix_nanos };
        let name = format!("spans-{rung}.json");
        match File::create(self.dir.join(&name)).map(BufWriter::new) {
            Ok(mut to) => {
                let begun = to.write_all(HEAD);
                self.failed(begun);
                let about = KeptFile {
                    rung: rung.to_owned(),
                    file: name,
                    bytes: HEAD.len() as u64,
                    ..KeptFile::default()
                };
                let bytes_max = share.min(FILE_BYTES_MAX);
                self.files.push(OpenFile {
                    to,
                    begins,
                    bytes_max,
                    begun: HashSet::new(),
                    waiters: HashMap::new(),
                    about,
                });
            }
            Err(error) => self.failed(Err(error)),
        }
    }

    /// Keeps what one process sent, as far as there is room.
    pub fn keep(&mut self, sent: proto::ResourceSpans) {
        let resource = Resource::from(sent.resource.unwrap_or_default());
        let spans = sent.scope_spans.into_iter().flat_map(|scope| scope.spans).map(Span::from);
        self.keep_spans(&resource, spans);
    }

    /// Keeps spans of one process, as far as there is room.
    pub fn keep_spans(&mut self, resource: &Resource, spans: impl IntoIterator<Item = Span>) {
        let is_edge = resource.text("service.name") == Some("herd-edge");
        let mut by_file: Vec<Vec<Span>> = self.files.iter().map(|_| Vec::new()).collect();
        for span in spans {
            if let Some(Value::IntValue(lost)) = span.get(LOST_ATTRIBUTE) {
                self.kept.lost += u64::try_from(*lost).unwrap_or(0);
            }
            if let Some(Value::IntValue(number)) = span.get("herd.ledger.rebuild")
                && self.fetches.len() <= FETCHES_MAX
            {
                let number = u64::try_from(*number).unwrap_or(0);
                let done_us = span.end_time_unix_nano / 1_000;
                self.fetches.push(Fetch { number, trace: span.trace_id.clone(), done_us });
            }
            let of = self.files.iter().rposition(|file| file.begins <= span.start_time_unix_nano);
            if let Some(of) = of {
                by_file[of].push(span);
            }
        }
        let mut done = Ok(());
        for (file, spans) in self.files.iter_mut().zip(by_file) {
            done = done.and(file.append(resource, spans, is_edge));
        }
        self.failed(done);
    }

    /// Ends the files and says what is in them and what is not.
    pub fn finish(mut self) -> Kept {
        let mut done = Ok(());
        for file in &mut self.files {
            done = done.and(file.to.write_all(TAIL).and_then(|()| file.to.flush()));
            file.about.bytes += TAIL.len() as u64;
        }
        self.failed(done);
        self.kept.files = self.files.into_iter().map(|file| file.about).collect();
        if self.kept.lost == 0 && (1..=FETCHES_MAX).contains(&self.fetches.len()) {
            let written = write_fetches(&self.dir, &self.fetches);
            if let Err(error) = written {
                self.kept.error.get_or_insert_with(|| format!("{FETCHES_FILE} cannot be written: {error}"));
            }
        }
        let text = serde_json::to_vec_pretty(&self.kept).unwrap_or_default();
        let written = std::fs::write(self.dir.join(SUMMARY_FILE), text);
        if let Err(error) = written {
            self.kept.error.get_or_insert_with(|| format!("{SUMMARY_FILE} cannot be written: {error}"));
        }
        self.kept
    }

    /// The first failure is the one to tell. A run is worth keeping without its spans.
    fn failed(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.kept.error.get_or_insert_with(|| format!("a span file cannot be written: {error}"));
        }
    }
}

/// Whole or not at all: a part of it would make the ledger look wrong.
fn write_fetches(dir: &Path, fetches: &[Fetch]) -> io::Result<()> {
    let partial = dir.join(format!("{FETCHES_FILE}.partial"));
    let mut to = BufWriter::new(File::create(&partial)?);
    for fetch in fetches {
        serde_json::to_writer(&mut to, fetch).map_err(io::Error::other)?;
        to.write_all(b"\n")?;
    }
    to.flush()?;
    std::fs::rename(partial, dir.join(FETCHES_FILE))
}

impl OpenFile {
    /// Appends a line with those spans for which there is room.
    fn append(&mut self, resource: &Resource, spans: Vec<Span>, is_edge: bool) -> io::Result<()> {
        if spans.is_empty() {
            return Ok(());
        }
        let offered = spans.len() as u64;
        let spans = self.room_for(spans, is_edge);
        let traces: Vec<String> = spans.iter().map(|span| span.trace_id.clone()).collect();
        let scope = Scope { name: "herdproof".to_owned() };
        let line =
            ResourceSpans { resource: resource.clone(), scope_spans: vec![ScopeSpans { scope, spans }] };
        let text = serde_json::to_vec(&line).map_err(io::Error::other)?;
        let bytes = text.len() as u64 + if self.about.spans > 0 { 2 } else { 0 };
        if traces.is_empty() || self.about.bytes + bytes + TAIL.len() as u64 > self.bytes_max {
            self.about.left_out += offered;
            return Ok(());
        }
        if self.about.spans > 0 {
            self.to.write_all(b",\n")?;
        }
        self.to.write_all(&text)?;
        // Whole lines on the disk, also if the lab is killed.
        self.to.flush()?;
        self.about.bytes += bytes;
        self.about.spans += traces.len() as u64;
        self.about.left_out += offered - traces.len() as u64;
        self.begun.extend(traces);
        Ok(())
    }
}

impl OpenFile {
    /// Those of these spans that are kept. Requests may take three quarters of a file; the rest is for rebuilds, and for trees that
    /// were begun. Once a quarter is full, no rebuild gets more than so many new waiters: the boundaries to come have
    /// waiters, too.
    fn room_for(&mut self, spans: Vec<Span>, is_edge: bool) -> Vec<Span> {
        let crowded = self.about.bytes > self.bytes_max / 4 * 3;
        let scarce = self.about.bytes > self.bytes_max / 4;
        let mut refused = HashSet::new();
        for span in spans.iter().filter(|span| !self.begun.contains(&span.trace_id)) {
            let Some(rebuild) = span.text("herd.rebuild.trace_id") else { continue };
            let waiters = self.waiters.entry(rebuild.to_owned()).or_default();
            if scarce && *waiters >= WAITERS_WHEN_SCARCE {
                refused.insert(span.trace_id.clone());
            } else {
                *waiters += 1;
            }
        }
        let wanted = |span: &Span| {
            let known = self.begun.contains(&span.trace_id) || !of_request(span, is_edge);
            known || !(crowded || refused.contains(&span.trace_id))
        };
        spans.into_iter().filter(wanted).collect()
    }
}

/// Whether a span is a part of a request's tree, rather than of a rebuild's.
fn of_request(span: &Span, is_edge: bool) -> bool {
    is_edge || span.name.starts_with("herd.v1.CacheNode/") || span.name == "GET"
}
