//! What method and path must be for an expression to hold: a necessary condition, read off its
//! conjunctions and disjunctions, by which rules are indexed.
//!
//! May import `domain` and `policy`.

use http::Method;

use super::tree::{Test, TextTest, TextVariable};

/// Paths that are kept apart; what would be more is any path.
const MAX_PATHS: usize = 64;

/// A necessary condition on the head: where it does not admit a request, the expression is false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadFilter {
    /// Which methods.
    pub methods: MethodSet,
    /// Which paths; any where `None`.
    pub paths: Option<Box<[PathTest]>>,
}

/// What a path must be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PathTest {
    /// This one.
    Exact(Box<str>),
    /// One that begins so.
    Prefix(Box<str>),
}

/// A set of methods: those that the edge lets in, and all others as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodSet(u8);

const KNOWN: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

impl MethodSet {
    /// Methods that are told apart.
    pub const PLACES: usize = KNOWN.len() + 1;
    /// Every method.
    pub const ALL: Self = Self(u8::MAX);
    /// No method.
    pub const NONE: Self = Self(0);
    const OTHER: Self = Self(1 << KNOWN.len());

    /// The set of one.
    pub fn of(method: &str) -> Self {
        let place = KNOWN.iter().position(|known| known.as_str() == method);
        Self(1 << place.unwrap_or(KNOWN.len()))
    }

    /// The place of a method among those that are told apart.
    pub fn place(method: &Method) -> usize {
        KNOWN.iter().position(|known| known == method).unwrap_or(KNOWN.len())
    }

    /// Whether the method of a place is in it.
    pub fn has(self, place: usize) -> bool {
        self.0 & (1 << place) != 0
    }

    /// Whether a method is in it.
    pub fn contains(self, method: &Method) -> bool {
        self.has(Self::place(method))
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl PathTest {
    /// Whether a path is so.
    pub fn admits(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact.as_ref(),
            Self::Prefix(prefix) => path.starts_with(prefix.as_ref()),
        }
    }

    /// What admits what both admit.
    fn and(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Exact(exact), test) | (test, Self::Exact(exact)) => {
                test.admits(exact).then(|| Self::Exact(exact.clone()))
            }
            (Self::Prefix(a), Self::Prefix(b)) => {
                let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
                long.starts_with(short.as_ref()).then(|| Self::Prefix(long.clone()))
            }
        }
    }
}

impl HeadFilter {
    /// Admits everything.
    pub const ANY: Self = Self { methods: MethodSet::ALL, paths: None };

    /// Of a test.
    pub fn of(test: &Test) -> Self {
        required(test, true)
    }

    /// Whether a request of that method and path can satisfy the expression.
    pub fn admits(&self, method: &Method, path: &str) -> bool {
        (self.methods == MethodSet::ALL || self.methods.contains(method))
            && self.paths.as_ref().is_none_or(|paths| paths.iter().any(|test| test.admits(path)))
    }

    fn nothing() -> Self {
        Self { methods: MethodSet::NONE, paths: Some(Box::from([])) }
    }

    fn methods(methods: MethodSet) -> Self {
        Self { methods, paths: None }
    }

    fn paths(paths: Vec<PathTest>) -> Self {
        let mut kept: Vec<PathTest> = Vec::new();
        for path in paths {
            if !kept.contains(&path) {
                kept.push(path);
            }
        }
        let paths = (kept.len() <= MAX_PATHS).then(|| kept.into());
        Self { methods: MethodSet::ALL, paths }
    }

    fn and(self, other: Self) -> Self {
        let paths = match (self.paths, other.paths) {
            (None, paths) | (paths, None) => paths,
            (Some(a), Some(b)) => {
                let both = a.iter().flat_map(|a| b.iter().filter_map(|b| a.and(b))).collect();
                // Either is necessary; where both at once are too many, one will do.
                Self::paths(both).paths.or(Some(a))
            }
        };
        Self { methods: self.methods.and(other.methods), paths }
    }

    fn or(self, other: Self) -> Self {
        let never = |filter: &Self| {
            filter.methods == MethodSet::NONE
                || filter.paths.as_ref().is_some_and(|paths| paths.is_empty())
        };
        if never(&self) {
            return other;
        }
        if never(&other) {
            return self;
        }
        let paths = self.paths.zip(other.paths).and_then(|(a, b)| {
            Self::paths(a.into_vec().into_iter().chain(b.into_vec()).collect()).paths
        });
        Self { methods: self.methods.or(other.methods), paths }
    }
}

/// What is necessary for the test to say `wanted`.
fn required(test: &Test, wanted: bool) -> HeadFilter {
    let all = |tests: &[Test]| {
        tests.iter().fold(HeadFilter::ANY, |sum, test| sum.and(required(test, wanted)))
    };
    let any = |tests: &[Test]| {
        tests.iter().fold(HeadFilter::nothing(), |sum, test| sum.or(required(test, wanted)))
    };
    match (test, wanted) {
        (Test::Constant(holds), _) => {
            if *holds == wanted {
                HeadFilter::ANY
            } else {
                HeadFilter::nothing()
            }
        }
        (Test::Not(test), _) => required(test, !wanted),
        (Test::All(tests), true) | (Test::Any(tests), false) => all(tests),
        (Test::All(tests), false) | (Test::Any(tests), true) => any(tests),
        (Test::Text(TextVariable::Method, test), _) => HeadFilter::methods(methods(test, wanted)),
        (Test::Text(TextVariable::Path, test), true) => match test {
            TextTest::Is(path) => HeadFilter::paths(vec![PathTest::Exact(path.clone())]),
            TextTest::OneOf(paths) => {
                HeadFilter::paths(paths.iter().cloned().map(PathTest::Exact).collect())
            }
            TextTest::Starts(start) => HeadFilter::paths(vec![PathTest::Prefix(start.clone())]),
            TextTest::Ends(_) | TextTest::Has(_) | TextTest::Matches(_) => HeadFilter::ANY,
        },
        (Test::Fits(node, pattern), true) if node.is_path() => {
            HeadFilter::paths(vec![PathTest::Prefix(pattern.literal_start().into())])
        }
        // A test that can fault says neither; nothing is necessary for the rest.
        (
            Test::Text(_, _)
            | Test::TextOf(_, _)
            | Test::Choose(_)
            | Test::Equal(_)
            | Test::Ordered(_, _)
            | Test::Contains { .. }
            | Test::Has(_)
            | Test::Texts(_, _)
            | Test::InNetwork(_, _)
            | Test::Fits(_, _)
            | Test::IsVersion(_)
            | Test::During(_, _)
            | Test::Injected(_, _)
            | Test::Each(_)
            | Test::Node(_),
            _,
        ) => HeadFilter::ANY,
    }
}

/// The methods of which a test says `wanted`.
fn methods(test: &TextTest, wanted: bool) -> MethodSet {
    let says = |method: &str| match test {
        TextTest::Is(is) => is.as_ref() == method,
        TextTest::OneOf(of) => of.iter().any(|one| one.as_ref() == method),
        TextTest::Starts(start) => method.starts_with(start.as_ref()),
        TextTest::Ends(end) => method.ends_with(end.as_ref()),
        TextTest::Has(part) => method.contains(part.as_ref()),
        TextTest::Matches(pattern) => pattern.is_match(method),
    };
    let known = KNOWN.iter().filter(|method| says(method.as_str()) == wanted);
    // Of the others there is no telling.
    known.fold(MethodSet::OTHER, |set, method| set.or(MethodSet::of(method.as_str())))
}
