//! From what a test file says to its cases: names checked, matrices spread out, everything that
//! was left out filled in.
//!
//! May import `domain` and `policy`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::audit;
use crate::domain::directory::DirectoryData;
use crate::domain::ids::OrgSlug;
use crate::domain::known::Outage;
use crate::domain::organization::{MoreRights, TeamRole};
use crate::policy::Snapshot;
use crate::policy::limits::Scope;
use crate::policy::quotas::Quota;

use super::super::compile::unknown;
use super::super::context::{Context, Interpolation};
use super::super::decode::{At, Decode, Name, Named, listed, nearest};
use super::super::defaults as preset;
use super::super::directory::{DirectoryFile, Names};
use super::super::load;
use super::super::settings::{DirectorySettings, Settings};
use super::super::yaml::Span;
use super::expect::{ByFields, HeaderFields, VerdictFields, VerdictMap};
use super::fields::{
    AskedFields, CallerFields, CaseFields, SceneFields, SomebodyFields, SuiteFields,
};
use super::matrix::MatrixFields;
use super::would::{Of, WouldExpected, WouldFields};
use super::{
    Asked, Caller, Case, Deciding, Expected, FieldsExpected, Member, SentExpected, Shown, Verdict,
};

type Parts = (Settings, Snapshot, Arc<DirectoryData>, Vec<Case>);

/// Reads everything, on another configuration than the file names if one is given. The result counts
/// only if no error was reported.
pub(super) fn read(path: &Path, about: Option<&Path>, cx: &mut Context<'_>) -> Option<Parts> {
    let root = cx.open(path, None, Interpolation::Off)?;
    let fields = SuiteFields::decode(&root, cx)?;
    let At { value: config, span } = &fields.config;
    let (settings, snapshot, names) = load::read(about.unwrap_or(&config.0), Some(*span), cx)?;
    let directory = directory(fields.organizations, &settings, *span, &names, cx)?;
    let mut reader = Reader {
        scene: fields.scene,
        slugs: directory.organizations.iter().map(|org| Name::from(org.slug.as_str())).collect(),
        names,
        limits: snapshot.limits.iter().map(|(name, limit)| (name.clone(), limit.scope)).collect(),
        routes: snapshot.routes.iter().map(|route| Name::clone(&route.name)).collect(),
        quotas: quotas(&snapshot),
        upstreams: snapshot.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
        tables: snapshot.catalog.tables.keys().cloned().collect(),
        gates: snapshot.gates.iter().map(|gate| Name::clone(&gate.name)).collect(),
        rules: snapshot.rules.all().iter().map(|rule| rule.id.clone()).collect(),
        events: raised(&snapshot),
        cases: Vec::new(),
        cx,
    };
    for case in &fields.cases {
        reader.case(&case.value, case.span);
    }
    for matrix in &fields.matrices {
        reader.matrix(&matrix.value);
    }
    let cases = reader.cases;
    if cases.is_empty() && !cx.failed() {
        cx.error(root.span, "the file tests nothing").hint("state `cases` or `matrices`");
    }
    Some((settings, snapshot, directory, cases))
}

fn directory(
    stated: Option<Vec<At<super::super::directory::OrganizationFields>>>,
    settings: &Settings,
    config: Span,
    names: &Names,
    cx: &mut Context<'_>,
) -> Option<Arc<DirectoryData>> {
    match (stated, &settings.directory) {
        (Some(organizations), _) => {
            let (data, _) = DirectoryFile { organizations }.compile(names, cx);
            Some(Arc::new(data))
        }
        (None, DirectorySettings::File(data)) => Some(Arc::clone(data)),
        (None, DirectorySettings::Postgres(_)) => {
            cx.error(config, "the directory of this configuration is a database")
                .hint("state the `organizations` that the cases are about");
            None
        }
    }
}

/// The quotas that routes name.
fn quotas(snapshot: &Snapshot) -> BTreeMap<Name, Arc<Quota>> {
    let all = snapshot.routes.iter().flat_map(|route| &route.quotas);
    all.map(|quota| (quota.name.clone(), Arc::clone(quota))).collect()
}

/// The kinds of security events that rules raise.
fn raised(snapshot: &Snapshot) -> BTreeSet<Name> {
    let events = snapshot.rules.all().iter().filter_map(|rule| rule.actions.event.as_ref());
    events.map(|event| event.kind.clone()).collect()
}

