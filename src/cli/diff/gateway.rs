//! What the gateway file decides by: the edge, who vouches for callers, where upstreams are, who may
//! act as somebody else, and how failed logins are counted. Secrets and keys are not compared.

use std::sync::Arc;

use crate::policy::Snapshot;
use crate::policy::edge::EdgePolicy;
use crate::policy::identity::{IdentityPolicy, Issuer};
use crate::policy::impersonation::ImpersonationPolicy;
use crate::policy::logins::LoginMode;
use crate::policy::upstream::{Upstream, UpstreamIdentity};

use super::change::{Changes, Effect, Pair, Subject, paired};

/// Compares these parts.
pub(super) fn compare(before: &Snapshot, after: &Snapshot, changes: &mut Changes) {
    edge(&before.edge, &after.edge, &mut changes.of("edge", "", None, None));
    identity(&before.identity, &after.identity, changes);
    upstreams(&before.upstreams, &after.upstreams, changes);
    impersonation(before, after, changes);
    logins(before, after, changes);
}

fn edge(a: &EdgePolicy, b: &EdgePolicy, subject: &mut Subject<'_>) {
    subject.opening("trusted proxy", &a.trusted_proxies, &b.trusted_proxies);
    subject.amount("bytes of header fields", a.max_header_bytes, b.max_header_bytes);
    subject.amount("header fields", a.max_header_count, b.max_header_count);
    subject.amount("bytes of a target", a.max_target_bytes, b.max_target_bytes);
    let organization = (a.requests_per_organization, b.requests_per_organization);
    subject.amount("requests of an organization at once", organization.0, organization.1);
    subject.amount("requests of a user at once", a.requests_per_user, b.requests_per_user);
    let address = (a.connections_per_address, b.connections_per_address);
    subject.amount("connections of an address", address.0, address.1);
    match (a.address_guard, b.address_guard) {
        (Some(of), Some(now)) => subject.differs("the guard of addresses", &of, &now),
        (of, now) => subject.barrier("a guard of addresses", of.is_some(), now.is_some()),
    }
    let times = |edge: &EdgePolicy| (edge.head_timeout, edge.body_timeout, edge.keepalive_timeout);
    subject.differs("the time that clients have", &times(a), &times(b));
}

fn identity(a: &IdentityPolicy, b: &IdentityPolicy, changes: &mut Changes) {
    fn named(of: &IdentityPolicy) -> impl Iterator<Item = (&str, &Issuer)> {
        of.issuers.iter().map(|issuer| (issuer.name.as_ref(), issuer.as_ref()))
    }
    for (name, pair) in paired(named(a), named(b)) {
        match pair {
            Pair::Gone(of) => {
                let mut subject = changes.of("issuer", name, Some(&of.source), None);
                subject.closes("removed: its tokens do not count");
            }
            Pair::New(of) => {
                let mut subject = changes.of("issuer", name, None, Some(&of.source));
                subject.opens("new: its tokens count");
            }
            Pair::Both(of, now) => {
                let mut subject = changes.of("issuer", name, Some(&of.source), Some(&now.source));
                issuer(of, now, &mut subject);
            }
        }
    }
    let mut subject = changes.of("identity", "", None, None);
    subject.shown("API keys", a.api_keys.len(), b.api_keys.len());
    subject.amount("bytes of a token", a.max_token_bytes, b.max_token_bytes);
    subject.opening("`role` of services", &a.service_claims, &b.service_claims);
    subject.opening("`role` of nobody in particular", &a.anonymous_claims, &b.anonymous_claims);
    let named = |role: &Option<Arc<str>>| role.as_deref().unwrap_or("none").to_owned();
    subject.shown("role of services", named(&a.service_role), named(&b.service_role));
    subject.shown("role of anonymous callers", named(&a.anonymous_role), named(&b.anonymous_role));
    subject.differs("from where services call", &a.service_addresses, &b.service_addresses);
    subject.barrier("no keys of machines", a.machines.is_none(), b.machines.is_none());
    subject.barrier("no trusted devices", a.devices.is_none(), b.devices.is_none());
}

