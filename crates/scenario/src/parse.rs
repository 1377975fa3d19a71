//! The sections of a scenario file, one function each.

use std::collections::BTreeSet;

use toml_edit::Document;

use crate::mistakes::{Mistake, Mistakes};
use crate::model::{
    AtMost, Claim, Expect, Fleet, Layer, Lock, OnUnavailable, OnWaitTimeout, Origin, OriginModel, Overrides,
    PolicyBase, Property, Routing, Rung, Scenario, Scope, WriteGuard,
};
use crate::section::{Log, Section, nearest, quoted, shown};
use crate::workload::{ArrivalProcess, Popularity, Workload};

const FILE_BYTES_MAX: usize = 256 * 1024;
const NODES: std::ops::RangeInclusive<u32> = 1..=500;
const RUNGS_MAX: usize = 16;
const CLAIMS_MAX: usize = 64;

impl Scenario {
    /// Reads one scenario file. `file` only names it in messages.
    ///
    /// # Errors
    /// Every mistake of the file at once, ordered by line.
    ///
    /// ```
    /// let mistakes = herd_scenario::Scenario::parse("my.toml", "nmae = \"x\"").unwrap_err();
    /// assert!(mistakes.to_string().contains("my.toml:1: nmae: unknown key; did you mean \"name\"?"));
    /// ```
    pub fn parse(file: &str, text: &str) -> Result<Self, Mistakes> {
        let mut log = Log::new(text);
        if text.len() > FILE_BYTES_MAX {
            let message = format!("the file is longer than {FILE_BYTES_MAX} bytes");
            return Err(one_mistake(file, 1, "the file", message));
        }
        let document = Document::parse(text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count() + 1;
            one_mistake(file, line, "TOML", error.message().replace('\n', "; "))
        })?;
        let scenario = read(document.as_table(), &mut log);
        let list = log.into_list();
        if list.is_empty() { Ok(scenario) } else { Err(Mistakes { file: file.to_owned(), list }) }
    }

    /// Applies what the command line changes.
    ///
    /// # Errors
    /// Every impossible value at once: a rung that does not exist, nodes out of range, no claim left.
    pub fn apply(&mut self, overrides: &Overrides) -> Result<(), Mistakes> {
        let mut list = Vec::new();
        let mut wrong = |place: &str, message: String| {
            list.push(Mistake { line: 0, place: place.to_owned(), message });
        };
        if let Some(nodes) = overrides.nodes {
            if !NODES.contains(&nodes) {
                wrong("nodes", format!("must be {} to {}, not {nodes}", NODES.start(), NODES.end()));
            }
            self.fleet.nodes = nodes;
        }
        if let Some(seed) = overrides.seed {
            self.seed = seed;
        }
        if let Some(names) = &overrides.rungs {
            let known: Vec<&str> = self.rungs.iter().map(|rung| rung.name.as_str()).collect();
            for name in names.iter().filter(|name| !known.contains(&name.as_str())) {
                let hint = nearest(name, known.iter().copied());
                wrong("rungs", format!("there is no rung {name:?}, only {}{hint}", quoted(&known)));
            }
            if names.is_empty() {
                wrong("rungs", "at least one rung is needed".to_owned());
            }
            self.rungs.retain(|rung| names.contains(&rung.name));
            self.claims.retain(|claim| claim.rung.as_ref().is_none_or(|rung| names.contains(rung)));
        }
        if self.claims.is_empty() {
            wrong("rungs", "no claim is made about these rungs".to_owned());
        }
        if list.is_empty() { Ok(()) } else { Err(Mistakes { file: "overrides".to_owned(), list }) }
    }
}

fn one_mistake(file: &str, line: usize, place: &str, message: String) -> Mistakes {
    Mistakes { file: file.to_owned(), list: vec![Mistake { line, place: place.to_owned(), message }] }
}

fn read(table: &toml_edit::Table, log: &mut Log<'_>) -> Scenario {
    let mut root = Section::root(table);
    let name = root.label(log, "name", 64);
    let hypothesis = root.text(log, "hypothesis", 2_000);
    let expect = root.choice(log, "expect", Some(Expect::Valid));
    // TOML's integers are signed.
    let seed = root.integer(log, "seed", 0..=i64::MAX as u64, Some(1));
    let fleet = fleet(root.section(log, "fleet"), log);
    let origin = origin(root.section(log, "origin"), log);
    let workload = workload(root.section(log, "workload"), log);
    let policy = policy(root.section(log, "policy"), &origin, log);
    let mut rungs: Vec<Rung> = Vec::new();
    for section in root.sections(log, "rung", RUNGS_MAX) {
        let at = section.at_key("name");
        let rung = rung(section, log);
        if rungs.iter().any(|other| other.name == rung.name) && !rung.name.is_empty() {
            log.add(&at, format!("there is already a rung {:?}", rung.name));
        }
        rungs.push(rung);
    }
    let names: BTreeSet<&str> = rungs.iter().map(|rung| rung.name.as_str()).collect();
    let claims = root.sections(log, "claim", CLAIMS_MAX);
    let claims = claims.into_iter().map(|section| claim(section, &names, log)).collect();
    root.finish(log);
    Scenario { name, hypothesis, expect, seed, fleet, origin, workload, policy, rungs, claims }
}