/// What is left, used and away.
#[derive(Clone, Default)]
struct State {
    left: BTreeMap<Name, u32>,
    used: BTreeMap<Name, u64>,
    away: Vec<Outage>,
    answers: Option<u16>,
}

struct Reader<'c, 'a> {
    scene: SceneFields,
    slugs: BTreeSet<Name>,
    names: Names,
    limits: BTreeMap<Name, Scope>,
    upstreams: BTreeSet<Name>,
    routes: BTreeSet<Name>,
    tables: BTreeSet<Name>,
    gates: BTreeSet<Name>,
    rules: BTreeSet<Name>,
    /// Kinds of security events that rules raise.
    events: BTreeSet<Name>,
    quotas: BTreeMap<Name, Arc<Quota>>,
    cases: Vec<Case>,
    cx: &'c mut Context<'a>,
}

impl Reader<'_, '_> {
    fn case(&mut self, fields: &CaseFields, span: Span) {
        let name: Arc<str> = fields.name.value.0.as_str().into();
        let scene = fields.scene.over(&self.scene);
        let state = State {
            left: self.left(&fields.left),
            used: self.used(&fields.used),
            away: fields.away.clone(),
            answers: fields.answers.as_ref().and_then(|status| self.answers(status)),
        };
        if let Some(expect) = &fields.expect {
            let caller = fields.caller.as_ref().and_then(|at| self.caller(at));
            let expected = self.expected(expect);
            let Some(caller) = caller else { return };
            self.add(name, span, &scene, caller, (&fields.request, state), expected);
            return;
        }
        let by_role = [(&fields.allow, true), (&fields.deny, false)];
        for (roles, allowed) in by_role {
            for role in roles {
                let Some(caller) = self.with_role(fields.caller.as_ref(), role) else { return };
                let name = Arc::from(format!("{name} (`{}`)", role.value));
                let expected = if allowed { Expected::allowed() } else { Expected::denied() };
                let asked = (&fields.request, state.clone());
                self.add(name, role.span, &scene, caller, asked, expected);
            }
        }
    }

    fn matrix(&mut self, fields: &MatrixFields) {
        let scene = fields.scene.over(&self.scene);
        let allowed = fields.expect.as_ref().map(|expect| self.expected(expect));
        let allowed = allowed.unwrap_or_else(Expected::allowed);
        for cell in fields.cells(self.cx) {
            let Some(caller) = self.with_role(fields.caller.as_ref(), &cell.role) else { return };
            let (title, role, permission) =
                (&fields.name.value.0, &cell.role.value, &cell.permission);
            let name = Arc::from(format!("{title} (`{role}`, `{permission}`)"));
            let due = if cell.allowed { allowed.clone() } else { Expected::denied() };
            let expected = Expected { permission: Some(Arc::clone(permission)), ..due };
            let asked = (&cell.request, State::default());
            self.add(name, cell.role.span, &scene, caller, asked, expected);
        }
    }

    fn add(
        &mut self,
        name: Arc<str>,
        span: Span,
        scene: &SceneFields,
        caller: Caller,
        (request, state): (&AskedFields, State),
        expected: Expected,
    ) {
        if matches!(caller, Caller::Member(..) | Caller::Machine(_)) && scene.organization.is_none()
        {
            self.cx
                .error(span, "roles and keys are had in an organization")
                .hint("state `in: <slug>` here or at the top of the file");
            return;
        }
        let organization = match &scene.organization {
            None => None,
            Some(slug) => {
                if !self.slugs.contains(&slug.value) {
                    unknown("organization", slug, &self.slugs, self.cx);
                    return;
                }
                slug.value.parse::<OrgSlug>().ok()
            }
        };
        let source = self.cx.source(span);
        self.cases.push(Case {
            name,
            source,
            caller,
            organization,
            from: scene.from.unwrap_or_else(default_address),
            at_secs: scene.at.map_or_else(default_time, |at| at.0),
            request: asked(request),
            left: state.left,
            used: state.used,
            away: state.away,
            answers: state.answers.unwrap_or(200),
            expected,
        });
    }

