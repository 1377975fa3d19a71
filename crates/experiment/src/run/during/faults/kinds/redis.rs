//! A Redis that goes on running and forgets: all at once, or for want of room.

use super::{Deed, End, Looks, Scene, Seen};
use crate::{run::during::faults::undo::Undo, testbed::RedisFault};
use std::time::Instant;

/// Everything is forgotten at once.
#[derive(Debug, Default)]
pub(super) struct Flush {
    was: u64,
}

#[tonic::async_trait]
impl Deed for Flush {
    fn end(&self) -> End {
        End::Nothing
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let hands = scene.ground.hands();
        self.was = hands.redis_info().await?.keys;
        scene.ground.faults.lost_data("Redis was flushed");
        hands.redis(RedisFault::Flush).await?;
        Ok(format!("forgets {} keys", self.was))
    }

    /// The first look counts: keys come back with every rebuild.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let was = self.was;
        vec![match scene.ground.hands().redis_info().await {
            Err(why) => Err(why),
            Ok(_) if was == 0 => Err("had nothing to forget".to_owned()),
            Ok(now) if now.keys >= was => Err(format!("has {} keys, no fewer than before", now.keys)),
            Ok(now) => Ok(scene.seen(was - now.keys, format!("has {} keys, {was} before", now.keys))),
        }]
    }
}

/// So little memory that it evicts.
#[derive(Debug)]
pub(super) struct Evict {
    room_kb: u32,
    was: u64,
}

impl Evict {
    pub(super) const fn new(room_kb: u32) -> Self {
        Self { room_kb, was: 0 }
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

    async fn recovered(&mut self, scene: Scene<'_>, until: Instant) -> Vec<Result<String, String>> {
        let mut looks = Looks::until(until);
        let mut silence = String::new();
        while looks.again().await {
            match scene.ground.hands().redis_info().await {
                Ok(now) => return vec![Ok(format!("answers with {} keys", now.keys))],
                Err(why) => silence = why,
            }
        }
        vec![Err(silence)]
    }
}
