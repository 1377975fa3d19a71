//! What a rung does differently from what its layers' texts say: knobs of known-bad strategies, and what happens to it.

use herd_scenario::{DeployStrategy, FlightUntil, Layer, OnOriginError, Start, WriteGuard};

use super::numbers::Numbers;
use crate::words::count;

/// One sentence each.
pub(super) fn of(numbers: &Numbers<'_>) -> Vec<String> {
    let mut all = known_bad(numbers);
    all.extend(events(numbers));
    all
}

fn known_bad(numbers: &Numbers<'_>) -> Vec<String> {
    let rung = numbers.rung;
    let mut all: Vec<&str> = Vec::new();
    if !rung.flight_second_look {
        all.push("Known bad: a flight's leader does not look at the cache again.");
    }
    if rung.flight_until == FlightUntil::Fetched {
        all.push("Known bad: a flight ends when the origin answers, before its value is written.");
    }
    if rung.on_origin_error == OnOriginError::SerialRetry {
        all.push("Known bad: on an error each waiter asks the origin in its turn.");
    }
    if let Some(lock) = &rung.lock {
        if !lock.second_look {
            all.push("Known bad: who is granted the lease does not look at the cache again, and rebuilds what was just rebuilt.");
        }
        if lock.unconditional_release {
            all.push("Known bad: a release frees the lock whoever holds it by then.");
        }
        if lock.volatile_tokens {
            all.push("Known bad: tokens are counted in the lock store's memory; a restart hands out old ones again.");
        }
        if rung.write_guard == WriteGuard::Unguarded {
            all.push("Known bad: writes are not fenced, so that a late holder overwrites a newer value.");
        }
    }
    if rung.local.is_some_and(|local| local.incoherent) {
        all.push("Known bad: the tier in the process does not listen for invalidations.");
    }
    all.into_iter().map(str::to_owned).collect()
}

fn events(numbers: &Numbers<'_>) -> Vec<String> {
    let rung = numbers.rung;
    let mut all = Vec::new();
    if rung.start == Start::Cold && !rung.has(Layer::Prewarm) {
        all.push("Nothing is cached when the load comes.".to_owned());
    }
    if let Some(failing) = numbers.scenario.origin.failing {
        all.push(format!(
            "From {} ms on the origin fails {:.0} % of its fetches for {} ms.",
            count(failing.at_ms.into()),
            failing.share * 100.0,
            count(failing.for_ms.into())
        ));
    }
    if let Some(deploy) = &rung.deploy {
        let how = match deploy.strategy {
            DeployStrategy::Bump => "at once, onto empty keys".to_owned(),
            DeployStrategy::Versioned => format!(
                "after the new keys were filled beside the old ones, {} a second, pausing while more than {} fetches are under way",
                count(deploy.fill_per_s.into()),
                count(deploy.stop_in_flight.into())
            ),
        };
        all.push(format!("At {} ms a deploy changes the key prefix {how}.", count(deploy.at_ms.into())));
    }
    for change in &rung.membership {
        let how_long = match change.for_ms {
            0 => "for good".to_owned(),
            for_ms => format!("for {} ms", count(for_ms.into())),
        };
        let at = count(change.at_ms.into());
        all.push(format!("At {at} ms the owner of {} leaves the membership {how_long}.", change.owner_of));
    }
    all
}
