//! Stage 2, route: which upstream, which policies.
//!
//! A CORS preflight ends here: it carries no credentials, asks for nothing but permission to ask,
//! and is answered from the route's policy.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, header};

use crate::domain::refusal::Refusal;
use crate::policy::Snapshot;
use crate::policy::path::Captured;
use crate::policy::route::{Destination, Route};
use crate::policy::snapshot::RouteMatch;
use crate::policy::upstream::Upstream;

use super::Stop;
use super::edge::{Edged, Strip};
use super::response;
use super::trace::{Stage, Trace};

/// Proof that a route serves the request.
#[derive(Debug)]
pub struct Routed<'h> {
    edged: Edged<'h>,
    route: Arc<Route>,
    upstream: Arc<Upstream>,
    strip_prefix: Arc<str>,
}

impl<'h> Routed<'h> {
    /// The route.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// Where it leads.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The method.
    pub fn method(&self) -> &'h Method {
        self.edged.method()
    }

    /// All fields.
    pub fn headers(&self) -> &'h HeaderMap {
        self.edged.headers()
    }

    /// The query, without the question mark.
    pub fn query(&self) -> Option<&'h str> {
        self.edged.query()
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.edged.client()
    }

    /// What a capture of the route's path took.
    pub fn capture(&self, name: &str) -> Option<&'h str> {
        let path: &'h str = self.edged.path();
        let captured: Option<Captured<'_, 'h>> = self.route.path.matches(path);
        captured.and_then(|captured| captured.get(name))
    }

    /// The label in place of the `*` in the route's host.
    pub fn host_label(&self) -> Option<&str> {
        self.route.host.label(self.edged.host())
    }

    /// The path as the upstream counts it, before its own prefix is put in front.
    pub fn inner_path(&self) -> &'h str {
        let path = self.edged.path();
        match path.strip_prefix(self.strip_prefix.as_ref()) {
            Some("") => "/",
            Some(rest) if rest.starts_with('/') => rest,
            Some(_) | None => path,
        }
    }

    pub(super) fn edged(&self) -> &Edged<'h> {
        &self.edged
    }

    pub(super) fn strip(&self) -> &Strip {
        self.edged.strip()
    }
}

/// Finds the route.
pub fn find<'h>(
    edged: Edged<'h>,
    snapshot: &Snapshot,
    trace: &mut Trace,
) -> Result<Routed<'h>, Stop> {
    trace.enter(Stage::Route);
    let asked_for = preflight_method(&edged);
    let method = asked_for.as_ref().unwrap_or(edged.method());
    let found = snapshot.routes.find(edged.host(), edged.path(), method);
    if asked_for.is_some() {
        let route = match &found {
            RouteMatch::Route(route) => Some(*route),
            RouteMatch::OtherMethods(routes) => routes.first().copied(),
            RouteMatch::Nothing => None,
        };
        let policy = route.map_or(&snapshot.response, |route| &route.response);
        trace.route = route.cloned();
        if let Some(answer) = response::preflight(policy, edged.headers(), trace) {
            trace.note(route.map(|route| &route.source), || "CORS preflight answered".into());
            return Err(Stop::Answered(Box::new(answer)));
        }
    }
    let route = match found {
        RouteMatch::Route(route) => route,
        RouteMatch::OtherMethods(routes) => {
            trace.decided_by = routes.first().map(|route| route.source.clone());
            return Err(Refusal::MethodNotAllowed { allow: allowed(&routes) }.into());
        }
        RouteMatch::Nothing => return Err(Refusal::NoRoute.into()),
    };
    trace.route = Some(Arc::clone(route));
    trace.note(Some(&route.source), || format!("route `{}`", route.name));
    let (index, strip_prefix) = match &route.destination {
        Destination::Upstream { upstream, strip_prefix } => (*upstream, Arc::clone(strip_prefix)),
        Destination::Closed => {
            trace.decided_by = Some(route.source.clone());
            return Err(Refusal::RouteClosed(Arc::clone(&route.name)).into());
        }
    };
    let Some(upstream) = snapshot.upstreams.get(index) else {
        return Err(Refusal::Internal("a route leads to an upstream that is not there").into());
    };
    Ok(Routed { edged, route: Arc::clone(route), upstream: Arc::clone(upstream), strip_prefix })
}

/// The method that a CORS preflight asks for (Fetch standard section 3.2.2).
fn preflight_method(edged: &Edged<'_>) -> Option<Method> {
    let headers = edged.headers();
    if *edged.method() != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
        return None;
    }
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(asked.as_bytes()).ok()
}

fn allowed(routes: &[&Arc<Route>]) -> Arc<str> {
    use crate::policy::route::MethodMatch;
    let mut names: Vec<&str> = Vec::new();
    for route in routes {
        match &route.methods {
            MethodMatch::Listed(methods) => {
                for method in methods {
                    if !names.contains(&method.as_str()) {
                        names.push(method.as_str());
                    }
                    if *method == Method::GET && !names.contains(&"HEAD") {
                        names.push("HEAD");
                    }
                }
            }
            MethodMatch::Any => {}
        }
    }
    Arc::from(names.join(", "))
}
