//! The sections of a scenario file: this module the file as a whole, its children one section each.

mod claim;
mod fault;
mod layers;
mod origin;
mod rung;
mod workload;

use std::ops::RangeInclusive;

use toml_edit::Document;

use crate::fault::Fault;
use crate::mistakes::{Mistake, Mistakes};
use crate::model::{Expect, Fleet, Overrides, PolicyBase, Routing, Rung, Scenario};
use crate::section::{At, Log, Section};
use crate::words::{nearest, quoted};

const FILE_BYTES_MAX: usize = 256 * 1024;
const NODES: RangeInclusive<u32> = 1..=500;
const RUNGS_MAX: usize = 32;
const FAULTS_MAX: usize = 32;
const CLAIMS_MAX: usize = 128;

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
            if self.live_faults().next().is_none() {
                self.claims.retain(|claim| !claim.needs_fault());
            }
        }
        for fault in self.live_faults() {
            if let Some(why) = fault::fits_fleet(&fault.action, &self.fleet) {
                wrong("nodes", format!("fault {:?}: {why}", fault.name));
            }
        }
        for rung in &self.rungs {
            if let Some(why) = too_few_nodes(self.fleet.nodes, rung.membership.len()) {
                wrong("nodes", format!("rung {:?}: {why}", rung.name));
            }
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
    let told_before = log.count();
    let fleet = fleet(root.section(log, "fleet"), log);
    let is_fleet_sound = log.count() == told_before;
    let mut events = Vec::new();
    let told_before = log.count();
    let origin = origin::origin(root.section(log, "origin"), &mut events, log);
    let is_origin_sound = log.count() == told_before;
    let workload_section = root.section(log, "workload");
    let window_at = workload_section.at_key("window_ms");
    let told_before = log.count();
    let workload = workload::workload(workload_section, log);
    let is_load_sound = log.count() == told_before;
    let slowest = origin.slow.map_or(1.0, |slow| slow.factor.max(1.0)) * f64::from(origin.model.longest_ms());
    let slowest_ms = is_origin_sound.then(|| slowest.ceil() as u32);
    let policy = policy(root.section(log, "policy"), slowest_ms, log);
    // Where the load or the times are wrong, nothing can be said of what must fit between them.
    let is_sound = log.is_empty();
    let base =
        rung::Base { fleet: &fleet, workload: &workload, policy: &policy, is_fleet_sound, is_load_sound };
    let told_before = log.count();
    let mut rungs: Vec<Rung> = Vec::new();
    for section in root.sections(log, "rung", RUNGS_MAX) {
        let at = section.at_key("name");
        let rung = rung::rung(section, &base, &mut events, log);
        if rungs.iter().any(|other| other.name == rung.name) && !rung.name.is_empty() {
            log.add(&at, format!("there is already a rung {:?}", rung.name));
        }
        rungs.push(rung);
    }
    let mut facts = claim::Facts {
        rungs: &rungs,
        faults: &[],
        workload: &workload,
        origin: &origin,
        is_fleet_sound,
        is_origin_sound,
        is_load_sound,
        are_rungs_sound: log.count() == told_before,
        are_faults_sound: true,
    };
    let told_before = log.count();
    let sections = root.optional_sections(log, "fault", FAULTS_MAX);
    let read: Vec<fault::Read> =
        sections.into_iter().filter_map(|section| fault::fault(section, &fleet, &facts, log)).collect();
    fault::check_together(&read, &fleet, &facts, log);
    let faults: Vec<Fault> = read.iter().map(|read| read.fault.clone()).collect();
    facts.faults = &faults;
    facts.are_faults_sound = log.count() == told_before;
    let sections = root.sections(log, "claim", CLAIMS_MAX);
    // How long the rungs are driven depends on them and on their faults, where the file does not say it.
    let is_sound =
        is_sound && (workload.window_ms.is_some() || (facts.are_rungs_sound && facts.are_faults_sound));
    let claims = sections.into_iter().map(|section| claim::claim(section, &facts, log)).collect();
    root.finish(log);
    let scenario =
        Scenario { name, hypothesis, expect, seed, fleet, origin, workload, policy, rungs, faults, claims };
    if is_sound {
        fits(&scenario, &window_at, &events, log);
        fault::check_window(&scenario, &read, scenario.rung_duration().as_millis() as u64, log);
    }
    scenario
}

/// A time, in milliseconds after the window's start, that must lie within the window.
struct Event {
    at: At,
    at_ms: u32,
}

/// Whether the window holds what is to happen within it.
fn fits(scenario: &Scenario, window_at: &At, events: &[Event], log: &mut Log<'_>) {
    let window_ms = scenario.rung_duration().as_millis();
    for event in events.iter().filter(|event| u128::from(event.at_ms) >= window_ms) {
        log.add(&event.at, outside(event.at_ms, window_ms));
    }
    let boundaries = scenario.workload.boundaries;
    let shortest_ms = scenario.shortest_life_ms();
    let least_ms = f64::from(boundaries) * shortest_ms;
    if least_ms > window_ms as f64 {
        log.add(
            window_at,
            format!("no {boundaries} boundaries fit into it: values live {shortest_ms:.0} ms or longer"),
        );
    }
}

fn outside(at_ms: u32, window_ms: u128) -> String {
    format!("{at_ms} ms is not within the window, which ends after {window_ms} ms")
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

/// `rebuild_longest_ms`: the longest that the origin takes, where that is known.
fn policy(mut section: Section<'_>, rebuild_longest_ms: Option<u32>, log: &mut Log<'_>) -> PolicyBase {
    let policy = PolicyBase {
        ttl_ms: section.integer32(log, "ttl_ms", 1..=86_400_000, None),
        rebuild_deadline_ms: section.integer32(log, "rebuild_deadline_ms", 1..=600_000, Some(30_000)),
    };
    if let Some(rebuild_longest_ms) = rebuild_longest_ms
        && section.is_sound(&["rebuild_deadline_ms"])
        && policy.rebuild_deadline_ms <= rebuild_longest_ms
    {
        let message = format!(
            "no rebuild can end within {} ms: the origin takes up to {rebuild_longest_ms} ms",
            policy.rebuild_deadline_ms
        );
        section.tell(log, "rebuild_deadline_ms", message);
    }
    section.finish(log);
    policy
}

/// What is wrong with the number of nodes where some leave; `None` if nothing is.
fn too_few_nodes(nodes: u32, leave: usize) -> Option<String> {
    let enough = leave == 0 || nodes as usize > leave;
    (!enough).then(|| format!("{leave} of {nodes} nodes may leave at once: at least one has to stay"))
}
