//! Fault plans drawn from a seed, and what is one step smaller than a plan.
//!
//! The distribution, per plan: 1 to 4 faults, each number alike. Per fault:
//! - Its kind is drawn alike from those that the scenario has room and rungs for: pause, kill, stop, redis-restart-empty,
//!   redis-restart-aof, redis-flush, redis-evict, link, stuck-query, hang-up; lock-clock where a rung has the lock; rolling-restart where
//!   half of the window is enough for every node; burst and flood where no claim is about the load. Never scale-out and redis-promote,
//!   which a fleet is set up for.
//! - Its part is drawn alike from edge, cache nodes, lock service (with the lock), origin and Redis; of cache nodes it takes, alike, all,
//!   a minority, 1 to 5 drawn ones, one by its number, the leader, or the holder (with the lock).
//! - It happens in every rung, or, in half of the scenarios with more than one, in one of them.
//! - It is held for 50 ms to a quarter of the window, drawn alike over the logarithm; three in ten wait for a rebuild of `item-1`, and
//!   three in ten happen 2 or 3 times where there is room.
//! - It begins anywhere alike where it is over in time and does not clash with another fault (`clash`), nor comes within 500 ms of one that
//!   it would clash with. Who finds no such place in 32 tries is left out.

mod claims;
mod render;
mod smaller;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::claim::{Claim, Property, Scope};
use crate::clash::{clash, ends_ms, restart_ms, taken_ms};
use crate::fault::{Fault, FaultAction, FaultKind, FaultPart, LinkRule, Once, Peer, Target, Which};
use crate::mistakes::Mistakes;
use crate::model::{Layer, Scenario};

pub use claims::{UnderAnyFaults, under_any_faults};
pub use smaller::smaller;

const FAULTS_DRAWN_MAX: usize = 4;
const FAULTS_MAX: usize = 32;
const TRIES: u32 = 32;
/// What is left of the window for what comes after, milliseconds.
const ROOM_AFTER_MS: u64 = 1_000;
const HOLD_LEAST_MS: f64 = 50.0;
/// Between the turns of one fault, and between two that would clash, milliseconds: a part has to be back before it goes again.
const APART_MS: u64 = 500;
const HOT: &str = "item-1";

/// The scenario with 1 to 4 more faults, drawn from the seed so that they fit its window, its rungs and its fleet. The same text and seed
/// draw the same plan. Scenarios that have 32 faults already, or whose window has no room, come back as they are.
///
/// # Errors
/// If the text is no scenario, with all that is wrong with it.
pub fn draw(text: &str, seed: u64) -> Result<String, Mistakes> {
    let scenario = Scenario::parse("the scenario to draw for", text)?;
    let mut draw =
        Draw { random: StdRng::seed_from_u64(seed), scenario: &scenario, faults: scenario.faults.clone() };
    let count = draw
        .random
        .random_range(1..=FAULTS_DRAWN_MAX)
        .min(FAULTS_MAX - scenario.faults.len().min(FAULTS_MAX));
    let mut plan = text.to_owned();
    for _ in 0..count {
        if let Some(fault) = draw.fault() {
            let lead =
                if draw.faults.len() == scenario.faults.len() { "\n# Drawn from a seed.\n" } else { "\n" };
            plan.push_str(if plan.ends_with('\n') { "" } else { "\n" });
            plan.push_str(lead);
            plan.push_str(&render::table(&fault));
            draw.faults.push(fault);
        }
    }
    Scenario::parse("the drawn plan", &plan).map(|_| plan)
}

struct Draw<'s> {
    random: StdRng,
    scenario: &'s Scenario,
    /// Those of the scenario and those drawn so far.
    faults: Vec<Fault>,
}

