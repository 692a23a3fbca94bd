//! What rules do, as it is written, and in which phases it can be done.
//!
//! May import `domain` and `policy`.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use crate::domain::audit::Severity;
use crate::domain::fields::{Reserved, reserved_in_answer, reserved_in_request};
use crate::policy::rules::{FieldEdits, Location, Phase, Redirect, Share, Together};

use super::super::answers::Origin;
use super::super::conditions::Aal;
use super::super::context::Context;
use super::super::decode::{At, Decode, Fields, Filled, Name, Shapes, Table, expected, shown};
use super::super::defaults as preset;
use super::super::leaf::{Seconds, Text, refuse, text, word, words};
use super::super::yaml::{Kind, Node, Span};

/// What a rule does.
pub(in crate::config) struct ActionFields {
    pub(super) deny: Option<DenyFields>,
    pub(super) redirect: Option<Redirect>,
    pub(super) require: Option<FactorFields>,
    pub(super) tags: Vec<Name>,
    pub(super) fields: FieldEdits,
    pub(super) cost: u32,
    pub(super) charge: Option<ChargeFields>,
    pub(super) upstream: Option<DivertFields>,
    pub(super) audit: Option<Share>,
    pub(super) event: Option<EventFields>,
    /// Which are stated, and where.
    pub(super) stated: Vec<(&'static str, Span)>,
}

/// Every action, and the phases in which it can work.
const ACTIONS: [(&str, &[Phase]); 11] = {
    use Phase::{Authenticated, Request, Response};
    [
        ("deny", &[Request, Authenticated]),
        ("redirect", &[Request, Authenticated]),
        ("require", &[Authenticated]),
        ("tag", &[Request, Authenticated]),
        ("request_headers", &[Request, Authenticated]),
        ("response_headers", &[Response]),
        ("cost", &[Request, Authenticated]),
        ("charge", &[Request, Authenticated]),
        ("upstream", &[Request, Authenticated]),
        ("audit", &[Request, Authenticated, Response]),
        ("event", &[Request, Authenticated, Response]),
    ]
};

/// What is still done for a request that ends here.
const AT_THE_END: [&str; 2] = ["audit", "event"];

impl Fields for ActionFields {
    const NAME: &'static str = "actions";
    const ABOUT: &'static str = "What becomes of a request that meets the condition.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let deny = table.optional("deny", "It is refused.");
        let redirect = table.optional::<RedirectFields>("redirect", "It is sent elsewhere.");
        let require = table.optional("require", "It is refused where no second factor was shown.");
        let tags = table.optional::<Tags>("tag", "Tags, which later rules see.");
        let request_headers = table.optional::<RequestEdits>(
            "request_headers",
            "Header fields of the request to the upstream.",
        );
        let response_headers = table
            .optional::<AnswerEdits>("response_headers", "Header fields of the upstream's answer.");
        let cost = table.optional::<std::num::NonZeroU32>(
            "cost",
            "Tokens that it costs besides, in each of its limits; at most what their bursts hold.",
        );
        let charge = table.optional("charge", "Limits that it is charged to.");
        let upstream = table.optional("upstream", "Another upstream of the same kind.");
        let audit = table.optional(
            "audit",
            "It is written to the audit log, whatever its route says: `always`, or a share such as \
             `10%`.",
        );
        let event = table.optional("event", "It is a security event.");
        let stated: Vec<(&'static str, Span)> = ACTIONS
            .iter()
            .filter(|(key, _)| table.has(key))
            .map(|(key, _)| (*key, table.key_span(key)))
            .collect();
        if table.is_empty() {
            let span = table.span;
            table.error(span, "the rule does nothing", "state at least one action, such as `tag`");
        }
        let fields = match (request_headers, response_headers) {
            (Some(edits), _) => edits.0,
            (None, Some(edits)) => edits.0,
            (None, None) => FieldEdits::default(),
        };
        Some(Self {
            deny,
            redirect: redirect.map(|redirect| redirect.0),
            require,
            tags: tags.map(|tags| tags.0).unwrap_or_default(),
            fields,
            cost: cost.map_or(0, std::num::NonZeroU32::get),
            charge,
            upstream,
            audit,
            event,
            stated,
        })
    }
}

impl ActionFields {
    /// Reports what cannot work in a phase, and what would have no effect.
    pub(super) fn fit(&self, phase: Phase, cx: &mut Context<'_>) {
        for (key, span) in &self.stated {
            let Some((_, phases)) = ACTIONS.iter().find(|(action, _)| action == key) else {
                continue;
            };
            if !phases.contains(&phase) {
                let why = match (phase, *key) {
                    (Phase::Request, "require") => "nobody knows yet who calls",
                    (Phase::Request | Phase::Authenticated, _) => "there is no answer yet",
                    (Phase::Response, _) => "the upstream has answered already",
                };
                let all: Vec<String> =
                    phases.iter().map(|phase| format!("`phase: {}`", phase.as_str())).collect();
                cx.error(
                    *span,
                    format!("`{key}` cannot work in the phase `{}`: {why}", phase.as_str()),
                )
                .hint(format!("state {}", all.join(" or ")));
            }
        }
        let ending = self.stated.iter().find(|(key, _)| matches!(*key, "deny" | "redirect"));
        let Some((end, at)) = ending.filter(|_| phase != Phase::Response) else { return };
        for (key, span) in &self.stated {
            if key != end && !AT_THE_END.contains(key) {
                cx.error(
                    *span,
                    format!("`{key}` has no effect beside `{end}`, which ends the request"),
                )
                .related(*at, "stated here")
                .hint("make two rules of it, or remove one of the two");
            }
        }
    }
}

/// How a request is refused.
pub(super) struct DenyFields {
    pub(super) status: StatusCode,
    pub(super) code: Arc<str>,
    pub(super) message: Arc<str>,
    pub(super) retry_after: Option<Duration>,
}

impl Fields for DenyFields {
    const NAME: &'static str = "deny";
    const ABOUT: &'static str = "How a request is refused, in the shape that its client parses.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let status = table.or::<DenyStatus>("status", &preset::DENY_STATUS, "400 to 499, or 503.");
        let code = table.or::<Code>(
            "code",
            &preset::DENY_CODE,
            "What programs tell it by, in the answer, the log and the audit log.",
        );
        let message = table.or::<Message>("message", &preset::DENY_MESSAGE, "What people read.");
        let retry_after =
            table.optional::<Seconds>("retry_after", "When to come back: `Retry-After`.");
        Some(Self {
            status: status?.0,
            code: code?.0,
            message: message?.0,
            retry_after: retry_after.map(|seconds| Duration::from_secs(seconds.0)),
        })
    }
}

