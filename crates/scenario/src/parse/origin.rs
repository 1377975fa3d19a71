//! The slow origin.

use super::Event;
use crate::model::{Failing, Origin, OriginModel, Slow};
use crate::named::Named;
use crate::section::{Log, Section};

#[derive(Clone, Copy)]
enum Model {
    Fixed,
    LogNormal,
}

impl Named for Model {
    const NAMES: &'static [(&'static str, Self)] = &[("fixed", Self::Fixed), ("log-normal", Self::LogNormal)];
}

pub(super) fn origin(mut section: Section<'_>, events: &mut Vec<Event>, log: &mut Log<'_>) -> Origin {
    let model = model(&mut section, log);
    let holds_connection = section.boolean(log, "holds_connection", false);
    let is_failing = section.has("failing");
    let table = section.section(log, "failing");
    let failing = is_failing.then(|| failing(table, events, log));
    let is_slow = section.has("slow");
    let table = section.section(log, "slow");
    let slow = is_slow.then(|| slow(table, events, log));
    section.finish(log);
    Origin { model, holds_connection, failing, slow }
}

fn model(section: &mut Section<'_>, log: &mut Log<'_>) -> OriginModel {
    let median_ms = section.integer32(log, "latency_ms", 1..=600_000, None);
    let model = section.choice(log, "model", Some(Model::Fixed));
    if !section.is_sound(&["model"]) {
        section.pass_over(&["sigma", "max_ms"]);
    }
    match model {
        Model::Fixed if !section.is_sound(&["model"]) => OriginModel::Fixed { latency_ms: median_ms },
        Model::Fixed => {
            let why = "only a log-normal origin has it; say model = \"log-normal\"";
            section.refuse(log, &["sigma", "max_ms"], why);
            OriginModel::Fixed { latency_ms: median_ms }
        }
        Model::LogNormal => {
            let sigma = section.positive(log, "sigma", 3.0, Some(0.5));
            let longest = median_ms.saturating_mul(10).min(600_000);
            let max_ms = section.integer32(log, "max_ms", median_ms..=600_000, Some(longest));
            OriginModel::LogNormal { median_ms, sigma, max_ms }
        }
    }
}

fn failing(mut section: Section<'_>, events: &mut Vec<Event>, log: &mut Log<'_>) -> Failing {
    let failing = Failing {
        at_ms: section.integer32(log, "at_ms", 0..=3_600_000, None),
        for_ms: section.integer32(log, "for_ms", 1..=3_600_000, None),
        share: section.positive(log, "share", 1.0, Some(1.0)),
    };
    events.push(Event { at: section.at_key("at_ms"), at_ms: failing.at_ms });
    section.finish(log);
    failing
}

fn slow(mut section: Section<'_>, events: &mut Vec<Event>, log: &mut Log<'_>) -> Slow {
    let slow = Slow {
        at_ms: section.integer32(log, "at_ms", 0..=3_600_000, None),
        for_ms: section.integer32(log, "for_ms", 1..=3_600_000, None),
        factor: section.positive(log, "factor", 100.0, None),
    };
    events.push(Event { at: section.at_key("at_ms"), at_ms: slow.at_ms });
    section.finish(log);
    slow
}
