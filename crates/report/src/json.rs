//! The machine's form.

use herd_judge::Judgement;

/// `results.json`: one object, pretty-printed, ending in a line's end.
#[must_use]
pub fn results_json(judgement: &Judgement) -> String {
    let mut text = serde_json::to_string_pretty(judgement).expect("a judgement is plain data");
    text.push('\n');
    text
}