struct DenyStatus(StatusCode);

impl Decode for DenyStatus {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = u64::decode(node, cx)?;
        let needs = match stated {
            401 => Some("`WWW-Authenticate`, and makes clients sign in anew"),
            405 => Some("`Allow`"),
            407 => Some("`Proxy-Authenticate`"),
            426 => Some("`Upgrade`"),
            _ => None,
        };
        if let Some(field) = needs {
            cx.error(node.span, format!("a rule cannot refuse with {stated}"))
                .hint(format!("that status needs the field {field}: write 400 or 403"));
            return None;
        }
        let status = u16::try_from(stated).ok().filter(|n| matches!(n, 400..=499 | 503));
        match status.and_then(|status| StatusCode::from_u16(status).ok()) {
            Some(status) => Some(Self(status)),
            None => {
                cx.error(node.span, format!("a rule cannot refuse with {stated}"))
                    .hint("write a status from 400 to 499, or 503");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "status", "type": "integer", "minimum": 400, "maximum": 503 })
    }
}

/// A code that a policy gives.
struct Code(Arc<str>);

impl Decode for Code {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let begins = stated.starts_with(|c: char| c.is_ascii_lowercase());
        if begins && stated.len() <= 64 && stated.bytes().all(fits) {
            return Some(Self(Arc::from(stated)));
        }
        refuse(node, "a code", stated, "write up to 64 of `a-z`, `0-9` and `_`: `bad_bot`", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "code", "type": "string", "pattern": "^[a-z][a-z0-9_]{0,63}$" })
    }
}

struct Message(Arc<str>);

impl Decode for Message {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = Text::decode(node, cx)?.0;
        if stated.chars().count() > 200 {
            cx.error(node.span, "the message is longer than 200 characters");
            return None;
        }
        Some(Self(Arc::from(stated)))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "text", "type": "string", "minLength": 1, "maxLength": 200 })
    }
}

struct RedirectFields(Redirect);

impl Fields for RedirectFields {
    const NAME: &'static str = "redirect";
    const ABOUT: &'static str = "Where a client is sent; nothing of the request decides the host.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["to", "origin"]);
        let to = table.optional::<Target>(
            "to",
            "Always there: `https://…`, or a path that begins with one `/`.",
        );
        let origin = table.optional::<At<Origin>>(
            "origin",
            "To the same path of this origin, without the query, which can hold keys: \
             `https://new.example.com`.",
        );
        let status = table.or::<RedirectStatus>(
            "status",
            &preset::REDIRECT_STATUS,
            "301, 302, 303, 307 or 308.",
        );
        if let Some(At { span, .. }) = origin.as_ref().filter(|origin| &*origin.value.0 == "*") {
            table.error(*span, "`*` is no origin to send a client to", "");
        }
        let to = match which? {
            "to" => to.map(|to| Location::Constant(to.0)),
            _ => origin.map(|origin| Location::SamePath(Arc::from(origin.value.0))),
        };
        Some(Self(Redirect { status: status?.0, to: to? }))
    }
}

