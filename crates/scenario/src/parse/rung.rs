//! One rung: its layers, its known-bad knobs, and what happens in its middle.

use super::layers;
use super::workload::retry;
use super::{Event, too_few_nodes};
use crate::model::{
    Deploy, DeployStrategy, Fleet, FlightUntil, Layer, MembershipChange, OnOriginError, OnWaitTimeout,
    PolicyBase, Rung, Start, WriteGuard,
};
use crate::named::Named;
use crate::section::{Log, Section};
use crate::workload::Workload;

const MEMBERSHIP_MAX: usize = 16;
const NOTHING_STALE: &str = "nothing in this rung serves stale values: neither \"stale-while-revalidate\", \"stale-if-error\" nor \
     the end of a wait";

/// What every rung has in common.
pub(super) struct Base<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) workload: &'a Workload,
    pub(super) policy: &'a PolicyBase,
    /// Whether nothing was wrong with the fleet, and with the load.
    pub(super) is_fleet_sound: bool,
    pub(super) is_load_sound: bool,
}

#[derive(Clone, Copy)]
enum Begin {
    Warm,
    Cold,
}

impl Named for Begin {
    const NAMES: &'static [(&'static str, Self)] = &[("warm", Self::Warm), ("cold", Self::Cold)];
}

pub(super) fn rung(
    mut section: Section<'_>,
    base: &Base<'_>,
    events: &mut Vec<Event>,
    log: &mut Log<'_>,
) -> Rung {
    let name = section.label(log, "name", 40);
    let layers: Vec<Layer> = section.choices(log, "layers");
    let has = |layer: Layer| layers.contains(&layer);
    // Which layer is missing cannot be said while one has a name that nobody knows.
    let are_known = section.is_sound(&["layers"]);
    if are_known && !has(Layer::SingleFlight) {
        let knobs = ["flight_second_look", "flight_until", "on_origin_error"];
        section.refuse(log, &knobs, "only a rung with \"single-flight\" has it");
    }
    let flight_second_look = section.boolean(log, "flight_second_look", true);
    let flight_until = section.choice(log, "flight_until", Some(FlightUntil::Written));
    let on_origin_error = section.choice(log, "on_origin_error", Some(OnOriginError::Share));
    let write_guard = section.choice(log, "write_guard", Some(default_guard(&layers)));
    let told_before = log.count();
    let mut tables = Tables { section: &mut section, layers: &layers, are_known };
    let lock = tables.of(Layer::Lock, "lock", log, layers::lock);
    let waiter = tables.of(Layer::WaiterTimeout, "waiter", log, |table, log| {
        layers::waiter(table, has(Layer::SingleFlight) || has(Layer::Lock) || !are_known, log)
    });
    let ends_stale = lock.as_ref().is_some_and(|lock| lock.on_wait_timeout == OnWaitTimeout::Stale)
        || waiter.is_some_and(|waiter| waiter.then == OnWaitTimeout::Stale);
    let may_be_stale = has(Layer::StaleWhileRevalidate) || has(Layer::StaleIfError) || ends_stale;
    // What a wait ends in is not known either where that was wrong.
    tables.are_known &= may_be_stale || log.count() == told_before;
    let stale =
        tables.when(may_be_stale, "stale", NOTHING_STALE, log, |table, log| layers::stale(table, base, log));
    tables.are_known = are_known;
    let jitter = tables.of(Layer::Jitter, "jitter", log, layers::jitter);
    let negative_ttl_ms = tables.of(Layer::Negative, "negative", log, layers::negative);
    let early_beta = tables.of(Layer::Early, "xfetch", log, layers::early);
    let shed = tables.of(Layer::Shed, "shed", log, layers::shed);
    let local = tables.of(Layer::Local, "l1", log, layers::local);
    let prewarmed = tables.of(Layer::Prewarm, "pre-warm", log, layers::prewarm);
    let start = start(&mut section, prewarmed, log);
    let retry = section.optional_section(log, "retry").map(|table| retry(table, log));
    let deploy = section.optional_section(log, "deploy").map(|table| deploy(table, events, log));
    let membership = membership(&mut section, base, events, log);
    section.finish(log);
    Rung {
        name,
        flight_second_look,
        lock,
        write_guard,
        flight_until,
        on_origin_error,
        waiter,
        stale,
        jitter,
        negative_ttl_ms,
        early_beta,
        shed,
        local,
        start,
        retry,
        deploy,
        membership,
        layers,
    }
}

