//! Routes: which requests they take, where to, and what they ask for.

use std::collections::BTreeMap;

use crate::policy::Snapshot;
use crate::policy::mode::Mode;
use crate::policy::route::{
    AuditRule, CredentialRule, Destination, HostMatch, MethodMatch, PermissionRule, Route,
    TenantRule,
};

use super::change::{Changes, Effect, Pair, Subject, paired};
use super::gates::conditions;

/// Compares routes.
pub(super) fn compare(before: &Snapshot, after: &Snapshot, changes: &mut Changes) {
    fn named(snapshot: &Snapshot) -> BTreeMap<&str, &Route> {
        snapshot.routes.iter().map(|route| (route.name.as_ref(), route.as_ref())).collect()
    }
    let (a, b) = (named(before), named(after));
    let pairs = paired(
        a.iter().map(|(name, route)| (*name, *route)),
        b.iter().map(|(name, route)| (*name, *route)),
    );
    for (name, pair) in pairs {
        match pair {
            Pair::Gone(route) => {
                let mut subject = changes.of("route", name, Some(&route.source), None);
                // What it took may be for another route now.
                let effect = if closed(route) { Effect::Opens } else { Effect::Closes };
                subject.tell(effect, format!("removed: {}", told(route, before)));
            }
            Pair::New(route) => {
                let mut subject = changes.of("route", name, None, Some(&route.source));
                let effect = if closed(route) { Effect::Closes } else { Effect::Opens };
                subject.tell(effect, format!("new: {}", told(route, after)));
            }
            Pair::Both(of, now) => {
                let mut subject = changes.of("route", name, Some(&of.source), Some(&now.source));
                route(of, before, now, after, &mut subject);
            }
        }
    }
}

fn closed(route: &Route) -> bool {
    route.destination == Destination::Closed
}

fn route(a: &Route, before: &Snapshot, b: &Route, after: &Snapshot, subject: &mut Subject<'_>) {
    match (closed(a), closed(b)) {
        (true, false) => subject.opens(format!("was closed: {}", told(b, after))),
        (false, true) => subject.closes("closed"),
        (_, _) => {}
    }
    let place = |route: &Route| format!("{}{}", host(&route.host), route.path.as_str());
    if place(a) != place(b) {
        subject.opens(format!("moved: {} → {}", place(a), place(b)));
    }
    methods(&a.methods, &b.methods, subject);
    if closed(a) || closed(b) {
        return;
    }
    subject.shown("upstream", upstream(a, before), upstream(b, after));
    if a.credential != b.credential {
        let effect = match rank(b.credential).cmp(&rank(a.credential)) {
            std::cmp::Ordering::Less => Effect::Opens,
            std::cmp::Ordering::Greater => Effect::Closes,
            std::cmp::Ordering::Equal => Effect::Either,
        };
        let (of, now) = (credential(a.credential), credential(b.credential));
        subject.tell(effect, format!("credential: {of} → {now}"));
    }
    match (a.machines, b.machines) {
        (false, true) => subject.opens("machines are admitted"),
        (true, false) => subject.closes("machines are no longer admitted"),
        (true, true) | (false, false) => {}
    }
    tenant(&a.tenant, &b.tenant, subject);
    subject.differs("where a team is named", &a.team, &b.team);
    permission(a, before, b, after, subject);
    conditions(&a.conditions, &b.conditions, subject);
    limits(a, b, subject);
    quotas(a, b, subject);
    subject.amount("bytes of a body", a.max_body_bytes, b.max_body_bytes);
    subject.barrier("no WebSockets", a.websocket.is_none(), b.websocket.is_none());
    if a.websocket.is_some() && b.websocket.is_some() {
        subject.differs("what holds for WebSockets", &a.websocket, &b.websocket);
    }
    recorded(a, before, b, after, subject);
}

/// What decides nothing.
fn recorded(a: &Route, before: &Snapshot, b: &Route, after: &Snapshot, subject: &mut Subject<'_>) {
    if a.audit != b.audit {
        let (of, now) = (audit(a.audit), audit(b.audit));
        subject.tell(Effect::Neutral, format!("what is recorded: {of} → {now}"));
    }
    let tried = |route: &Route, snapshot: &Snapshot| {
        let tried = route.shadow_permission.as_ref();
        tried.map_or_else(|| "none".to_owned(), |of| snapshot.roles.name(of.permission).to_string())
    };
    let (of, now) = (tried(a, before), tried(b, after));
    if of != now {
        subject.tell(Effect::Neutral, format!("permission in shadow: {of} → {now}"));
    }
    if a.read_timeout != b.read_timeout {
        subject.tell(Effect::Neutral, "the time for the upstream's answer differs");
    }
    if format!("{:?}", a.response) != format!("{:?}", b.response) {
        subject.tell(Effect::Either, "CORS or header fields of answers differ");
    }
}

fn methods(a: &MethodMatch, b: &MethodMatch, subject: &mut Subject<'_>) {
    match (a, b) {
        (MethodMatch::Any, MethodMatch::Any) => {}
        (MethodMatch::Any, MethodMatch::Listed(_)) => {
            subject.closes(format!("serves {} only", shown_methods(b)));
        }
        (MethodMatch::Listed(_), MethodMatch::Any) => subject.opens("serves all methods"),
        (MethodMatch::Listed(a), MethodMatch::Listed(b)) => {
            let names = |methods: &[http::Method]| -> Vec<String> {
                methods.iter().map(ToString::to_string).collect()
            };
            subject.opening("method", &names(a), &names(b));
        }
    }
}

