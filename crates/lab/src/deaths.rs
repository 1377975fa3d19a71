//! Parts of a fleet that ended although nobody asked them to, each told once.

use herd_experiment::testbed::{Part, PartFailure};
use std::collections::HashMap;

/// Lines of a dead part's log that are shown.
const LOG_LINES: usize = 5;
/// Deaths of one look that are told in full.
const TOLD_MAX: usize = 5;

/// What has been seen of a fleet's deaths so far.
#[derive(Debug, Default)]
pub(crate) struct Deaths {
    /// Whether it was told; a part that lives again is forgotten.
    seen: HashMap<(Part, u32), bool>,
}

impl Deaths {
    /// The lines to print after a look. A death is told at the second look that finds it: a fleet that somebody takes down
    /// as a whole is gone by then.
    pub(crate) fn look(&mut self, failures: &[PartFailure]) -> Vec<String> {
        let key = |failure: &PartFailure| (failure.part, failure.index);
        self.seen.retain(|part, _| failures.iter().any(|failure| key(failure) == *part));
        let mut due = Vec::new();
        for failure in failures {
            match self.seen.get_mut(&key(failure)) {
                None => {
                    self.seen.insert(key(failure), false);
                }
                Some(told) => {
                    if !std::mem::replace(told, true) {
                        due.push(failure);
                    }
                }
            }
        }
        let mut lines: Vec<String> = due.iter().take(TOLD_MAX).map(|failure| told(failure)).collect();
        if due.len() > TOLD_MAX {
            lines.push(format!("and {} more parts ended", due.len() - TOLD_MAX));
        }
        lines
    }
}

/// What ended, how, and its last words.
pub(crate) fn told(failure: &PartFailure) -> String {
    let PartFailure { part, index, how, log_tail } = failure;
    let log: Vec<&str> = log_tail.lines().filter(|line| !line.trim().is_empty()).collect();
    let mut text = format!("{part} {index} ended although nobody asked it to: {how}");
    for line in &log[log.len().saturating_sub(LOG_LINES)..] {
        text.push_str("\n  | ");
        text.push_str(line);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(index: u32) -> PartFailure {
        let log_tail = (0..9).map(|line| format!("line {line}\n")).collect();
        PartFailure { part: Part::CacheNode, index, how: "exit status: 1".to_owned(), log_tail }
    }

    /// A death is told once, with the end of its log, and again only after the part lived again; many at once are counted.
    #[test]
    fn each_death_is_told_once() {
        let mut deaths = Deaths::default();
        assert!(deaths.look(&[failure(3)]).is_empty());
        let told = deaths.look(&[failure(3)]);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains(" 3 ended") && told[0].contains("exit status: 1"), "{told:?}");
        assert!(told[0].ends_with("| line 8") && !told[0].contains("line 3"), "{told:?}");
        assert!(deaths.look(&[failure(3)]).is_empty());
        assert!(deaths.look(&[]).is_empty() && deaths.look(&[failure(3)]).is_empty());
        assert_eq!(deaths.look(&[failure(3)]).len(), 1);
        let many: Vec<PartFailure> = (10..30).map(failure).collect();
        deaths.look(&many);
        let told = deaths.look(&many);
        assert_eq!(told.len(), TOLD_MAX + 1);
        assert_eq!(told[TOLD_MAX], "and 15 more parts ended");
    }
}
