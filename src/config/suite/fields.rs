//! The keys of a test file.
//!
//! May import `domain`.

use std::net::IpAddr;
use std::time::Duration;

use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::domain::ids::UserId;
use crate::domain::known::Outage;
use crate::domain::organization::TeamName;
use crate::domain::permission::PermissionPattern;

use super::super::conditions::Aal;
use super::super::context::Context;
use super::super::decode::{At, Decode, Fields, Name, Named, Shapes, Table, expected, shown};
use super::super::defaults as preset;
use super::super::directory::{OrganizationFields, named_teams};
use super::super::leaf::{Block, FilePath, Seconds, Text, parsed, refuse, text, word, words};
use super::super::yaml::{Kind, Node};
use super::expect::VerdictFields;
use super::matrix::MatrixFields;

/// A test file.
pub(in crate::config) struct SuiteFields {
    pub(super) config: At<FilePath>,
    pub(super) organizations: Option<Vec<At<OrganizationFields>>>,
    pub(super) scene: SceneFields,
    pub(super) cases: Vec<At<CaseFields>>,
    pub(super) matrices: Vec<At<MatrixFields>>,
}

impl Fields for SuiteFields {
    const NAME: &'static str = "test";
    const ABOUT: &'static str = "A test file: requests, and what is to become of each.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let config = table.required("config", "The gateway file that it is about.");
        let organizations = table.optional(
            "organizations",
            "Organizations and members, as in a directory file; those of the gateway's own \
             directory file if not stated.",
        );
        let scene = SceneFields::of_file(table);
        let cases = table.some("cases", "Requests, one by one.");
        let matrices = table.some("matrices", "Every role with every permission.");
        Some(Self { config: config?, organizations, scene, cases, matrices })
    }
}

/// Where and when; what a case does not state is as its file states it.
#[derive(Clone)]
pub(super) struct SceneFields {
    pub(super) organization: Option<At<Name>>,
    pub(super) from: Option<IpAddr>,
    pub(super) at: Option<Moment>,
}

impl SceneFields {
    /// That of the file.
    fn of_file(table: &mut Table<'_, '_>) -> Self {
        let organization = table.optional(
            "in",
            "The slug of the organization in which a `role` is had; sent as `x-organization-id`.",
        );
        let from = table.or_later("from", &preset::TEST_FROM, "The client's address.");
        let at = table.or_later("at", &preset::TEST_AT, "The time, in UTC.");
        Self { organization, from, at }
    }

    /// That of a case or matrix.
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        let organization = table.optional("in", "Another organization than the file's.");
        let from = table.optional("from", "Another client address than the file's.");
        let at = table.optional("at", "Another time than the file's.");
        Self { organization, from, at }
    }

    /// This, and where it says nothing the other.
    pub(super) fn over(&self, other: &Self) -> Self {
        Self {
            organization: self.organization.clone().or_else(|| other.organization.clone()),
            from: self.from.or(other.from),
            at: self.at.or(other.at),
        }
    }
}

/// A moment, in seconds since 1970.
#[derive(Clone, Copy)]
pub(super) struct Moment(pub(super) u64);

impl Decode for Moment {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let seconds = stated.parse::<Timestamp>().ok().map(Timestamp::as_second);
        match seconds.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) => Some(Self(seconds)),
            None => refuse(node, "a time", stated, "write it as `2026-09-21T14:00:00Z`", cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "time", "type": "string", "format": "date-time" })
    }
}

impl Decode for IpAddr {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        parsed(node, "an address", "write it as `192.0.2.1`", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "address", "type": "string" })
    }
}

const AWAY: &[(&str, Outage)] = &[
    ("limits", Outage::Limits),
    ("quotas", Outage::Usage),
    ("directory", Outage::Directory),
    ("sessions", Outage::Sessions),
];

impl Decode for Outage {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, AWAY, "outage", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(AWAY)
    }
}

/// One request by one caller, or by one caller of each of several roles.
pub(super) struct CaseFields {
    pub(super) name: At<Text>,
    pub(super) caller: Option<At<CallerFields>>,
    pub(super) scene: SceneFields,
    pub(super) request: AskedFields,
    pub(super) left: Named<u64>,
    pub(super) used: Named<u64>,
    pub(super) away: Vec<Outage>,
    pub(super) answers: Option<At<u64>>,
    pub(super) expect: Option<VerdictFields>,
    pub(super) allow: Vec<At<Name>>,
    pub(super) deny: Vec<At<Name>>,
}

