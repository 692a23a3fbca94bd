//! What an issuer says of organizations, members and roles: the part of `identity.issuers` that
//! single sign-on needs. Names of roles and organizations are looked up where all files are known.
//!
//! May import `domain` and `policy`.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::domain::directory::DirectoryData;
use crate::domain::mail::MailDomain;
use crate::domain::organization::OrgSelector;
use crate::policy::identity::IdentityPolicy;
use crate::policy::route::{CredentialRule, TenantRule};
use crate::policy::sign_on::{
    Choose, DomainHome, MappingLine, MembershipRule, RoleMapping, SignOn, Sync, TokenUse, UserForm,
    UserRule, names,
};

use crate::policy::upstream::{Upstream, UpstreamIdentity};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Shapes, Table, expected, nearest, shown};
use super::defaults as preset;
use super::leaf::{Text, word, words};
use super::routes::{ClaimPath, RouteFields, Target};
use super::rules::{self, RuleFields};
use super::yaml::{Kind, Node, Span};

/// Lines of one mapping, or domains of one issuer.
const MOST: usize = 4096;

/// What one issuer states, and what is to be looked up of it.
#[derive(Default)]
pub(super) struct SignOnFields {
    pub(super) policy: SignOn,
    pub(super) roles: Vec<At<Name>>,
    pub(super) organizations: Vec<At<OrgSelector>>,
    /// Where it says that members are to be made.
    pub(super) creates: Option<Span>,
}

/// What else of the issuer it has to fit.
pub(super) struct Beside<'i> {
    pub(super) iss: &'i [Box<str>],
    pub(super) audience: &'i [Box<str>],
}

impl SignOnFields {
    /// Reads the keys of it, among those of the issuer.
    pub(super) fn read(beside: &Beside<'_>, table: &mut Table<'_, '_>) -> Option<Self> {
        let organizations = table.optional::<Filled<At<OrgSelector>>>(
            "organizations",
            "The only organizations that its tokens count for, by slug or id; if not stated, it \
             serves all.",
        );
        let user = table.optional::<UserFields>(
            "user",
            "By which id the directory knows its users; if not stated, by `sub`, and where \
             `organizations` are stated, by the issuer's name, a vertical bar and `sub`.",
        );
        let roles = table.optional::<RoleFields>(
            "roles",
            "Which role a claim comes to (`membership: token` and `create`).",
        );
        let domains = table.some::<DomainFields>(
            "domains",
            "The organization of users by the domain of their verified mail address: `acme.com: \
             acme`.",
        );
        let membership = table.or::<MembershipRule>(
            "membership",
            &preset::ISSUER_MEMBERSHIP,
            "`require`: the directory has it and says the role; `token`: `roles` says the role, at \
             each request; `create`: who is not in the directory is made a member there, with the \
             role that `roles` says.",
        );
        let sync = table.or::<Sync>(
            "sync",
            &preset::ISSUER_SYNC,
            "Whose role counts once somebody is a member (`membership: create`): `never`: the \
             directory's; `login`: that of the token that was issued last, which the directory is \
             made to say, too.",
        );
        let tokens = table.optional::<TokenUse>(
            "tokens",
            "`any`; `access`: none with `nonce`, `at_hash`, `c_hash` or `s_hash`, as ID tokens \
             have; `at+jwt`: those that say so (RFC 9068). `access` where `organizations` are \
             stated, otherwise `any`.",
        );
        let clients = table.some::<Vec<Text>>(
            "clients",
            "Clients whose tokens count, by `client_id` or `azp`; not checked if not stated.",
        );
        let bound = table.has("organizations");
        if bound {
            pinned(beside, table);
        }
        let user = match user {
            Some(user) => user.rule(bound, beside, table)?,
            None if table.has("user") => return None,
            None => UserRule { claim: Vec::new(), form: form(bound) },
        };
        let (membership, sync) = (membership?, sync?);
        let creates = table.key_span("membership");
        meaningful(membership, table);
        let organizations = match organizations {
            Some(organizations) => organizations.0,
            None if bound => return None,
            None => Vec::new(),
        };
        let domains = domains.homes(&organizations, table);
        let roles = match roles {
            Some(roles) => Some(roles),
            None if table.has("roles") => return None,
            None => None,
        };
        let (mapping, roles) = roles.map(|roles| (roles.mapping, roles.names)).unzip();
        let tokens = tokens.unwrap_or(if bound { TokenUse::Access } else { TokenUse::Any });
        let mut named: Vec<At<OrgSelector>> = organizations.clone();
        named.extend(domains.iter().map(|(_, at)| at.clone()));
        Some(Self {
            policy: SignOn {
                organizations: organizations.into_iter().map(|at| at.value).collect(),
                user,
                roles: mapping,
                domains: domains.into_iter().map(|(home, _)| home).collect(),
                membership,
                sync,
                tokens,
                clients: clients.into_iter().map(|client| client.0.into()).collect(),
            },
            roles: roles.unwrap_or_default(),
            organizations: named,
            creates: (membership == MembershipRule::Create).then_some(creates),
        })
    }
}

