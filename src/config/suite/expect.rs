//! The keys of what a test expects of a request.
//!
//! May import `domain`.

use serde_json::{Value, json};

use crate::domain::permission::PermissionPattern;

use super::super::context::Context;
use super::super::decode::{At, Decode, Fields, Name, Named, Shapes, Table};
use super::super::leaf::{Block, Text};
use super::super::yaml::{Kind, Node};
use super::would::WouldFields;

/// What is to become of a request: a word, or a map.
#[derive(Clone)]
pub(super) enum VerdictFields {
    Allow,
    Refuse(Name),
    Map(Box<VerdictMap>),
}

impl Decode for VerdictFields {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if let Kind::Map(_) = &node.kind {
            return VerdictMap::decode(node, cx).map(|map| Self::Map(Box::new(map)));
        }
        let code = Name::decode(node, cx)?;
        Some(if &*code == "allow" { Self::Allow } else { Self::Refuse(code) })
    }

    fn shape(shapes: &mut Shapes) -> Value {
        let word = json!({ "title": "`allow` or a code", "type": "string", "minLength": 1 });
        json!({ "anyOf": [word, VerdictMap::shape(shapes)] })
    }
}

/// What is to become of a request, in full.
#[derive(Clone)]
pub(super) struct VerdictMap {
    pub(super) refuse: Option<Name>,
    pub(super) answered: Option<u16>,
    pub(super) status: Option<u16>,
    pub(super) by: Option<ByFields>,
    pub(super) upstream: Option<At<Name>>,
    pub(super) target: Option<Text>,
    pub(super) sent: Option<HeaderFields>,
    pub(super) claims: Option<Named<Text>>,
    pub(super) body: Option<Block>,
    pub(super) limits: Option<Vec<At<Name>>>,
    pub(super) charges: Option<Named<u64>>,
    pub(super) permission: Option<PermissionPattern>,
    pub(super) answer: Option<HeaderFields>,
    pub(super) events: Option<Vec<At<Name>>>,
    pub(super) rules: Option<Vec<At<Name>>>,
    pub(super) would: Option<Vec<WouldFields>>,
}

/// What has a meaning only for what is sent on.
const OF_SENT: [&str; 7] = ["upstream", "target", "sent", "claims", "body", "limits", "charges"];
/// What has a meaning only for what is refused.
const OF_REFUSED: [&str; 2] = ["status", "by"];

