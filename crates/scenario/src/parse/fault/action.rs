//! What a fault does, kind by kind: which keys each has.

use crate::fault::{FaultAction, FaultKind, FaultPart, LinkRule, Peer, Target, Which};
use crate::named::Named;
use crate::section::{Log, Section};
use crate::words::quoted;

const NODES_MAX: u32 = 500;
const HOW_LINKS: &[&str] = &["black_hole", "reset", "delay_ms", "loss"];

const PROCESSES: &[FaultKind] = &[FaultKind::Pause, FaultKind::Kill, FaultKind::Stop];
const NODES: &[FaultKind] = &[FaultKind::Pause, FaultKind::Kill, FaultKind::Stop, FaultKind::Link];

/// The keys that not every kind has, and the kinds that have them.
const KEYS_OF: &[(&str, &[FaultKind])] = &[
    ("part", PROCESSES),
    ("which", NODES),
    ("some", NODES),
    ("index", NODES),
    ("from", &[FaultKind::ScaleOut]),
    ("room_kb", &[FaultKind::RedisEvict]),
    ("to", &[FaultKind::Link]),
    ("black_hole", &[FaultKind::Link]),
    ("reset", &[FaultKind::Link]),
    ("delay_ms", &[FaultKind::Link]),
    ("jitter_ms", &[FaultKind::Link]),
    ("loss", &[FaultKind::Link]),
    ("queries", &[FaultKind::StuckQuery]),
    ("rate", &[FaultKind::LockClock]),
    ("factor", &[FaultKind::Burst]),
    ("rate_per_s", &[FaultKind::Flood]),
    ("share", &[FaultKind::HangUp]),
];

/// The same keys, to pass over where the kind is not known.
pub(super) const KEYS: &[&str] = &{
    let mut keys = [""; KEYS_OF.len()];
    let mut index = 0;
    while index < keys.len() {
        keys[index] = KEYS_OF[index].0;
        index += 1;
    }
    keys
};

/// Reads the keys of this kind and refuses those of others.
pub(super) fn action(
    section: &mut Section<'_>,
    kind: FaultKind,
    row: &str,
    log: &mut Log<'_>,
) -> FaultAction {
    for (key, kinds) in KEYS_OF.iter().filter(|(_, kinds)| !kinds.contains(&kind)) {
        let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
        let verb = if names.len() == 1 { "has" } else { "have" };
        section.refuse(log, &[*key], &format!("only kind = {} {verb} it", quoted(&names)));
    }
    match kind {
        FaultKind::Pause => FaultAction::Pause(target(section, row, log)),
        FaultKind::Kill => FaultAction::Kill(target(section, row, log)),
        FaultKind::Stop => FaultAction::Stop(target(section, row, log)),
        FaultKind::RollingRestart => FaultAction::RollingRestart,
        FaultKind::ScaleOut => {
            FaultAction::ScaleOut { from: section.integer32(log, "from", 1..=NODES_MAX, None) }
        }
        FaultKind::RedisRestartEmpty => FaultAction::RedisRestartEmpty,
        FaultKind::RedisRestartAof => FaultAction::RedisRestartAof,
        FaultKind::RedisFlush => FaultAction::RedisFlush,
        FaultKind::RedisEvict => {
            FaultAction::RedisEvict { room_kb: section.integer32(log, "room_kb", 0..=1_000_000, None) }
        }
        FaultKind::RedisPromote => FaultAction::RedisPromote,
        FaultKind::Link => link(section, row, log),
        FaultKind::StuckQuery => {
            FaultAction::StuckQuery { queries: section.integer32(log, "queries", 1..=1_000, None) }
        }
        FaultKind::LockClock => {
            let rate = section.positive(log, "rate", 100.0, None);
            if rate == 1.0 {
                section.tell(log, "rate", "changes nothing: 1 is the rate of a clock that is right");
            }
            FaultAction::LockClock { rate }
        }
        FaultKind::Burst => {
            let factor = section.positive(log, "factor", 100.0, None);
            if section.is_sound(&["factor"]) && factor <= 1.0 {
                section.tell(log, "factor", format!("must be a number above 1 up to 100, not {factor}"));
            }
            FaultAction::Burst { factor }
        }
        FaultKind::Flood => {
            FaultAction::Flood { rate_per_s: section.integer32(log, "rate_per_s", 1..=100_000, None) }
        }
        FaultKind::HangUp => FaultAction::HangUp { share: section.positive(log, "share", 1.0, None) },
    }
}

