//! The background fill of a new key prefix: paced, and paused while the origin is busy with others or with the fill itself.

use super::Window;
use crate::{
    edge::EdgeLab,
    ledger::{LedgerError, OriginLab, UnderWay},
};
use futures::{StreamExt, stream::FuturesUnordered};
use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How often the fill sends what is due.
const TICK: Duration = Duration::from_millis(10);
/// How often the fill looks at the origin.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Keys under way at once.
const AT_ONCE_MAX: usize = 256;
/// Times that a key is tried before it counts as not filled.
const TRIES_MAX: u32 = 3;

/// What to fill, and how fast.
pub(super) struct Fill<'a> {
    pub(super) edge: &'a EdgeLab,
    pub(super) prefix: &'a str,
    pub(super) per_s: u32,
    /// No key is sent while more fetches than this are under way at the origin.
    pub(super) stop_in_flight: u32,
    pub(super) window: Window,
}

/// What came of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filled {
    pub(super) keys: u64,
    /// How often it paused because the origin was busy.
    pub(super) pauses: u64,
    /// The most fetches that were under way at the origin at a look.
    pub(super) busiest: usize,
    /// What the first key that was given up said.
    pub(super) error: Option<String>,
}

impl Fill<'_> {
    /// Fills the keys in order. Returns early when the window ends.
    pub(super) async fn run(
        &self,
        keys: Vec<String>,
        origin: &mut OriginLab,
        under_way: &mut UnderWay,
    ) -> Result<Filled, LedgerError> {
        let mut filled = Filled::default();
        let mut queue: VecDeque<(String, u32)> = keys.into_iter().map(|key| (key, 0)).collect();
        let mut calls = FuturesUnordered::new();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut pace = Pace::new(self.per_s);
        let (mut busy, mut looked) = (false, None::<Instant>);
        while !(self.window.is_over() || queue.is_empty() && calls.is_empty()) {
            tokio::select! {
                Some((key, tries, warmed)) = calls.next() => match warmed {
                    Ok(_) => filled.keys += 1,
                    Err(_) if tries < TRIES_MAX => queue.push_back((key, tries)),
                    Err(status) => {
                        filled.error.get_or_insert_with(|| format!("{key}: {}", tonic::Status::message(&status)));
                    }
                },
                _ = ticks.tick() => {
                    if looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                        let in_flight = under_way.look(origin).await?;
                        looked = Some(Instant::now());
                        let is_busy = in_flight > self.stop_in_flight as usize;
                        filled.pauses += u64::from(is_busy && !busy);
                        filled.busiest = filled.busiest.max(in_flight);
                        busy = is_busy;
                    }
                    let due = pace.due();
                    if !busy {
                        let room = AT_ONCE_MAX.saturating_sub(calls.len());
                        for (key, tries) in queue.drain(..due.min(room).min(queue.len())) {
                            calls.push(self.one(key, tries + 1));
                        }
                    }
                }
            }
        }
        Ok(filled)
    }

    async fn one(
        &self,
        key: String,
        tries: u32,
    ) -> (String, u32, Result<herd_wire::v1::WarmResponse, tonic::Status>) {
        let warmed = self.edge.warm(key.clone(), self.prefix.to_owned()).await;
        (key, tries, warmed)
    }
}

/// So many a second; what was not taken when it was due is not made up for.
struct Pace {
    per_s: f64,
    credit: f64,
    last: Instant,
}

impl Pace {
    fn new(per_s: u32) -> Self {
        Self { per_s: per_s.into(), credit: 1.0, last: Instant::now() }
    }

    /// How many are due since the last call.
    fn due(&mut self) -> usize {
        let now = Instant::now();
        // At most what two looks at the origin are apart, however late the tick.
        let since = now.duration_since(self.last).min(LOOK_EVERY * 2);
        self.last = now;
        self.credit += self.per_s * since.as_secs_f64();
        let due = self.credit.floor();
        self.credit -= due;
        due as usize
    }
}
