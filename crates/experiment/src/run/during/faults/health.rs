//! Whether what was hurt works again, by the word of whoever needs it: not only that its process runs.

use super::{Faults, Ground, LOOK_EVERY, Looks, select::Target};
use crate::{
    control::View,
    fleet_config,
    run::rung::Stage,
    testbed::{Part, PartState, RedisInfo},
};
use herd_scenario::{Failing, Slow};
use std::time::{Duration, Instant};

/// How long one question may take.
const ASK_LIMIT: Duration = Duration::from_secs(1);

/// What a part was before it was hurt, so that a new life can be told from the old one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Before {
    /// A cache node's session with the control plane.
    session: u64,
    /// What Redis said.
    pub(super) redis: Option<RedisInfo>,
}

impl Before {
    pub(super) async fn of(ground: Ground<'_>, target: &Target) -> Self {
        match target.part {
            Some(Part::CacheNode) => {
                let view = ground.stage().control.view();
                let session = view.node(&target.name).map_or(0, |node| node.session);
                Self { session, redis: None }
            }
            Some(Part::Redis) => Self { session: 0, redis: ground.hands().redis_info().await.ok() },
            _ => Self::default(),
        }
    }
}

/// Waits until a target works as before. `anew`: it was started again, so that its old life does not count.
///
/// # Errors
/// It did not in time, and what it was seen to lack.
pub(super) async fn works(
    ground: Ground<'_>,
    target: &Target,
    before: Before,
    anew: bool,
    until: Instant,
) -> Result<String, String> {
    let began = Instant::now();
    let Some(part) = target.part else { return Ok("as before".to_owned()) };
    let mut looks = Looks::until(until);
    let mut lacks = String::new();
    while looks.again().await {
        match look(ground, part, target, before, anew).await {
            Ok(seen) => return Ok(format!("{seen} {} ms after the repair", began.elapsed().as_millis())),
            Err(why) => lacks = why,
        }
        // Beside the usual pause: what is asked here is busy starting.
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Err(format!("does not work {} ms after the repair: {lacks}", began.elapsed().as_millis()))
}

async fn look(
    ground: Ground<'_>,
    part: Part,
    target: &Target,
    before: Before,
    anew: bool,
) -> Result<String, String> {
    match ground.hands().state(part, target.index).await? {
        PartState::Running { .. } => {}
        PartState::Paused => return Err("it is frozen".to_owned()),
        PartState::Ended => return Err("it has ended".to_owned()),
    }
    match part {
        Part::CacheNode => {
            let view = ground.stage().control.view();
            joined(&view, ground.faults, &target.name, anew.then_some(before.session))?;
            Ok("is joined and has the configuration".to_owned())
        }
        Part::Edge => {
            let ready = ground.stage().control.view().is_edge_ready();
            ready
                .then(|| "is joined and knows the nodes".to_owned())
                .ok_or_else(|| "it has not joined".to_owned())
        }
        Part::LockService => {
            // Any name will do: nobody holds this one.
            ground.locks()?.holder("herd.is-anybody-there").await?;
            Ok("answers".to_owned())
        }
        Part::Origin | Part::Database => {
            let mut origin = ground.origin()?;
            if part == Part::Origin && anew {
                origin.answers(ASK_LIMIT).await.map_err(|error| error.to_string())?;
                remember(ground, ground.stage()).await?;
            }
            origin.reaches_rows(ASK_LIMIT).await.map_err(|error| error.to_string())?;
            Ok("reads rows".to_owned())
        }
        Part::Redis => {
            let info = ground.hands().redis_info().await?;
            let was = before.redis.unwrap_or_default();
            Ok(format!("answers with {} keys, {} before,", info.keys, was.keys))
        }
    }
}

/// Whether a cache node takes part: in another session than this one, if it is told, and with the present state of its links.
pub(super) fn joined(view: &View, faults: &Faults<'_>, node: &str, but: Option<u64>) -> Result<(), String> {
    let member = view.node(node).ok_or("it has not joined")?;
    if but == Some(member.session) {
        return Err("its old session has not ended".to_owned());
    }
    if !view.is_node_ready(node) {
        return Err("it is joined, but it or the edge has not applied what is in force".to_owned());
    }
    if faults.stage.plan.scenario.has_link_faults() && member.links_version < faults.links.version() {
        return Err("it has not applied the state of its links".to_owned());
    }
    Ok(())
}

/// Tells an origin that was started again what lived in its memory: its latency, its gate, and the failures and slowness that
/// are not over yet.
async fn remember(ground: Ground<'_>, stage: &Stage<'_>) -> Result<(), String> {
    let words = |error: crate::ledger::LedgerError| error.to_string();
    let wanted = &stage.plan.scenario.origin;
    let now_ms = ground.window.start.at.elapsed().as_millis() as u64;
    let left = |at_ms: u32, for_ms: u32| {
        let end_ms = u64::from(at_ms) + u64::from(for_ms);
        let runs = (u64::from(at_ms)..end_ms).contains(&now_ms);
        if runs { u32::try_from(end_ms - now_ms).unwrap_or(u32::MAX) } else { 0 }
    };
    let mut origin = ground.origin()?;
    let mut latency = fleet_config::latency(wanted);
    if let Some(Slow { at_ms, for_ms, factor }) = wanted.slow
        && left(at_ms, for_ms) > 0
    {
        (latency.slow_for_ms, latency.slow_factor) = (left(at_ms, for_ms), factor);
    }
    origin.set_latency(latency).await.map_err(words)?;
    origin.set_gate(fleet_config::origin_gate(stage.rung)).await.map_err(words)?;
    if let Some(Failing { at_ms, for_ms, share }) = wanted.failing
        && left(at_ms, for_ms) > 0
    {
        origin.set_failures(share, left(at_ms, for_ms)).await.map_err(words)?;
    }
    Ok(())
}
