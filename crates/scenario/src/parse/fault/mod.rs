//! One fault: its name, where and when it happens, how often. What it does stands in `action`.

mod action;
mod together;

use super::claim::Facts;
use crate::fault::{Fault, FaultKind, Once, Which};
use crate::model::Fleet;
use crate::named::Named;
use crate::section::{At, Log, Section};
use crate::words::nearest;

pub(super) use together::{check_together, check_window, fits_fleet};

/// The longest that anything is waited for or held, milliseconds.
const MS_MAX: u32 = 3_600_000;
/// The longest between the beginning of a rebuild and the fault that waits for it, milliseconds.
const AFTER_MS_MAX: u32 = 60_000;
const TIMES_MAX: u32 = 100;
/// What is waited for, and whose lock or flight decides, where the file does not say.
const KEY_DEFAULT: &str = "item-1";

/// A fault that was read, and where it stands.
pub(super) struct Read {
    pub(super) fault: Fault,
    pub(super) at: At,
    pub(super) at_ms: At,
    /// Whether nothing is wrong with it.
    pub(super) is_sound: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Wait {
    Now,
    Rebuild,
}

impl Named for Wait {
    const NAMES: &'static [(&'static str, Self)] = &[("now", Self::Now), ("rebuild", Self::Rebuild)];
}

/// Reads one fault. `None` where its kind is not known, and so nothing can be said of its other keys.
pub(super) fn fault(
    mut section: Section<'_>,
    fleet: &Fleet,
    facts: &Facts<'_>,
    log: &mut Log<'_>,
) -> Option<Read> {
    let told_before = log.count();
    let kind = section.required_choice::<FaultKind>(log, "kind");
    let name = if section.has("name") {
        section.label(log, "name", 40)
    } else {
        kind.map_or("", FaultKind::name).into()
    };
    let rungs = rungs(&mut section, facts, log);
    let at_ms = section.integer32(log, "at_ms", 0..=MS_MAX, None);
    let once = section.choice(log, "once", Some(Wait::Now));
    let after_ms = after(&mut section, once, log);
    let key = section.optional_text(log, "key", 128);
    let times = section.integer32(log, "times", 1..=TIMES_MAX, Some(1));
    let Some(kind) = kind else {
        section.pass_over(&["for_ms", "every_ms"]);
        section.pass_over(action::KEYS);
        section.finish(log);
        return None;
    };
    let for_ms = held(&mut section, kind, log);
    let every_ms = every(&mut section, kind, times, for_ms, log);
    let row = key.clone().unwrap_or_else(|| KEY_DEFAULT.to_owned());
    let action = action::action(&mut section, kind, &row, log);
    if once == Wait::Rebuild && kind.is_load() {
        section.tell(log, "once", "the load is drawn beforehand: it waits for nothing");
    }
    let once = if once == Wait::Rebuild { Once::Rebuild { key: row.clone(), after_ms } } else { Once::Now };
    let at = section.at().clone();
    let mut read = Read {
        fault: Fault { name, rungs, at_ms, once, for_ms, times, every_ms, action },
        at,
        at_ms: section.at_key("at_ms"),
        is_sound: false,
    };
    check_key(&mut section, &read.fault, &row, facts, log);
    together::check_alone(&mut section, &read.fault, fleet, facts, log);
    section.finish(log);
    read.is_sound = log.count() == told_before;
    Some(read)
}

fn rungs(section: &mut Section<'_>, facts: &Facts<'_>, log: &mut Log<'_>) -> Option<Vec<String>> {
    if !section.has("rungs") {
        section.pass_over(&["rungs"]);
        return None;
    }
    let names = section.texts(log, "rungs", super::RUNGS_MAX, 40);
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            section.tell(log, "rungs", format!("names {name:?} twice"));
        } else if facts.has_no_rung(name) {
            let hint = nearest(name, facts.rungs.iter().map(|rung| rung.name.as_str()));
            section.tell(log, "rungs", format!("there is no rung {name:?}{hint}"));
        }
    }
    Some(names)
}

/// How long after the beginning of the rebuild that it waits for.
fn after(section: &mut Section<'_>, once: Wait, log: &mut Log<'_>) -> u32 {
    // Where `once` itself is wrong, nothing can be said of what it brings.
    if once != Wait::Rebuild && section.is_sound(&["once"]) {
        section.refuse(log, &["after_ms"], "only once = \"rebuild\" has something to come after");
        return 0;
    }
    section.integer32(log, "after_ms", 0..=AFTER_MS_MAX, Some(0))
}

/// How long it is held.
fn held(section: &mut Section<'_>, kind: FaultKind, log: &mut Log<'_>) -> u32 {
    if !kind.has_repair() {
        section.refuse(log, &["for_ms"], &format!("kind = \"{}\" has no repair to wait for", kind.name()));
        return 0;
    }
    let least = u32::from(kind.is_load());
    section.integer32(log, "for_ms", least..=MS_MAX, None)
}

/// From one injection to the next; 0 where there is one only.
fn every(section: &mut Section<'_>, kind: FaultKind, times: u32, for_ms: u32, log: &mut Log<'_>) -> u32 {
    if kind.happens_once() {
        let why = format!("kind = \"{}\" happens once", kind.name());
        section.refuse(log, &["every_ms"], &why);
        if times > 1 {
            section.tell(log, "times", why);
        }
        return 0;
    }
    if !section.has("every_ms") && times <= 1 {
        section.pass_over(&["every_ms"]);
        return 0;
    }
    let every_ms = section.integer32(log, "every_ms", 1..=MS_MAX, None);
    if !section.has("times") {
        section.tell(log, "every_ms", "only what happens more than once has it: give times");
    } else if section.has("every_ms") && section.is_sound(&["every_ms", "for_ms"]) && every_ms < for_ms {
        let why = format!("the next would begin within the {for_ms} ms that this one is held for");
        section.tell(log, "every_ms", why);
    }
    every_ms
}

/// Whether a row is named exactly where one is looked at, and somebody reads it.
fn check_key(section: &mut Section<'_>, fault: &Fault, row: &str, facts: &Facts<'_>, log: &mut Log<'_>) {
    let is_used = matches!(fault.once, Once::Rebuild { .. })
        || matches!(fault.action.which(), Some(Which::Holder { .. } | Which::Leader { .. }));
    if !is_used {
        if section.is_sound(&["once", "part", "which", "some", "index"]) {
            let why = "only once = \"rebuild\" and which = \"holder\" or \"leader\" look at a row";
            section.refuse(log, &["key"], why);
        }
    } else if facts.is_load_sound && section.is_sound(&["key"]) && facts.workload.shares().of(row) == 0.0 {
        let why = format!("nobody reads {row:?}; the keys are item-1 to item-{}", facts.workload.keys);
        section.tell(log, "key", why);
    }
}