    /// The status of an answer that is not the gateway's own.
    fn answers(&mut self, status: &At<u64>) -> Option<u16> {
        let fits = u16::try_from(status.value).ok().filter(|status| (200..600).contains(status));
        if fits.is_none() {
            self.cx
                .error(status.span, format!("`{}` is no status of an answer", status.value))
                .hint("write 200 to 599");
        }
        fits
    }

    fn event(&mut self, event: &At<Name>) {
        let fixed = audit::EVENTS_OF_REFUSALS.iter().copied();
        let all: Vec<&str> = fixed.chain(self.events.iter().map(AsRef::as_ref)).collect();
        if all.contains(&event.value.as_ref()) {
            return;
        }
        let hint = match nearest(&event.value, all.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", listed(&all)),
        };
        self.cx.error(event.span, format!("unknown security event `{}`", event.value)).hint(hint);
    }

    /// What is left in buckets. Those of accounts are charged by the body of a login, which no test
    /// reaches.
    fn left(&mut self, stated: &Named<u64>) -> BTreeMap<Name, u32> {
        let mut out = BTreeMap::new();
        for (name, left) in &stated.0 {
            match self.limits.get(&name.value) {
                None => unknown("limit", name, self.limits.keys(), self.cx),
                Some(Scope::Account) => {
                    let message =
                        format!("`{}` counts accounts, and no test fails to sign in", name.value);
                    self.cx.error(name.span, message).hint("remove it");
                }
                Some(_) => {
                    out.insert(name.value.clone(), u32::try_from(left.value).unwrap_or(u32::MAX));
                }
            }
        }
        out
    }

    /// What is used of quotas: what two of them count alike is the same number.
    fn used(&mut self, stated: &Named<u64>) -> BTreeMap<Name, u64> {
        let mut out: BTreeMap<Name, u64> = BTreeMap::new();
        for (name, used) in &stated.0 {
            let Some(quota) = self.quotas.get(&name.value) else {
                unknown("quota", name, self.quotas.keys(), self.cx);
                continue;
            };
            let alike = out.iter().find(|(other, number)| {
                let same = |other: &Arc<Quota>| other.per == quota.per && other.of == quota.of;
                **number != used.value && self.quotas.get(*other).is_some_and(same)
            });
            if let Some((other, number)) = alike {
                let (of, per) = (quota.of.as_str(), quota.per.as_str());
                let message =
                    format!("`{}` and `{other}` count the same {of} of the {per}", name.value);
                self.cx.error(used.span, message).hint(format!("state {number} here as well"));
            }
            out.insert(name.value.clone(), used.value);
        }
        out
    }

    fn caller(&mut self, At { value, span }: &At<CallerFields>) -> Option<Caller> {
        let somebody = match value {
            CallerFields::Nobody => return Some(Caller::Nobody),
            CallerFields::Anonymous => return Some(Caller::Anonymous),
            CallerFields::Service => return Some(Caller::Service),
            CallerFields::Somebody(somebody) => somebody,
        };
        if let Some(scopes) = &somebody.scopes {
            return Some(Caller::Machine(scopes.clone()));
        }
        match (&somebody.user, &somebody.role) {
            (Some(user), _) => Some(Caller::User(user.clone(), shown(somebody))),
            (None, Some(role)) => self.member(somebody, role),
            (None, None) => {
                self.cx
                    .error(*span, "it is not said who calls")
                    .hint("state `user`, `role` or `scopes`");
                None
            }
        }
    }

    /// The caller of a case that is for several roles.
    fn with_role(&mut self, stated: Option<&At<CallerFields>>, role: &At<Name>) -> Option<Caller> {
        match stated {
            None => self.member(&SomebodyFields::nothing(), role),
            Some(At { value: CallerFields::Somebody(somebody), span }) => {
                let own = somebody.role.is_some() || somebody.scopes.is_some();
                if own || somebody.user.is_some() {
                    self.cx
                        .error(*span, "the callers here are one for each role")
                        .hint("state neither `user` nor `role` nor `scopes`");
                    return None;
                }
                self.member(somebody, role)
            }
            Some(At { span, .. }) => {
                self.cx.error(*span, "the callers here are members, one for each role");
                None
            }
        }
    }

