//! A Redis that goes on running and forgets: all at once, or for want of room.

use super::{Deed, End, Looks, Scene, Seen};
use crate::{run::during::faults::undo::Undo, testbed::RedisFault};
use std::time::Instant;

/// Writes a mark into the store just before it is hurt: that it is gone afterwards proves a loss, that it is there that nothing was lost.
/// Keys prove neither: they end, and come back with every rebuild.
pub(super) async fn mark(scene: Scene<'_>) -> Result<u64, String> {
    let mark = scene.ground.window.now_us();
    scene.ground.hands().redis(RedisFault::Mark { mark }).await?;
    Ok(mark)
}

/// Everything is forgotten at once.
#[derive(Debug, Default)]
pub(super) struct Flush {
    was: u64,
    mark: u64,
}

#[tonic::async_trait]
impl Deed for Flush {
    fn end(&self) -> End {
        End::Nothing
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let hands = scene.ground.hands();
        self.was = hands.redis_info().await?.keys;
        self.mark = mark(scene).await?;
        scene.ground.faults.lost_data("Redis was flushed");
        hands.redis(RedisFault::Flush).await?;
        Ok(format!("forgets {} keys", self.was))
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let was = self.was;
        vec![match scene.ground.hands().redis_info().await {
            Err(why) => Err(why),
            Ok(_) if was == 0 => Err("had nothing to forget".to_owned()),
            Ok(now) if now.mark == Some(self.mark) => {
                Err("still has what was written just before: it forgot nothing".to_owned())
            }
            Ok(now) => {
                let said = format!("has {} keys, {was} before, and not what was written last", now.keys);
                Ok(scene.seen(was.saturating_sub(now.keys), said))
            }
        }]
    }
}

/// So little memory that it evicts.
#[derive(Debug)]
pub(super) struct Evict {
    room_kb: u32,
    was: u64,
    evicted: u64,
}

impl Evict {
    pub(super) const fn new(room_kb: u32) -> Self {
        Self { room_kb, was: 0, evicted: 0 }
    }
}

#[tonic::async_trait]
impl Deed for Evict {
    fn end(&self) -> End {
        End::Undo(Undo::Unlimit)
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let hands = scene.ground.hands();
        self.was = hands.redis_info().await?.evicted;
        scene.ground.faults.lost_data("Redis evicted keys");
        hands.redis(RedisFault::Limit { room: u64::from(self.room_kb) * 1_024 }).await?;
        Ok(format!("may use {} kB more", self.room_kb))
    }

    /// Confirmed from the first eviction on; counted to the end of the hold.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let mut first: Option<Seen> = None;
        let mut silence = None;
        let mut looks = Looks::until(scene.hold_ends);
        while looks.again().await {
            match scene.ground.hands().redis_info().await {
                Ok(now) if now.evicted > self.was => {
                    let evicted = now.evicted - self.was;
                    let seen = first.get_or_insert_with(|| scene.seen(evicted, ""));
                    seen.hit = evicted;
                    seen.note = format!("evicted {evicted} keys");
                }
                Ok(_) => {}
                Err(why) => silence = Some(why),
            }
            tokio::time::sleep(super::LOOK_EVERY * 4).await;
        }
        vec![first.ok_or_else(|| silence.unwrap_or_else(|| "evicted nothing".to_owned()))]
    }

    fn hit_in_all(&self) -> u64 {
        self.evicted
    }

    async fn recovered(&mut self, scene: Scene<'_>, until: Instant) -> Vec<Result<String, String>> {
        let mut looks = Looks::until(until);
        let mut silence = String::new();
        while looks.again().await {
            match scene.ground.hands().redis_info().await {
                Ok(now) => {
                    // Nothing is evicted any more: this is the whole sum.
                    self.evicted = now.evicted.saturating_sub(self.was);
                    return vec![Ok(format!(
                        "answers with {} keys, after {} evictions",
                        now.keys, self.evicted
                    ))];
                }
                Err(why) => silence = why,
            }
        }
        vec![Err(silence)]
    }
}
