//! Bringing a fleet up and waiting until it has joined.

use super::RunError;
use crate::{
    control::{ControlError, ControlPlane},
    testbed::{Endpoints, FleetSpec, PartFailure, Progress, Testbed},
};
use std::time::{Duration, Instant};

/// How long nodes may take to join: this, and for each node [`JOIN_PER_NODE`].
const JOIN_BASE: Duration = Duration::from_secs(30);
const JOIN_PER_NODE: Duration = Duration::from_millis(500);
/// How often the testbed is asked for parts that ended, while nodes are awaited.
const FAILURES_LOOK: Duration = Duration::from_secs(2);
/// How long the rest is awaited once a part has ended.
const AFTER_FAILURE: Duration = Duration::from_secs(6);
/// Failures that are told in full.
const FAILURES_TOLD: usize = 3;

/// A fleet that is up.
#[derive(Clone, Debug)]
pub struct Fleet {
    /// Where its parts are.
    pub endpoints: Endpoints,
    /// From the call until every node had joined (or was given up).
    pub ready_after: Duration,
    /// Nodes that have joined.
    pub nodes_joined: u32,
}

/// Brings the fleet up and waits for its nodes. Fewer nodes than asked for are told and not an error: the run records them
/// and is judged unknown.
///
/// # Errors
/// A part did not start, or nobody joined. The caller calls [`Testbed::down`] in any case.
pub async fn bring_up(
    testbed: &mut dyn Testbed,
    spec: &FleetSpec,
    control: &ControlPlane,
    progress: &dyn Progress,
) -> Result<Fleet, RunError> {
    let started = Instant::now();
    let endpoints = testbed.up(spec, control.address().port(), progress).await?;
    let nodes_joined = await_nodes(control, spec.nodes, Some(testbed), progress).await?;
    Ok(Fleet { endpoints, ready_after: started.elapsed(), nodes_joined })
}

/// Waits until `nodes` nodes and an edge are joined and says how many nodes are: fewer when the time is over.
///
/// # Errors
/// [`RunError::NobodyJoined`].
pub async fn await_nodes(
    control: &ControlPlane,
    nodes: u32,
    mut testbed: Option<&mut dyn Testbed>,
    progress: &dyn Progress,
) -> Result<u32, RunError> {
    let started = Instant::now();
    let mut limit = started + JOIN_BASE + JOIN_PER_NODE * nodes;
    let mut failures = Vec::new();
    loop {
        let slice = limit.saturating_duration_since(Instant::now()).min(FAILURES_LOOK);
        let joined = control
            .wait_until("all nodes and the edge to join", slice, |view| {
                progress.step("nodes joined", view.nodes_joined().into(), nodes.into());
                view.nodes_joined() >= nodes && view.edges_joined() >= 1
            })
            .await;
        match joined {
            Ok(()) => return Ok(control.view().nodes_joined()),
            Err(ControlError::Deadline { .. }) if Instant::now() < limit => {}
            Err(_) => break,
        }
        if let Some(testbed) = testbed.as_deref_mut()
            && failures.is_empty()
        {
            failures = testbed.failures().await;
            if !failures.is_empty() {
                limit = limit.min(Instant::now() + AFTER_FAILURE);
            }
        }
    }
    let view = control.view();
    let seen = told(&failures);
    if view.nodes_joined() == 0 || view.edges_joined() == 0 {
        let (nodes, edges) = (view.nodes_joined(), view.edges_joined());
        return Err(RunError::NobodyJoined { waited: started.elapsed(), nodes, edges, seen });
    }
    progress.note(&format!("only {view}, of {nodes} nodes asked for: the outcome will be unknown{seen}"));
    Ok(view.nodes_joined())
}

fn told(failures: &[PartFailure]) -> String {
    let mut text = String::new();
    for failure in failures.iter().take(FAILURES_TOLD) {
        let PartFailure { part, index, how, log_tail } = failure;
        text.push_str(&format!("\n{part} {index} ended: {how}\n{}", log_tail.trim_end()));
    }
    if failures.len() > FAILURES_TOLD {
        text.push_str(&format!("\n(and {} more parts)", failures.len() - FAILURES_TOLD));
    }
    text
}