/// What tokens must be for certain organizations by, besides their signature.
fn pinned(beside: &Beside<'_>, table: &mut Table<'_, '_>) {
    let span = table.key_span("organizations");
    if beside.audience.is_empty() && !table.has("audience") {
        let message = "an issuer of certain organizations needs an `audience`";
        let hint = "state the `aud` that its tokens for this gateway have: its tokens for other \
                    services are not for you";
        table.error(span, message, hint);
    }
    if beside.iss.is_empty() && !table.has("iss") {
        let message = "an issuer of certain organizations needs its `iss`";
        let hint = "tokens without `iss` belong to nobody in particular";
        table.error(span, message, hint);
    }
}

/// Keys that would be read and ignored, and those without which others mean nothing.
fn meaningful(membership: MembershipRule, table: &mut Table<'_, '_>) {
    if membership != MembershipRule::Create && table.has("sync") {
        let span = table.key_span("sync");
        let message = "`sync` has no meaning where nobody is made a member";
        table.error(span, message, "state `membership: create`, or remove it");
    }
    match membership {
        MembershipRule::Require => {
            if table.has("roles") {
                let span = table.key_span("roles");
                let message = "`roles` has no meaning where the directory says the role";
                let hint = "state `membership: token` or `create`, or remove it";
                table.error(span, message, hint);
            }
        }
        MembershipRule::Token | MembershipRule::Create => {
            let span = table.key_span("membership");
            if !table.has("roles") {
                let message = "nothing says which role tokens come to";
                table.error(span, message, "state `roles`");
            }
            if !table.has("organizations") && !table.has("domains") {
                let message = "nothing says of which organization users are members";
                table.error(span, message, "state `organizations` or `domains`");
            }
        }
    }
}

fn form(bound: bool) -> UserForm {
    if bound { UserForm::Prefixed } else { UserForm::Plain }
}

struct UserFields {
    claim: Option<ClaimPath>,
    form: Option<At<UserForm>>,
}

impl Fields for UserFields {
    const NAME: &'static str = "issuer user";
    const ABOUT: &'static str = "By which id the directory knows an issuer's users.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let claim = table.optional(
            "claim",
            "The claim that holds their id, as a path of keys or a list of keys; `sub` if not \
             stated.",
        );
        let form = table.optional(
            "as",
            "`plain`: as it stands; `prefixed`: behind the issuer's name and a vertical bar; `uuid`: as the \
             UUID of it in the name space of `iss` (version 5), which databases take as one.",
        );
        Some(Self { claim, form })
    }
}

impl UserFields {
    fn rule(self, bound: bool, beside: &Beside<'_>, table: &mut Table<'_, '_>) -> Option<UserRule> {
        let stated = self.form.as_ref();
        match stated.map(|at| at.value) {
            Some(UserForm::Plain) if bound => {
                let span = stated.map_or(table.span, |at| at.span);
                let message = "users of this issuer could be taken for those of another";
                table.error(span, message, "write `prefixed` or `uuid`");
            }
            Some(UserForm::Uuid) if beside.iss.len() != 1 => {
                let span = stated.map_or(table.span, |at| at.span);
                let message = "a UUID is made in the name space of one `iss`";
                table.error(span, message, "state one `iss`, or write `prefixed`");
            }
            Some(UserForm::Plain | UserForm::Prefixed | UserForm::Uuid) | None => {}
        }
        let claim = self.claim.map(|path| path.0).unwrap_or_default();
        Some(UserRule { claim, form: stated.map_or(form(bound), |at| at.value) })
    }
}

