//! Nodes that come: those that were stopped before the rung began are started.

use super::{Deed, End, Scene, Seen};
use crate::{
    run::during::faults::{RECOVER_LIMIT, health, select::Target, undo::Undo},
    testbed::{Part, Signal},
};
use std::time::Instant;

pub(super) struct ScaleOut {
    indices: Vec<u32>,
}

impl ScaleOut {
    pub(super) fn new(targets: &[Target]) -> Self {
        Self { indices: targets.iter().map(|target| target.index).collect() }
    }
}

#[tonic::async_trait]
impl Deed for ScaleOut {
    fn end(&self) -> End {
        End::Nothing
    }

    async fn inject(&mut self, scene: Scene<'_>) -> Result<String, String> {
        let undo =
            Undo::Signal { part: Part::CacheNode, indices: self.indices.clone(), signal: Signal::Start };
        let ground = scene.ground;
        if ground.stage().control.view().nodes_joined() > ground.faults.nodes_at_start() {
            return Err("runs already".to_owned());
        }
        ground.hands().signal(Part::CacheNode, &self.indices, Signal::Start).await?;
        // They were to be started when the rung ends.
        if ground.faults.in_force.remove_like(&undo) {
            ground.faults.journal().await;
        }
        Ok("is started".to_owned())
    }

    async fn confirm(&mut self, scene: Scene<'_>) -> Vec<Result<Seen, String>> {
        let (faults, control) = (scene.ground.faults, scene.ground.stage().control);
        let until = Instant::now() + RECOVER_LIMIT;
        let mut seen: Vec<Result<Seen, String>> =
            scene.targets.iter().map(|_| Err("has not joined".to_owned())).collect();
        loop {
            let over = Instant::now() >= until;
            let view = control.view();
            for (target, seen) in scene.targets.iter().zip(&mut seen).filter(|(_, seen)| seen.is_err()) {
                *seen = health::joined(&view, faults, &target.name, None)
                    .map(|()| scene.seen(0, "has joined and has the configuration"));
            }
            if over || seen.iter().all(Result::is_ok) {
                return seen;
            }
            tokio::time::sleep(super::LOOK_EVERY).await;
        }
    }
}
