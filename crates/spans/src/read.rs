//! The files of a run, read again.

use crate::json::{ResourceSpans, Span};
use crate::keep::{FILE_BYTES_MAX, Kept, SUMMARY_FILE};
use crate::tree::Tree;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The shortest beginning of an id that is taken for it.
pub const PREFIX_MIN: usize = 8;
/// Digits of a whole id.
const ID_DIGITS: usize = 32;
/// Files of one run that are read.
const FILES_MAX: usize = 256;

/// Why a run's spans cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is no such folder, or it holds no span file.
    #[error("{} holds no spans (spans-<rung>.json)", dir.display())]
    NoSpans {
        /// the folder
        dir: PathBuf,
    },
    /// A file cannot be read.
    #[error("{} cannot be read", path.display())]
    Io {
        /// the file
        path: PathBuf,
        /// the system's words
        #[source]
        source: std::io::Error,
    },
    /// A file holds something else.
    #[error("{}, line {line}: not a line of a span file", path.display())]
    Malformed {
        /// the file
        path: PathBuf,
        /// which line, from 1
        line: usize,
        /// what is wrong with it
        #[source]
        source: serde_json::Error,
    },
    /// A file is larger than any that is written.
    #[error("{} has more than {FILE_BYTES_MAX} bytes", path.display())]
    TooLarge {
        /// the file
        path: PathBuf,
    },
}

/// The spans of a run.
#[derive(Clone, Debug, Default)]
pub struct Spans {
    /// What was kept and what was not, if the run ended as it should.
    pub kept: Option<Kept>,
    all: Vec<Found>,
    /// By trace id, indices of `all`.
    traces: BTreeMap<String, Vec<usize>>,
    /// By the trace that they link to or name, traces.
    linking: BTreeMap<String, BTreeSet<String>>,
}

/// A span, and where it was found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The rung in whose file it stands.
    pub rung: String,
    /// `service.name` of its process.
    pub service: String,
    /// `service.instance.id` of its process.
    pub instance: String,
    /// The span.
    pub span: Span,
}

/// What an id, or the beginning of one, stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// This trace.
    One(String),
    /// None that was kept.
    Nothing,
    /// Several; the first of them.
    Several(Vec<String>),
    /// It is no id: it needs 8 to 32 hexadecimal digits.
    NoId,
}

impl Spans {
    /// Reads the spans of a run's folder.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn read(dir: &Path) -> Result<Self, ReadError> {
        let io = |path: &Path, source| ReadError::Io { path: path.to_path_buf(), source };
        let no_spans = || ReadError::NoSpans { dir: dir.to_path_buf() };
        let entries = std::fs::read_dir(dir).map_err(|_| no_spans())?;
        let mut files = Vec::new();
        for entry in entries.take(10_000) {
            let path = entry.map_err(|error| io(dir, error))?.path();
            if let Some(rung) = rung_of(&path) {
                files.push((rung, path));
            }
        }
        files.sort();
        files.truncate(FILES_MAX);
        if files.is_empty() {
            return Err(no_spans());
        }
        let mut spans = Self::default();
        for (rung, path) in files {
            if path.metadata().map_err(|error| io(&path, error))?.len() > FILE_BYTES_MAX {
                return Err(ReadError::TooLarge { path });
            }
            let text = std::fs::read_to_string(&path).map_err(|error| io(&path, error))?;
            spans.read_file(&rung, &path, &text)?;
        }
        let kept = std::fs::read(dir.join(SUMMARY_FILE)).ok();
        spans.kept = kept.and_then(|text| serde_json::from_slice(&text).ok());
        Ok(spans)
    }

    fn read_file(&mut self, rung: &str, path: &Path, text: &str) -> Result<(), ReadError> {
        let lines = text.lines().enumerate().filter(|(_, line)| line.starts_with("{\"resource\""));
        for (number, line) in lines {
            let line = line.trim_end_matches(',');
            let sent: ResourceSpans = match serde_json::from_str(line) {
                Ok(sent) => sent,
                // Cut off by a crash.
                Err(error) if error.is_eof() => return Ok(()),
                Err(source) => {
                    return Err(ReadError::Malformed { path: path.to_path_buf(), line: number + 1, source });
                }
            };
            let text = |key: &str| sent.resource.text(key).unwrap_or_default().to_owned();
            let (service, instance) = (text("service.name"), text("service.instance.id"));
            for span in sent.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let (rung, service, instance) = (rung.to_owned(), service.clone(), instance.clone());
                self.add(Found { rung, service, instance, span });
            }
        }
        Ok(())
    }

    fn add(&mut self, found: Found) {
        let span = &found.span;
        let trace = &span.trace_id;
        self.traces.entry(trace.clone()).or_default().push(self.all.len());
        let named = span.text("herd.rebuild.trace_id").into_iter();
        let to = span.links.iter().map(|link| link.trace_id.as_str()).chain(named);
        for to in to.filter(|to| to != trace) {
            self.linking.entry(to.to_owned()).or_default().insert(trace.clone());
        }
        self.all.push(found);
    }

    /// All of them, file by file.
    #[must_use]
    pub fn all(&self) -> &[Found] {
        &self.all
    }

    /// What an id or the beginning of one stands for. Upper case and spaces around it do no harm.
    #[must_use]
    pub fn meant(&self, id: &str) -> Meant {
        let id = id.trim().to_ascii_lowercase();
        if !(PREFIX_MIN..=ID_DIGITS).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Meant::NoId;
        }
        let mut found: Vec<String> = self
            .traces
            .range(id.clone()..)
            .take_while(|(trace, _)| trace.starts_with(&id))
            .map(|(trace, _)| trace.clone())
            .take(10)
            .collect();
        match found.len() {
            0 => Meant::Nothing,
            1 => Meant::One(found.remove(0)),
            _ => Meant::Several(found),
        }
    }

    /// One trace as a tree; `None` if none of its spans was kept.
    #[must_use]
    pub fn tree(&self, trace: &str) -> Option<Tree<'_>> {
        let spans = self.traces.get(trace)?;
        Some(Tree::new(trace, spans.iter().map(|index| &self.all[*index])))
    }

    /// Traces that link to this one, or name it as the rebuild that they waited for, in the order of their ids.
    pub fn linking_to(&self, trace: &str) -> impl Iterator<Item = &str> {
        self.linking.get(trace).into_iter().flatten().map(String::as_str)
    }
}

/// `lock` of `spans-lock.json`.
fn rung_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("spans-")?.strip_suffix(".json").map(ToOwned::to_owned)
}
