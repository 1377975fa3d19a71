//! `herd trace`: one request, rebuild or fault of a recorded run as a tree, or the rebuilds of a run.
//!
//! - `find`: which run, and its ledger's word.
//! - `picture`: what is shown, as data: the trees and how they hang together.
//! - `text`: the same for people.
//! - `rebuilds`: boundary by boundary.

mod find;
mod picture;
mod rebuilds;
mod text;

use crate::{
    cli::TraceArgs,
    exit::{Exit, UsageError},
    out,
};
use herd_spans::{Meant, PREFIX_MIN, ReadError, Spans};
use std::path::Path;

/// Shows what was asked for.
///
/// # Errors
/// There is no such run, it holds no spans, or the id is none.
pub(crate) fn trace(args: &TraceArgs) -> anyhow::Result<Exit> {
    let dir = find::run(args.run.as_deref(), Path::new("runs"))?;
    let spans = Spans::read(&dir).map_err(|error| match error {
        ReadError::NoSpans { dir } => anyhow::Error::new(UsageError(format!(
            "{} holds no spans (spans-<rung>.json): it was run with --no-spans, or by an older build",
            dir.display()
        ))),
        error => anyhow::Error::new(error),
    })?;
    match &args.reference {
        Some(reference) => one(reference, &dir, &spans, args.json),
        None => rebuilds::show(&dir, &spans, args),
    }
}

fn one(reference: &str, dir: &Path, spans: &Spans, json: bool) -> anyhow::Result<Exit> {
    let wrong = |why: String| Err(UsageError(why).into());
    let trace = match spans.meant(reference) {
        Meant::One(trace) => trace,
        Meant::NoId => {
            return wrong(format!(
                "{reference:?} is no reference id: it needs {PREFIX_MIN} to 32 hexadecimal digits"
            ));
        }
        Meant::Several(traces) => {
            return wrong(format!("{reference} begins several ids, among them {}", traces.join(", ")));
        }
        Meant::Nothing => {
            out::warn(not_kept(reference, dir, spans));
            return Ok(Exit::Unknown);
        }
    };
    let picture = picture::Picture::of(spans, &trace);
    if json {
        out::say(serde_json::to_string_pretty(&picture)?);
    } else {
        out::say(text::of(&picture).trim_end());
    }
    Ok(Exit::Expected)
}

/// Why an id may be missing, and what to do about it.
fn not_kept(reference: &str, dir: &Path, spans: &Spans) -> String {
    let mut why = format!("error: {} holds no span of {reference}", dir.display());
    match &spans.kept {
        None => why.push_str(": the run was cut off, or is of another run than the id"),
        Some(kept) => {
            let left_out: u64 = kept.files.iter().map(|file| file.left_out).sum();
            why.push_str(&format!(
                ": the id is of another run, or of a plain hit, of which {} % are kept (--sample-hits 1 keeps all, and a \
                 request with a traceparent whose flag is 01 is kept always)",
                kept.sample_hits * 100.0
            ));
            if left_out + kept.lost > 0 {
                why.push_str(&format!(
                    ", or it is among the {left_out} spans that were left out and the {} that were lost",
                    kept.lost
                ));
            }
        }
    }
    why
}

#[cfg(test)]
mod tests;
