//! The layers at the edges of a fleet's life and load: a warm start, admission, the tier in the process.

use herd_scenario::{Gate, Layer, Retry, Start};

use super::numbers::{Numbers, number};
use super::{Entry, herd};
use crate::words::count;

pub(super) fn shed(numbers: &Numbers<'_>) -> Entry {
    let shed = numbers.rung.shed.unwrap_or_default();
    let gate = |at: &str, gate: Option<Gate>| {
        gate.map(|gate| {
            format!(
                "{at} {} at work, {} more waiting up to {} ms, the rest told to come again in {} ms",
                count(gate.in_flight_max.into()),
                count(gate.queue_max.into()),
                count(gate.queue_wait_ms.into()),
                count(gate.retry_after_ms.into())
            )
        })
    };
    let gates: Vec<String> =
        [gate("at the edge", shed.edge), gate("at the origin", shed.origin)].into_iter().flatten().collect();
    let gates = if gates.is_empty() { "no gate is set".to_owned() } else { gates.join("; ") };
    let in_flight = shed.origin.map_or_else(
        || "what the edge lets in".to_owned(),
        |gate| format!("{} fetches at work at once", count(gate.in_flight_max.into())),
    );
    let sends = match numbers.retry() {
        Retry::Never => "clients do not retry: 1 send a request".to_owned(),
        Retry::Budget { share, .. } => {
            format!("a retry budget of {:.0} %: at most {:.2} sends a request", share * 100.0, 1.0 + share)
        }
        Retry::Fixed { .. } | Retry::Exponential { .. } => {
            format!(
                "clients send up to a = {} times, so that load grows up to {}-fold",
                numbers.attempts(),
                numbers.attempts()
            )
        }
    };
    Entry {
        herd: herd(Some(Layer::Shed)),
        does: format!(
            "Admission: a gate lets in what can be worked on, queues a little, and refuses the rest at once with 503 or RESOURCE_EXHAUSTED \
             and a time to come again: {gates}."
        ),
        bound: format!("At the origin {in_flight}, whatever arrives; {sends}."),
        short: format!("at the origin {in_flight}"),
        breaks: "Clients that retry at once: a attempts over L layers make a^L sends, and the load stays up after its cause is gone \
                 (metastable failure). It recovers only when r*a*(1-h), h the hit rate of the cold cache, falls below what the \
                 origin carries. A gate that is wider than the origin, or a queue longer than the clients' deadlines: work for \
                 nobody."
            .to_owned(),
        next: "Refused readers. Admission protects the origin, not the reader; what the layers under it save need not be refused.".to_owned(),
    }
}

pub(super) fn pre_warm(numbers: &Numbers<'_>) -> Entry {
    let (top, hit_rate) = match numbers.rung.start {
        Start::Prewarmed { top, hit_rate } => (u64::from(top), hit_rate),
        Start::Warm | Start::Cold => (0, 0.7),
    };
    let missed = numbers.rate() * (1.0 - hit_rate);
    Entry {
        herd: herd(Some(Layer::Prewarm)),
        does: format!(
            "Before a cold fleet takes traffic, the {} most read keys of an access log are replayed into it; a gate then measures the hit \
             rate over the log's own reads and opens at {:.0} %, or says why not.",
            count(top),
            hit_rate * 100.0
        ),
        bound: format!(
            "When the traffic comes at most {:.0} % of {} reads a second miss: {}/s at first. Each replayed key is filled once.",
            (1.0 - hit_rate) * 100.0,
            number(numbers.rate()),
            number(missed)
        ),
        short: format!("traffic comes at a hit rate of {:.0} % or not at all", hit_rate * 100.0),
        breaks: "A log that no longer looks like the traffic. Keys whose TTL is over before the traffic comes. A key prefix that is changed \
                 afterwards: the fleet is cold again at once, without the gate (a cold start costs 3 to 10 times a boundary)."
            .to_owned(),
        next: "Everything after the start: boundaries need the layers under it; key changes need versioned keys, filled beside the old ones."
            .to_owned(),
    }
}

pub(super) fn local(numbers: &Numbers<'_>) -> Entry {
    let (ttl, entries, incoherent) = numbers.rung.local.map_or((0, 0, false), |local| {
        (u64::from(local.ttl_ms), u64::from(local.entries_max), local.incoherent)
    });
    let coherence = if incoherent {
        format!(
            "it does not listen: an answer can be older than the cache's by the tier's whole TTL, {} ms",
            count(ttl)
        )
    } else {
        "an answer is older than the cache's only by the time that an invalidation travels".to_owned()
    };
    let per_second = (numbers.nodes() as f64 * 1e3 / ttl.max(1) as f64).min(numbers.hot_rate());
    Entry {
        herd: herd(Some(Layer::Local)),
        does: format!(
            "Each process keeps up to {} values itself for at most {} ms, never beyond what is left of the value's TTL; the cache tells it \
             when a key changes, and it forgets everything when that connection is lost.",
            count(entries),
            count(ttl)
        ),
        bound: format!(
            "Reads of the hottest key that reach the cache: about N/TTL = {}/s instead of {}/s. The bounds on rebuilds stay those of the \
             layers under it, as no value lives longer; {coherence}.",
            number(per_second),
            number(numbers.hot_rate())
        ),
        short: format!("about {} reads a second of the hottest key reach the cache", number(per_second)),
        breaks: "A tier that does not listen, or does not notice that it no longer hears: processes disagree and answers go back in time. A \
                 TTL of its own that starts anew: values outlive T, and the freshness bound with it. A restart: every process is cold."
            .to_owned(),
        next: "The boundary itself: all processes lose the value at the same moment, and the layers under it decide what follows.".to_owned(),
    }
}