impl Fields for VerdictMap {
    const NAME: &'static str = "expect";
    const ABOUT: &'static str = "What is to become of a request. What is not stated may be \
                                 anything.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let refuse = table.optional("refuse", "The code of the refusal; sent on if not stated.");
        let answered = table.optional::<At<u64>>(
            "answered",
            "Instead of `refuse`: the status with which the gateway answers by itself, as it does \
             preflights of browsers (204).",
        );
        let status = table.optional::<At<u64>>("status", "Beside `refuse`: the answer's status.");
        let by = table.optional("by", "Beside `refuse`: the part of the policy that decides.");
        let upstream = table.optional("upstream", "The name of the upstream that it is sent to.");
        let target = table.optional("target", "Path and query as the upstream gets them.");
        let sent = table.optional("sent", "Header fields as the upstream gets them.");
        let claims = table.optional(
            "claims",
            "Claims of the token that the gateway mints for the upstream: `org_role: admin`.",
        );
        let body = table.optional("body", "The body as the upstream gets it.");
        let limits = table.optional("limits", "The limits that are charged, in order.");
        let charges = table.optional(
            "charges",
            "The limits that are charged, and how many tokens each: `per_user: 3`. All of them.",
        );
        let permission =
            table.optional("permission", "The permission that is asked for: `events:read`.");
        let answer = table.optional(
            "answer",
            "Header fields of the answer: of a refusal, of the gateway's own answer, or those that \
             it sets in the answer of an upstream.",
        );
        let events: Option<Vec<At<Name>>> = table.optional(
            "events",
            "The security events that it is: `tenant_escape`, `revoked_session`, `revoked_key`, or \
             what rules raise; `[]`: none.",
        );
        let rules = table.optional(
            "rules",
            "The rules that it meets, in the order in which they are tried, those in shadow \
             included; `[]`: none.",
        );
        let would = table.optional(
            "would",
            "What policies in shadow would have done, in the order of the stages, limits last; \
             `[]`: nothing.",
        );
        if refuse.is_some() && table.has("answered") {
            let message = "`answered` cannot stand beside `refuse`";
            table.error(table.key_span("answered"), message, "a refusal has a `status`");
        }
        let foreign: Vec<(&str, &str)> = match (table.has("refuse"), table.has("answered")) {
            (true, _) => OF_SENT.map(|key| (key, "what is sent on")).into(),
            (false, false) => OF_REFUSED.map(|key| (key, "`refuse`")).into(),
            (false, true) => {
                let sent = OF_SENT.map(|key| (key, "what is sent on"));
                sent.into_iter().chain(OF_REFUSED.map(|key| (key, "`refuse`"))).collect()
            }
        };
        for (key, beside) in foreign {
            if table.has(key) {
                let message = format!("`{key}` has a meaning for {beside} only");
                table.error(table.key_span(key), message, "remove it");
            }
        }
        if limits.is_some() && table.has("charges") {
            let message = "`charges` cannot stand beside `limits`";
            table.error(table.key_span("charges"), message, "it says the same and more");
        }
        let status = ranged(status, 400..600, "a refusal", "write 400 to 599", table);
        let answered = ranged(answered, 200..400, "such an answer", "write 200 to 399", table);
        Some(Self {
            refuse,
            answered,
            status,
            by,
            upstream,
            target,
            sent,
            claims,
            body,
            limits,
            charges,
            permission,
            answer,
            events,
            rules,
            would,
        })
    }
}

fn ranged(
    status: Option<At<u64>>,
    range: std::ops::Range<u16>,
    of: &str,
    hint: &str,
    table: &mut Table<'_, '_>,
) -> Option<u16> {
    let At { value, span } = status?;
    let fits = u16::try_from(value).ok().filter(|status| range.contains(status));
    if fits.is_none() {
        table.error(span, format!("`{value}` is no status of {of}"), hint);
    }
    fits
}

/// Header fields, as far as they matter.
#[derive(Clone)]
pub(super) struct HeaderFields {
    pub(super) equal: Named<Text>,
    pub(super) present: Vec<At<Name>>,
    pub(super) absent: Vec<At<Name>>,
}

impl Fields for HeaderFields {
    const NAME: &'static str = "expected fields";
    const ABOUT: &'static str = "Header fields, as far as they matter.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let equal = table.some("equal", "Fields and their values: `retry-after: \"1\"`.");
        let present = table.some("present", "Fields that are there, whatever they say.");
        let absent = table.some("absent", "Fields that are not there.");
        Some(Self { equal, present, absent })
    }
}

/// The part of the policy that decides.
#[derive(Clone)]
pub(super) enum ByFields {
    Route(At<Name>),
    Role(At<Name>),
    Gate(At<Name>),
    Quota(At<Name>),
    Limit(At<Name>),
    Rule(At<Name>),
    Line(Text),
}

impl Fields for ByFields {
    const NAME: &'static str = "decided by";
    const ABOUT: &'static str = "The part of the policy whose line decides, or one of whose \
                                 conditions does.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["route", "role", "gate", "quota", "limit", "rule", "line"]);
        let route = table.optional("route", "A route.");
        let role = table.optional("role", "A role.");
        let gate = table.optional("gate", "A gate.");
        let quota = table.optional("quota", "A quota.");
        let limit = table.optional("limit", "A limit.");
        let rule = table.optional("rule", "A rule.");
        let line = table.optional("line", "The end of a place: `base.yaml:41`.");
        match which? {
            "route" => route.map(Self::Route),
            "gate" => gate.map(Self::Gate),
            "quota" => quota.map(Self::Quota),
            "limit" => limit.map(Self::Limit),
            "rule" => rule.map(Self::Rule),
            "line" => line.map(Self::Line),
            _ => role.map(Self::Role),
        }
    }
}
