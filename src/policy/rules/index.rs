//! Rules by method and path.
//!
//! Under each method, rules that fit any path stand apart; the others hang on the text that a path
//! must be or begin with. Those texts are sorted, and each knows the longest other one that it
//! begins with: all that fit a path are found by one binary search and a walk upwards. A rule that a
//! request cannot meet costs a part of that search and nothing else.

use http::Method;
use smallvec::SmallVec;

use super::super::expression::HeadFilter;
use super::super::expression::head::{MethodSet, PathTest};

/// Places of rules, ascending, each once: those that any path can meet, and those of this path.
#[derive(Default)]
pub(super) struct Places<'i> {
    any: &'i [u16],
    found: SmallVec<[u16; 16]>,
    next: usize,
}

impl Iterator for Places<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
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

/// The index of one phase.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// By the place of the method.
    methods: [Paths; MethodSet::PLACES],
}

impl Index {
    /// Indexes rules by what their conditions ask of method and path, in their order.
    pub(super) fn new<'f>(heads: impl Iterator<Item = &'f HeadFilter>) -> Self {
        let mut builders: [Builder; MethodSet::PLACES] = Default::default();
        for (place, head) in (0..=u16::MAX).zip(heads) {
            for (method, builder) in builders.iter_mut().enumerate() {
                if head.methods.has(method) {
                    builder.add(place, head.paths.as_deref());
                }
            }
        }
        Self { methods: builders.map(Builder::finish) }
    }

    /// The places of all rules that a request can meet, ascending.
    pub(super) fn candidates(&self, method: &Method, path: &str) -> Places<'_> {
        let paths = self.methods.get(MethodSet::place(method));
        paths.map_or_else(Places::default, |paths| paths.candidates(path))
    }
}

#[derive(Debug, Default)]
struct Paths {
    any: Vec<u16>,
    /// Sorted by text.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    text: Box<str>,
    /// The longest other node whose text this one begins with.
    parent: Option<u16>,
    /// Rules for exactly this path.
    exact: Vec<u16>,
    /// Rules for all paths that begin so.
    below: Vec<u16>,
}

impl Paths {
    fn candidates(&self, path: &str) -> Places<'_> {
        let mut found: SmallVec<[u16; 16]> = SmallVec::new();
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
            at = node.parent.and_then(|parent| self.nodes.get(usize::from(parent)));
        }
        found.sort_unstable();
        found.dedup();
        Places { any: &self.any, found, next: 0 }
    }
}

#[derive(Debug, Default)]
struct Builder {
    any: Vec<u16>,
    hung: Vec<(Box<str>, bool, u16)>,
}

impl Builder {
    fn add(&mut self, place: u16, paths: Option<&[PathTest]>) {
        let Some(paths) = paths else {
            self.any.push(place);
            return;
        };
        for path in paths {
            let (text, exact) = match path {
                PathTest::Exact(text) => (text, true),
                PathTest::Prefix(text) => (text, false),
            };
            self.hung.push((text.clone(), exact, place));
        }
    }

    fn finish(mut self) -> Paths {
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
fn parent(nodes: &[Node], text: &str) -> Option<u16> {
    let mut at = nodes.len().checked_sub(1);
    while let Some(node) = at.and_then(|index| nodes.get(index)) {
        if text.starts_with(&*node.text) {
            return at.and_then(|index| u16::try_from(index).ok());
        }
        at = node.parent.map(usize::from);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(index: &Index, method: Method, path: &str) -> Vec<u16> {
        index.candidates(&method, path).collect()
    }

    fn head(methods: MethodSet, paths: Option<&[PathTest]>) -> HeadFilter {
        HeadFilter { methods, paths: paths.map(Box::from) }
    }

    fn exact(text: &str) -> PathTest {
        PathTest::Exact(text.into())
    }

    fn prefix(text: &str) -> PathTest {
        PathTest::Prefix(text.into())
    }

    #[test]
    fn a_request_meets_rules_of_its_method_and_path_in_their_order() {
        let (any, get) = (MethodSet::ALL, MethodSet::of("GET"));
        let heads = [
            head(any, Some(&[prefix("/rest/v1/")])),
            head(any, None),
            head(get, Some(&[prefix("/rest/"), exact("/rest/v1/a")])),
            head(any, Some(&[exact("/rest/v1")])),
            head(get, None),
            head(any, Some(&[prefix("/auth/")])),
            head(any, Some(&[])),
            head(MethodSet::NONE, None),
        ];
        let index = Index::new(heads.iter());
        assert_eq!(found(&index, Method::GET, "/rest/v1/a"), [0, 1, 2, 4]);
        assert_eq!(found(&index, Method::POST, "/rest/v1/a"), [0, 1]);
        assert_eq!(found(&index, Method::GET, "/rest/v1"), [1, 2, 3, 4]);
        assert_eq!(found(&index, Method::GET, "/"), [1, 4]);
        assert_eq!(found(&index, Method::PUT, "/auth/v1"), [1, 5]);
    }

    proptest! {
        /// The walk finds what a look at every rule finds.
        #[test]
        fn the_index_finds_what_a_look_at_every_rule_finds(
            texts in proptest::collection::vec(("[/ab]{0,5}", any::<bool>()), 0..24),
            path in "[/ab]{0,8}",
        ) {
            let heads: Vec<HeadFilter> = texts
                .iter()
                .map(|(text, whole)| if *whole { exact(text) } else { prefix(text) })
                .map(|test| head(MethodSet::ALL, Some(&[test])))
                .collect();
            let index = Index::new(heads.iter());
            let fits = |(_, (text, whole)): &(u16, &(String, bool))| {
                if *whole { *text == path } else { path.starts_with(text.as_str()) }
            };
            let wanted: Vec<u16> =
                (0..).zip(&texts).filter(fits).map(|(place, _)| place).collect();
            prop_assert_eq!(found(&index, Method::GET, &path), wanted);
        }
    }
}