impl Draw<'_> {
    /// One more fault; `None` if there is no place for what was drawn.
    fn fault(&mut self) -> Option<Fault> {
        let (span_ms, nodes) = (self.span_ms(), self.scenario.fleet.nodes);
        let kind = self.kind(span_ms);
        let (action, needs_lock) = self.action(kind)?;
        let rungs = self.rungs(needs_lock);
        let is_load = kind.is_load();
        let waits = self.random.random_bool(0.3) && !is_load && self.scenario.workload.shares().of(HOT) > 0.0;
        let once = if waits { Once::Rebuild { key: HOT.to_owned(), after_ms: 0 } } else { Once::Now };
        let longest_ms = (span_ms as f64 / 4.0).max(1.0);
        let shortest_ms = HOLD_LEAST_MS.min(longest_ms);
        let (low, high) = (shortest_ms.ln(), longest_ms.ln());
        let drawn_ms = (low + self.random.random::<f64>() * (high - low)).exp();
        let for_ms = if action.has_repair() { drawn_ms as u32 } else { 0 };
        let wanted = if self.random.random_bool(0.3) { self.random.random_range(2..=3) } else { 1 };
        let mut fault =
            Fault { name: self.name(), rungs, at_ms: 0, once, for_ms, times: wanted, every_ms: 0, action };
        let every_ms = taken_ms(&fault, nodes) + APART_MS;
        if fault.times > 1 && fault.action != FaultAction::RollingRestart {
            fault.every_ms = u32::try_from(every_ms).ok()?;
        }
        if fault.every_ms == 0 || ends_ms(&fault, nodes) > span_ms {
            (fault.times, fault.every_ms) = (1, 0);
        }
        let latest_ms = span_ms.checked_sub(ends_ms(&fault, nodes))?;
        for _ in 0..TRIES {
            fault.at_ms = u32::try_from(self.random.random_range(0..=latest_ms)).ok()?;
            if !self.faults.iter().any(|other| clash(&fault, other, nodes, APART_MS).is_some()) {
                return Some(fault);
            }
        }
        None
    }

    /// When the last fault has to be over.
    fn span_ms(&self) -> u64 {
        let window_ms = u64::try_from(self.scenario.rung_duration().as_millis()).unwrap_or(u64::MAX);
        let looks_back = self.scenario.claims.iter().any(Claim::needs_fault);
        let room_ms = if looks_back { ROOM_AFTER_MS } else { ROOM_AFTER_MS.min(window_ms / 2) };
        // Half of the numbers that 32 bits have, so that times add up.
        window_ms.saturating_sub(room_ms).min(u64::from(u32::MAX / 2))
    }

    fn kind(&mut self, span_ms: u64) -> FaultKind {
        let may_load = !self.scenario.claims.iter().any(is_about_load) && span_ms > 0;
        let fits = |kind: &FaultKind| match kind {
            FaultKind::ScaleOut | FaultKind::RedisPromote => false,
            FaultKind::LockClock => self.has_lock(),
            FaultKind::RollingRestart => restart_ms(self.scenario.fleet.nodes) <= span_ms / 2,
            FaultKind::Burst | FaultKind::Flood => may_load,
            _ => true,
        };
        let kinds: Vec<FaultKind> = FaultKind::ALL.iter().copied().filter(fits).collect();
        self.one(&kinds)
    }

    /// What is done, and whether it needs rungs with the lock; nothing for what a fleet is set up for.
    fn action(&mut self, kind: FaultKind) -> Option<(FaultAction, bool)> {
        let action = match kind {
            FaultKind::Pause => return Some(self.processes(FaultAction::Pause)),
            FaultKind::Kill => return Some(self.processes(FaultAction::Kill)),
            FaultKind::Stop => return Some(self.processes(FaultAction::Stop)),
            FaultKind::Link => return Some(self.link()),
            FaultKind::LockClock => {
                return Some((FaultAction::LockClock { rate: self.one(&[0.25, 0.5, 2.0, 4.0, 10.0]) }, true));
            }
            FaultKind::ScaleOut | FaultKind::RedisPromote => return None,
            FaultKind::RollingRestart => FaultAction::RollingRestart,
            FaultKind::RedisRestartEmpty => FaultAction::RedisRestartEmpty,
            FaultKind::RedisRestartAof => FaultAction::RedisRestartAof,
            FaultKind::RedisFlush => FaultAction::RedisFlush,
            FaultKind::RedisEvict => FaultAction::RedisEvict { room_kb: self.one(&[0, 16, 64, 256]) },
            FaultKind::StuckQuery => {
                let queries = self.random.random_range(1..=self.scenario.fleet.origin_pool);
                FaultAction::StuckQuery { queries }
            }
            FaultKind::Burst => FaultAction::Burst { factor: self.one(&[1.5, 2.0, 3.0, 5.0]) },
            FaultKind::Flood => {
                let most = (self.scenario.workload.rate_per_s * 2).clamp(1, 100_000);
                FaultAction::Flood { rate_per_s: self.random.random_range(1..=most) }
            }
            FaultKind::HangUp => FaultAction::HangUp { share: self.one(&[0.1, 0.5, 1.0]) },
        };
        Some((action, false))
    }

    fn processes(&mut self, action: fn(Target) -> FaultAction) -> (FaultAction, bool) {
        let mut parts = vec![FaultPart::Edge, FaultPart::CacheNode, FaultPart::Origin, FaultPart::Redis];
        if self.has_lock() {
            parts.push(FaultPart::LockService);
        }
        let part = self.one(&parts);
        let which = if part == FaultPart::CacheNode { self.which() } else { Which::All };
        let needs_lock = part == FaultPart::LockService || matches!(which, Which::Holder { .. });
        (action(Target { part, which }), needs_lock)
    }

    fn which(&mut self) -> Which {
        let nodes = self.scenario.fleet.nodes;
        let mut ways = vec![Which::All, Which::Some(self.random.random_range(1..=nodes.min(5)))];
        ways.push(Which::Index(vec![self.random.random_range(0..nodes)]));
        if nodes >= 3 {
            ways.push(Which::Minority);
        }
        if self.scenario.workload.shares().of(HOT) > 0.0 {
            ways.push(Which::Leader { key: HOT.to_owned() });
            if self.has_lock() {
                ways.push(Which::Holder { key: HOT.to_owned() });
            }
        }
        self.one(&ways)
    }

    fn link(&mut self) -> (FaultAction, bool) {
        let mut peers = vec![Peer::Redis, Peer::Origin];
        if self.has_lock() {
            peers.push(Peer::LockService);
        }
        let to = self.one(&peers);
        let nodes = self.which();
        let delay = LinkRule::Delay {
            delay_ms: self.random.random_range(1..=200),
            jitter_ms: self.random.random_range(0..=100),
        };
        let share = f64::from(self.random.random_range(1..=50)) / 100.0;
        let rule = self.one(&[LinkRule::BlackHole, LinkRule::Reset, delay, LinkRule::Loss { share }]);
        let needs_lock = to == Peer::LockService || matches!(nodes, Which::Holder { .. });
        (FaultAction::Link { nodes, to, rule }, needs_lock)
    }

    fn rungs(&mut self, needs_lock: bool) -> Option<Vec<String>> {
        let all = &self.scenario.rungs;
        let fit: Vec<&str> = all
            .iter()
            .filter(|rung| !needs_lock || rung.has(Layer::Lock))
            .map(|rung| rung.name.as_str())
            .collect();
        let everywhere = self.random.random_bool(0.5);
        match fit.len() {
            count if everywhere && count == all.len() => None,
            _ if everywhere => Some(fit.into_iter().map(str::to_owned).collect()),
            _ if all.len() == 1 => None,
            _ => Some(vec![self.one(&fit).to_owned()]),
        }
    }

    fn has_lock(&self) -> bool {
        self.scenario.rungs.iter().any(|rung| rung.has(Layer::Lock))
    }

    /// The first name `drawn-1`, `drawn-2`, … that is free.
    fn name(&self) -> String {
        let names = (1..).map(|number| format!("drawn-{number}"));
        let mut free = names.filter(|name| !self.faults.iter().any(|fault| fault.name == *name));
        free.next().unwrap_or_default()
    }

    /// One of at least one.
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())].clone()
    }
}

/// Whether more load than the workload's may refute a claim for itself.
fn is_about_load(claim: &Claim) -> bool {
    let grows = [
        Property::OriginQueries,
        Property::AbsentKeyQueries,
        Property::HighestBucket,
        Property::MissPercent,
        Property::RebuildsPerBoundary,
    ];
    matches!(claim.scope, Scope::Overload | Scope::Wait) || grows.contains(&claim.property)
}
