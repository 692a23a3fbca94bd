//! The `identity` part of `gateway.yaml`: issuers, their keys, API keys, services, anonymous
//! callers. Compiled to an [`IdentityPolicy`], except for the names of roles, which the policies
//! define.
//!
//! May import `domain` and `policy`.

use std::sync::Arc;

use ipnet::IpNet;
use serde_json::{Value, json};

use crate::domain::login::LoginPepper;
use crate::domain::organization::OrgSelector;
use crate::domain::secret::Secret;
use crate::policy::identity::{
    Algorithm, ApiKey, ApiKeyKind, ApiKeys, IdentityPolicy, Issuer, JwksSource, KeySet,
    VerifyingKey,
};
use crate::policy::sign_on::{SignOn, Sync};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Name, Shapes, Table};
use super::defaults as preset;
use super::devices::{DeviceFields, Trusting};
use super::foreign::Url;
use super::leaf::{Block, FilePath, Seconds, SmallSize, Text};
use super::logins::LoginIdentity;
use super::machines::MachineFields;
use super::sign_on::{Beside, SignOnFields};
use super::yaml::{Kind, Node, Span};

/// What the file says of identity.
pub(super) struct IdentityFields {
    pub(super) policy: IdentityPolicy,
    pub(super) service_role: Option<At<Name>>,
    pub(super) anonymous_role: Option<At<Name>>,
    /// Roles that issuers' claims come to.
    pub(super) mapped_roles: Vec<At<Name>>,
    /// Organizations that issuers name.
    pub(super) organizations: Vec<At<OrgSelector>>,
    /// Where issuers say that members are to be made.
    pub(super) creates: Vec<Span>,
    pub(super) token_span: Span,
    /// Whether devices are trusted.
    pub(super) trusting: Trusting,
    /// Whether `machines` is stated, rightly or not.
    pub(super) machines: bool,
    /// What hashes of accounts are keyed with.
    pub(super) logins: Option<LoginPepper>,
}

impl Fields for IdentityFields {
    const NAME: &'static str = "identity";
    const ABOUT: &'static str = "Who may vouch for callers.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let max_token_bytes = table.or::<SmallSize>(
            "max_token_bytes",
            &preset::MAX_TOKEN_BYTES,
            "Cap on the bytes of a bearer token.",
        );
        let issuers =
            table.required::<Filled<At<IssuerFields>>>("issuers", "Those who issue users' tokens.");
        let api_keys =
            table.some::<Vec<At<ApiKeyFields>>>("api_keys", "Supabase keys of the `sb_…` kind.");
        let machines = table
            .optional::<MachineFields>("machines", "Machines with keys of the gateway, `tgk_…`.");
        let devices = table.optional::<DeviceFields>(
            "devices",
            "Devices that stand in for a second factor, for a time; none does if not stated.",
        );
        let trusting = match &devices {
            Some(devices) => Trusting::For(devices.0.trusted_for.as_secs()),
            None if table.has("devices") => Trusting::Unclear,
            None => Trusting::Nobody,
        };
        let logins = table.optional::<LoginIdentity>(
            "logins",
            "Accounts of those who sign in; hashed with the pepper of `machines` if not stated.",
        );
        let service =
            table.section::<ServiceFields>("service", "Callers with a service credential.");
        let anonymous =
            table.section::<AnonymousFields>("anonymous", "Callers that are nobody in particular.");
        let (service, anonymous) = (service?, anonymous?);
        if let Some(both) = service.claims.iter().find(|claim| anonymous.claims.contains(claim)) {
            let message =
                format!("the claim `{both}` makes a bearer a service and anonymous at once");
            let key = if table.has("service") { "service" } else { "anonymous" };
            table.error(table.key_span(key), message, "list it in one of the two");
        }
        let (machines, of_machines) = machines.map(|of| (of.0, of.1)).unzip();
        let issuers = issuers?.0;
        distinct_issuers(&issuers, table);
        let api_keys = keys_by_hash(api_keys, table);
        let (mut mapped_roles, mut organizations) = (Vec::new(), Vec::new());
        let (mut whole, mut creates) = (Vec::new(), Vec::new());
        for At { value: IssuerFields { mut issuer, sign_on }, .. } in issuers {
            issuer.sign_on = sign_on.policy;
            // What was said last is known by when it was said.
            if issuer.sign_on.sync == Sync::Login
                && !issuer.required_claims.iter().any(|claim| &**claim == "iat")
            {
                issuer.required_claims.push("iat".into());
            }
            mapped_roles.extend(sign_on.roles);
            organizations.extend(sign_on.organizations);
            creates.extend(sign_on.creates);
            whole.push(Arc::new(issuer));
        }
        Some(Self {
            policy: IdentityPolicy {
                issuers: whole,
                api_keys,
                // Routes state them.
                organization_claims: Vec::new(),
                max_token_bytes: max_token_bytes?.0,
                service_claims: service.claims,
                anonymous_claims: anonymous.claims,
                service_role: service.role.as_ref().map(|role| role.value.clone()),
                service_addresses: service.addresses,
                machines,
                devices: devices.map(|devices| devices.0),
                anonymous_role: anonymous.role.as_ref().map(|role| role.value.clone()),
            },
            service_role: service.role,
            anonymous_role: anonymous.role,
            mapped_roles,
            organizations,
            creates,
            token_span: table.key_span("max_token_bytes"),
            trusting,
            machines: table.has("machines"),
            logins: logins.map(|logins| logins.0).or(of_machines),
        })
    }
}