    fn member(&mut self, somebody: &SomebodyFields, role: &At<Name>) -> Option<Caller> {
        let in_teams = somebody.teams.iter().map(|(_, role)| role);
        for role in [role].into_iter().chain(&somebody.roles).chain(in_teams) {
            self.role(role);
        }
        self.names.stage(somebody.stage.as_ref(), self.cx);
        let team = |(team, role): &(At<_>, At<Name>)| TeamRole {
            team: Clone::clone(&team.value),
            role: role.value.clone(),
        };
        let more = MoreRights {
            roles: somebody.roles.iter().map(|role| role.value.clone()).collect(),
            teams: somebody.teams.iter().map(team).collect(),
            grants: somebody.grants.clone(),
            denials: somebody.denials.clone(),
            stage: somebody.stage.as_ref().map(|stage| stage.value.clone()),
            role_as_of: None,
        };
        let more = (more != MoreRights::default()).then(|| Box::new(more));
        let member = Member { role: role.value.clone(), more };
        Some(Caller::Member(member, shown(somebody)))
    }

    /// A directory may name roles that no policy defines, and so may a case that shows what
    /// becomes of them; a mistyped one is far more likely.
    fn role(&mut self, role: &At<Name>) {
        if !self.names.roles.contains(&role.value) {
            unknown("role", role, &self.names.roles, self.cx);
        }
    }

    fn expected(&mut self, fields: &VerdictFields) -> Expected {
        let map = match fields {
            VerdictFields::Allow => return Expected::allowed(),
            VerdictFields::Refuse(code) => return Expected::refused(Arc::clone(code)),
            VerdictFields::Map(map) => &**map,
        };
        let verdict = match (&map.refuse, map.answered) {
            (Some(code), _) => {
                let by = map.by.as_ref().map(|by| self.by(by));
                Verdict::Refused { code: Arc::clone(code), status: map.status, by }
            }
            (None, Some(status)) => Verdict::Answered { status },
            (None, None) => Verdict::Allowed(Box::new(self.sent(map))),
        };
        let events = map.events.as_ref();
        for event in events.into_iter().flatten() {
            self.event(event);
        }
        let rules = map.rules.as_ref();
        for rule in rules.into_iter().flatten() {
            self.rule(rule);
        }
        Expected {
            verdict,
            permission: map.permission.as_ref().map(|of| Arc::from(of.to_string())),
            answer: headers(map.answer.as_ref()),
            events: events.map(|all| all.iter().map(|at| at.value.clone()).collect()),
            rules: rules.map(|all| all.iter().map(|at| at.value.clone()).collect()),
            would: map.would.as_ref().map(|all| all.iter().map(|one| self.would(one)).collect()),
        }
    }

    fn would(&mut self, fields: &WouldFields) -> WouldExpected {
        let (name, cx) = (&fields.name, &mut *self.cx);
        match fields.of {
            Of::Limit if !self.limits.contains_key(&name.value) => {
                unknown("limit", name, self.limits.keys(), cx);
            }
            Of::Quota if !self.quotas.contains_key(&name.value) => {
                unknown("quota", name, self.quotas.keys(), cx);
            }
            Of::Route | Of::Permission if !self.routes.contains(&name.value) => {
                unknown("route", name, &self.routes, cx);
            }
            Of::Gate if !self.gates.contains(&name.value) => unknown("gate", name, &self.gates, cx),
            Of::Table if !self.tables.contains(&name.value) => {
                unknown("table", name, &self.tables, cx);
            }
            Of::Rule => self.rule(name),
            Of::Role => self.role(name),
            Of::Limit | Of::Quota | Of::Route | Of::Permission | Of::Gate | Of::Table => {}
        }
        fields.expected()
    }