impl Fields for CaseFields {
    const NAME: &'static str = "case";
    const ABOUT: &'static str = "A request, and what is to become of it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let name = table.required("name", "What it shows, as a sentence.");
        let caller = table.optional::<At<CallerFields>>(
            "as",
            "Who calls: `{ user: alice }` of the directory, `{ role: admin }` for a member made \
             for the case, `{ scopes: [events:read] }` for a machine, `service`, `anonymous` (a \
             token that says so), or `nobody` (no credential).",
        );
        let scene = SceneFields::read(table);
        let request = table.required("request", "What is asked: `GET /rest/v1/events`, or a map.");
        let left = table.some(
            "left",
            "How many tokens are left in buckets, by the name of the limit: `per_user: 0`. Those that \
             are not named are full.",
        );
        let used = table.some(
            "used",
            "What the organization has used of quotas in their present periods: `api_calls: 1000`; \
             of those that are not named, nothing. Without it, quotas are not judged.",
        );
        let away = table.some(
            "away",
            "What does not answer: `limits` (their shared store), `quotas` (the ledger), \
             `directory`, `sessions`.",
        );
        let answers = table.or_later::<At<u64>>(
            "answers",
            &preset::TEST_ANSWERS,
            "The status of the upstream's answer, for rules of the phase `response`.",
        );
        let expect = table.optional(
            "expect",
            "What is to become of it: `allow`, the code of a refusal such as `feature_disabled`, \
             or a map.",
        );
        let allow = table.some("allow", "Instead of `expect`: the roles for which it is sent on.");
        let deny = table.some(
            "deny",
            "Beside `allow`: the roles for which it is refused with `permission_denied`.",
        );
        let by_role = table.has("allow") || table.has("deny");
        if by_role && table.has("expect") {
            let message = "`expect` cannot stand beside `allow` and `deny`";
            table.error(table.key_span("expect"), message, "remove it");
        }
        if !by_role {
            table.needs("expect", "state it, or the roles that it is for with `allow` and `deny`");
            table.needs("as", "");
        }
        Some(Self {
            name: name?,
            caller,
            scene,
            request: request?,
            left,
            used,
            away,
            answers,
            expect,
            allow,
            deny,
        })
    }
}

/// Who calls.
pub(super) enum CallerFields {
    Nobody,
    Anonymous,
    Service,
    Somebody(Box<SomebodyFields>),
}

const CALLERS: &[(&str, u8)] = &[("nobody", 0), ("anonymous", 1), ("service", 2)];

impl Decode for CallerFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Map(_) = &node.kind {
            return SomebodyFields::decode(node, cx).map(|fields| Self::Somebody(Box::new(fields)));
        }
        match word(node, CALLERS, "caller", cx)? {
            0 => Some(Self::Nobody),
            1 => Some(Self::Anonymous),
            _ => Some(Self::Service),
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [words(CALLERS), SomebodyFields::shape(shapes)] })
    }
}

/// A user, or a member made for the case.
#[derive(Clone)]
pub(super) struct SomebodyFields {
    pub(super) user: Option<UserId>,
    pub(super) role: Option<At<Name>>,
    pub(super) scopes: Option<Vec<PermissionPattern>>,
    pub(super) roles: Vec<At<Name>>,
    pub(super) teams: Vec<(At<TeamName>, At<Name>)>,
    pub(super) grants: Vec<PermissionPattern>,
    pub(super) denials: Vec<PermissionPattern>,
    pub(super) stage: Option<At<Name>>,
    pub(super) factor: bool,
    pub(super) factor_age: Option<Duration>,
    pub(super) session_age: Option<Duration>,
    pub(super) revoked: bool,
    pub(super) claims: Vec<(Name, Name)>,
}