/// Fenced where a layer promises something about what is written: one accepted write for each lease; no absence that outlives
/// the row's insertion; no old value brought back by a refresh that nobody waits for.
fn default_guard(layers: &[Layer]) -> WriteGuard {
    let promises = [Layer::Lock, Layer::Negative, Layer::StaleWhileRevalidate];
    if promises.iter().any(|layer| layers.contains(layer)) {
        WriteGuard::Fenced
    } else {
        WriteGuard::Unguarded
    }
}

/// The tables of a rung's layers: read where the layer is on. A table without its layer is a mistake, and read for its own.
struct Tables<'s, 't> {
    section: &'s mut Section<'t>,
    layers: &'s [Layer],
    /// Whether it is known which layers there are: else no table is refused.
    are_known: bool,
}

impl<'t> Tables<'_, 't> {
    fn of<T>(
        &mut self,
        layer: Layer,
        name: &'static str,
        log: &mut Log<'_>,
        read: impl FnOnce(Section<'t>, &mut Log<'_>) -> T,
    ) -> Option<T> {
        let why_not = format!("the rung's layers do not name \"{layer}\"");
        self.when(self.layers.contains(&layer), name, &why_not, log, read)
    }

    fn when<T>(
        &mut self,
        is_on: bool,
        name: &'static str,
        why_not: &str,
        log: &mut Log<'_>,
        read: impl FnOnce(Section<'t>, &mut Log<'_>) -> T,
    ) -> Option<T> {
        let is_given = self.section.has(name);
        let table = self.section.section(log, name);
        if is_given && !is_on && self.are_known && self.section.is_sound(&[name]) {
            self.section.tell(log, name, why_not);
        }
        (is_on || is_given).then(|| read(table, log)).filter(|_| is_on)
    }
}

fn start(section: &mut Section<'_>, prewarmed: Option<Start>, log: &mut Log<'_>) -> Start {
    if let Some(start) = prewarmed {
        section.refuse(log, &["start"], "\"pre-warm\" says how the rung begins; leave it out");
        return start;
    }
    match section.choice(log, "start", Some(Begin::Warm)) {
        Begin::Warm => Start::Warm,
        Begin::Cold => Start::Cold,
    }
}

fn deploy(mut section: Section<'_>, events: &mut Vec<Event>, log: &mut Log<'_>) -> Deploy {
    let at_ms = section.integer32(log, "at_ms", 0..=3_600_000, None);
    let strategy = section.choice(log, "strategy", Some(DeployStrategy::Bump));
    if !section.is_sound(&["strategy"]) {
        section.pass_over(&["fill_per_s", "stop_in_flight"]);
    } else if strategy == DeployStrategy::Bump {
        section.refuse(log, &["fill_per_s", "stop_in_flight"], "only strategy = \"versioned\" fills");
    }
    let deploy = Deploy {
        at_ms,
        strategy,
        fill_per_s: section.integer32(log, "fill_per_s", 1..=100_000, Some(100)),
        stop_in_flight: section.integer32(log, "stop_in_flight", 1..=100_000, Some(8)),
    };
    events.push(Event { at: section.at_key("at_ms"), at_ms });
    section.finish(log);
    deploy
}

fn membership(
    section: &mut Section<'_>,
    base: &Base<'_>,
    events: &mut Vec<Event>,
    log: &mut Log<'_>,
) -> Vec<MembershipChange> {
    if !section.has("membership") {
        return Vec::new();
    }
    let shares = base.workload.shares();
    let mut changes: Vec<MembershipChange> = Vec::new();
    for mut table in section.sections(log, "membership", MEMBERSHIP_MAX) {
        let change = MembershipChange {
            at_ms: table.integer32(log, "at_ms", 0..=3_600_000, None),
            for_ms: table.integer32(log, "for_ms", 0..=3_600_000, Some(0)),
            owner_of: table.text(log, "owner_of", 128),
        };
        if base.is_load_sound && !change.owner_of.is_empty() && shares.of(&change.owner_of) == 0.0 {
            let why = format!(
                "nobody reads {:?}; the keys are item-1 to item-{}",
                change.owner_of, base.workload.keys
            );
            table.tell(log, "owner_of", why);
        }
        let is_before = changes.last().is_some_and(|last| last.at_ms > change.at_ms);
        if is_before && table.is_sound(&["at_ms"]) {
            let why = "comes before the change above it; changes stand in order of time";
            table.tell(log, "at_ms", why);
        }
        events.push(Event { at: table.at_key("at_ms"), at_ms: change.at_ms });
        table.finish(log);
        changes.push(change);
    }
    if let Some(why) = too_few_nodes(base.fleet.nodes, changes.len()).filter(|_| base.is_fleet_sound) {
        section.tell(log, "membership", why);
    }
    changes
}
