//! Which herd each rung's outermost layer bounds, in words and by the one verdict that shows it.

use herd_judge::{Judgement, RungFigures, Verdict};
use herd_scenario::{Layer, Property, Scope};

use crate::words::{count, ms, nodes, times, verdicts_of};

/// From so many layers on a rung is a stack: what counts is what all of them leave together.
const STACK_MIN: usize = 5;

/// What a rung bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// What its outermost layer does; `None` where there is no layer.
    Layer(Option<Layer>),
    /// What many layers do together.
    Stack,
}

/// The verdict whose bound stands in the table: the one on what the rung's outermost layer bounds; where nothing is claimed about
/// that, the one on the fleet's rebuilds; else the first.
pub(crate) fn bound_verdict<'a>(judgement: &'a Judgement, rung: &RungFigures) -> Option<&'a Verdict> {
    let fleet = [(Property::RebuildsPerBoundary, Scope::Fleet)];
    let wanted = shown_by(bounds(rung)).iter().chain(&fleet);
    let claimed =
        wanted.filter_map(|(property, scope)| verdict_on(judgement, rung, *property, *scope)).next();
    claimed.or_else(|| verdicts_of(judgement, &rung.name).first().copied())
}

/// The table's word on a rung's bound: `N = 50`, or with what was seen where it is not of rebuilds per boundary:
/// `longest wait 187 ms / W = 200 ms`.
pub(crate) fn bound_cell(judgement: &Judgement, rung: &RungFigures) -> String {
    let Some(verdict) = bound_verdict(judgement, rung) else { return "-".to_owned() };
    let Some(property) = property_of(verdict).filter(|property| *property != Property::RebuildsPerBoundary)
    else {
        return verdict.bound_text.clone();
    };
    let seen = verdict.observed.map_or_else(|| "?".to_owned(), |seen| quantity(property, seen));
    format!("{} {seen} / {}", noun(property), verdict.bound_text)
}

/// A verdict's number in the unit that a reader expects: hundredths become a decimal fraction.
pub(crate) fn observed(verdict: &Verdict) -> String {
    let told = |seen| property_of(verdict).map_or_else(|| count(seen), |property| quantity(property, seen));
    verdict.observed.map_or_else(|| "-".to_owned(), told)
}

/// Which herd the rung bounds, and what is left of it, in one sentence.
pub(crate) fn layer_line(judgement: &Judgement, rung: &RungFigures) -> String {
    let teller = Teller { judgement, rung };
    let told = match bounds(rung) {
        Bounds::Stack => teller.stack(),
        Bounds::Layer(layer) => teller.layer(layer),
    };
    format!("{told}.")
}

fn bounds(rung: &RungFigures) -> Bounds {
    if rung.layers.len() >= STACK_MIN {
        return Bounds::Stack;
    }
    Bounds::Layer(rung.layers.last().and_then(|name| LAYERS.into_iter().find(|layer| layer.name() == name)))
}

const LAYERS: [Layer; 13] = [
    Layer::SingleFlight,
    Layer::Lock,
    Layer::WaiterTimeout,
    Layer::StaleWhileRevalidate,
    Layer::StaleIfError,
    Layer::Jitter,
    Layer::Negative,
    Layer::KeyFilter,
    Layer::Early,
    Layer::Shed,
    Layer::OwnerRouting,
    Layer::Prewarm,
    Layer::Local,
];

/// The claims that show what a rung bounds, the most telling first.
fn shown_by(bounds: Bounds) -> &'static [(Property, Scope)] {
    let Bounds::Layer(Some(layer)) = bounds else { return &[] };
    match layer {
        Layer::SingleFlight | Layer::Lock | Layer::OwnerRouting | Layer::Local => &[],
        Layer::WaiterTimeout => &[(Property::LongestWaitMs, Scope::Wait)],
        Layer::StaleWhileRevalidate => {
            &[(Property::ReadersWaited, Scope::Wait), (Property::LongestWaitMs, Scope::Wait)]
        }
        Layer::StaleIfError => &[
            (Property::RebuildsWhileFailing, Scope::Process),
            (Property::RebuildsWhileFailing, Scope::Fleet),
            (Property::StaleBeyondBound, Scope::Fleet),
        ],
        Layer::Jitter => &[(Property::HighestBucket, Scope::Keys)],
        Layer::Negative => &[
            (Property::NegativeQueries, Scope::Negative),
            (Property::NegativeQueries, Scope::Process),
            (Property::AbsentKeyQueries, Scope::Negative),
            (Property::AbsenceOutlivesInsert, Scope::Negative),
        ],
        Layer::KeyFilter => {
            &[(Property::AbsentKeyQueries, Scope::Negative), (Property::NegativeQueries, Scope::Negative)]
        }
        Layer::Early => &[(Property::EarlyRebuildsPerWindow, Scope::Fleet)],
        Layer::Shed => &[
            (Property::OriginInFlight, Scope::Overload),
            (Property::SendsPerHundredRequests, Scope::Overload),
        ],
        Layer::Prewarm => &[
            (Property::MissPercent, Scope::Keys),
            (Property::ColdFills, Scope::Fleet),
            (Property::ColdFills, Scope::Process),
        ],
    }
}