fn fleet(mut section: Section<'_>, log: &mut Log<'_>) -> Fleet {
    let fleet = Fleet {
        nodes: section.integer32(log, "nodes", NODES, Some(50)),
        routing: section.choice(log, "routing", Some(Routing::Spread)),
        origin_pool: section.integer32(log, "origin_pool", 1..=1_000, Some(16)),
    };
    section.finish(log);
    fleet
}

fn origin(mut section: Section<'_>, log: &mut Log<'_>) -> Origin {
    #[derive(Clone, Copy)]
    enum Model {
        Fixed,
        LogNormal,
    }
    impl crate::model::Named for Model {
        const NAMES: &'static [(&'static str, Self)] =
            &[("fixed", Self::Fixed), ("log-normal", Self::LogNormal)];
    }
    let median_ms = section.integer32(log, "latency_ms", 1..=600_000, None);
    let model = match section.choice(log, "model", Some(Model::Fixed)) {
        Model::Fixed => {
            for key in ["sigma", "max_ms"] {
                if section.has(key) {
                    log.add(
                        &section.at_key(key),
                        "only a log-normal origin has it; say model = \"log-normal\"",
                    );
                }
                section.raw(key);
            }
            OriginModel::Fixed { latency_ms: median_ms }
        }
        Model::LogNormal => {
            let sigma = section.positive(log, "sigma", 3.0, Some(0.5));
            let longest = median_ms.saturating_mul(10).min(600_000);
            let max_ms = section.integer32(log, "max_ms", median_ms..=600_000, Some(longest));
            OriginModel::LogNormal { median_ms, sigma, max_ms }
        }
    };
    let holds_connection = section.boolean(log, "holds_connection", false);
    section.finish(log);
    Origin { model, holds_connection, failing: None }
}

fn workload(mut section: Section<'_>, log: &mut Log<'_>) -> Workload {
    #[derive(Clone, Copy)]
    enum Kind {
        One,
        Uniform,
        Zipf,
    }
    impl crate::model::Named for Kind {
        const NAMES: &'static [(&'static str, Self)] =
            &[("one", Self::One), ("uniform", Self::Uniform), ("zipf", Self::Zipf)];
    }
    let keys = section.integer32(log, "keys", 1..=100_000, Some(1));
    let default = if keys == 1 { Kind::One } else { Kind::Uniform };
    let popularity = match section.choice(log, "popularity", Some(default)) {
        Kind::One => Popularity::One,
        Kind::Uniform => Popularity::Uniform,
        Kind::Zipf => Popularity::Zipf { exponent: section.positive(log, "zipf_exponent", 3.0, Some(1.0)) },
    };
    if popularity == Popularity::One && keys > 1 {
        log.add(&section.at_key("popularity"), format!("\"one\" reads one key, but keys = {keys}"));
    }
    if !matches!(popularity, Popularity::Zipf { .. }) && section.raw("zipf_exponent").is_some() {
        log.add(&section.at_key("zipf_exponent"), "only popularity = \"zipf\" has it");
    }
    let workload = Workload {
        keys,
        popularity,
        rate_per_s: section.integer32(log, "rate_per_s", 1..=100_000, None),
        arrivals: section.choice(log, "arrivals", Some(ArrivalProcess::Poisson)),
        boundaries: section.integer32(log, "boundaries", 1..=1_000, Some(5)),
        window_ms: None,
        absent: None,
        insert_every_ms: None,
        retry: crate::workload::Retry::Never,
        request_deadline_ms: section.integer32(log, "request_deadline_ms", 1..=60_000, Some(10_000)),
    };
    section.finish(log);
    workload
}

fn policy(mut section: Section<'_>, origin: &Origin, log: &mut Log<'_>) -> PolicyBase {
    let policy = PolicyBase {
        ttl_ms: section.integer32(log, "ttl_ms", 1..=86_400_000, None),
        rebuild_deadline_ms: section.integer32(log, "rebuild_deadline_ms", 1..=600_000, Some(30_000)),
    };
    let longest_ms = origin.model.longest_ms();
    if policy.rebuild_deadline_ms <= longest_ms {
        let message = format!(
            "no rebuild can end within {} ms: the origin takes up to {longest_ms} ms",
            policy.rebuild_deadline_ms
        );
        log.add(&section.at_key("rebuild_deadline_ms"), message);
    }
    section.finish(log);
    policy
}