/// A token's `iss` must lead to one issuer.
fn distinct_issuers(issuers: &[At<IssuerFields>], table: &mut Table<'_, '_>) {
    for (index, issuer) in issuers.iter().enumerate() {
        for earlier in issuers.iter().take(index) {
            let (a, b) = (&earlier.value.issuer, &issuer.value.issuer);
            let message = if a.name == b.name {
                format!("a second issuer is called `{}`", b.name)
            } else if a.iss.is_empty() && b.iss.is_empty() {
                "a second issuer takes tokens without `iss`".to_owned()
            } else if let Some(same) = b.iss.iter().find(|iss| a.iss.contains(iss)) {
                format!("`{}` is the `iss` of two issuers", same.escape_debug())
            } else {
                continue;
            };
            if let Some(cx) = table.context() {
                cx.error(issuer.span, message)
                    .related(earlier.span, "the first one")
                    .hint("one issuer can have several keys");
            }
        }
    }
}

fn keys_by_hash(fields: Vec<At<ApiKeyFields>>, table: &mut Table<'_, '_>) -> ApiKeys {
    let mut keys = ApiKeys::default();
    let mut names: Vec<(Name, Span)> = Vec::new();
    for At { value: ApiKeyFields { name, kind, key }, span } in fields {
        let Some(cx) = table.context() else { break };
        if let Some((_, first)) = names.iter().find(|(other, _)| *other == name) {
            cx.error(span, format!("a second API key is called `{name}`"))
                .related(*first, "the first one");
        }
        names.push((name.clone(), span));
        let source = cx.source(span);
        if !keys.insert(key.expose(), ApiKey { name, kind, source }) {
            cx.error(span, "the same API key is listed twice").hint("remove one of the two");
        }
    }
    keys
}

struct ApiKeyFields {
    name: Name,
    kind: ApiKeyKind,
    key: Secret,
}

impl Fields for ApiKeyFields {
    const NAME: &'static str = "api key";
    const ABOUT: &'static str = "A Supabase key of the `sb_publishable_…` or `sb_secret_…` kind.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let name = table.required("name", "Its name for limits, logs and audit.");
        let which = table.one_of(&["publishable", "secret"]);
        let publishable = table.optional::<At<Secret>>(
            "publishable",
            "A key that may be in browsers: makes its bearer nobody in particular.",
        );
        let secret = table
            .optional::<At<Secret>>("secret", "A key of your servers: makes its bearer a service.");
        let (kind, key, prefix) = match which? {
            "publishable" => (ApiKeyKind::Publishable, publishable?, "sb_publishable_"),
            _ => (ApiKeyKind::Secret, secret?, "sb_secret_"),
        };
        // The two kinds differ in power: a key in the wrong place must not go unnoticed.
        if !key.value.expose().starts_with(prefix) || key.value.expose().len() < prefix.len() + 16 {
            let message =
                format!("the key is not of the form `{prefix}…` with 16 characters or more");
            table.error(key.span, message, "copy the whole key from the Supabase dashboard");
            return None;
        }
        Some(Self { name: name?, kind, key: key.value })
    }
}

