//! The layers that take the rebuild out of the readers' way: patience, stale answers, early recomputation.

use herd_scenario::{Layer, OnWaitTimeout};

use super::numbers::{Numbers, number};
use super::{Entry, herd};
use crate::words::count;

/// Readers who would come early already when the value is written, from which on the formula of early recomputation is told to
/// be off: it takes them for none.
const AT_BIRTH_MAX: f64 = 0.05;

pub(super) fn waiter_timeout(numbers: &Numbers<'_>) -> Entry {
    let waiter = numbers.rung.waiter;
    let (wait, then) =
        waiter.map_or((0, OnWaitTimeout::Error), |waiter| (u64::from(waiter.wait_ms), waiter.then));
    let rebuild = numbers.rebuild_ms();
    let extra = numbers.readers_within(rebuild.saturating_sub(wait));
    let (told, does) = match then {
        OnWaitTimeout::Error => ("error", "answers with an error".to_owned()),
        OnWaitTimeout::Origin => ("origin", "goes to the origin itself".to_owned()),
        OnWaitTimeout::Stale => (
            "stale",
            format!("answers with the expired value that it saw (safe rows only: {})", numbers.safe_rows()),
        ),
    };
    let bound = match then {
        _ if wait >= rebuild => format!(
            "No wait longer than W = {} ms. As W >= D = {} ms nobody's patience runs out while the origin takes its usual time.",
            count(wait),
            count(rebuild)
        ),
        OnWaitTimeout::Origin => format!(
            "It adds about r*(D-W) = {}/s * ({} - {}) ms = {} rebuilds at each boundary to what the layers under it leave.",
            number(numbers.hot_rate()),
            count(rebuild),
            count(wait),
            number(extra)
        ),
        OnWaitTimeout::Error => format!(
            "No wait longer than W = {} ms, and no rebuild is added. About r*(D-W) = {} readers get an error at each boundary.",
            count(wait),
            number(extra)
        ),
        OnWaitTimeout::Stale => format!(
            "No wait longer than W = {} ms, no rebuild is added, and no answer is older than {}.",
            count(wait),
            numbers.oldest_told()
        ),
    };
    let short = match then {
        OnWaitTimeout::Origin if wait < rebuild => format!("adds about r*(D-W) = {} rebuilds", number(extra)),
        _ => format!("no wait longer than W = {} ms, then {told}", count(wait)),
    };
    Entry {
        herd: herd(Some(Layer::WaiterTimeout)),
        does: format!(
            "Every reader has its own patience with a rebuild, W = {} ms. When it runs out the reader leaves and {does}; the rebuild \
             goes on for the others.",
            count(wait)
        ),
        bound,
        short,
        breaks: "A rebuild that becomes slower than W. Who then goes to the origin starts the herd again, at the very moment at which the \
                 origin is slow (measured on nginx: 200 callers, lock time-out 1 s, rebuild 2 s: 200 origin requests). Who answers with \
                 an error only moves the damage to the reader."
            .to_owned(),
        next: "A reader still waits up to W at every boundary. Stale-while-revalidate answers without any wait.".to_owned(),
    }
}

pub(super) fn stale_while_revalidate(numbers: &Numbers<'_>) -> Entry {
    let grace = numbers.grace_ms();
    Entry {
        herd: herd(Some(Layer::StaleWhileRevalidate)),
        does: format!(
            "A reader that finds the value expired by at most G = {} ms is served it at once, and a refresh runs in the background. Only \
             rows that are named safe are ever served stale: {}.",
            count(grace),
            numbers.safe_rows()
        ),
        bound: format!(
            "No reader waits. Refreshes at each boundary: {}. No answer is older than {}.",
            numbers.coalesced(),
            numbers.oldest_told()
        ),
        short: format!("no reader waits, no answer older than {}", numbers.oldest_short()),
        breaks: format!(
            "A key that nobody reads for T + G: its next reader waits as before. An origin that needs longer than G = {} ms, or fails for \
             as long: the grace ends and the herd forms on the old value. An empty cache (a cold start, a new key prefix): nothing \
             is there to be served stale. Without a layer that coalesces, every stale read starts a refresh.",
            count(grace)
        ),
        next: "What a reader gets when the refresh fails (stale-if-error), and that readers see expired values at all: early \
               recomputation renews them before they expire."
            .to_owned(),
    }
}