fn rung(mut section: Section<'_>, log: &mut Log<'_>) -> Rung {
    let name = section.label(log, "name", 40);
    let layers: Vec<Layer> = section.choices(log, "layers");
    let has_flight = layers.contains(&Layer::SingleFlight);
    let has_lock = layers.contains(&Layer::Lock);
    if has_lock && !has_flight {
        log.add(&section.at_key("layers"), "\"lock\" needs \"single-flight\" under it");
    }
    if section.has("flight_second_look") && !has_flight {
        log.add(&section.at_key("flight_second_look"), "only a rung with \"single-flight\" has it");
    }
    let flight_second_look = section.boolean(log, "flight_second_look", true);
    let guard = if has_lock { WriteGuard::Fenced } else { WriteGuard::Unguarded };
    let write_guard = section.choice(log, "write_guard", Some(guard));
    if section.has("lock") && !has_lock {
        log.add(&section.at_key("lock"), "the rung's layers do not name \"lock\"");
    }
    let lock = lock(section.section(log, "lock"), log);
    section.finish(log);
    Rung {
        name,
        layers,
        flight_second_look,
        lock: has_lock.then_some(lock),
        write_guard,
        flight_until: crate::model::FlightUntil::Written,
        on_origin_error: crate::model::OnOriginError::Share,
        waiter: None,
        stale: None,
        jitter: None,
        negative_ttl_ms: None,
        early_beta: None,
        shed: None,
        local: None,
        start: crate::model::Start::Warm,
        retry: None,
        deploy: None,
        membership: Vec::new(),
    }
}

fn lock(mut section: Section<'_>, log: &mut Log<'_>) -> Lock {
    let lock = Lock {
        expiry_ms: section.integer32(log, "expiry_ms", 1..=600_000, Some(10_000)),
        wait_ms: section.integer32(log, "wait_ms", 0..=60_000, Some(10_000)),
        renew: section.boolean(log, "renew", false),
        second_look: section.boolean(log, "second_look", true),
        on_wait_timeout: section.choice(log, "on_wait_timeout", Some(OnWaitTimeout::Error)),
        on_unavailable: section.choice(log, "on_unavailable", Some(OnUnavailable::FailOpen)),
        unconditional_release: false,
        volatile_tokens: false,
    };
    section.finish(log);
    lock
}

fn claim(mut section: Section<'_>, rungs: &BTreeSet<&str>, log: &mut Log<'_>) -> Claim {
    let rung = section.has("rung").then(|| section.text(log, "rung", 40));
    if let Some(name) = rung.as_deref().filter(|name| !name.is_empty() && !rungs.contains(name)) {
        let hint = nearest(name, rungs.iter().copied());
        log.add(&section.at_key("rung"), format!("there is no rung {name:?}{hint}"));
    }
    let property = section.choice(log, "property", None::<Property>);
    let scope = section.choice(log, "scope", Some(Scope::Fleet));
    if !property.scopes().contains(&scope) {
        let message = format!("{property} is counted per {}, not {scope}", quoted(property.scopes()));
        log.add(&section.at_key("scope"), message);
    }
    let at_most = match section.raw("at_most") {
        None => AtMost::Theory,
        Some(item) if item.as_str() == Some("theory") => AtMost::Theory,
        Some(item) => match item.as_integer().and_then(|n| u64::try_from(n).ok()) {
            Some(number) => AtMost::Number(number),
            None => {
                let message = format!("must be \"theory\" or a whole number from 0, not {}", shown(item));
                log.add(&section.at_key("at_most"), message);
                AtMost::Theory
            }
        },
    };
    section.finish(log);
    Claim { rung, property, scope, at_most }
}

impl Property {
    /// The scopes over which this property can be counted.
    #[must_use]
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Self::RebuildsPerBoundary | Self::ConcurrentRebuilds => &[Scope::Fleet, Scope::Process],
            Self::ColdFills | Self::RebuildsWhileFailing => &[Scope::Fleet, Scope::Process],
            Self::AnswersNeverGoBack
            | Self::EveryRequestAnswered
            | Self::AcceptedWritesPerGeneration
            | Self::StaleWrites
            | Self::StaleBeyondBound
            | Self::EarlyRebuildsPerWindow
            | Self::Sawtooth
            | Self::OriginQueries
            | Self::RecordsDisagree => &[Scope::Fleet],
            Self::ReadersWaited | Self::LongestWaitMs => &[Scope::Wait],
            Self::NegativeQueries => &[Scope::Negative, Scope::Process],
            Self::AbsentKeyQueries | Self::AbsenceOutlivesInsert => &[Scope::Negative],
            Self::HighestBucket | Self::MissPercent => &[Scope::Keys],
            Self::OriginInFlight | Self::SendsPerHundredRequests => &[Scope::Overload],
        }
    }
}
