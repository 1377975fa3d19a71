//! Which herd each rung's outermost layer bounds, in words and by the one verdict that shows it.

mod teller;

use herd_judge::{Judgement, RungFigures, Verdict};
use herd_scenario::{Layer, Property, Scope};

use crate::words::{count, verdicts_of};
use teller::Teller;

/// From so many layers on a rung is a stack: what counts is what all of them leave together.
pub(crate) const STACK_MIN: usize = 5;

/// What a rung bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bounds {
    /// What its outermost layer does; `None` where there is no layer.
    Layer(Option<Layer>),
    /// What many layers do together.
    Stack,
}

/// The verdict whose bound stands in the table: the one on what the rung's outermost layer bounds; where nothing is claimed about
/// that, the one on the fleet's rebuilds; else the first on something that has a word in the table.
pub(crate) fn bound_verdict<'a>(judgement: &'a Judgement, rung: &RungFigures) -> Option<&'a Verdict> {
    let fleet = [(Property::RebuildsPerBoundary, Scope::Fleet)];
    // Without a boundary what was counted is the cold start, or everything.
    let whole: &[(Property, Scope)] = match rung.boundaries {
        0 => &[
            (Property::OriginQueries, Scope::Fleet),
            (Property::ColdFills, Scope::Fleet),
            (Property::ColdFills, Scope::Process),
        ],
        _ => &[],
    };
    let wanted = shown_by(bounds(rung)).iter().chain(&fleet).chain(whole);
    let claimed =
        wanted.filter_map(|(property, scope)| verdict_on(judgement, rung, *property, *scope)).next();
    let named = |verdict: &&Verdict| property_of(verdict).is_some();
    claimed.or_else(|| verdicts_of(judgement, &rung.name).into_iter().find(named))
}

/// The table's word on a rung's bound: `N = 50`, or with what was seen where it is not of rebuilds per boundary:
/// `longest wait 187 ms / W = 200 ms`.
pub(crate) fn bound_cell(judgement: &Judgement, rung: &RungFigures) -> String {
    let Some(verdict) = bound_verdict(judgement, rung) else { return "-".to_owned() };
    let Some(property) = property_of(verdict).filter(|property| *property != Property::RebuildsPerBoundary)
    else {
        return bound(verdict);
    };
    let seen = verdict.observed.map_or_else(|| "?".to_owned(), |seen| quantity(property, seen));
    format!("{} {seen} / {}", noun(property), bound(verdict))
}

/// A verdict's bound; one that is a number alone gets its unit.
pub(crate) fn bound(verdict: &Verdict) -> String {
    match (property_of(verdict), verdict.bound_text.parse()) {
        (Some(property), Ok(number)) => quantity(property, number),
        (None, Ok(number)) => count(number),
        _ => verdict.bound_text.clone(),
    }
}

/// A verdict's number in the unit of its bound's text.
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
            (Property::EdgeInFlight, Scope::Overload),
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
    // A claim about the whole rung tells more than one about a part of it.
    let all = verdicts_of(judgement, &rung.name).into_iter().filter(about);
    all.min_by_key(|verdict| verdict.phase.is_some())
}

/// The property of a verdict, where it is one of those that stand in the table or in a unit of their own.
fn property_of(verdict: &Verdict) -> Option<Property> {
    let all = LAYERS
        .into_iter()
        .flat_map(|layer| shown_by(Bounds::Layer(Some(layer))))
        .map(|(property, _)| *property);
    let more = [
        Property::RebuildsPerBoundary,
        Property::Sawtooth,
        Property::OriginQueries,
        Property::GoodputLostPercent,
        Property::LatencyP99Ms,
        Property::RecoveryMs,
        Property::TakeoverMs,
        Property::RepeatedTokens,
    ];
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
        Property::EdgeInFlight => "inside the edge at once",
        Property::SendsPerHundredRequests => "sends for a hundred",
        Property::MissPercent => "misses",
        Property::ColdFills => "cold fills",
        Property::Sawtooth => "sawtooth",
        Property::OriginQueries => "queries in all",
        Property::GoodputLostPercent => "goodput lost",
        Property::LatencyP99Ms => "p99",
        Property::RecoveryMs => "recovery",
        Property::TakeoverMs => "takeover",
        Property::RepeatedTokens => "repeated tokens",
        _ => "",
    }
}

fn quantity(property: Property, seen: u64) -> String {
    match property {
        Property::LongestWaitMs | Property::LatencyP99Ms | Property::RecoveryMs | Property::TakeoverMs => {
            format!("{} ms", count(seen))
        }
        Property::MissPercent | Property::GoodputLostPercent => format!("{} %", count(seen)),
        Property::EarlyRebuildsPerWindow | Property::Sawtooth => hundredths(seen),
        _ => count(seen),
    }
}

fn hundredths(seen: u64) -> String {
    format!("{:.2}", seen as f64 / 100.0)
}
