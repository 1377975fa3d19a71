//! Requests in memory: a small fixed record each, repeated texts once.

use super::ending::Ending;
use herd_history::{OperationRecord, Outcome, Served};
use herd_scenario::{Arrival, KeyId, Workload};
use herd_wire::absent;
use std::collections::HashMap;

/// Different texts (node names, error messages) that are kept; further ones share one entry.
const TEXTS_MAX: usize = 4_096;
/// Characters of an error message that are kept.
const ERROR_CHARS_MAX: usize = 200;

/// Every request of a load, in the order in which they ended.
#[derive(Debug)]
pub struct Operations {
    start_us: u64,
    workload: Workload,
    texts: Vec<String>,
    text_ids: HashMap<String, u16>,
    rows: Vec<Compact>,
}

/// One request. Times are microseconds after the start of the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Compact {
    seq: u64,
    intended_us: u64,
    sent_us: u64,
    done_us: u64,
    key: KeyId,
    attempts: u32,
    outcome: Outcome,
    served: Served,
    node: u16,
    error: u16,
    generation: u64,
    version: u64,
    age_ms: u64,
    config_version: u64,
    reference: [u8; 16],
    rebuild_trace: [u8; 16],
}

impl Operations {
    pub(super) fn new(workload: Workload) -> Self {
        // Text 0 is the empty one.
        let text_ids = HashMap::from([(String::new(), 0)]);
        Self { start_us: 0, workload, texts: vec![String::new()], text_ids, rows: Vec::new() }
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As the history records them.
    pub fn records(&self) -> impl Iterator<Item = OperationRecord> + '_ {
        self.rows.iter().map(|row| self.expand(row))
    }

    pub(super) fn key(&self, key: KeyId) -> String {
        self.workload.key_name(key)
    }

    pub(super) const fn starts_at(&mut self, unix_us: u64) {
        self.start_us = unix_us;
    }

    pub(super) fn push(&mut self, mut row: Compact, ending: &Ending) {
        row.outcome = ending.outcome();
        row.served = ending.served();
        match ending {
            Ending::Answer(answer) => {
                row.node = self.text(&answer.node);
                row.generation = answer.generation;
                row.version = answer.version;
                row.age_ms = answer.age_ms;
                row.config_version = answer.config_version;
                // Plain hits are the bulk of a run and their traces are of no use to the judge.
                if !matches!(row.served, Served::Hit | Served::HitLocal) {
                    row.reference = trace_bytes(&answer.reference);
                }
                row.rebuild_trace = trace_bytes(&answer.rebuild_trace);
            }
            Ending::Error(status) => {
                if let Some(absent) = absent::read(status) {
                    row.node = self.text(&absent.node);
                    row.generation = absent.generation;
                    row.config_version = absent.config_version;
                }
                let message: String = status.message().chars().take(ERROR_CHARS_MAX).collect();
                row.error = self.text(&message);
            }
            Ending::HungUp => {}
        }
        self.rows.push(row);
    }

    fn text(&mut self, text: &str) -> u16 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let text = if self.texts.len() < TEXTS_MAX { text } else { "(further texts are left out)" };
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        let id = u16::try_from(self.texts.len()).expect("texts are bounded by TEXTS_MAX");
        self.texts.push(text.to_owned());
        self.text_ids.insert(text.to_owned(), id);
        id
    }

    fn expand(&self, row: &Compact) -> OperationRecord {
        OperationRecord {
            seq: row.seq,
            key: self.key(row.key),
            intended_us: self.start_us + row.intended_us,
            sent_us: self.start_us + row.sent_us,
            done_us: self.start_us + row.done_us,
            outcome: row.outcome,
            served: row.served,
            generation: row.generation,
            version: row.version,
            age_ms: row.age_ms,
            config_version: row.config_version,
            node: self.texts[usize::from(row.node)].clone(),
            reference: trace_text(row.reference),
            rebuild_trace: trace_text(row.rebuild_trace),
            error: self.texts[usize::from(row.error)].clone(),
            attempts: row.attempts,
        }
    }
}

impl Compact {
    pub(super) const fn new(arrival: Arrival, sent_us: u64, done_us: u64, attempts: u32) -> Self {
        Self {
            seq: arrival.seq,
            intended_us: arrival.at_us,
            sent_us,
            done_us,
            key: arrival.key,
            attempts,
            outcome: Outcome::Failed,
            served: Served::Unknown,
            node: 0,
            error: 0,
            generation: 0,
            version: 0,
            age_ms: 0,
            config_version: 0,
            reference: [0; 16],
            rebuild_trace: [0; 16],
        }
    }
}

/// 32 hexadecimal digits to bytes; zeros for anything else.
fn trace_bytes(text: &str) -> [u8; 16] {
    if text.len() != 32 {
        return [0; 16];
    }
    u128::from_str_radix(text, 16).map_or([0; 16], u128::to_be_bytes)
}

fn trace_text(bytes: [u8; 16]) -> String {
    match u128::from_be_bytes(bytes) {
        0 => String::new(),
        trace => format!("{trace:032x}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_wire::v1::{self, GetResponse};
    use tonic::Status;

    /// A request comes back from its compact form as it went in, and texts stay bounded.
    #[test]
    fn compact_form_keeps_what_counts() {
        let mut operations = Operations::new(Workload::default());
        operations.starts_at(1_000_000);
        let arrival = Arrival { seq: 7, at_us: 10, key: KeyId::Row(0) };
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736".to_owned();
        let answer = GetResponse {
            version: 2,
            served: v1::Served::Waited.into(),
            generation: 3,
            node: "node-1".to_owned(),
            reference: trace.clone(),
            rebuild_trace: trace.clone(),
            ..GetResponse::default()
        };
        operations.push(Compact::new(arrival, 12, 40, 1), &Ending::of(Ok(answer)));
        for n in 0..TEXTS_MAX * 2 {
            let away = Status::unavailable(format!("away {n}"));
            operations.push(Compact::new(arrival, 12, 40, 3), &Ending::of(Err(away)));
        }
        let records: Vec<_> = operations.records().collect();
        assert_eq!(
            (records[0].intended_us, records[0].sent_us, records[0].done_us),
            (1_000_010, 1_000_012, 1_000_040)
        );
        assert_eq!((records[0].served, records[0].node.as_str()), (Served::Waited, "node-1"));
        assert_eq!((&records[0].reference, &records[0].rebuild_trace), (&trace, &trace));
        assert_eq!((records[1].outcome, records[1].error.as_str()), (Outcome::Unavailable, "away 0"));
        assert_eq!((records[0].attempts, records[1].attempts), (1, 3));
        assert!(records.last().unwrap().error.contains("left out"));
        assert!(operations.texts.len() <= TEXTS_MAX + 1);
    }
}
