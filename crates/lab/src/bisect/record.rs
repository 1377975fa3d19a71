//! `bisect.json`: what is searched, each try, and what was found; whole after each try.

use super::{
    number::Number,
    question::Answer,
    search::{Found, Point},
};
use crate::{cli::BisectArgs, place};
use herd_judge::Outcome;
use serde::Serialize;
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// One run of the search.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Try {
    value: Value,
    outcome: Outcome,
    claim: Option<String>,
    rung: Option<String>,
    observed: Option<u64>,
    bound: Option<u64>,
    goodput_after_per_s: Option<f64>,
    why: String,
    took_s: f64,
    dir: Option<PathBuf>,
}

impl Try {
    pub(super) fn new(value: Number, answer: &Answer, took: Duration, dir: Option<PathBuf>) -> Self {
        let (claim, rung) = answer.claim.clone().unzip();
        Self {
            value: plain(value),
            outcome: answer.look.outcome,
            claim,
            rung,
            observed: answer.observed,
            bound: answer.bound,
            goodput_after_per_s: answer.goodput_after_per_s,
            why: answer.look.why.clone(),
            took_s: took.as_secs_f64(),
            dir,
        }
    }

    /// A line for a person.
    pub(super) fn told(&self, field: &str) -> String {
        let mut parts = vec![format!("{field} = {}: {}", self.value, self.outcome.name())];
        if let (Some(claim), Some(rung)) = (&self.claim, &self.rung) {
            let seen = self.observed.map_or_else(|| "nothing".to_owned(), |observed| observed.to_string());
            let bound = self.bound.map_or_else(String::new, |bound| format!(" (bound {bound})"));
            parts.push(format!("{rung}: {claim} {seen} seen{bound}"));
        } else if self.outcome == Outcome::Unknown {
            parts.push(self.why.clone());
        }
        parts.extend(self.goodput_after_per_s.map(|per_s| format!("goodput after {per_s:.0}/s")));
        parts.push(format!("{:.0} s", self.took_s));
        parts.join(", ")
    }
}

/// The tries so far.
#[derive(Debug)]
pub(super) struct Record {
    file: PathBuf,
    asked: Value,
    tries: Vec<Try>,
}

impl Record {
    pub(super) fn new(above: &Path, args: &BisectArgs) -> Self {
        let asked = json!({
            "scenario": args.scenario,
            "field": args.over,
            "from": args.from,
            "to": args.to,
            "rung": args.rung,
            "claim": args.claim,
            "nodes": args.fleet.nodes,
            "seed": args.seed,
        });
        Self { file: above.join("bisect.json"), asked, tries: Vec::new() }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    pub(super) fn tries(&self) -> usize {
        self.tries.len()
    }

    /// Keeps one more, on disk too.
    pub(super) fn add(&mut self, tried: Try) -> anyhow::Result<()> {
        self.tries.push(tried);
        self.write(json!("cut off"), &Value::Null)
    }

    /// Keeps what was found.
    pub(super) fn close(&self, found: &Found) -> anyhow::Result<()> {
        let both = |(before, after): &(Point, Point)| json!([point(before), point(after)]);
        let (end, interval) = match found {
            Found::Tips { before, after, close } => {
                (json!(if *close { "found" } else { "steps used up" }), both(&(*before, *after)))
            }
            Found::Alike(outcome) => (json!(format!("both ends are {}", outcome.name())), Value::Null),
            Found::Unknown { at, why, within } => {
                (json!(format!("unknown at {at}: {why}")), within.as_ref().map_or(Value::Null, both))
            }
            Found::Interrupted { within } => {
                (json!("interrupted"), within.as_ref().map_or(Value::Null, both))
            }
        };
        self.write(end, &interval)
    }

    fn write(&self, end: Value, interval: &Value) -> anyhow::Result<()> {
        let mut whole = self.asked.clone();
        whole["tries"] = serde_json::to_value(&self.tries)?;
        whole["end"] = end;
        whole["tips_between"] = interval.clone();
        place::write_whole(&self.file, &(serde_json::to_string_pretty(&whole)? + "\n"))
    }
}

fn point((value, outcome): &Point) -> Value {
    json!({ "value": plain(*value), "outcome": outcome.name() })
}

fn plain(value: Number) -> Value {
    match value {
        Number::Whole(whole) => json!(whole),
        Number::Real(real) => json!(real),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bisect::search::Look;
    use crate::cli::{BackendChoice, EachFleet};

    /// Goal: after each try the file holds all tries, says that more were to come, and in the end between which values it tips.
    #[test]
    fn each_try_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let args = BisectArgs {
            scenario: "x.toml".to_owned(),
            over: "a.b".to_owned(),
            from: "1".to_owned(),
            to: "9".to_owned(),
            steps: 8,
            rung: None,
            claim: None,
            seed: None,
            fleet: EachFleet { backend: BackendChoice::Processes, nodes: None },
            out: None,
        };
        let mut record = Record::new(folder.path(), &args);
        let answer = Answer {
            look: Look { outcome: Outcome::Invalid, why: "why".to_owned() },
            claim: Some(("miss_percent".to_owned(), "lock".to_owned())),
            observed: Some(7),
            bound: Some(5),
            goodput_after_per_s: Some(99.6),
        };
        let tried = Try::new(Number::Whole(9), &answer, Duration::from_secs(3), None);
        let line = "a.b = 9: invalid, lock: miss_percent 7 seen (bound 5), goodput after 100/s, 3 s";
        assert_eq!(tried.told("a.b"), line);
        record.add(tried).unwrap();
        let read = || -> Value { serde_json::from_slice(&std::fs::read(record.file()).unwrap()).unwrap() };
        assert_eq!((&read()["end"], &read()["tries"][0]["observed"]), (&json!("cut off"), &json!(7)));
        let (before, after) = ((Number::Whole(4), Outcome::Valid), (Number::Whole(5), Outcome::Invalid));
        record.close(&Found::Tips { before, after, close: true }).unwrap();
        assert_eq!(read()["tips_between"][1], json!({ "value": 5, "outcome": "invalid" }));
    }
}
