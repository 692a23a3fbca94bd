//! Rules by method and path: under each method, those that a path can meet (`policy::prefixes`).

use http::Method;

use super::super::expression::HeadFilter;
use super::super::expression::head::{MethodSet, PathTest};
use super::super::prefixes::{Builder, Paths, Places};

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
        for (place, head) in heads.enumerate() {
            for (method, builder) in builders.iter_mut().enumerate() {
                if head.methods.has(method) {
                    add(builder, place, head.paths.as_deref());
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

fn add(builder: &mut Builder, place: usize, paths: Option<&[PathTest]>) {
    let Some(paths) = paths else {
        builder.any(place);
        return;
    };
    for path in paths {
        match path {
            PathTest::Exact(text) => builder.exact(place, text),
            PathTest::Prefix(text) => builder.below(place, text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn found(index: &Index, method: Method, path: &str) -> Vec<usize> {
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
            let fits = |(_, (text, whole)): &(usize, &(String, bool))| {
                if *whole { *text == path } else { path.starts_with(text.as_str()) }
            };
            let wanted: Vec<usize> =
                (0..).zip(&texts).filter(fits).map(|(place, _)| place).collect();
            prop_assert_eq!(found(&index, Method::GET, &path), wanted);
        }
    }
}