#[derive(Default)]
struct ServiceFields {
    claims: Vec<Box<str>>,
    role: Option<At<Name>>,
    addresses: Vec<IpNet>,
}

impl Fields for ServiceFields {
    const NAME: &'static str = "service";
    const ABOUT: &'static str = "Callers with a service credential.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let claims = table.or(
            "claims",
            &preset::SERVICE_CLAIMS,
            "Values of a token's `role` claim that make its bearer a service.",
        );
        let role = table.optional(
            "role",
            "The role of services on routes with an organization; they are refused there if not \
             stated.",
        );
        let addresses = table.or(
            "addresses",
            &preset::SERVICE_ADDRESSES,
            "Networks from which service credentials may be used; empty: from everywhere.",
        );
        Some(Self { claims: boxed(claims?), role, addresses: addresses? })
    }
}

#[derive(Default)]
struct AnonymousFields {
    claims: Vec<Box<str>>,
    role: Option<At<Name>>,
}

impl Fields for AnonymousFields {
    const NAME: &'static str = "anonymous";
    const ABOUT: &'static str = "Callers that are nobody in particular.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let claims = table.or(
            "claims",
            &preset::ANONYMOUS_CLAIMS,
            "Values of a token's `role` claim that make its bearer nobody in particular.",
        );
        let role = table.optional(
            "role",
            "The role of anonymous callers on routes with an organization; they are refused there \
             if not stated.",
        );
        Some(Self { claims: boxed(claims?), role })
    }
}

/// An issuer, and what is to be looked up of it.
struct IssuerFields {
    issuer: Issuer,
    sign_on: SignOnFields,
}

impl Fields for IssuerFields {
    const NAME: &'static str = "issuer";
    const ABOUT: &'static str = "One who issues tokens, and the keys that prove it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let name = table.required("name", "Its name in logs and explanations.");
        let iss = table.some::<OneOrMore>(
            "iss",
            "The value of `iss`, byte for byte, or a list of them; if not stated, tokens without \
             `iss`.",
        );
        let audience = table.some::<OneOrMore>(
            "audience",
            "Values of `aud` of which a token must have one; not checked if not stated.",
        );
        let keys = table.required::<Filled<KeyFields>>("keys", "The keys that it signs with.");
        let required = table.or(
            "required_claims",
            &preset::REQUIRED_CLAIMS,
            "Claims that a token must have, besides `exp`.",
        );
        let leeway =
            table.or::<Seconds>("leeway", &preset::LEEWAY, "Allowed difference of clocks.");
        let max_lifetime = table.optional::<Seconds>(
            "max_lifetime",
            "How far ahead `exp` may lie; not checked if not stated.",
        );
        if let Some(leeway) = leeway
            && leeway.0 > 300
        {
            let span = table.key_span("leeway");
            table.error(
                span,
                "a leeway above 5m lets expired tokens live on",
                "synchronise the clocks",
            );
        }
        let beside = Beside { iss: &iss.0, audience: &audience.0 };
        let sign_on = SignOnFields::read(&beside, table);
        let keys = keys?.0;
        let span = table.span;
        let source = table.context()?.source(span);
        let (keys, jwks) = gather(keys, &iss.0, table)?;
        let issuer = Issuer {
            name: name?,
            iss: iss.0,
            audiences: audience.0,
            keys,
            jwks,
            required_claims: boxed(required?),
            leeway_secs: leeway?.0,
            max_lifetime_secs: max_lifetime.map(|lifetime| lifetime.0),
            sign_on: SignOn::default(),
            source,
        };
        Some(Self { issuer, sign_on: sign_on? })
    }
}

/// The issuer that a discovery document has to name.
fn of_document(iss: &[Box<str>], at: Span, table: &mut Table<'_, '_>) -> Option<Box<str>> {
    if let [one] = iss {
        return Some(one.clone());
    }
    let hint = "state `iss` once, byte for byte as the document has it under `issuer`";
    table.error(at, "a discovery document is that of one `iss`", hint);
    None
}