fn target(section: &mut Section<'_>, row: &str, log: &mut Log<'_>) -> Target {
    let Some(part) = section.required_choice::<FaultPart>(log, "part") else {
        section.pass_over(&["which", "some", "index"]);
        return Target { part: FaultPart::CacheNode, which: Which::All };
    };
    let which = which(section, row, log);
    if part != FaultPart::CacheNode && which != Which::All {
        let given: Vec<&str> =
            ["which", "some", "index"].into_iter().filter(|key| section.has(key)).collect();
        for key in given {
            section.tell(log, key, format!("there is one {part}: only cache nodes are chosen from"));
        }
    }
    Target { part, which }
}

#[derive(Clone, Copy)]
enum Word {
    All,
    Minority,
    Holder,
    Leader,
}

impl Named for Word {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("all", Self::All),
        ("minority", Self::Minority),
        ("holder", Self::Holder),
        ("leader", Self::Leader),
    ];
}

/// `which`, `some` or `index`: one of them, or none for all.
fn which(section: &mut Section<'_>, row: &str, log: &mut Log<'_>) -> Which {
    let word = section.choice(log, "which", Some(Word::All));
    let some = section.optional32(log, "some", 1..=NODES_MAX);
    let index = section.optional_numbers(log, "index", NODES_MAX);
    let given: Vec<&str> = ["which", "some", "index"].into_iter().filter(|key| section.has(key)).collect();
    if let [_, second, ..] = given[..] {
        section.tell(log, second, "which, some and index say the same in three ways: give one of them");
    }
    if let Some(some) = some {
        return Which::Some(some);
    }
    if let Some(index) = index {
        return Which::Index(index);
    }
    match word {
        Word::All => Which::All,
        Word::Minority => Which::Minority,
        Word::Holder => Which::Holder { key: row.to_owned() },
        Word::Leader => Which::Leader { key: row.to_owned() },
    }
}

fn link(section: &mut Section<'_>, row: &str, log: &mut Log<'_>) -> FaultAction {
    let to = section.choice::<Peer>(log, "to", None);
    let nodes = which(section, row, log);
    let black_hole = section.boolean(log, "black_hole", false);
    let reset = section.boolean(log, "reset", false);
    let delay_ms = section.optional32(log, "delay_ms", 1..=60_000);
    let jitter_ms = section.integer32(log, "jitter_ms", 0..=60_000, Some(0));
    let loss = section.positive(log, "loss", 0.9, Some(0.9));
    let given: Vec<&str> = HOW_LINKS.iter().copied().filter(|key| section.has(key)).collect();
    let one_of = "black_hole = true, reset = true, delay_ms or loss";
    match given[..] {
        [] => log.add(section.at(), format!("does not say how the link goes bad: give one of {one_of}")),
        [_, second, ..] => {
            section.tell(log, second, format!("a link goes bad in one way: give one of {one_of}"));
        }
        [only] => {
            let is_off = (only == "black_hole" && !black_hole) || (only == "reset" && !reset);
            if is_off && section.is_sound(HOW_LINKS) {
                section.tell(log, only, format!("does nothing as false: give one of {one_of}"));
            }
        }
    }
    if delay_ms.is_none() {
        section.refuse(log, &["jitter_ms"], "varies a delay: only a link with delay_ms has it");
    }
    let rule = match delay_ms {
        Some(delay_ms) => LinkRule::Delay { delay_ms, jitter_ms },
        None if black_hole => LinkRule::BlackHole,
        None if reset => LinkRule::Reset,
        None => LinkRule::Loss { share: loss },
    };
    FaultAction::Link { nodes, to, rule }
}