fn verdict_on<'a>(
    judgement: &'a Judgement,
    rung: &RungFigures,
    property: Property,
    scope: Scope,
) -> Option<&'a Verdict> {
    let about = |verdict: &&Verdict| verdict.claim == property.name() && verdict.scope == scope.name();
    verdicts_of(judgement, &rung.name).into_iter().find(about)
}

/// The property of a verdict, where it is one of those that stand in the table or in a unit of their own.
fn property_of(verdict: &Verdict) -> Option<Property> {
    let all = LAYERS
        .into_iter()
        .flat_map(|layer| shown_by(Bounds::Layer(Some(layer))))
        .map(|(property, _)| *property);
    let more = [Property::RebuildsPerBoundary, Property::Sawtooth];
    all.chain(more).find(|property| property.name() == verdict.claim)
}

/// What is counted, in a few words.
fn noun(property: Property) -> &'static str {
    match property {
        Property::LongestWaitMs => "longest wait",
        Property::ReadersWaited => "readers waited",
        Property::RebuildsWhileFailing => "calls while failing",
        Property::StaleBeyondBound => "too stale",
        Property::HighestBucket => "highest bucket",
        Property::NegativeQueries => "queries a missing row",
        Property::AbsentKeyQueries => "missing-row queries",
        Property::AbsenceOutlivesInsert => "absent after insert",
        Property::EarlyRebuildsPerWindow => "early a window",
        Property::OriginInFlight => "at work at once",
        Property::SendsPerHundredRequests => "sends a request",
        Property::MissPercent => "misses",
        Property::ColdFills => "cold fills",
        Property::Sawtooth => "sawtooth",
        _ => "",
    }
}

fn quantity(property: Property, seen: u64) -> String {
    match property {
        Property::LongestWaitMs => format!("{} ms", count(seen)),
        Property::MissPercent => format!("{seen} %"),
        Property::EarlyRebuildsPerWindow | Property::SendsPerHundredRequests | Property::Sawtooth => {
            format!("{:.2}", seen as f64 / 100.0)
        }
        _ => count(seen),
    }
}

/// Puts the figures of one rung into sentences.
struct Teller<'a> {
    judgement: &'a Judgement,
    rung: &'a RungFigures,
}

