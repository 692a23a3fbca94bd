//! One compiled version of everything that decides. Every request holds one from start to end.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::Method;

use crate::domain::catalog::Catalog;

use super::edge::EdgePolicy;
use super::gates::Gates;
use super::identity::IdentityPolicy;
use super::impersonation::ImpersonationPolicy;
use super::limits::{Limit, Plan};
use super::logins::LoginPolicy;
use super::prefixes::{Builder, Paths};
use super::response::ResponsePolicy;
use super::roles::RoleTable;
use super::route::Route;
use super::rules::RuleBook;
use super::upstream::Upstream;

/// The first half of the BLAKE3 hash over the files it was compiled from, in hex.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SnapshotVersion(pub Arc<str>);

impl fmt::Display for SnapshotVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Everything that decides, at one version.
#[derive(Debug)]
pub struct Snapshot {
    /// Which version.
    pub version: SnapshotVersion,
    /// Bounds and trust at the edge.
    pub edge: EdgePolicy,
    /// Who may vouch for callers.
    pub identity: IdentityPolicy,
    /// Roles and permissions.
    pub roles: RoleTable,
    /// What must hold for permissions, whoever has them.
    pub gates: Gates,
    /// Who may act as somebody else; nobody where `None`.
    pub impersonation: Option<ImpersonationPolicy>,
    /// Plans by name.
    pub plans: BTreeMap<Arc<str>, Plan>,
    /// Limits by name.
    pub limits: BTreeMap<Arc<str>, Arc<Limit>>,
    /// How failed logins at auth servers are counted; not at all where `None`.
    pub logins: Option<Arc<LoginPolicy>>,
    /// The tables behind PostgREST upstreams.
    pub catalog: Arc<Catalog>,
    /// Upstreams, as routes count them.
    pub upstreams: Vec<Arc<Upstream>>,
    /// Routes.
    pub routes: RouteTable,
    /// Rules, by phase, method and path.
    pub rules: RuleBook,
    /// For answers that no route made.
    pub response: Arc<ResponsePolicy>,
}

/// All routes, most specific first.
#[derive(Debug, Default)]
pub struct RouteTable {
    routes: Vec<Arc<Route>>,
    by_path: Paths,
}

/// What the route table says of a request.
#[derive(Debug, Clone)]
pub enum RouteMatch<'s> {
    /// This route.
    Route(&'s Arc<Route>),
    /// Host and path fit these routes only, which serve other methods.
    OtherMethods(Vec<&'s Arc<Route>>),
    /// Nothing fits.
    Nothing,
}

impl RouteTable {
    /// Orders routes from the most specific: by host, then by path.
    pub fn new(mut routes: Vec<Arc<Route>>) -> Self {
        routes.sort_by_cached_key(|route| (route.host.rank(), route.path.specificity()));
        let mut by_path = Builder::default();
        for (place, route) in routes.iter().enumerate() {
            by_path.below(place, &route.path.literal_start());
        }
        Self { routes, by_path: by_path.finish() }
    }

    /// The first route that fits. A more specific path shields a less specific one even where only
    /// the latter serves the method: what is open for GET does not open POST by another route.
    pub fn find(&self, host: &str, path: &str, method: &Method) -> RouteMatch<'_> {
        let mut others: Vec<&Arc<Route>> = Vec::new();
        let candidates = self.by_path.candidates(path);
        for route in candidates.filter_map(|place| self.routes.get(place)) {
            if let Some(first) = others.first() {
                let same = first.host.rank() == route.host.rank()
                    && first.path.ambiguous_with(&route.path);
                if !same {
                    continue;
                }
            }
            if route.host.matches(host) && route.path.matches(path).is_some() {
                if route.methods.matches(method) {
                    return RouteMatch::Route(route);
                }
                others.push(route);
            }
        }
        if others.is_empty() { RouteMatch::Nothing } else { RouteMatch::OtherMethods(others) }
    }

    /// All routes, most specific first.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter()
    }
}
