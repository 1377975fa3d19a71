//! Links of cache nodes that go bad: the nodes' own relays do it, and count what they did it to.

use super::{Deed, End, Scene, Seen};
use crate::{
    control::APPLY_LIMIT,
    run::during::faults::{health, links::wire_peer, undo::Undo, witness::Lease},
};
use herd_scenario::{LinkRule, Peer};
use std::time::{Duration, Instant};

/// How often the control plane is asked whether a link was touched.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct Link {
    links: u64,
    to: Peer,
    rule: LinkRule,
    version: u64,
    /// The lease for which its node was chosen.
    lease: Option<Lease>,
}

impl Link {
    pub(super) const fn new(links: u64, to: Peer, rule: LinkRule) -> Self {
        Self { links, to, rule, version: 0, lease: None }
    }

    fn words(&self) -> String {
        let (to, rule) = (
            self.to,
            match self.rule {
                LinkRule::BlackHole => "lets nothing pass".to_owned(),
                LinkRule::Reset => "is reset".to_owned(),
                LinkRule::Delay { delay_ms, jitter_ms } => {
                    format!("is late by {delay_ms} to {} ms", delay_ms + jitter_ms)
                }
                LinkRule::Loss { share } => format!("loses {:.0} %", share * 100.0),
            },
        );
        format!("is told that its link to {to} {rule}")
    }
}

#[tonic::async_trait]
impl Deed for Link {
    fn end(&self) -> End {
        End::Undo(Undo::Mend { links: self.links })
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        if scene.chosen_as_holder_of().is_some() {
            self.lease = scene.lease_of_targets().await;
        }
        let nodes: Vec<String> = scene.targets.iter().map(|target| target.name.clone()).collect();
        let (faults, control) = (scene.ground.faults, scene.ground.stage().control);
        self.version = faults.links.spoil(self.links, &nodes, (self.to, self.rule), control);
        Ok(self.words())
    }

    /// A node has to acknowledge, and a call over this very link has to be hit. That nobody called over some of the links is no flaw as
    /// long as somebody did over one: only who rebuilds calls the origin.
    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let control = scene.ground.stage().control;
        let mut seen: Vec<Option<Seen>> = vec![None; scene.targets.len()];
        loop {
            let over = Instant::now() >= scene.hold_ends;
            let view = control.view();
            for (target, seen) in scene.targets.iter().zip(&mut seen) {
                let Some(node) = view.node(&target.name).filter(|node| node.links_version >= self.version)
                else {
                    continue;
                };
                let first = seen.get_or_insert_with(|| scene.seen(0, ""));
                let hit = node.hits_of(wire_peer(self.to));
                if hit > 0 && first.hit == 0 {
                    first.at_us = scene.ground.window.now_us();
                }
                first.hit = first.hit.max(hit);
            }
            if over {
                break;
            }
            tokio::time::sleep(LOOK_EVERY.min(scene.hold_ends.saturating_duration_since(Instant::now())))
                .await;
        }
        let told = |seen: Option<Seen>| {
            let mut seen = seen.ok_or("did not acknowledge the state of its link")?;
            scene.check_held(self.lease.as_ref())?;
            seen.bit = seen.hit > 0;
            seen.note = if seen.bit {
                format!("had calls over its link to {} hit {} times", self.to, seen.hit)
            } else {
                format!("has a bad link to {}, over which it made no call", self.to)
            };
            Ok(seen)
        };
        seen.into_iter().map(told).collect()
    }

    fn no_bite(&self) -> &'static str {
        "no call was made over the link"
    }

    async fn recovered(&mut self, scene: Scene<'_>, until: Instant) -> Vec<Result<String, String>> {
        let (faults, control) = (scene.ground.faults, scene.ground.stage().control);
        let all = |view: &crate::control::View| {
            scene.targets.iter().all(|target| health::joined(view, faults, &target.name, None).is_ok())
        };
        let limit = until.saturating_duration_since(Instant::now()).min(APPLY_LIMIT);
        // Each is told by itself below, also where the time was over.
        let _ = control.wait_until("mended links", limit, all).await;
        let view = control.view();
        let each = |target: &crate::run::during::faults::select::Target| {
            let mended = health::joined(&view, faults, &target.name, None);
            mended.map(|()| "has a good link again".to_owned())
        };
        scene.targets.iter().map(each).collect()
    }
}
