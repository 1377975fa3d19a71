//! Redis ends, and comes back: with nothing, with its append-only file, or as the replica that was kept behind.

use super::{Deed, End, Looks, Scene, Seen, redis::mark};
use crate::{
    run::during::faults::{undo::Undo, witness::Lease},
    testbed::{Part, PartState, RedisFault, RedisInfo, Signal},
};
use std::time::Instant;

/// What Redis said before it ended, and what it was told last.
#[derive(Debug, Default)]
struct Life {
    was: RedisInfo,
    mark: u64,
    ended: Option<Instant>,
}

impl Life {
    async fn look(&mut self, scene: Scene<'_>) -> Result<(), String> {
        self.was = scene.ground.hands().redis_info().await?;
        self.mark = mark(scene).await?;
        Ok(())
    }

    /// Whether the one that answers has what the one that ended was told last.
    fn is_kept(&self, now: &RedisInfo) -> bool {
        now.mark == Some(self.mark)
    }

    async fn end(&mut self, scene: Scene<'_>) -> Result<(), String> {
        let ended = Instant::now();
        scene.ground.hands().signal(Part::Redis, &[0], Signal::Kill).await?;
        self.ended = Some(ended);
        Ok(())
    }

    /// Waits for the word of a process that is not the one that ended: in a container it may have the same number, but it
    /// cannot have been up for longer.
    async fn next(&self, scene: Scene<'_>, until: Instant) -> Result<RedisInfo, String> {
        let mut looks = Looks::until(until);
        let mut silence = String::new();
        while looks.again().await {
            match scene.ground.hands().redis_info().await {
                Ok(now) => {
                    let since = self.ended.map_or(0, |ended| ended.elapsed().as_secs());
                    if now.pid != self.was.pid || now.uptime_s <= since {
                        return Ok(now);
                    }
                    "the process that answers is the old one".clone_into(&mut silence);
                }
                Err(why) => silence = why,
            }
        }
        Err(silence)
    }
}

/// Killed, and started again.
pub(super) struct Restart {
    empty: bool,
    life: Life,
}

impl Restart {
    pub(super) fn new(empty: bool) -> Self {
        Self { empty, life: Life::default() }
    }
}

#[tonic::async_trait]
impl Deed for Restart {
    fn end(&self) -> End {
        End::Undo(Undo::StartRedis { empty: self.empty })
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        self.life.look(scene).await?;
        // From here on it may have ended, whatever comes next.
        if self.empty {
            scene.ground.faults.lost_data("Redis was restarted with nothing");
        }
        self.life.end(scene).await?;
        Ok(format!("is killed with {} keys", self.life.was.keys))
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let mut looks = Looks::until(scene.confirm_until());
        let mut is = "still runs".to_owned();
        while looks.again().await {
            match scene.ground.hands().state(Part::Redis, 0).await {
                Ok(PartState::Ended) => return vec![Ok(scene.seen(0, "has ended"))],
                Ok(_) => {}
                Err(why) => is = why,
            }
        }
        vec![Err(is)]
    }

    async fn recovered(&mut self, scene: Scene<'_>, until: Instant) -> Vec<Result<String, String>> {
        let now = match self.life.next(scene, until).await {
            Ok(now) => now,
            Err(why) => return vec![Err(format!("does not answer: {why}"))],
        };
        let came = format!("came back with {} keys, {} before", now.keys, self.life.was.keys);
        vec![match (self.empty, self.life.is_kept(&now)) {
            (true, true) => Err(format!("{came}, and with what was written last: it lost nothing")),
            (true, false) => Ok(format!("{came}, and without what was written last")),
            (false, true) => Ok(format!("{came}, and with what was written last")),
            (false, false) => {
                scene
                    .ground
                    .faults
                    .lost_data("Redis came back without what its append-only file should hold");
                Err(format!("{came}, and without what was written last: its append-only file was not kept"))
            }
        }]
    }
}

/// Killed, and the replica takes its place.
#[derive(Debug, Default)]
pub(super) struct Promote {
    life: Life,
    lease: Option<Lease>,
}

#[tonic::async_trait]
impl Deed for Promote {
    fn end(&self) -> End {
        End::Nothing
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let ground = scene.ground;
        if let Some(why) = ground.faults.kept().not_detached.clone() {
            return Err(format!("the replica could not be kept behind: {why}"));
        }
        self.lease = Lease::held_by(ground, scene.key(), |_| true).await;
        self.life.look(scene).await?;
        ground.faults.lost_data("the replica that became the store had heard nothing since the rung began");
        self.life.end(scene).await?;
        ground.hands().redis(RedisFault::Promote).await?;
        Ok("is killed, and its replica takes its place".to_owned())
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let now = match self.life.next(scene, scene.confirm_until()).await {
            Ok(now) => now,
            Err(why) => return vec![Err(format!("no replica answers: {why}"))],
        };
        if self.life.is_kept(&now) {
            return vec![Err(
                "is the replica now, and has what was written last: it was not behind".to_owned()
            )];
        }
        let mut seen = scene
            .seen(0, format!("is the replica now, with {} keys, {} before", now.keys, self.life.was.keys));
        if let Some(lease) = &self.lease {
            let of = lease.node();
            if lease.ended(scene.ground, scene.confirm_until()).await.is_none() {
                return vec![Err(format!(
                    "is the replica now, and still knows the lease of {of}: it was not behind"
                ))];
            }
            seen.note.push_str(&format!("; the lease of {of} is not known to it"));
        }
        vec![Ok(seen)]
    }
}