impl Teller<'_> {
    fn seen(&self, property: Property, scope: Scope) -> Option<u64> {
        verdict_on(self.judgement, self.rung, property, scope)?.observed
    }

    fn most(&self) -> u64 {
        self.rung.origin_queries_per_boundary.max
    }

    /// `50 nodes rebuild once at one boundary`.
    fn rebuilds(&self) -> String {
        let verb = if self.judgement.nodes == 1 { "rebuilds" } else { "rebuild" };
        format!("{} {verb} {} at one boundary", nodes(self.judgement.nodes), times(self.most()))
    }

    fn layer(&self, layer: Option<Layer>) -> String {
        let Some(layer) = layer else {
            return match self.rung.layers.last() {
                None => format!(
                    "nothing bounds the herd; every reader between expiry and write goes to the origin, up to {} at one boundary",
                    count(self.most())
                ),
                Some(other) => format!("with {other} outermost, {}", self.rebuilds()),
            };
        };
        match layer {
            Layer::SingleFlight => self.single_flight(),
            Layer::Lock => format!(
                "bounds the herd of the fleet; {}, yet readers wait for it (p99 {} ms)",
                self.rebuilds(),
                ms(self.rung.latency_ms.p99)
            ),
            Layer::OwnerRouting => {
                format!("bounds the herd of the fleet without a lock; {}", self.rebuilds())
            }
            Layer::WaiterTimeout | Layer::StaleWhileRevalidate | Layer::StaleIfError => self.wait(layer),
            Layer::Early => self.early(),
            Layer::Jitter => self.jitter(),
            Layer::Negative | Layer::KeyFilter => self.negative(layer),
            Layer::Shed => self.shed(),
            Layer::Prewarm => format!(
                "bounds the herd of a cold start; {:.1} % of the reads missed, {}",
                100.0 * self.rung.miss_rate,
                self.rebuilds()
            ),
            Layer::Local => format!(
                "bounds what each process reads of the cache (p50 {} ms), not the boundary; {}",
                ms(self.rung.latency_ms.p50),
                self.rebuilds()
            ),
        }
    }

    fn single_flight(&self) -> String {
        format!(
            "bounds the herd of one process; the fleet of {} still rebuilds {} at one boundary",
            count(self.judgement.nodes.into()),
            times(self.most())
        )
    }

    fn wait(&self, layer: Layer) -> String {
        let rung = self.rung;
        match layer {
            Layer::WaiterTimeout => {
                let longest = self.seen(Property::LongestWaitMs, Scope::Wait);
                let told = longest.map_or_else(
                    || format!("the slowest request took {} ms", ms(rung.latency_ms.max)),
                    |longest| format!("no reader waited longer than {} ms", count(longest)),
                );
                format!(
                    "bounds the wait of a reader; {told}, {} got an error, {}",
                    count(rung.errors),
                    self.rebuilds()
                )
            }
            Layer::StaleWhileRevalidate => {
                let told = self.seen(Property::ReadersWaited, Scope::Wait).map_or_else(
                    || format!("p99 is {} ms", ms(rung.latency_ms.p99)),
                    |waited| format!("{} of {} readers waited", count(waited), count(rung.requests)),
                );
                format!(
                    "bounds the wait of the readers; {told}, {} were served stale, {}",
                    count(rung.stale_served),
                    self.rebuilds()
                )
            }
            _ => format!(
                "bounds what readers see of a failing origin; {} of {} got an error, {} a stale answer",
                count(rung.errors),
                count(rung.requests),
                count(rung.stale_served)
            ),
        }
    }

    fn early(&self) -> String {
        let seen = self.seen(Property::EarlyRebuildsPerWindow, Scope::Fleet);
        let told = seen.map_or_else(
            || self.rebuilds(),
            |seen| {
                format!(
                    "{} early rebuilds a window on average",
                    quantity(Property::EarlyRebuildsPerWindow, seen)
                )
            },
        );
        format!(
            "bounds the herd of the fleet before the expiry; {told}, {:.1} % of the reads missed",
            100.0 * self.rung.miss_rate
        )
    }

    fn jitter(&self) -> String {
        self.seen(Property::HighestBucket, Scope::Keys).map_or_else(
            || format!("bounds the herd over many keys, not that of one; {}", self.rebuilds()),
            |highest| {
                format!(
                    "bounds the herd over many keys; the highest bucket of time holds {} rebuilds",
                    count(highest)
                )
            },
        )
    }

    fn negative(&self, layer: Layer) -> String {
        let one = self
            .seen(Property::NegativeQueries, Scope::Negative)
            .map(|queries| format!("up to {} for one of them within its TTL", queries_told(queries)));
        let all = self
            .seen(Property::AbsentKeyQueries, Scope::Negative)
            .map(|queries| format!("{} for all of them", queries_told(queries)));
        let told = if layer == Layer::Negative { one.or(all) } else { all.or(one) };
        format!("bounds the herd on rows that do not exist; {}", told.unwrap_or_else(|| self.rebuilds()))
    }

    fn shed(&self) -> String {
        let told = self.seen(Property::OriginInFlight, Scope::Overload).map_or_else(
            || format!("up to {} rebuilds at once", count(self.rung.peak_concurrent_rebuilds)),
            |at_once| format!("up to {} fetches at work at once", count(at_once)),
        );
        format!(
            "bounds the herd under overload; {told} at the origin, {} of {} requests were refused or failed",
            count(self.rung.errors),
            count(self.rung.requests)
        )
    }

    fn stack(&self) -> String {
        let sawtooth =
            verdict_on(self.judgement, self.rung, Property::Sawtooth, Scope::Fleet).and_then(|verdict| {
                let seen = quantity(Property::Sawtooth, verdict.observed?);
                let found = if verdict.outcome == herd_judge::Outcome::Invalid { "a" } else { "no" };
                Some(format!(
                    ", and the origin's rate shows {found} sawtooth (autocorrelation {seen} at the TTL)"
                ))
            });
        format!(
            "{} layers bound every herd together; {}, p99 {} ms{}",
            self.rung.layers.len(),
            self.rebuilds(),
            ms(self.rung.latency_ms.p99),
            sawtooth.unwrap_or_default()
        )
    }
}

fn queries_told(queries: u64) -> String {
    format!("{} {}", count(queries), if queries == 1 { "query" } else { "queries" })
}
