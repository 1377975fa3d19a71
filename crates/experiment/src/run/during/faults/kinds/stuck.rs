//! Queries of the origin that hang, each with its connection of the pool.

use super::{Deed, End, Looks, Scene, Seen};
use crate::run::during::faults::undo::Undo;
use std::time::{Duration, Instant};

/// How long before the end of the hold the queries that hang are counted: they are let go at its end.
const COUNT_BEFORE: Duration = Duration::from_millis(20);
/// The longest that the origin lets a query hang, milliseconds.
const HANG_MS_MAX: u32 = 600_000;

/// How long reading a row may take once no query hangs.
const READ_LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Stuck {
    queries: u32,
}

impl Stuck {
    pub(super) const fn new(queries: u32) -> Self {
        Self { queries }
    }
}

#[tonic::async_trait]
impl Deed for Stuck {
    fn end(&self) -> End {
        End::Undo(Undo::LetGo)
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        // Longer than the hold: it is the repair that lets them go.
        let for_ms = scene.fault.for_ms.saturating_mul(2).clamp(1_000, HANG_MS_MAX);
        let mut origin = scene.ground.origin()?;
        origin.set_stuck(self.queries, for_ms).await.map_err(|error| error.to_string())?;
        Ok(format!("lets the next {} queries hang", self.queries))
    }

    /// The word that lets them go says how many it lets go.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let at = scene.hold_ends.checked_sub(COUNT_BEFORE).unwrap_or(scene.hold_ends);
        tokio::time::sleep_until(at.into()).await;
        let counted = async {
            let mut origin = scene.ground.origin()?;
            let answer = origin.set_stuck(0, 0).await.map_err(|error| error.to_string())?;
            match answer.hang_now {
                0 => Err("no query hung".to_owned()),
                hung => Ok(scene.seen(hung.into(), format!("let {hung} queries hang"))),
            }
        };
        vec![counted.await]
    }

    /// Until none hangs any more, and a row can be read.
    async fn recovered(&mut self, scene: Scene<'_>, until: Instant) -> Vec<Result<String, String>> {
        let mut looks = Looks::until(until);
        let mut lacks = String::new();
        while looks.again().await {
            let free = async {
                let mut origin = scene.ground.origin()?;
                let answer = origin.set_stuck(0, 0).await.map_err(|error| error.to_string())?;
                if answer.hang_now > 0 {
                    return Err(format!("{} queries still hang", answer.hang_now));
                }
                origin.reaches_rows(READ_LIMIT).await.map_err(|error| error.to_string())
            };
            match free.await {
                Ok(_) => return vec![Ok("lets no query hang, and reads rows".to_owned())],
                Err(why) => lacks = why,
            }
        }
        vec![Err(lacks)]
    }
}
