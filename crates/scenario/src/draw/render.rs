//! A fault as the TOML that reads as this fault.

use crate::fault::{Fault, FaultAction, FaultPart, LinkRule, Once, Which};

/// The table `[[fault]]`, ending with a line break.
pub(super) fn table(fault: &Fault) -> String {
    let mut lines = vec!["[[fault]]".to_owned(), format!("name = {:?}", fault.name)];
    let mut put = |key: &str, value: String| lines.push(format!("{key} = {value}"));
    put("kind", text(fault.action.kind().name()));
    if let Some(rungs) = &fault.rungs {
        put("rungs", format!("{rungs:?}"));
    }
    put("at_ms", fault.at_ms.to_string());
    let mut key = None;
    if let Once::Rebuild { key: row, after_ms } = &fault.once {
        put("once", text("rebuild"));
        if *after_ms > 0 {
            put("after_ms", after_ms.to_string());
        }
        key = Some(row);
    }
    if fault.action.has_repair() {
        put("for_ms", fault.for_ms.to_string());
    }
    if fault.times > 1 {
        put("times", fault.times.to_string());
        put("every_ms", fault.every_ms.to_string());
    }
    match &fault.action {
        FaultAction::Pause(target) | FaultAction::Kill(target) | FaultAction::Stop(target) => {
            put("part", text(target.part.name()));
        }
        FaultAction::Link { to, rule, .. } => {
            put("to", text(to.name()));
            match *rule {
                LinkRule::BlackHole => put("black_hole", "true".to_owned()),
                LinkRule::Reset => put("reset", "true".to_owned()),
                LinkRule::Delay { delay_ms, jitter_ms } => {
                    put("delay_ms", delay_ms.to_string());
                    put("jitter_ms", jitter_ms.to_string());
                }
                LinkRule::Loss { share } => put("loss", format!("{share:?}")),
            }
        }
        FaultAction::ScaleOut { from } => put("from", from.to_string()),
        FaultAction::RedisEvict { room_kb } => put("room_kb", room_kb.to_string()),
        FaultAction::StuckQuery { queries } => put("queries", queries.to_string()),
        FaultAction::LockClock { rate } => put("rate", format!("{rate:?}")),
        FaultAction::Burst { factor } => put("factor", format!("{factor:?}")),
        FaultAction::Flood { rate_per_s } => put("rate_per_s", rate_per_s.to_string()),
        FaultAction::HangUp { share } => put("share", format!("{share:?}")),
        FaultAction::RollingRestart
        | FaultAction::RedisRestartEmpty
        | FaultAction::RedisRestartAof
        | FaultAction::RedisFlush
        | FaultAction::RedisPromote => {}
    }
    match fault.action.which().filter(|_| fault.action.chooses_nodes()) {
        Some(Which::Some(some)) => put("some", some.to_string()),
        Some(Which::Index(index)) => put("index", format!("{index:?}")),
        Some(Which::All) => put("which", text("all")),
        Some(Which::Minority) => put("which", text("minority")),
        Some(Which::Holder { key: row }) => {
            put("which", text("holder"));
            key = Some(row);
        }
        Some(Which::Leader { key: row }) => {
            put("which", text("leader"));
            key = Some(row);
        }
        None => {}
    }
    if let Some(key) = key {
        put("key", text(key));
    }
    lines.join("\n") + "\n"
}

fn text(text: &str) -> String {
    format!("{text:?}")
}

impl FaultAction {
    /// Whether it is done to some of the cache nodes.
    fn chooses_nodes(&self) -> bool {
        match self {
            Self::Pause(target) | Self::Kill(target) | Self::Stop(target) => {
                target.part == FaultPart::CacheNode
            }
            Self::Link { .. } => true,
            _ => false,
        }
    }
}