fn issuer(a: &Issuer, b: &Issuer, subject: &mut Subject<'_>) {
    subject.differs("`iss`", &a.iss, &b.iss);
    subject.differs("`aud`", &a.audiences, &b.audiences);
    subject.closing("required claim", &a.required_claims, &b.required_claims);
    subject.amount("clock skew in seconds", a.leeway_secs, b.leeway_secs);
    subject.differs("how long its tokens may live", &a.max_lifetime_secs, &b.max_lifetime_secs);
    let url = |issuer: &Issuer| issuer.jwks.as_ref().map(|jwks| jwks.url.clone());
    subject.differs("where its keys are fetched", &url(a), &url(b));
}

fn upstreams(before: &[Arc<Upstream>], after: &[Arc<Upstream>], changes: &mut Changes) {
    fn named(all: &[Arc<Upstream>]) -> impl Iterator<Item = (&str, &Upstream)> {
        all.iter().map(|upstream| (upstream.name.as_ref(), upstream.as_ref()))
    }
    // Those that no route leads to any more, or newly, are told with the routes.
    for (name, pair) in paired(named(before), named(after)) {
        let Pair::Both(a, b) = pair else { continue };
        let mut subject = changes.of("upstream", name, Some(&a.source), Some(&b.source));
        subject.shown("kind", a.kind.as_str(), b.kind.as_str());
        subject.differs("the list of addresses", &a.addresses, &b.addresses);
        subject.differs("`Host`", &a.host, &b.host);
        subject.shown("path in front", &a.path_prefix, &b.path_prefix);
        subject.differs("TLS", &a.tls, &b.tls);
        let identity = |upstream: &Upstream| match upstream.identity {
            UpstreamIdentity::Minted(_) => "a minted token",
            UpstreamIdentity::PassThrough { .. } => "the caller's token",
            UpstreamIdentity::None => "nothing",
        };
        subject.shown("what it learns of callers", identity(a), identity(b));
    }
}

fn impersonation(before: &Snapshot, after: &Snapshot, changes: &mut Changes) {
    let (a, b) = (&before.impersonation, &after.impersonation);
    let source = |of: &Option<ImpersonationPolicy>| of.as_ref().map(|of| of.source.clone());
    let (from, to) = (source(a), source(b));
    let mut subject = changes.of("impersonation", "", from.as_ref(), to.as_ref());
    match (a, b) {
        (None, None) => {}
        (None, Some(_)) => subject.opens("support may act as users"),
        (Some(_), None) => subject.closes("nobody may act as somebody else any more"),
        (Some(a), Some(b)) => {
            let permission =
                |of: &ImpersonationPolicy, snapshot: &Snapshot| snapshot.roles.name(of.permission);
            subject.shown("permission", permission(a, before), permission(b, after));
            subject.differs("the staff", &a.staff, &b.staff);
            subject.amount("seconds after a second factor", a.within.as_secs(), b.within.as_secs());
            subject.barrier("looks only", a.read_only, b.read_only);
        }
    }
}

fn logins(before: &Snapshot, after: &Snapshot, changes: &mut Changes) {
    let (a, b) = (before.logins.as_deref(), after.logins.as_deref());
    let (from, to) = (a.map(|of| &of.source), b.map(|of| &of.source));
    let mut subject = changes.of("logins", "", from, to);
    let locks = |mode: LoginMode| mode == LoginMode::Enforce;
    match (a, b) {
        (None, None) => {}
        (None, Some(of)) if locks(of.mode) => subject.closes("failed logins are counted"),
        (None, Some(_)) => subject.tell(Effect::Neutral, "failed logins are counted, in shadow"),
        (Some(_), None) => subject.opens("failed logins are not counted any more"),
        (Some(a), Some(b)) => {
            subject.barrier("failed logins lock", locks(a.mode), locks(b.mode));
            let ladders = |of: &crate::policy::logins::LoginPolicy| {
                (of.pair, of.address, of.network, of.account)
            };
            subject.differs("when failed logins lock, and for how long", &ladders(a), &ladders(b));
            subject.differs("what happens while the store is away", &a.when_away, &b.when_away);
        }
    }
}
