//! The policy core's hit decision beside moka's: what the guard costs when there is nothing to guard.

use herd_policy::{Action, Config, Core, Life, Limits, ReadOutcome, Time};
use moka::sync::Cache;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Hits in one timed round.
const HITS: u32 = 200_000;
/// Rounds of each side, in turn; the median counts.
const ROUNDS: usize = 9;

/// Nanoseconds of one hit.
#[derive(Clone, Copy, Debug)]
pub(super) struct PolicyHit {
    /// our core: lookup, read outcome, serve
    pub(super) ours_ns: f64,
    /// moka's `get_with` on a key that is there
    pub(super) moka_ns: f64,
}

/// Measures both sides in turn, so that a drift of the machine's speed meets both.
pub(super) fn measure() -> PolicyHit {
    let key: Arc<str> = Arc::from("item-1");
    let value: Arc<str> = Arc::from("x".repeat(200));
    let mut core = Core::new(Arc::new(Config::default()), Limits::default(), 1);
    let cache: Cache<Arc<str>, Arc<str>> = Cache::new(1_000);
    cache.insert(key.clone(), value.clone());
    let mut ours = Vec::with_capacity(ROUNDS);
    let mut mokas = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        ours.push(per_hit(|| hit_core(&mut core, &key, &value)));
        mokas.push(per_hit(|| {
            black_box(cache.get_with(key.clone(), || unreachable!("the key is there")));
        }));
    }
    PolicyHit { ours_ns: super::median(&mut ours), moka_ns: super::median(&mut mokas) }
}

fn hit_core(core: &mut Core<Arc<str>>, key: &Arc<str>, value: &Arc<str>) {
    let now = Time::from_micros(1);
    core.handle_lookup(now, key.clone(), now + Duration::from_secs(1));
    let Some(Action::Read { op, .. }) = core.poll_action() else {
        unreachable!("a lookup asks for a read first");
    };
    core.handle_read(
        now,
        op,
        ReadOutcome::Fresh { value: value.clone(), generation: 1, life: Life::default() },
    );
    let Some(Action::Serve(serve)) = core.poll_action() else {
        unreachable!("a fresh value is served");
    };
    black_box(serve);
}

fn per_hit(mut hit: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..HITS {
        hit();
    }
    started.elapsed().as_secs_f64() * 1e9 / f64::from(HITS)
}