struct RedirectStatus(StatusCode);

impl Decode for RedirectStatus {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = u64::decode(node, cx)?;
        let status =
            u16::try_from(stated).ok().filter(|n| matches!(n, 301 | 302 | 303 | 307 | 308));
        match status.and_then(|status| StatusCode::from_u16(status).ok()) {
            Some(status) => Some(Self(status)),
            None => {
                cx.error(node.span, format!("{stated} is no redirect"))
                    .hint("write 301, 302, 303, 307 or 308");
                None
            }
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "enum": [301, 302, 303, 307, 308] })
    }
}

/// A place that is always the same.
struct Target(HeaderValue);

impl Decode for Target {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let hint = "write `https://host/path`, or a path that begins with one `/`";
        let stated = text(node, cx)?;
        let plain = stated
            .bytes()
            .all(|b| b.is_ascii_graphic() && !matches!(b, b'\\' | b'"' | b'<' | b'>'));
        let local = stated.starts_with('/') && !stated.starts_with("//");
        let absolute = || {
            let uri = stated.parse::<http::Uri>().ok()?;
            let scheme = matches!(uri.scheme_str(), Some("http" | "https"));
            let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            (scheme && host).then_some(())
        };
        let fits = plain && (local || absolute().is_some());
        match HeaderValue::from_str(stated).ok().filter(|_| fits) {
            Some(value) => Some(Self(value)),
            None => refuse(node, "a place to send clients to", stated, hint, cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "URL or path", "type": "string", "pattern": "^(https?://|/)" })
    }
}

/// That a second factor was shown.
pub(super) struct FactorFields {
    pub(super) within: Option<Duration>,
}

impl Fields for FactorFields {
    const NAME: &'static str = "required";
    const ABOUT: &'static str = "What the caller must have shown.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let aal = table.required::<Aal>("aal", "`aal2`: a second factor.");
        let within = table.optional::<Seconds>(
            "within",
            "How long ago at most, by `amr`; in this session if not stated.",
        );
        aal?;
        Some(Self { within: within.map(|within| Duration::from_secs(within.0)) })
    }
}

/// One tag, or several.
struct Tags(Vec<Name>);

impl Decode for Tags {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::List(_) => Filled::<Name>::decode(node, cx).map(|tags| Self(tags.0)),
            Kind::Null
            | Kind::Bool(_)
            | Kind::Int(_)
            | Kind::Float
            | Kind::Text { .. }
            | Kind::Map(_) => Name::decode(node, cx).map(|tag| Self(vec![tag])),
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [Name::shape(shapes), Filled::<Name>::shape(shapes)] })
    }
}

struct RequestEdits(FieldEdits);

impl Fields for RequestEdits {
    const NAME: &'static str = "request headers";
    const ABOUT: &'static str = "Header fields of the request to the upstream.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        edits(table, reserved_in_request).map(Self)
    }
}

struct AnswerEdits(FieldEdits);

impl Fields for AnswerEdits {
    const NAME: &'static str = "response headers";
    const ABOUT: &'static str = "Header fields of the upstream's answer.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        edits(table, reserved_in_answer).map(Self)
    }
}

fn edits(table: &mut Table<'_, '_>, reserved: fn(&str) -> Option<Reserved>) -> Option<FieldEdits> {
    let set = table.some::<FieldMap>("set", "Set to these texts, over what is there.");
    let remove = table.some::<Vec<At<HeaderName>>>("remove", "Taken off.");
    let names = set.0.iter().map(|(name, _)| name).chain(&remove);
    let places: Vec<(HeaderName, Span)> =
        names.map(|name| (name.value.clone(), name.span)).collect();
    if places.is_empty() {
        let span = table.span;
        table.error(span, "no header field is named", "state `set` or `remove`");
    }
    for (index, (name, span)) in places.iter().enumerate() {
        if places.iter().take(index).any(|(earlier, _)| earlier == name) {
            table.error(*span, format!("`{name}` is named twice"), "keep one of the two");
        }
        let Some(reserved) = reserved(name.as_str()) else { continue };
        let (why, hint) = match reserved {
            Reserved::Identity => ("it says who somebody is, and only the gateway does", ""),
            Reserved::Framing => ("it belongs to the connection", ""),
            Reserved::Meaning => ("it says what a body or request means", ""),
            Reserved::Own(part) => ("another part of the policy sets it", part),
        };
        let hint = match hint {
            "" => "remove it from the rule".to_owned(),
            part => format!("see `{part}`"),
        };
        table.error(*span, format!("a rule cannot change `{name}`: {why}"), &hint);
    }
    Some(FieldEdits {
        set: set.0.into_iter().map(|(name, value)| (name.value, value)).collect(),
        remove: remove.into_iter().map(|name| name.value).collect(),
    })
}

