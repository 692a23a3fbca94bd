//! The `response` part of policies: security headers and CORS.
//!
//! May import `policy`.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use crate::policy::response::{CorsPolicy, Origins, ResponsePolicy};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Shapes, Table, expected, shown};
use super::defaults as preset;
use super::leaf::{parsed, refuse, text};
use super::yaml::{Kind, Node};

/// What is added to answers.
#[derive(Debug, Clone, Default)]
pub(super) struct ResponseFields {
    set: Headers,
    remove: Vec<HeaderName>,
    cors: Option<CorsPolicy>,
}

impl ResponseFields {
    /// By itself.
    pub(super) fn policy(&self) -> ResponsePolicy {
        self.over(&ResponsePolicy::default())
    }

    /// Over what holds for all routes: headers of the same name are replaced, and so is CORS.
    pub(super) fn over(&self, base: &ResponsePolicy) -> ResponsePolicy {
        let set_here = |name: &HeaderName| self.set.0.iter().any(|(other, _)| other == name);
        let kept = base.set.iter().filter(|(name, _)| !set_here(name));
        let mut remove = base.remove.clone();
        remove.extend(self.remove.iter().filter(|name| !base.remove.contains(name)).cloned());
        remove.retain(|name| !set_here(name));
        ResponsePolicy {
            set: kept.chain(&self.set.0).cloned().collect(),
            remove,
            cors: self.cors.clone().or_else(|| base.cors.clone()),
        }
    }
}

impl Fields for ResponseFields {
    const NAME: &'static str = "response";
    const ABOUT: &'static str = "What is added to answers, the gateway's own included.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let set = table.some("set", "Headers that are set, over what the upstream says.");
        let remove =
            table.some::<Vec<HeaderName>>("remove", "Headers that are taken off upstream answers.");
        let cors =
            table.optional("cors", "Cross-origin requests of browsers; refused if not stated.");
        let set: Headers = set;
        if let Some(both) = remove.iter().find(|name| set.0.iter().any(|(n, _)| n == *name)) {
            let message = format!("`{both}` is set and removed");
            table.error(table.key_span("remove"), message, "keep one of the two");
        }
        Some(Self { set, remove, cors })
    }
}

/// Header names and values, in the order of the file.
#[derive(Debug, Clone, Default)]
struct Headers(Vec<(HeaderName, HeaderValue)>);

/// What frames a message: a policy that changes it breaks answers.
const FRAMING: [&str; 7] =
    ["content-length", "transfer-encoding", "connection", "upgrade", "trailer", "te", "keep-alive"];

impl Decode for Headers {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            expected("a map of headers", node, cx);
            return None;
        };
        let mut out: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for entry in entries {
            let value = HeaderValue::decode(&entry.value, cx);
            let Ok(name) = entry.key.parse::<HeaderName>() else {
                cx.error(entry.span, format!("`{}` is not a header name", shown(&entry.key)));
                continue;
            };
            if FRAMING.contains(&name.as_str()) {
                cx.error(entry.span, format!("`{name}` frames the answer and cannot be set"));
            }
            if out.iter().any(|(other, _)| *other == name) {
                cx.error(entry.span, format!("the header `{name}` is set twice"))
                    .hint("header names do not tell upper from lower case");
            }
            if let Some(value) = value {
                out.push((name, value));
            }
        }
        Some(Self(out))
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "map of header names to texts", "type": "object", "additionalProperties": { "type": "string" } })
    }
}

impl Fields for CorsPolicy {
    const NAME: &'static str = "cors";
    const ABOUT: &'static str = "Cross-origin requests of browsers (Fetch standard, section 3.2).";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let origins = table.required::<At<Origins>>(
            "origins",
            "Who may read answers: a list of `scheme://host[:port]`, or `any`.",
        );
        let methods = table.or::<Vec<Method>>(
            "methods",
            &preset::CORS_METHODS,
            "Methods that a preflight is told.",
        );
        let allow_headers = table.some::<Vec<HeaderName>>(
            "allow_headers",
            "Request headers that a preflight is told; if not stated, those that it asks for.",
        );
        let expose_headers = table
            .some::<Vec<HeaderName>>("expose_headers", "Response headers that scripts may read.");
        let credentials = table.or::<bool>(
            "credentials",
            &preset::CORS_CREDENTIALS,
            "Whether browsers send cookies and may read answers to them.",
        );
        let max_age = table.or::<Duration>(
            "max_age",
            &preset::CORS_MAX_AGE,
            "How long browsers remember a preflight.",
        );
        let origins = origins?;
        if origins.value == Origins::Any && credentials == Some(true) {
            let message = "credentials cannot be allowed for any origin";
            let hint = "list the origins of your applications: with `any`, every page that a user \
                        visits could act as the user";
            table.error(origins.span, message, hint);
        }
        Some(Self {
            origins: origins.value,
            methods: methods?,
            allow_headers,
            expose_headers,
            credentials: credentials?,
            max_age: max_age?,
        })
    }
}

impl Decode for Origins {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        if matches!(&node.kind, Kind::Text { text, .. } if text == "any" || text == "*") {
            return Some(Self::Any);
        }
        if !matches!(node.kind, Kind::List(_)) {
            expected("`any` or a list of origins", node, cx);
            return None;
        }
        let Filled(origins) = Filled::<At<Origin>>::decode(node, cx)?;
        if origins.iter().any(|at| at.value.0.as_ref() == "*") {
            return Some(Self::Any);
        }
        Some(Self::Listed(origins.into_iter().map(|at| at.value.0).collect()))
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [{ "enum": ["any", "*"] }, Filled::<Origin>::shape(shapes)] })
    }
}

pub(super) struct Origin(pub(super) Box<str>);

impl Decode for Origin {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        let stated = text(node, cx)?;
        if stated == "*" {
            return Some(Self(Box::from(stated)));
        }
        let uri: http::Uri = parsed(node, "an origin", ORIGIN_HINT, cx)?;
        let bare = uri.scheme_str().zip(uri.authority()).map(|(s, a)| format!("{s}://{a}"));
        let plain = !stated.bytes().any(|b| b.is_ascii_uppercase() || matches!(b, b'*' | b'@'));
        if bare.as_deref() == Some(stated) && plain {
            return Some(Self(Box::from(stated)));
        }
        refuse(node, "an origin", stated, ORIGIN_HINT, cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        json!({ "title": "origin", "type": "string", "examples": ["https://app.example.com"] })
    }
}

const ORIGIN_HINT: &str = "write `scheme://host[:port]` in lowercase and without a path, as \
                           browsers send it: `https://app.example.com`";
