//! One trace as a tree.

use crate::read::Found;
use std::collections::{BTreeMap, BTreeSet};

/// One trace. Spans whose parents were not kept stand at the top beside the root.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    /// Its id.
    pub trace: String,
    /// What has no parent here, in order of time.
    pub roots: Vec<Node<'a>>,
}

/// A span with what is below it.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    /// The span.
    pub found: &'a Found,
    /// Its children, in order of time.
    pub children: Vec<Node<'a>>,
}

impl<'a> Tree<'a> {
    pub(crate) fn new(trace: &str, spans: impl Iterator<Item = &'a Found>) -> Self {
        let mut spans: Vec<&Found> = spans.collect();
        spans.sort_by_key(|found| {
            (found.span.start_time_unix_nano, std::cmp::Reverse(found.span.end_time_unix_nano))
        });
        let ids: BTreeSet<&str> = spans.iter().map(|found| found.span.span_id.as_str()).collect();
        let mut below: BTreeMap<&str, Vec<&Found>> = BTreeMap::new();
        for found in spans {
            let parent = found.span.parent_span_id.as_str();
            let known = ids.contains(parent) && parent != found.span.span_id;
            below.entry(if known { parent } else { "" }).or_default().push(found);
        }
        let roots = grow(&mut below, "");
        Self { trace: trace.to_owned(), roots }
    }

    /// The span that everything else hangs from, or the earliest of several.
    #[must_use]
    pub fn root(&self) -> Option<&Node<'a>> {
        self.roots.iter().find(|node| node.found.span.parent_span_id.is_empty()).or(self.roots.first())
    }

    /// Every span with its depth, parents before children.
    #[must_use]
    pub fn walk(&self) -> Vec<(usize, &'a Found)> {
        let mut rows = Vec::new();
        let mut stack: Vec<(usize, &Node<'a>)> = self.roots.iter().rev().map(|node| (0, node)).collect();
        while let Some((depth, node)) = stack.pop() {
            rows.push((depth, node.found));
            stack.extend(node.children.iter().rev().map(|child| (depth + 1, child)));
        }
        rows
    }

    /// When it begins, Unix nanoseconds.
    #[must_use]
    pub fn began(&self) -> u64 {
        self.roots.iter().map(|node| node.found.span.start_time_unix_nano).min().unwrap_or(0)
    }
}

/// Takes each span at most once, so that ids that go round in circles end.
fn grow<'a>(below: &mut BTreeMap<&str, Vec<&'a Found>>, parent: &str) -> Vec<Node<'a>> {
    let children = below.remove(parent).unwrap_or_default();
    children.into_iter().map(|found| Node { found, children: grow(below, &found.span.span_id) }).collect()
}