    fn sent(&mut self, map: &VerdictMap) -> SentExpected {
        let charged = map.charges.iter().flat_map(|all| &all.0).map(|(name, _)| name);
        for limit in map.limits.iter().flatten().chain(charged) {
            if !self.limits.contains_key(&limit.value) {
                unknown("limit", limit, self.limits.keys(), self.cx);
            }
        }
        if let Some(upstream) = &map.upstream
            && !self.upstreams.contains(&upstream.value)
        {
            unknown("upstream", upstream, &self.upstreams, self.cx);
        }
        let (limits, charges) = (map.limits.as_ref(), map.charges.as_ref());
        let claims = map.claims.iter().flat_map(|all| &all.0);
        SentExpected {
            upstream: map.upstream.as_ref().map(|at| at.value.clone()),
            target: map.target.as_ref().map(|target| target.0.clone()),
            fields: headers(map.sent.as_ref()),
            claims: claims.map(|(path, at)| (path.value.clone(), at.value.0.clone())).collect(),
            body: map.body.as_ref().map(|body| body.0.trim_end().to_owned()),
            limits: limits.map(|all| all.iter().map(|at| at.value.clone()).collect()),
            charges: charges.map(|all| {
                all.0.iter().map(|(name, cost)| (name.value.clone(), cost.value)).collect()
            }),
        }
    }

    fn rule(&mut self, rule: &At<Name>) {
        if !self.rules.contains(&rule.value) {
            unknown("rule", rule, &self.rules, self.cx);
        }
    }

    fn by(&mut self, by: &ByFields) -> Deciding {
        match by {
            ByFields::Route(route) => {
                if !self.routes.contains(&route.value) {
                    unknown("route", route, &self.routes, self.cx);
                }
                Deciding::Route(route.value.clone())
            }
            ByFields::Gate(gate) => {
                if !self.gates.contains(&gate.value) {
                    unknown("gate", gate, &self.gates, self.cx);
                }
                Deciding::Gate(gate.value.clone())
            }
            ByFields::Quota(quota) => {
                if !self.quotas.contains_key(&quota.value) {
                    unknown("quota", quota, self.quotas.keys(), self.cx);
                }
                Deciding::Quota(quota.value.clone())
            }
            ByFields::Limit(limit) => {
                if !self.limits.contains_key(&limit.value) {
                    unknown("limit", limit, self.limits.keys(), self.cx);
                }
                Deciding::Limit(limit.value.clone())
            }
            ByFields::Rule(rule) => {
                self.rule(rule);
                Deciding::Rule(rule.value.clone())
            }
            ByFields::Line(line) => Deciding::Line(Arc::from(line.0.as_str())),
            ByFields::Role(role) => {
                self.role(role);
                Deciding::Role(role.value.clone())
            }
        }
    }
}

impl SomebodyFields {
    fn nothing() -> Self {
        Self {
            user: None,
            role: None,
            scopes: None,
            roles: Vec::new(),
            teams: Vec::new(),
            grants: Vec::new(),
            denials: Vec::new(),
            stage: None,
            factor: false,
            factor_age: None,
            session_age: None,
            revoked: false,
            claims: Vec::new(),
        }
    }
}

fn shown(somebody: &SomebodyFields) -> Shown {
    Shown {
        factor_age: somebody.factor.then(|| somebody.factor_age.unwrap_or(Duration::ZERO)),
        session_age: somebody.session_age.unwrap_or(Duration::ZERO),
        revoked: somebody.revoked,
        claims: somebody.claims.clone(),
    }
}

fn headers(fields: Option<&HeaderFields>) -> FieldsExpected {
    let Some(HeaderFields { equal, present, absent }) = fields else {
        return FieldsExpected::default();
    };
    let lower = |at: &At<Name>| at.value.to_ascii_lowercase();
    FieldsExpected {
        equal: equal.0.iter().map(|(name, at)| (lower(name), at.value.0.clone())).collect(),
        present: present.iter().map(lower).collect(),
        absent: absent.iter().map(lower).collect(),
    }
}

fn asked(fields: &AskedFields) -> Asked {
    let (method, target) = fields.line.clone();
    let host = fields.host.as_ref().map_or(preset::TEST_HOST.yaml, |host| host.0.as_str());
    Asked {
        method,
        target,
        host: Arc::from(host),
        headers: fields.headers.iter().cloned().collect(),
        body: fields.body.clone(),
    }
}

/// The defaults as they are stated; a test holds that they can be read.
fn default_address() -> IpAddr {
    preset::TEST_FROM.yaml.parse().unwrap_or(IpAddr::from([192, 0, 2, 1]))
}

fn default_time() -> u64 {
    let stated = preset::TEST_AT.yaml.trim_matches('"').parse::<jiff::Timestamp>();
    stated.ok().and_then(|at| u64::try_from(at.as_second()).ok()).unwrap_or_default()
}