/// Joins what the list of keys states.
fn gather(
    fields: Vec<KeyFields>,
    iss: &[Box<str>],
    table: &mut Table<'_, '_>,
) -> Option<(KeySet, Option<JwksSource>)> {
    let mut set = KeySet::default();
    let mut jwks: Option<At<JwksSource>> = None;
    for field in fields {
        match field {
            KeyFields::Fixed(At { value, span }) => {
                let taken = value.keys.iter().find(|key| {
                    key.kid.as_deref().is_some_and(|kid| set.with_kid(kid).next().is_some())
                });
                if let Some(kid) = taken.and_then(|key| key.kid.as_deref()) {
                    let message = format!("two keys have the id `{}`", kid.escape_debug());
                    table.error(span, message, "give each key an id of its own");
                }
                set.keys.extend(value.keys);
            }
            KeyFields::Fetched { mut source, discovers } => match &jwks {
                None => {
                    if discovers {
                        source.value.discovers = of_document(iss, source.span, table);
                    }
                    jwks = Some(source);
                }
                Some(first) => {
                    let first = first.span;
                    if let Some(cx) = table.context() {
                        cx.error(source.span, "an issuer has one `jwks` or `discovery`")
                            .related(first, "the first one")
                            .hint("make it an issuer of its own, or list the key in a file");
                    }
                }
            },
        }
    }
    Some((set, jwks.map(|at| at.value)))
}

/// One element of an issuer's `keys`.
enum KeyFields {
    Fixed(At<KeySet>),
    Fetched {
        source: At<JwksSource>,
        /// By a discovery document, which has to name the issuer.
        discovers: bool,
    },
}

const HMAC: [(&str, Algorithm); 3] =
    [("hs256", Algorithm::HS256), ("hs384", Algorithm::HS384), ("hs512", Algorithm::HS512)];

impl Fields for KeyFields {
    const NAME: &'static str = "issuer key";
    const ABOUT: &'static str = "A key, or a set of keys, of an issuer.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let which = table.one_of(&["hs256", "hs384", "hs512", "pem", "file", "jwks", "discovery"]);
        let [hs256, hs384, hs512] = HMAC.map(|(key, algorithm)| {
            table.optional::<At<Secret>>(key, &format!("A shared secret for {algorithm:?}."))
        });
        let pem = table.optional::<At<Block>>(
            "pem",
            "A public key in PEM, or a file of it: `${file:issuer.pem}`.",
        );
        let file =
            table.optional::<At<FilePath>>("file", "A file with a JSON Web Key Set (RFC 7517).");
        let jwks = table.optional::<At<Url>>("jwks", "The URL of a JSON Web Key Set.");
        let discovery = table.optional::<At<Url>>(
            "discovery",
            "The URL of the issuer's discovery document, \
             `https://…/.well-known/openid-configuration`, which must name the issuer's `iss` and \
             says where its key set is.",
        );
        let kid = table.optional::<Text>("kid", "The key's id (`hs…`, `pem`).");
        let algorithm = table.optional::<Algorithm>("algorithm", "The key's algorithm (`pem`).");
        let algorithms = table.or::<Vec<Algorithm>>(
            "algorithms",
            &preset::FILE_ALGORITHMS,
            "The algorithms that keys of the set may be used with (`file`, `jwks`, `discovery`).",
        );
        let refresh = table.or(
            "refresh",
            &preset::JWKS_REFRESH,
            "Time between two fetches (`jwks`, `discovery`).",
        );
        let timeout =
            table.or("timeout", &preset::JWKS_TIMEOUT, "Time for an answer (`jwks`, `discovery`).");
        let unknown_key_window = table.or(
            "unknown_key_window",
            &preset::JWKS_WINDOW,
            "At most one fetch for unknown key ids in this time (`jwks`, `discovery`).",
        );
        let which = which?;
        refuse_others(which, table);
        let kid = kid.as_ref().map(|kid| kid.0.as_str());
        match which {
            "pem" => {
                let pem = pem?;
                let Some(algorithm) = algorithm else {
                    if !table.has("algorithm") {
                        let hint = "state what the issuer signs with, such as `algorithm: RS256`";
                        table.error(pem.span, "a `pem` key needs an `algorithm`", hint);
                    }
                    return None;
                };
                let key = VerifyingKey::pem(&pem.value.0, algorithm, kid);
                fixed(key.map(|key| KeySet { keys: vec![key] }), pem.span, table)
            }
            "file" => {
                let (file, algorithms) = (file?, algorithms?);
                let text = match table.context()?.secret(&file.value.0) {
                    Ok(text) => text,
                    Err(error) => {
                        let shown = file.value.0.display();
                        table.error(file.span, format!("cannot read `{shown}`: {error}"), "");
                        return None;
                    }
                };
                fixed(KeySet::from_jwks(&text, &algorithms), file.span, table)
            }
            "jwks" | "discovery" => {
                let discovers = which == "discovery";
                let (url, algorithms) = (if discovers { discovery? } else { jwks? }, algorithms?);
                let span = url.span;
                let symmetric = |a: &&Algorithm| HMAC.iter().any(|(_, hmac)| hmac == *a);
                if algorithms.is_empty() || algorithms.iter().any(|a| symmetric(&a)) {
                    let at = table.key_span("algorithms");
                    let hint = "list algorithms with public keys, such as `[ES256, RS256]`";
                    table.error(at, "a fetched key set holds public keys only", hint);
                }
                if url.value.0.starts_with("http://")
                    && let Some(cx) = table.context()
                {
                    cx.warning(span, "keys are fetched without TLS")
                        .hint("whoever is between can sign tokens; use `https://` in production");
                }
                let source = JwksSource {
                    url: url.value.0.into(),
                    discovers: None,
                    algorithms,
                    refresh: refresh?,
                    timeout: timeout?,
                    unknown_key_window: unknown_key_window?,
                };
                Some(Self::Fetched { source: At { value: source, span }, discovers })
            }
            hmac => {
                let (_, algorithm) = HMAC.into_iter().find(|(key, _)| *key == hmac)?;
                let secret = match algorithm {
                    Algorithm::HS384 => hs384?,
                    Algorithm::HS512 => hs512?,
                    _ => hs256?,
                };
                let key = VerifyingKey::hmac(secret.value.expose().as_bytes(), algorithm, kid);
                fixed(key.map(|key| KeySet { keys: vec![key] }), secret.span, table)
            }
        }
    }
}

