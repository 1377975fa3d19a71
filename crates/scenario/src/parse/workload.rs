//! The load and how its clients behave.

use crate::named::Named;
use crate::section::{Log, Section};
use crate::workload::{AbsentIds, AbsentReads, ArrivalProcess, Popularity, Retry, Workload};

#[derive(Clone, Copy)]
enum Kind {
    One,
    Hot,
    Uniform,
    Zipf,
}

impl Named for Kind {
    const NAMES: &'static [(&'static str, Self)] =
        &[("one", Self::One), ("hot", Self::Hot), ("uniform", Self::Uniform), ("zipf", Self::Zipf)];
}

#[derive(Clone, Copy)]
enum Ids {
    Fixed,
    Random,
}

impl Named for Ids {
    const NAMES: &'static [(&'static str, Self)] = &[("fixed", Self::Fixed), ("random", Self::Random)];
}

#[derive(Clone, Copy)]
enum RetryPolicy {
    Never,
    Fixed,
    Exponential,
    Budget,
}

impl Named for RetryPolicy {
    const NAMES: &'static [(&'static str, Self)] = &[
        ("never", Self::Never),
        ("fixed", Self::Fixed),
        ("exponential", Self::Exponential),
        ("budget", Self::Budget),
    ];
}

pub(super) fn workload(mut section: Section<'_>, log: &mut Log<'_>) -> Workload {
    let keys = section.integer32(log, "keys", 1..=100_000, Some(1));
    let popularity = popularity(&mut section, keys, log);
    let rate_per_s = section.integer32(log, "rate_per_s", 1..=100_000, None);
    let arrivals = section.choice(log, "arrivals", Some(ArrivalProcess::Poisson));
    let boundaries = section.integer32(log, "boundaries", 0..=1_000, Some(5));
    let window_ms = section.optional32(log, "window_ms", 100..=3_600_000);
    if boundaries == 0 && section.is_sound(&["boundaries"]) && !section.has("window_ms") {
        let why = "0 boundaries say nothing of how long the load runs; give window_ms";
        section.tell(log, "boundaries", why);
    }
    let told_before = log.count();
    let absent = section.optional_section(log, "absent").map(|absent_section| absent(absent_section, log));
    let is_absent_sound = log.count() == told_before;
    let insert_every_ms = section.optional32(log, "insert_every_ms", 10..=60_000);
    let is_fixed = absent.is_some_and(|absent| matches!(absent.ids, AbsentIds::Fixed { .. }));
    if insert_every_ms.is_some() && !is_fixed && is_absent_sound {
        let why = "the rows that are inserted are those of [workload.absent] with ids = \"fixed\"";
        section.tell(log, "insert_every_ms", why);
    }
    let update_every_ms = section.optional32(log, "update_every_ms", 10..=60_000);
    let retry = section.optional_section(log, "retry").map_or(Retry::Never, |table| retry(table, log));
    let request_deadline_ms = section.integer32(log, "request_deadline_ms", 1..=60_000, Some(10_000));
    section.finish(log);
    Workload {
        keys,
        popularity,
        rate_per_s,
        arrivals,
        boundaries,
        window_ms,
        absent,
        insert_every_ms,
        update_every_ms,
        retry,
        request_deadline_ms,
    }
}

fn popularity(section: &mut Section<'_>, keys: u32, log: &mut Log<'_>) -> Popularity {
    let default = if keys == 1 { Kind::One } else { Kind::Uniform };
    let kind = section.choice(log, "popularity", Some(default));
    if !section.is_sound(&["popularity"]) {
        section.pass_over(&["zipf_exponent", "hot_share"]);
        return Popularity::Uniform;
    }
    if matches!(kind, Kind::One) && keys > 1 {
        section.tell(log, "popularity", format!("\"one\" reads one key, but keys = {keys}"));
    }
    if matches!(kind, Kind::Hot) && keys == 1 && section.is_sound(&["keys"]) {
        section.tell(log, "popularity", "\"hot\" needs other keys beside the hot one, but keys = 1");
    }
    if !matches!(kind, Kind::Zipf) {
        section.refuse(log, &["zipf_exponent"], "only popularity = \"zipf\" has it");
    }
    if !matches!(kind, Kind::Hot) {
        section.refuse(log, &["hot_share"], "only popularity = \"hot\" has it");
    }
    match kind {
        Kind::One => Popularity::One,
        Kind::Uniform => Popularity::Uniform,
        Kind::Zipf => Popularity::Zipf { exponent: section.positive(log, "zipf_exponent", 3.0, Some(1.0)) },
        Kind::Hot => {
            let share = section.positive(log, "hot_share", 1.0, None);
            if share >= 1.0 && section.is_sound(&["hot_share"]) {
                section.tell(log, "hot_share", "must be below 1, or nobody reads the other keys");
            }
            Popularity::Hot { share }
        }
    }
}

fn absent(mut section: Section<'_>, log: &mut Log<'_>) -> AbsentReads {
    let share = section.positive(log, "share", 1.0, None);
    let ids = section.choice(log, "ids", Some(Ids::Fixed));
    if !section.is_sound(&["ids"]) {
        section.pass_over(&["count"]);
        section.finish(log);
        return AbsentReads { share, ids: AbsentIds::Random };
    }
    let ids = match ids {
        Ids::Fixed => AbsentIds::Fixed { count: section.integer32(log, "count", 1..=10_000, Some(10)) },
        Ids::Random => {
            section.refuse(log, &["count"], "random ids are all different; only ids = \"fixed\" has it");
            AbsentIds::Random
        }
    };
    section.finish(log);
    AbsentReads { share, ids }
}

/// How clients come again: of the workload, or of one rung.
pub(super) fn retry(mut section: Section<'_>, log: &mut Log<'_>) -> Retry {
    let retry = match section.required_choice(log, "policy") {
        Some(RetryPolicy::Never) => {
            let why = "who never comes again has it not";
            section.refuse(log, &["attempts", "backoff_ms", "backoff_ms_max", "share"], why);
            Retry::Never
        }
        Some(policy) => again(&mut section, policy, log),
        // Whether its keys fit cannot be said, but whether they are any.
        None => {
            section.pass_over(&["attempts", "backoff_ms", "backoff_ms_max", "share"]);
            Retry::Never
        }
    };
    section.finish(log);
    retry
}

fn again(section: &mut Section<'_>, policy: RetryPolicy, log: &mut Log<'_>) -> Retry {
    let attempts = section.integer32(log, "attempts", 2..=100, Some(3));
    let backoff_ms = section.integer32(log, "backoff_ms", 1..=60_000, Some(100));
    if !matches!(policy, RetryPolicy::Budget) {
        section.refuse(log, &["share"], "only policy = \"budget\" has it");
    }
    if matches!(policy, RetryPolicy::Fixed) {
        section.refuse(log, &["backoff_ms_max"], "only \"exponential\" and \"budget\" have it");
        return Retry::Fixed { attempts, backoff_ms };
    }
    let most = backoff_ms.saturating_mul(10).min(60_000);
    let least = if section.is_sound(&["backoff_ms"]) { backoff_ms } else { 1 };
    let backoff_ms_max = section.integer32(log, "backoff_ms_max", least..=60_000, Some(most));
    if matches!(policy, RetryPolicy::Exponential) {
        return Retry::Exponential { attempts, backoff_ms, backoff_ms_max };
    }
    let share = section.positive(log, "share", 1.0, Some(0.1));
    Retry::Budget { attempts, backoff_ms, backoff_ms_max, share }
}