pub(super) fn stale_if_error(numbers: &Numbers<'_>) -> Entry {
    let grace = numbers.grace_ms();
    let rebuild = numbers.rebuild_ms();
    let failing = numbers.scenario.origin.failing.map_or_else(
        || format!("at most ceil(window/D) + 1 calls, D = {} ms, in each process", count(rebuild)),
        |failing| {
            // One may be under way when it begins.
            let rounds = u64::from(failing.for_ms).div_ceil(rebuild) + 1;
            let window = count(failing.for_ms.into());
            format!(
                "at most ceil(window/D) + 1 = ceil({window}/{}) + 1 = {rounds} calls in each process",
                count(rebuild)
            )
        },
    );
    Entry {
        herd: herd(Some(Layer::StaleIfError)),
        does: format!(
            "Readers whose rebuild failed are served the expired value that they saw, as long as it expired at most G = {} ms ago and \
             the row is named safe: {}.",
            count(grace),
            numbers.safe_rows()
        ),
        bound: format!(
            "No error on a safe row within G after its expiry, and no answer older than {}. While the origin fails it sees {failing}.",
            numbers.oldest_told()
        ),
        short: format!("no error on safe rows within G, no answer older than {}", numbers.oldest_short()),
        breaks: format!(
            "An outage that outlasts the grace: from G = {} ms after the expiry on, readers get the error. A row that is not named safe, \
             or of which nothing is cached. An error that each waiter retries in its turn: the queue becomes a serial herd.",
            count(grace)
        ),
        next: "The origin's recovery: all keys that expired meanwhile come back at once, which jitter and admission bound.".to_owned(),
    }
}

pub(super) fn early(numbers: &Numbers<'_>) -> Entry {
    let beta = numbers.rung.early_beta.unwrap_or(1.0);
    let expected = (1.0 / beta).exp();
    let slow = (2.0 / beta).exp().min(numbers.crowd() * 2.0);
    let product = numbers.crowd() * beta;
    let reach_ms = beta * numbers.rebuild_ms() as f64;
    let first_ms = reach_ms * product.max(1.0).ln();
    let at_birth = product * (-(numbers.ttl_ms() as f64) / reach_ms).exp();
    let premise = if product < 10.0 {
        format!(
            "NOT valid here: r*beta*D = {} is not far above 1, so that the key may expire unread",
            number(product)
        )
    } else if at_birth >= AT_BIRTH_MAX {
        format!(
            "NOT valid here: r*beta*D*e^(-T/(beta*D)) = {at_birth:.2} readers would come early already when the value is written; the \
             formula wants none"
        )
    } else {
        format!(
            "valid here, as r*beta*D = {} is far above 1; the first comes about beta*D*ln(r*beta*D) = {} ms before the expiry",
            number(product),
            number(first_ms)
        )
    };
    Entry {
        herd: herd(Some(Layer::Early)),
        does: format!(
            "XFetch (Vattani, Chierichetti, Lowenstein 2015). Each read of a fresh value throws dice, the more boldly the nearer the \
             expiry: it recomputes early when now - D*beta*ln(U) >= expiry, U uniform in (0, 1], beta = {beta}, D as the last rebuild \
             took. The reader is served the fresh value at once; the rebuild runs in the background."
        ),
        bound: format!(
            "On average e^(1/beta) = {expected:.2} recomputations a window, whatever r is: {premise}. No reader misses at the expiry of \
             a hot key. What runs at once is bounded by the layers under it: {}.",
            numbers.coalesced()
        ),
        short: format!("e^(1/beta) = {expected:.2} early rebuilds a window on average"),
        breaks: format!(
            "An origin that becomes slower than the value remembers: with d = {} ms remembered and D twice that the count becomes \
             e^(D/(beta*d)) = {}, capped by r*D. A key that is read less than once in beta*D: nobody throws dice in time, and it \
             expires. An empty cache.",
            count(numbers.rebuild_ms()),
            number(slow)
        ),
        next: "Cold keys, cold starts and slow origins: those need the lock, stale answers or a warm start."
            .to_owned(),
    }
}
