//! The layers for many keys and for keys that do not exist.

use herd_scenario::Layer;

use super::numbers::{Numbers, number};
use super::{Entry, herd};
use crate::words::count;

pub(super) fn jitter(numbers: &Numbers<'_>) -> Entry {
    let spread = numbers.rung.jitter.unwrap_or(0.0);
    let ttl_s = numbers.ttl_ms() as f64 / 1e3;
    let (from, to) = (ttl_s * (1.0 - spread), ttl_s * (1.0 + spread));
    let window_s = 2.0 * spread * ttl_s;
    // The judge's bucket: a second, or a tenth of the TTL if that is less.
    let width_s = (ttl_s / 10.0).clamp(0.001, 1.0);
    let keys = numbers.keys();
    let bound = if keys == 1 {
        "None for one key: its readers still miss together.".to_owned()
    } else if window_s <= width_s {
        format!(
            "K = {} keys filled together expire within 2jT = {window_s:.1} s instead of at one moment.",
            count(keys)
        )
    } else {
        let mean = keys as f64 * width_s / window_s;
        let highest = (mean + (2.0 * mean * (window_s / width_s).ln()).sqrt()).min(keys as f64);
        let (mean_told, buckets) = if width_s < 1.0 {
            let width = number(width_s * 1e3);
            (format!("L = K * {width} ms/(2jT) = {}", number(mean)), format!("buckets of {width} ms"))
        } else {
            (format!("L = K/(2jT) = {}/s", number(mean)), "one-second buckets".to_owned())
        };
        format!(
            "K = {} keys filled together: {mean_told} on average over {} s, and the highest of those m {buckets} about L + sqrt(2 L ln m) = \
             {}; without it they expire as close together as they were filled.",
            count(keys),
            number(window_s),
            number(highest)
        )
    };
    Entry {
        herd: herd(Some(Layer::Jitter)),
        does: format!(
            "Each TTL is drawn uniformly from T*(1-j) to T*(1+j), j = {spread}: {} s to {} s. (A formula of the form 1 + j*(rand-0.5) gives \
             half that spread.)",
            number(from),
            number(to)
        ),
        bound,
        short: match keys {
            1 => "nothing for one key".to_owned(),
            _ => format!("{} keys expire over {} s", count(keys), number(window_s)),
        },
        breaks: "One hot key: jitter moves its expiry, not its readers. Keys that go together without expiring: an invalidation of all, an \
                 eviction, a new key prefix. A spread that is small beside the time that the origin needs for K rebuilds."
            .to_owned(),
        next: "The herd of each key. Jitter is for many keys, the layers under it are for one.".to_owned(),
    }
}

pub(super) fn negative(numbers: &Numbers<'_>) -> Entry {
    let ttl = numbers.rung.negative_ttl_ms.map_or(0, u64::from);
    let absent = numbers.rate() * numbers.absent_share();
    let (once, each) = if let Some((many, told)) = numbers.locked().filter(|(many, _)| *many > 1) {
        (format!("queries: {told}"), many)
    } else if numbers.rung.has(Layer::Lock) || numbers.owned() {
        ("1 query".to_owned(), 1)
    } else if numbers.rung.has(Layer::SingleFlight) {
        (format!("1 query in each process, N = {}", count(numbers.nodes())), numbers.nodes())
    } else {
        ("as many queries as readers come within D".to_owned(), 0)
    };
    let asked = match (numbers.scenario.workload.absent, numbers.absent_count()) {
        (None, _) => " This scenario asks for no such row.".to_owned(),
        (Some(_), Some(rows)) if each > 0 => format!(
            " {} reads a second ask for {} of them: at most about {} queries a second instead.",
            number(absent),
            count(rows),
            number((rows * each) as f64 * 1e3 / ttl.max(1) as f64)
        ),
        (Some(_), Some(rows)) => {
            format!(" {} reads a second ask for {} of them.", number(absent), count(rows))
        }
        (Some(_), None) => format!(
            " {} reads a second each ask for another one here: nothing is asked for twice, and all of them reach the origin.",
            number(absent)
        ),
    };
    Entry {
        herd: herd(Some(Layer::Negative)),
        does: format!(
            "That a row does not exist is remembered as well, as a sentinel with a TTL of its own, {} ms. Inserting the row clears it.",
            count(ttl)
        ),
        bound: format!("{once} for each missing row and sentinel TTL.{asked}"),
        short: format!("{once} for each missing row and {} ms", count(ttl)),
        breaks: "Random ids: each is asked for once, so that no sentinel is ever read; they also fill the cache. An insert that does not clear \
                 the sentinel, or a sentinel written after the insert: the row stays absent for its TTL."
            .to_owned(),
        next: "A flood of distinct ids, which a filter of existing keys bounds.".to_owned(),
    }
}

pub(super) fn key_filter(numbers: &Numbers<'_>) -> Entry {
    let absent = numbers.rate() * numbers.absent_share();
    let asked = if numbers.scenario.workload.absent.is_some() {
        format!(" Of {} reads of missing rows a second only false positives get through.", number(absent))
    } else {
        " This scenario asks for no such row.".to_owned()
    };
    Entry {
        herd: herd(Some(Layer::KeyFilter)),
        does: "A compact filter of all existing keys is asked before anything is rebuilt. It has false positives and no false negatives: a \
               key that it does not know does not exist, and the origin is not asked."
            .to_owned(),
        bound: format!("Queries for keys that do not exist: the filter's false positives, however many ids are tried.{asked}"),
        short: "only false positives of the filter reach the origin".to_owned(),
        breaks: "A row that is inserted past the filter: it is refused until the filter learns of it, unless the cache remembers the \
                 insertion. A filter that has outgrown its size: its false positives rise. A filter that is away or not loaded yet: who \
                 believes everything lets everything in."
            .to_owned(),
        next: "More load than the origin carries, by keys that do exist: admission.".to_owned(),
    }
}
