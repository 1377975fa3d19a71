//! What is done to containers, and the engine's word for whether it took.

use super::{ASKED_AT_ONCE, Fleet};
use crate::engine;
use bollard::{
    Docker,
    query_parameters::{KillContainerOptionsBuilder, StopContainerOptionsBuilder},
};
use futures::stream::{self, StreamExt};
use herd_experiment::testbed::{Part, PartState, Signal, TestbedError};

/// What a part gets to end when asked, seconds.
const STOP_S: i32 = 4;

impl Fleet {
    /// To all of them, several at once; the first error, after all had their turn.
    pub(super) async fn signal(
        &mut self,
        part: Part,
        indices: &[u32],
        signal: Signal,
    ) -> Result<(), TestbedError> {
        let mut wanted = Vec::with_capacity(indices.len());
        for index in indices {
            wanted.push(((part, *index), self.container(part, *index)?.id.clone()));
        }
        let ends = matches!(signal, Signal::Kill | Signal::Stop);
        // Before it is done: whoever looks for failures meanwhile must not find these.
        let already: Vec<bool> = wanted.iter().map(|(key, _)| ends && !self.ended.insert(*key)).collect();
        let docker = &self.docker;
        let outcomes: Vec<Result<(), TestbedError>> = stream::iter(wanted.clone())
            .map(|((part, index), id)| async move {
                let doing = format!("{signal:?} of {part} {index}").to_lowercase();
                deliver(docker, &id, signal, &doing).await
            })
            .buffered(ASKED_AT_ONCE)
            .collect()
            .await;
        for (((key, _), already), outcome) in wanted.iter().zip(already).zip(&outcomes) {
            let undone = ends && !already && outcome.is_err();
            if undone || (signal == Signal::Start && outcome.is_ok()) {
                self.ended.remove(key);
            }
        }
        let done = outcomes.into_iter().collect();
        if signal == Signal::Start {
            return self.relocate().await.and(done);
        }
        done
    }

    /// What a part is doing.
    pub(super) async fn state_of(&self, part: Part, index: u32) -> Result<PartState, TestbedError> {
        let seen = engine::look(&self.docker, &self.container(part, index)?.id).await?;
        Ok(match seen.state.as_str() {
            "paused" => PartState::Paused,
            "running" => PartState::Running { pid: seen.pid.unwrap_or_default() },
            _ => PartState::Ended,
        })
    }
}

/// Done, or refused because it was so already.
async fn deliver(docker: &Docker, id: &str, signal: Signal, doing: &str) -> Result<(), TestbedError> {
    let done = match signal {
        Signal::Pause => docker.pause_container(id).await,
        Signal::Resume => docker.unpause_container(id).await,
        // The engine sends it to a frozen container, too, and thaws that only afterwards: not one more step is taken.
        Signal::Kill => {
            let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
            docker.kill_container(id, Some(options)).await
        }
        Signal::Stop => {
            let options = StopContainerOptionsBuilder::default().t(STOP_S).build();
            docker.stop_container(id, Some(options)).await
        }
        Signal::Start => docker.start_container(id, None).await,
    };
    let Err(refused) = done else { return Ok(()) };
    let seen = engine::look(docker, id).await?;
    let as_wanted = match signal {
        Signal::Pause => seen.state == "paused",
        Signal::Resume => seen.state == "running",
        Signal::Stop => seen.has_ended(),
        // What has ended cannot be killed, and what runs cannot be started.
        Signal::Kill | Signal::Start => false,
    };
    if as_wanted { Ok(()) } else { Err(engine::failed(doing)(refused)) }
}