/// Header names and values, in the order of the file.
#[derive(Default)]
struct FieldMap(Vec<(At<HeaderName>, HeaderValue)>);

impl Decode for FieldMap {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            expected("a map of headers", node, cx);
            return None;
        };
        let mut out = Vec::new();
        for entry in entries {
            let value = HeaderValue::decode(&entry.value, cx);
            let Ok(name) = entry.key.parse::<HeaderName>() else {
                cx.error(entry.span, format!("`{}` is not a header name", shown(&entry.key)));
                continue;
            };
            out.extend(value.map(|value| (At { value: name, span: entry.span }, value)));
        }
        Some(Self(out))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "map of header names to texts", "type": "object", "additionalProperties": { "type": "string" } })
    }
}

/// Which limits a request is charged to.
pub(super) struct ChargeFields {
    pub(super) to: Vec<At<Name>>,
    pub(super) instead_of: Vec<At<Name>>,
}

impl Fields for ChargeFields {
    const NAME: &'static str = "rule charge";
    const ABOUT: &'static str = "Limits of the policy that a request is charged to.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let to = table.required::<Filled<At<Name>>>("to", "Besides those of its route.");
        let instead_of = table.some("instead_of", "Limits of its route that it is spared.");
        Some(Self { to: to?.0, instead_of })
    }
}

/// Another upstream.
pub(super) struct DivertFields {
    pub(super) from: At<Name>,
    pub(super) to: At<Name>,
    pub(super) share: Share,
    pub(super) by: Option<At<Together>>,
}

impl Fields for DivertFields {
    const NAME: &'static str = "rule upstream";
    const ABOUT: &'static str = "Another upstream of the same kind, for all requests or a share.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let from = table.required("from", "In place of this one; requests to others stay.");
        let to = table.required("to", "To this one, of the same kind.");
        let share = table.or::<Share>(
            "share",
            &preset::DIVERT_SHARE,
            "How many of the requests that meet the condition: `always`, or a share such as `10%`.",
        );
        let by = table.optional::<At<Together>>(
            "by",
            "Beside a `share`: what stays on one side. `user` (or machine; others by address), \
             `organization` (where there is none, by address), `address`, or `request` (nothing).",
        );
        let share = share?;
        match &by {
            None if !share.is_all() => {
                table.needs(
                    "by",
                    "state what stays on one side: `user`, `organization`, `address` or `request`",
                );
                return None;
            }
            Some(by) if share.is_all() => {
                table.error(by.span, "`by` has a meaning beside a `share` only", "remove it");
            }
            Some(_) | None => {}
        }
        Some(Self { from: from?, to: to?, share, by })
    }
}

impl Decode for Together {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, TOGETHER, "group", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(TOGETHER)
    }
}

const TOGETHER: &[(&str, Together)] = &[
    ("user", Together::User),
    ("organization", Together::Organization),
    ("address", Together::Address),
    ("request", Together::Request),
];

impl Decode for Share {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let hint = "write `always`, or a share from `0.01%` to `100%`";
        let stated = text(node, cx)?;
        if stated == "always" {
            return Some(Self::ALL);
        }
        match stated
            .strip_suffix('%')
            .and_then(|number| hundredths(number.trim()))
            .and_then(Self::new)
        {
            Some(share) => Some(share),
            None => refuse(node, "a share", stated, hint, cx),
        }
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "`always` or a share", "type": "string", "pattern": "^(always|[0-9]{1,3}([.][0-9]{1,2})?%)$" })
    }
}

/// `12.5` → 1250.
fn hundredths(number: &str) -> Option<u16> {
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let whole: u16 = whole.parse().ok()?;
    let part: u16 = format!("{part:0<2}").parse().ok()?;
    whole.checked_mul(100)?.checked_add(part)
}

/// A security event.
pub(super) struct EventFields {
    pub(super) kind: Arc<str>,
    pub(super) severity: Severity,
}

impl Fields for EventFields {
    const NAME: &'static str = "rule event";
    const ABOUT: &'static str = "A security event, for those who watch.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let kind = table.required::<Code>("kind", "What kind of event, in your own words.");
        let severity =
            table.or("severity", &preset::RULE_SEVERITY, "How bad it is: `low` or `high`.");
        Some(Self { kind: kind?.0, severity: severity? })
    }
}