impl Decode for UserForm {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, FORMS, "form of ids", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(FORMS)
    }
}

const FORMS: &[(&str, UserForm)] =
    &[("plain", UserForm::Plain), ("prefixed", UserForm::Prefixed), ("uuid", UserForm::Uuid)];

impl Decode for MembershipRule {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, MEMBERSHIPS, "rule of membership", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(MEMBERSHIPS)
    }
}

const MEMBERSHIPS: &[(&str, MembershipRule)] = &[
    ("require", MembershipRule::Require),
    ("token", MembershipRule::Token),
    ("create", MembershipRule::Create),
];

impl Decode for Sync {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, SYNCS, "time", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(SYNCS)
    }
}

const SYNCS: &[(&str, Sync)] = &[("never", Sync::Never), ("login", Sync::Login)];

impl Decode for TokenUse {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, TOKENS, "kind of tokens", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(TOKENS)
    }
}

const TOKENS: &[(&str, TokenUse)] =
    &[("any", TokenUse::Any), ("access", TokenUse::Access), ("at+jwt", TokenUse::AtJwt)];

struct RoleFields {
    mapping: RoleMapping,
    names: Vec<At<Name>>,
}

impl Fields for RoleFields {
    const NAME: &'static str = "issuer roles";
    const ABOUT: &'static str = "Which role a claim comes to.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let claim = table.required::<ClaimPath>(
            "claim",
            "The claim, a text or a list of texts: a path of keys (`realm_access.roles`), or a \
             list of keys where one has a dot in it (`[\"https://acme.com/roles\"]`).",
        );
        let map = table.required::<Filled<At<LineFields>>>(
            "map",
            "Values of the claim and their roles; the first line that matches counts.",
        );
        let choose = table.or::<Choose>(
            "choose",
            &preset::ISSUER_CHOOSE,
            "Where several lines match: the `first` in the file, or `all`, of which the first is \
             the role and the rest are further roles.",
        );
        let otherwise = table.or::<At<Name>>(
            "otherwise",
            &preset::ISSUER_OTHERWISE,
            "The role where no line matches, or `refuse`.",
        );
        let (claim, map, choose, otherwise) = (claim?, map?.0, choose?, otherwise?);
        if map.len() > MOST {
            let span = table.key_span("map");
            table.error(span, format!("the mapping has more than {MOST} lines"), "");
        }
        once(&map, choose, table);
        let mut names: Vec<At<Name>> = map.iter().map(|at| at.value.role.clone()).collect();
        let otherwise = (&*otherwise.value != "refuse").then_some(otherwise);
        names.extend(otherwise.clone());
        let span = table.span;
        let cx = table.context()?;
        let line = |at: At<LineFields>| MappingLine {
            source: cx.source(at.span),
            value: at.value.value.value.0.into(),
            role: at.value.role.value,
        };
        let lines = map.into_iter().map(line).collect();
        let source = cx.source(span);
        let otherwise = otherwise.map(|at| at.value);
        let mapping = RoleMapping { claim: claim.0, lines, choose, otherwise, source };
        Some(Self { mapping, names })
    }
}

/// A line that never counts is a mistake.
fn once(map: &[At<LineFields>], choose: Choose, table: &mut Table<'_, '_>) {
    for (index, at) in map.iter().enumerate() {
        let LineFields { value, role } = &at.value;
        let same = map.iter().take(index).find(|earlier| {
            let earlier = &earlier.value;
            earlier.value.value.0 == value.value.0
                && (choose == Choose::First || earlier.role.value == role.value)
        });
        if let (Some(first), Some(cx)) = (same, table.context()) {
            let shown = shown(&value.value.0);
            cx.error(value.span, format!("`{shown}` is mapped twice, and this line never counts"))
                .related(first.value.value.span, "the first one")
                .hint("remove one of the two");
        }
    }
}

struct LineFields {
    value: At<Text>,
    role: At<Name>,
}

impl Fields for LineFields {
    const NAME: &'static str = "mapping line";
    const ABOUT: &'static str = "A value of a claim, and the role that it comes to.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let value = table.required("value", "The value, byte for byte.");
        let role = table.required("role", "The role.");
        Some(Self { value: value?, role: role? })
    }
}

impl Decode for Choose {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, CHOICES, "choice", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(CHOICES)
    }
}

const CHOICES: &[(&str, Choose)] = &[("first", Choose::First), ("all", Choose::All)];