fn tenant(a: &TenantRule, b: &TenantRule, subject: &mut Subject<'_>) {
    match (a, b) {
        (TenantRule::None, TenantRule::None) => {}
        (TenantRule::Sources(_), TenantRule::None) => {
            subject.opens("belongs to no organization any more");
        }
        (TenantRule::None, TenantRule::Sources(_)) => subject.closes("belongs to an organization"),
        (TenantRule::Sources(a), TenantRule::Sources(b)) => {
            subject.differs("how the organization is found", a, b);
        }
    }
}

fn permission(
    a: &Route,
    before: &Snapshot,
    b: &Route,
    after: &Snapshot,
    subject: &mut Subject<'_>,
) {
    let (of, now) = (asked(&a.permission, before), asked(&b.permission, after));
    if of == now {
        return;
    }
    let wide = |rule: &PermissionRule| match rule {
        PermissionRule::None => 0,
        PermissionRule::Member => 1,
        PermissionRule::Permission(_) | PermissionRule::Table(_) | PermissionRule::Function(_) => 2,
    };
    let effect = match wide(&b.permission).cmp(&wide(&a.permission)) {
        std::cmp::Ordering::Less => Effect::Opens,
        std::cmp::Ordering::Greater => Effect::Closes,
        std::cmp::Ordering::Equal => Effect::Either,
    };
    subject.tell(effect, format!("permission: {of} → {now}"));
}

/// A limit in shadow keeps nobody out.
fn limits(a: &Route, b: &Route, subject: &mut Subject<'_>) {
    let of = |route: &Route, mode: Mode| -> Vec<String> {
        let limits = route.limits.iter().filter(|limit| limit.mode == mode);
        limits.map(|limit| limit.name.to_string()).collect()
    };
    // One whose mode changes is told as a limit, and is here and there.
    let stays = |name: &String, route: &Route| route.limits.iter().any(|of| *of.name == **name);
    let mut enforced = [of(a, Mode::Enforce), of(b, Mode::Enforce)];
    let [before, after] = &mut enforced;
    before.retain(|name| after.contains(name) || !stays(name, b));
    let known = of(a, Mode::Enforce);
    after.retain(|name| known.contains(name) || !stays(name, a));
    subject.closing("limit", before, after);
    for (name, route) in of(b, Mode::Shadow).iter().map(|name| (name, a)) {
        if !stays(name, route) {
            subject.tell(Effect::Neutral, format!("limit `{name}` added, in shadow"));
        }
    }
    for name in of(a, Mode::Shadow).iter().filter(|name| !stays(name, b)) {
        subject.tell(Effect::Neutral, format!("limit `{name}` removed, in shadow"));
    }
}

fn quotas(a: &Route, b: &Route, subject: &mut Subject<'_>) {
    let of = |route: &Route| -> Vec<String> {
        route.quotas.iter().map(|quota| quota.name.to_string()).collect()
    };
    subject.closing("quota", &of(a), &of(b));
}

/// A route in one line.
fn told(route: &Route, snapshot: &Snapshot) -> String {
    let place =
        format!("{} {}{}", shown_methods(&route.methods), host(&route.host), route.path.as_str());
    if closed(route) {
        return format!("{place}, closed");
    }
    let tenant = match route.tenant {
        TenantRule::None => ", no organization",
        TenantRule::Sources(_) => "",
    };
    format!(
        "{place} to `{}`, credential {}, permission {}{tenant}",
        upstream(route, snapshot),
        credential(route.credential),
        asked(&route.permission, snapshot),
    )
}

fn shown_methods(methods: &MethodMatch) -> String {
    match methods {
        MethodMatch::Any => "any".to_owned(),
        MethodMatch::Listed(methods) => {
            let names: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            names.join(", ")
        }
    }
}

fn host(host: &HostMatch) -> String {
    match host {
        HostMatch::Any => String::new(),
        HostMatch::Exact(host) => host.to_string(),
        HostMatch::Subdomain(suffix) => format!("*{suffix}"),
    }
}

fn upstream(route: &Route, snapshot: &Snapshot) -> String {
    match &route.destination {
        Destination::Closed => "nowhere".to_owned(),
        Destination::Upstream { upstream, strip_prefix } => {
            let named = snapshot.upstreams.get(*upstream).map(|upstream| upstream.name.as_ref());
            let name = named.unwrap_or("none");
            if strip_prefix.is_empty() {
                name.to_owned()
            } else {
                format!("{name} without {strip_prefix}")
            }
        }
    }
}

fn rank(rule: CredentialRule) -> u8 {
    match rule {
        CredentialRule::Open => 0,
        CredentialRule::Key => 1,
        CredentialRule::User => 2,
        CredentialRule::Service | CredentialRule::Machine => 3,
    }
}

fn credential(rule: CredentialRule) -> &'static str {
    match rule {
        CredentialRule::Open => "open",
        CredentialRule::Key => "key",
        CredentialRule::User => "user",
        CredentialRule::Service => "service",
        CredentialRule::Machine => "machine",
    }
}

fn asked(rule: &PermissionRule, snapshot: &Snapshot) -> String {
    match rule {
        PermissionRule::None => "none".to_owned(),
        PermissionRule::Member => "member".to_owned(),
        PermissionRule::Permission(id) => snapshot.roles.name(*id).to_string(),
        PermissionRule::Table(capture) => format!("of table {{{capture}}}"),
        PermissionRule::Function(capture) => format!("of function {{{capture}}}"),
    }
}

fn audit(rule: AuditRule) -> &'static str {
    match rule {
        AuditRule::All => "all",
        AuditRule::WritesAndRefusals => "writes_and_refusals",
        AuditRule::Refusals => "refusals",
    }
}
