//! A rung's figures in one sentence.

use herd_judge::{Judgement, Outcome, RungFigures};
use herd_scenario::{Layer, Property, Scope};

use super::{hundredths, verdict_on};
use crate::words::{count, ms, nodes, times};

/// Puts the figures of one rung into sentences.
pub(super) struct Teller<'a> {
    pub(super) judgement: &'a Judgement,
    pub(super) rung: &'a RungFigures,
}

impl Teller<'_> {
    fn seen(&self, property: Property, scope: Scope) -> Option<u64> {
        verdict_on(self.judgement, self.rung, property, scope)?.observed
    }

    /// The largest herd: that of the key which is read most, unless another one refuted the bound.
    fn most(&self) -> u64 {
        let most = self.rung.origin_queries_per_boundary.max;
        let verdict = verdict_on(self.judgement, self.rung, Property::RebuildsPerBoundary, Scope::Fleet);
        let refuted = verdict.filter(|verdict| verdict.outcome == Outcome::Invalid);
        refuted.and_then(|verdict| verdict.observed).map_or(most, |observed| observed.max(most))
    }

    /// `50 nodes rebuild once at one boundary`; where no boundary was seen, what the origin got in all.
    fn rebuilds(&self) -> String {
        if self.most() == 0 {
            return format!(
                "no boundary was seen, and the origin got {} queries in all",
                count(self.rung.origin_queries)
            );
        }
        let verb = if self.judgement.nodes == 1 { "rebuilds" } else { "rebuild" };
        format!("{} {verb} {} at one boundary", nodes(self.judgement.nodes), times(self.most()))
    }

    /// How long readers wait for who holds the lock, where one in a hundred does; that it bounds the herd is half of the truth.
    fn waits(&self) -> String {
        let (waited, requests) = (self.rung.waited, self.rung.requests);
        if waited.saturating_mul(100) < requests {
            return String::new();
        }
        format!(", yet readers wait for it (p99 {} ms)", ms(self.rung.latency_ms.p99))
    }

    /// What a rung says of its layer, and of its errors where they are many and the layer's own words leave them out.
    pub(super) fn layer(&self, layer: Option<Layer>) -> String {
        let told = self.by_layer(layer);
        let (errors, requests) = (self.rung.errors, self.rung.requests);
        let counts_them = matches!(layer, Some(Layer::Shed | Layer::WaiterTimeout | Layer::StaleIfError));
        if counts_them || errors.saturating_mul(100) < requests.max(1) {
            return told;
        }
        format!("{told}; {} of {} requests got no good answer", count(errors), count(requests))
    }

    fn by_layer(&self, layer: Option<Layer>) -> String {
        let Some(layer) = layer else {
            return match self.rung.layers.last() {
                None if self.most() == 0 => format!("nothing bounds the herd; {}", self.rebuilds()),
                None => format!(
                    "nothing bounds the herd; every reader between expiry and write goes to the origin, up to {} at one boundary",
                    count(self.most())
                ),
                Some(other) => format!("with {other} outermost, {}", self.rebuilds()),
            };
        };
        match layer {
            Layer::SingleFlight => self.single_flight(),
            Layer::Lock => format!("bounds the herd of the fleet; {}{}", self.rebuilds(), self.waits()),
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
                "bounds what each process reads of the cache ({:.0} % of the answers were its own), not the boundary; {}",
                100.0 * self.rung.local_hits as f64 / self.rung.requests.max(1) as f64,
                self.rebuilds()
            ),
        }
    }

    fn single_flight(&self) -> String {
        if self.most() == 0 {
            return format!("bounds the herd of one process; {}", self.rebuilds());
        }
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
                // The judged number leaves out rows of which nothing stale could be served.
                let waited = self.seen(Property::ReadersWaited, Scope::Wait).unwrap_or(rung.waited);
                format!(
                    "bounds the wait of the readers; {} of {} waited, {} were served stale, {}",
                    count(waited),
                    count(rung.requests),
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
            |seen| format!("{} early rebuilds a window on average", hundredths(seen)),
        );
        format!(
            "bounds the herd of the fleet before the expiry; {told}, {:.1} % of the reads missed",
            100.0 * self.rung.miss_rate
        )
    }

    fn jitter(&self) -> String {
        // What is judged are keys; what the figures hold are rebuilds.
        let fullest = self.seen(Property::HighestBucket, Scope::Keys).map_or_else(
            || format!("the fullest bucket of time holds {} rebuilds", count(self.rung.highest_bucket)),
            |keys| format!("in the fullest bucket of time {} keys expired", count(keys)),
        );
        format!("bounds the herd over many keys, not that of one; {fullest}, {}", self.rebuilds())
    }

    fn negative(&self, layer: Layer) -> String {
        let one = self
            .seen(Property::NegativeQueries, Scope::Negative)
            .map(|queries| format!("up to {} for one of them within its TTL", queries_told(queries)));
        let all = self.seen(Property::AbsentKeyQueries, Scope::Negative).unwrap_or(self.rung.absent_queries);
        let all = format!("{} for all of them", queries_told(all));
        let told = one.filter(|_| layer == Layer::Negative).unwrap_or(all);
        format!("bounds the herd on rows that do not exist; {told}")
    }

    fn shed(&self) -> String {
        let told = self.seen(Property::OriginInFlight, Scope::Overload).map_or_else(
            || format!("up to {} rebuilds at once", count(self.rung.peak_concurrent_rebuilds)),
            |at_once| format!("up to {} fetches at work at once", count(at_once)),
        );
        format!(
            "bounds the herd under overload; {told} at the origin, {} of {} requests were refused, {} a second got a good answer",
            count(self.rung.refused),
            count(self.rung.requests),
            count(self.rung.goodput_per_s.round() as u64)
        )
    }

    pub(super) fn stack(&self) -> String {
        let sawtooth =
            verdict_on(self.judgement, self.rung, Property::Sawtooth, Scope::Fleet).and_then(|verdict| {
                let seen = hundredths(verdict.observed?);
                let found = if verdict.outcome == Outcome::Invalid { "a" } else { "no" };
                Some(format!(
                    ", and the origin's rate shows {found} sawtooth ({seen} of 1 repeats with the TTL)"
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
