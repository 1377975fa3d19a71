//! Nodes that leave the edges' membership in the middle of a rung, and come back.

use super::Window;
use crate::{
    control::ControlPlane,
    edge::EdgeLab,
    run::{RunError, rung::Stage},
};
use herd_history::MembershipRecord;
use herd_scenario::Layer;
use herd_wire::absent;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// One change that is to come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::run) struct Move {
    /// Milliseconds after the window's start.
    at_ms: u64,
    node: String,
    left: bool,
}

/// Nodes that are out of the edges' membership. Dropping it puts them back.
pub(in crate::run) struct Hidden<'a> {
    control: &'a ControlPlane,
    nodes: BTreeSet<String>,
}

impl<'a> Hidden<'a> {
    pub(in crate::run) const fn none(control: &'a ControlPlane) -> Self {
        Self { control, nodes: BTreeSet::new() }
    }

    /// Whether that changed anything.
    fn set(&mut self, node: &str, hidden: bool) -> bool {
        if hidden {
            self.nodes.insert(node.to_owned());
            self.control.hide(node).is_some()
        } else {
            self.nodes.remove(node);
            self.control.show(node).is_some()
        }
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.control.show(node);
        }
    }
}

/// Finds out, before the window, which nodes will leave and when: the owner of a key is asked for under the membership of
/// that time, so that the heir leaves where the owner is away already. It costs a read of the key for each change, under a
/// membership that is put back afterwards.
pub(in crate::run) async fn moves(stage: &Stage<'_>, notes: &mut Vec<String>) -> Result<Vec<Move>, RunError> {
    let changes = &stage.rung.membership;
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    if !stage.rung.has(Layer::OwnerRouting) {
        notes
            .push("keys have no owner in this rung: the node that answered a read of them leaves".to_owned());
    }
    let edge = EdgeLab::new(&stage.endpoints.edge_grpc, stage.fill_deadline())?;
    // When each node that leaves is back: not in this rung, if it stays away.
    let mut away: BTreeMap<String, u64> = BTreeMap::new();
    let mut moves = Vec::new();
    for change in changes {
        let at_ms = u64::from(change.at_ms);
        away.retain(|_, back_ms| *back_ms > at_ms);
        let mut hidden = Hidden::none(stage.control);
        for node in away.keys() {
            hidden.set(node, true);
        }
        applied(stage, notes).await;
        let Some(node) = owner(&edge, &change.owner_of).await else {
            notes.push(format!("nobody answered for {}: its owner does not leave", change.owner_of));
            continue;
        };
        let back_ms = if change.for_ms == 0 { u64::MAX } else { at_ms + u64::from(change.for_ms) };
        moves.push(Move { at_ms, node: node.clone(), left: true });
        if change.for_ms > 0 {
            moves.push(Move { at_ms: back_ms, node: node.clone(), left: false });
        }
        away.insert(node, back_ms);
    }
    applied(stage, notes).await;
    moves.sort_by_key(|change| change.at_ms);
    Ok(moves)
}

async fn applied(stage: &Stage<'_>, notes: &mut Vec<String>) {
    if let Err(deadline) = stage.control.wait_membership(crate::control::APPLY_LIMIT).await {
        notes.push(deadline.to_string());
    }
}

/// Who answers for a key.
async fn owner(edge: &EdgeLab, key: &str) -> Option<String> {
    let node = match edge.get(key.to_owned()).await {
        Ok(answer) => Some(answer.node),
        Err(status) => absent::read(&status).map(|absent| absent.node),
    };
    node.filter(|node| !node.is_empty())
}

/// Moves the nodes at their times; what was told to the edges when, and what of it changed nothing.
pub(super) async fn move_about(
    window: Window,
    moves: &[Move],
    hidden: &mut Hidden<'_>,
) -> (Vec<MembershipRecord>, Vec<String>) {
    let (mut records, mut notes) = (Vec::new(), Vec::new());
    for Move { at_ms, node, left } in moves {
        if !window.reach(Duration::from_millis(*at_ms)).await {
            break;
        }
        let at_us = window.now_us();
        if hidden.set(node, *left) {
            records.push(MembershipRecord { at_us, node: node.clone(), left: *left });
        } else {
            notes.push(format!("{node} was {} already", if *left { "away" } else { "back" }));
        }
    }
    (records, notes)
}