/// Mail domains and their organizations.
#[derive(Default)]
struct DomainFields(Vec<(At<MailDomain>, At<OrgSelector>)>);

impl Decode for DomainFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            expected("a map of mail domains and organizations", node, cx);
            return None;
        };
        if entries.is_empty() || entries.len() > MOST {
            cx.error(node.span, format!("the map needs 1 to {MOST} domains"));
        }
        let mut out: Vec<(At<MailDomain>, At<OrgSelector>)> = Vec::new();
        for entry in entries {
            let organization = At::decode(&entry.value, cx);
            let Ok(value) = entry.key.parse::<MailDomain>() else {
                let message = format!("`{}` is not a mail domain", shown(&entry.key));
                cx.error(entry.span, message)
                    .hint("write the exact domain in lowercase, such as `acme.com`");
                continue;
            };
            // Two spellings of one domain are one domain.
            if let Some((first, _)) = out.iter().find(|(first, _)| first.value == value) {
                cx.error(entry.span, format!("the domain `{value}` is there twice"))
                    .related(first.span, "the first one");
            }
            out.extend(organization.map(|at| (At { value, span: entry.span }, at)));
        }
        Some(Self(out))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": OrgSelector::shape(shapes),
        })
    }
}

impl DomainFields {
    /// Sorted by domain.
    fn homes(
        self,
        organizations: &[At<OrgSelector>],
        table: &mut Table<'_, '_>,
    ) -> Vec<(DomainHome, At<OrgSelector>)> {
        let mut out = Vec::new();
        for (domain, organization) in self.0 {
            let Some(cx) = table.context() else { break };
            let bound = organizations.iter().any(|at| at.value == organization.value);
            if !organizations.is_empty() && !bound {
                let message = format!(
                    "`{}` is not an organization that the issuer's tokens count for",
                    organization.value
                );
                cx.error(organization.span, message)
                    .hint("list it under `organizations`, written the same way");
            }
            let source = cx.source(domain.span);
            let home = DomainHome {
                domain: domain.value,
                organization: organization.value.clone(),
                source,
            };
            out.push((home, organization));
        }
        out.sort_by(|(a, _), (b, _)| a.domain.cmp(&b.domain));
        out
    }
}

/// Organizations that issuers name and a directory file does not have.
pub(super) fn organizations_exist(
    named: &[At<OrgSelector>],
    data: &DirectoryData,
    cx: &mut Context<'_>,
) {
    for At { value, span } in named {
        if data.organizations.iter().any(|organization| names(value, organization)) {
            continue;
        }
        let slugs = data.organizations.iter().map(|organization| organization.slug.as_str());
        let said = cx.error(*span, format!("unknown organization `{value}`"));
        match nearest(&value.to_string(), slugs) {
            Some(near) => said.hint(format!("did you mean `{near}`?")),
            None => said.hint("the directory file has no such organization"),
        };
    }
}

/// Upstreams that are sent the tokens of single organizations' issuers as they are: there, two users
/// of one `sub` are one, and a claim `role` is believed that is ignored here.
pub(super) fn passed_on(
    identity: &IdentityPolicy,
    routes: &[At<RouteFields>],
    rules: &[At<RuleFields>],
    upstreams: &[(Arc<Upstream>, Span)],
    cx: &mut Context<'_>,
) {
    let Some(issuer) = identity.issuers.iter().find(|issuer| issuer.sign_on.is_bound()) else {
        return;
    };
    for (upstream, span) in upstreams {
        let reached = routes.iter().any(|route| match &route.value.target {
            Target::Upstream(passage) => {
                passage.upstream.value == upstream.name
                    && passage.tenant.value != TenantRule::None
                    && passage.credential.value.rule != CredentialRule::Open
            }
            Target::Closed => false,
        });
        // A rule leads there from another upstream that a route leads to.
        let diverted = rules::compile::names(rules).any(|name| *name == upstream.name);
        if (reached || diverted)
            && matches!(upstream.identity, UpstreamIdentity::PassThrough { .. })
        {
            let message = format!(
                "`{}` is sent tokens of `{}` as they are, and could take its users for others",
                upstream.name, issuer.name
            );
            cx.warning(*span, message)
                .hint("state `identity: { mint: … }`: minted tokens name users and roles apart");
        }
    }
}
