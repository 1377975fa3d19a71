//! The lines of a witness, for every form.

use herd_judge::Witness;

use crate::words::count;

/// One rebuild, request or write of a witness.
pub(crate) struct Line {
    /// What it was.
    pub(crate) what: String,
    /// Where it can be looked up; may be empty.
    pub(crate) trace: String,
}

/// The first so many of each kind, and how many more there are.
pub(crate) fn lines(witness: &Witness, each_max: usize) -> (Vec<Line>, u64) {
    let rebuilds = witness.rebuilds.iter().take(each_max).map(|rebuild| {
        let took = rebuild.end_us.map_or_else(
            || "without an end".to_owned(),
            |end_us| format!("{} ms", count(end_us.saturating_sub(rebuild.start_us) / 1_000)),
        );
        let after_ms = rebuild.start_us.saturating_sub(witness.at_us) / 1_000;
        Line {
            what: format!(
                "rebuild {} by {} ({}, token {}), {} ms after the first, {took}",
                rebuild.rebuild,
                rebuild.node,
                rebuild.reason,
                rebuild.token,
                count(after_ms)
            ),
            trace: rebuild.trace.clone(),
        }
    });
    let operations = witness.operations.iter().take(each_max).map(|operation| Line {
        what: format!("request {} {}: {}", operation.seq, operation.node, operation.what),
        trace: operation.reference.clone(),
    });
    let writes = witness.writes.iter().take(each_max).map(|write| Line {
        what: format!(
            "write of a {} by {}: {}, generation {}, token {}, epoch {}, version {}, {} ms after the first",
            write.kind,
            write.node,
            write.verdict,
            write.generation,
            write.token,
            write.epoch,
            write.version,
            count(write.at_us.saturating_sub(witness.at_us) / 1_000)
        ),
        trace: write.trace.clone(),
    });
    let all: Vec<Line> = rebuilds.chain(operations).chain(writes).collect();
    let total = witness.rebuilds_total + witness.operations_total + witness.writes_total;
    let more = total.saturating_sub(all.len() as u64);
    (all, more)
}