fn fixed<E: std::fmt::Display>(
    set: Result<KeySet, E>,
    span: Span,
    table: &mut Table<'_, '_>,
) -> Option<KeyFields> {
    match set {
        Ok(value) => Some(KeyFields::Fixed(At { value, span })),
        Err(error) => {
            table.error(span, error.to_string(), "");
            None
        }
    }
}

/// Keys that belong to another form would be read and ignored.
fn refuse_others(which: &str, table: &mut Table<'_, '_>) {
    let allowed: &[&str] = match which {
        "pem" => &["kid", "algorithm"],
        "file" => &["algorithms"],
        "jwks" | "discovery" => &["algorithms", "refresh", "timeout", "unknown_key_window"],
        _ => &["kid"],
    };
    let all = ["kid", "algorithm", "algorithms", "refresh", "timeout", "unknown_key_window"];
    for key in all {
        if table.has(key) && !allowed.contains(&key) {
            let message = format!("`{key}` has no meaning beside `{which}`");
            table.error(table.key_span(key), message, "remove it");
        }
    }
}

/// A text or a list of texts.
#[derive(Default)]
struct OneOrMore(Vec<Box<str>>);

impl Decode for OneOrMore {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        match &node.kind {
            Kind::List(_) => Filled::<Text>::decode(node, cx).map(|filled| Self(boxed(filled.0))),
            Kind::Null | Kind::Bool(_) | Kind::Int(_) | Kind::Float | Kind::Text { .. } => {
                Text::decode(node, cx).map(|text| Self(vec![text.0.into()]))
            }
            Kind::Map(_) => {
                super::decode::expected("a text or a list of texts", node, cx);
                None
            }
        }
    }

    fn shape(shapes: &mut Shapes) -> Value {
        json!({ "anyOf": [Text::shape(shapes), Filled::<Text>::shape(shapes)] })
    }
}

fn boxed(texts: Vec<Text>) -> Vec<Box<str>> {
    texts.into_iter().map(|text| text.0.into()).collect()
}