impl Fields for SomebodyFields {
    const NAME: &'static str = "caller";
    const ABOUT: &'static str = "A user of the directory, or a member made for the case, and what \
                                 the token says.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        const MEMBERS: [&str; 6] = ["role", "roles", "teams", "grants", "denials", "stage"];
        let user = table.optional("user", "A user of the directory, or one that is in none.");
        let role = table.optional("role", "Instead of `user`: the role of a member.");
        let scopes = table
            .optional("scopes", "Instead of `user` and `role`: what the key of a machine is for.");
        let roles = table.some("roles", "Beside `role`: further roles.");
        let teams: Named<Vec<At<Name>>> = table.some("teams", "Beside `role`: roles in teams.");
        let grants = table.some("grants", "Beside `role`: permissions besides those of the roles.");
        let denials =
            table.some("denials", "Beside `role`: permissions that no role and no grant gives.");
        let stage = table.optional("stage", "Beside `role`: the stage that the member reached.");
        let aal = table.optional::<Aal>("aal", "`aal2`: a second factor was shown.");
        let factor_age = table.optional::<Seconds>(
            "factor_age",
            "Beside `aal`: how long ago; at this moment if not stated.",
        );
        let session_age = table.optional::<Seconds>(
            "session_age",
            "How long ago the user signed in; at this moment if not stated.",
        );
        let session = table.optional::<SessionState>(
            "session",
            "`revoked`: the session, or the token, was taken back.",
        );
        let claims: Named<Text> =
            table.some("claims", "Further claims: `app_metadata.org_id: acme`.");
        if user.is_some() {
            for key in MEMBERS {
                if table.has(key) {
                    let message = format!("`{key}` cannot stand beside `user`");
                    table.error(table.key_span(key), message, "the directory says what a user has");
                }
            }
        }
        if table.has("scopes") {
            let others = ["user", "aal", "factor_age", "session_age", "session", "claims"];
            for key in MEMBERS.into_iter().chain(others) {
                if table.has(key) {
                    let message = format!("`{key}` cannot stand beside `scopes`");
                    table.error(table.key_span(key), message, "a machine has scopes and no more");
                }
            }
        }
        if factor_age.is_some() && !table.has("aal") {
            let message = "`factor_age` has a meaning beside `aal` only";
            table.error(table.key_span("factor_age"), message, "add `aal: aal2`");
        }
        let seconds = |age: Option<Seconds>| age.map(|age| Duration::from_secs(age.0));
        Some(Self {
            user,
            role,
            scopes,
            roles,
            teams: named_teams(teams, table),
            grants,
            denials,
            stage,
            factor: aal.is_some(),
            factor_age: seconds(factor_age),
            session_age: seconds(session_age),
            revoked: session.is_some(),
            claims: claims.0.into_iter().map(|(k, v)| (k.value, v.value.0.into())).collect(),
        })
    }
}

/// What became of a session.
struct SessionState;

const SESSIONS: &[(&str, ())] = &[("revoked", ())];

impl Decode for SessionState {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, SESSIONS, "state of a session", cx).map(|()| Self)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(SESSIONS)
    }
}

/// A request: a line, or a map.
#[derive(Clone)]
pub(super) struct AskedFields {
    pub(super) line: (Method, String),
    pub(super) host: Option<Text>,
    pub(super) headers: Vec<(Name, String)>,
    pub(super) body: Option<String>,
}

impl Decode for AskedFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Map(_) = &node.kind {
            return AskedMap::decode(node, cx).map(|map| map.0);
        }
        let line = Line::decode(node, cx)?;
        Some(Self { line: line.0, host: None, headers: Vec::new(), body: None })
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [Line::shape(shapes), AskedMap::shape(shapes)] })
    }
}

struct Line((Method, String));

impl Decode for Line {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if !matches!(node.kind, Kind::Text { .. }) {
            expected("a request", node, cx);
            return None;
        }
        let stated = text(node, cx)?;
        let line = stated.split_once(' ').and_then(|(method, target)| {
            let method = method.parse::<Method>().ok()?;
            let plain = target.starts_with('/') && !target.contains(char::is_whitespace);
            let upper = method.as_str().bytes().all(|b| b.is_ascii_uppercase());
            (plain && upper).then(|| (method, target.to_owned()))
        });
        match line {
            Some(line) => Some(Self(line)),
            None => {
                let message = format!("`{}` is not a request", shown(stated));
                cx.error(node.span, message).hint("write it as `GET /rest/v1/events`");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "request line", "type": "string", "pattern": "^[A-Z]+ /" })
    }
}

struct AskedMap(AskedFields);

impl Fields for AskedMap {
    const NAME: &'static str = "request";
    const ABOUT: &'static str = "A request with header fields and a body.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let line = table.required::<Line>("line", "`POST /rest/v1/events`.");
        let host = table.or::<Text>("host", &preset::TEST_HOST, "Which host it is sent to.");
        let headers: Named<Text> = table.some("headers", "Its header fields.");
        let body = table.optional::<Block>(
            "body",
            "Its body; JSON, unless `content-type` among the header fields says otherwise.",
        );
        let headers = headers.0.into_iter().map(|(name, value)| (name.value, value.value.0));
        Some(Self(AskedFields {
            line: line?.0,
            host,
            headers: headers.collect(),
            body: body.map(|body| body.0),
        }))
    }
}
