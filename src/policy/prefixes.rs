//! What is found by the beginning of a path: rules and routes.
//!
//! What fits any path stands apart; the rest hangs on the text that a path must be or begin with.
//! Those texts are sorted, and each knows the longest other one that it begins with: all that fit a
//! path are found by one binary search and a walk upwards. What no path like this can meet costs a
//! part of that search and nothing else. May import nothing of other rooms.

use smallvec::SmallVec;

/// Places, ascending, each once: those that any path can meet, and those of this path.
#[derive(Default)]
pub(super) struct Places<'i> {
    any: &'i [usize],
    found: SmallVec<[usize; 16]>,
    next: usize,
}

impl Iterator for Places<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let found = self.found.get(self.next).copied();
        match (self.any.split_first(), found) {
            (Some((any, rest)), found) if found.is_none_or(|found| *any < found) => {
                self.any = rest;
                Some(*any)
            }
            (_, found) => {
                self.next += 1;
                found
            }
        }
    }
}

/// Places by what a path must be or begin with.
#[derive(Debug, Default)]
pub(super) struct Paths {
    any: Vec<usize>,
    /// Sorted by text.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    text: Box<str>,
    /// The longest other node whose text this one begins with.
    parent: Option<usize>,
    /// Rules for exactly this path.
    exact: Vec<usize>,
    /// Rules for all paths that begin so.
    below: Vec<usize>,
}

impl Paths {
    /// All places that a path can meet.
    pub(super) fn candidates(&self, path: &str) -> Places<'_> {
        let mut found: SmallVec<[usize; 16]> = SmallVec::new();
        let after = self.nodes.partition_point(|node| *node.text <= *path);
        // Whatever the path begins with is this node or above it: texts that begin alike stand
        // side by side.
        let mut at = after.checked_sub(1).and_then(|last| self.nodes.get(last));
        while let Some(node) = at {
            if path.starts_with(&*node.text) {
                found.extend_from_slice(&node.below);
                if node.text.len() == path.len() {
                    found.extend_from_slice(&node.exact);
                }
            }
            at = node.parent.and_then(|parent| self.nodes.get(parent));
        }
        found.sort_unstable();
        found.dedup();
        Places { any: &self.any, found, next: 0 }
    }
}

/// Makes [`Paths`].
#[derive(Debug, Default)]
pub(super) struct Builder {
    any: Vec<usize>,
    hung: Vec<(Box<str>, bool, usize)>,
}

impl Builder {
    /// A place that any path can meet; places come in ascending order.
    pub(super) fn any(&mut self, place: usize) {
        self.any.push(place);
    }

    /// A place for this path alone.
    pub(super) fn exact(&mut self, place: usize, path: &str) {
        self.hung.push((path.into(), true, place));
    }

    /// A place for paths that begin so.
    pub(super) fn below(&mut self, place: usize, start: &str) {
        self.hung.push((start.into(), false, place));
    }

    /// The index of all that was added.
    pub(super) fn finish(mut self) -> Paths {
        self.hung.sort();
        let mut nodes: Vec<Node> = Vec::new();
        for (text, exact, place) in self.hung {
            if nodes.last().is_none_or(|last| last.text != text) {
                let parent = parent(&nodes, &text);
                nodes.push(Node { text, parent, exact: Vec::new(), below: Vec::new() });
            }
            if let Some(node) = nodes.last_mut() {
                let list = if exact { &mut node.exact } else { &mut node.below };
                list.push(place);
            }
        }
        Paths { any: self.any, nodes }
    }
}

/// The longest of the sorted texts so far that a text begins with.
fn parent(nodes: &[Node], text: &str) -> Option<usize> {
    let mut at = nodes.len().checked_sub(1);
    while let Some(node) = at.and_then(|index| nodes.get(index)) {
        if text.starts_with(&*node.text) {
            return at;
        }
        at = node.parent;
    }
    None
}
