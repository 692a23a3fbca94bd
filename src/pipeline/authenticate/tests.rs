//! Who is let in, as tables: what supabase-js sends, and what attackers send.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::EncodingKey;
use serde_json::{Value, json};

use crate::domain::ids::{OrgId, UserId};
use crate::domain::known::{IssuerIndex, Join, Lookup, Outage, Question};
use crate::domain::machine::{KeyId, MachineKey};
use crate::domain::organization::{Membership, OrgSelector, Organization};
use crate::domain::refusal::Refusal;
use crate::domain::session::LastUse;
use crate::domain::source::Source;
use crate::domain::trusted::TrustedDevice;
use crate::policy::identity::{
    Algorithm, ApiKey, ApiKeys, Issuer, JwksSource, KeySet, VerifyingKey,
};
use crate::policy::known::Keys;

use super::*;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"an HMAC secret of 32 bytes or more";
const RSA: &str = include_str!("../../../tests/fixtures/keys/rsa2048.pem");
const RSA_PUBLIC: &str = include_str!("../../../tests/fixtures/keys/rsa2048.pub.pem");
const P256: &str = include_str!("../../../tests/fixtures/keys/p256.pem");
const P384: &str = include_str!("../../../tests/fixtures/keys/p384.pem");
const P384_PUBLIC: &str = include_str!("../../../tests/fixtures/keys/p384.pub.pem");
const ED: &str = include_str!("../../../tests/fixtures/keys/ed25519.pem");
const JWKS: &str = include_str!("../../../tests/fixtures/keys/jwks.json");

/// What the node knows: fetched keys of issuer 1, and tokens.
struct Node {
    keys: Keys,
    asked: AtomicUsize,
    tokens: Mutex<HashMap<String, Arc<VerifiedToken>>>,
    standing: Mutex<Standing>,
}

impl Node {
    fn with(keys: Keys) -> Self {
        Self {
            keys,
            asked: AtomicUsize::new(0),
            tokens: Mutex::default(),
            standing: Mutex::new(Standing::Good),
        }
    }

    fn fetched() -> Self {
        let allowed = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];
        Self::with(Keys::Are(Arc::new(KeySet::from_jwks(JWKS, &allowed).unwrap())))
    }
}

impl Known for Node {
    fn keys(&self, issuer: IssuerIndex, _: Option<&str>) -> Keys {
        assert_eq!(issuer, IssuerIndex(1), "only this issuer has a key set to fetch");
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.keys.clone()
    }

    fn remembered(&self, token: &str) -> Option<Arc<VerifiedToken>> {
        self.tokens.lock().unwrap().get(token).cloned()
    }

    fn remember(&self, token: &str, verified: &Arc<VerifiedToken>) {
        self.tokens.lock().unwrap().insert(token.into(), Arc::clone(verified));
    }

    fn standing(&self, _: &VerifiedToken) -> Standing {
        *self.standing.lock().unwrap()
    }

    fn trusts(&self, _: &UserId, _: TrustedDevice) -> bool {
        true
    }

    fn last_use(&self, _: &VerifiedToken) -> LastUse {
        LastUse::default()
    }

    fn organization(&self, _: &OrgSelector) -> Option<Lookup<Arc<Organization>>> {
        None
    }

    fn membership(&self, _: &UserId, _: OrgId) -> Option<Lookup<Arc<Membership>>> {
        None
    }

    fn default_membership(&self, _: &UserId) -> Option<Lookup<Arc<Membership>>> {
        None
    }

    fn machine_key(&self, _: KeyId) -> Option<Lookup<Arc<MachineKey>>> {
        None
    }

    fn joined(&self, _: &Join) -> Option<Lookup<Arc<Membership>>> {
        None
    }
}

fn issuer(name: &str, iss: &[&str], audiences: &[&str], keys: Vec<VerifyingKey>) -> Issuer {
    Issuer {
        name: name.into(),
        iss: iss.iter().map(|iss| Box::from(*iss)).collect(),
        audiences: audiences.iter().map(|aud| Box::from(*aud)).collect(),
        keys: KeySet { keys },
        jwks: None,
        required_claims: Vec::new(),
        leeway_secs: 5,
        max_lifetime_secs: Some(86_400),
        sign_on: Default::default(),
        source: Source::built_in(),
    }
}

/// 0: a shared secret; 1: a fetched key set; 2: Supabase's legacy keys; 3: no `iss`, ES384.
fn identity() -> IdentityPolicy {
    let hmac = |kid| VerifyingKey::hmac(SECRET, Algorithm::HS256, kid).unwrap();
    let es384 = VerifyingKey::pem(P384_PUBLIC, Algorithm::ES384, Some("es")).unwrap();
    let rs512 = VerifyingKey::pem(RSA_PUBLIC, Algorithm::RS512, Some("rs")).unwrap();
    let ps256 = VerifyingKey::pem(RSA_PUBLIC, Algorithm::PS256, Some("ps")).unwrap();
    let mut fleet = issuer("fleet", &["https://fleet.example"], &[], vec![]);
    fleet.jwks = Some(JwksSource {
        url: "https://fleet.example/jwks.json".into(),
        discovers: None,
        algorithms: vec![Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA],
        refresh: std::time::Duration::from_secs(600),
        timeout: std::time::Duration::from_secs(5),
        unknown_key_window: std::time::Duration::from_secs(30),
    });
    fleet.required_claims = vec!["session_id".into()];
    let mut legacy = issuer("legacy", &["supabase"], &[], vec![hmac(None)]);
    legacy.max_lifetime_secs = None;
    let mut api_keys = ApiKeys::default();
    for (text, name, kind) in [
        ("sb_publishable_web", "web", ApiKeyKind::Publishable),
        ("sb_secret_jobs", "jobs", ApiKeyKind::Secret),
    ] {
        let key = ApiKey { name: name.into(), kind, source: Source::built_in() };
        assert!(api_keys.insert(text, key));
    }
    let project = issuer(
        "project",
        &["https://auth.example", "https://auth.example/old"],
        &["authenticated"],
        vec![hmac(None), hmac(Some("h1"))],
    );
    let plain = issuer("plain", &[], &[], vec![es384, rs512, ps256]);
    IdentityPolicy {
        issuers: [project, fleet, legacy, plain].map(Arc::new).to_vec(),
        api_keys,
        organization_claims: Vec::new(),
        max_token_bytes: 16 * 1024,
        service_claims: vec!["service_role".into()],
        anonymous_claims: vec!["anon".into()],
        service_role: None,
        service_addresses: vec!["10.0.0.0/8".parse().unwrap()],
        devices: None,
        machines: None,
        anonymous_role: None,
    }
}

#[derive(Clone, Copy)]
enum With {
    Secret,
    Rsa,
    P256,
    P384,
    Ed,
    /// The text of the public key, as if it were a secret.
    PublicAsSecret,
}

fn sign(header: &Value, payload: &str, with: With, algorithm: Algorithm) -> String {
    let key = match with {
        With::Secret => EncodingKey::from_secret(SECRET),
        With::Rsa => EncodingKey::from_rsa_pem(RSA.as_bytes()).unwrap(),
        With::P256 => EncodingKey::from_ec_pem(P256.as_bytes()).unwrap(),
        With::P384 => EncodingKey::from_ec_pem(P384.as_bytes()).unwrap(),
        With::Ed => EncodingKey::from_ed_pem(ED.as_bytes()).unwrap(),
        With::PublicAsSecret => EncodingKey::from_secret(RSA_PUBLIC.as_bytes()),
    };
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(payload)
    );
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, algorithm).unwrap();
    format!("{signed}.{signature}")
}

fn hs256(header: Value, claims: &Value) -> String {
    sign(&header, &claims.to_string(), With::Secret, Algorithm::HS256)
}

/// The claims of a user of issuer 0, with some changed; `null` takes a claim out.
fn claims(changes: Value) -> Value {
    let mut claims = json!({
        "iss": "https://auth.example", "aud": "authenticated", "sub": "u1",
        "role": "authenticated", "session_id": "s1", "iat": NOW - 10, "exp": NOW + 3600,
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => drop(claims.as_object_mut().unwrap().insert(name.clone(), value.clone())),
        }
    }
    claims
}

fn user() -> String {
    hs256(json!({ "alg": "HS256", "typ": "JWT" }), &claims(json!({})))
}

fn fleet(header: Value, with: With, algorithm: Algorithm, changes: Value) -> String {
    let mut claims = claims(json!({ "iss": "https://fleet.example", "aud": null }));
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    sign(&header, &claims.to_string(), with, algorithm)
}

fn legacy(role: &str) -> String {
    let claims = json!({ "iss": "supabase", "role": role, "iat": NOW, "exp": NOW + 1_000_000_000 });
    hs256(json!({ "alg": "HS256", "typ": "JWT" }), &claims)
}

fn now() -> Now {
    Now { unix_micros: NOW * 1_000_000, mono_nanos: 0 }
}

struct Request {
    rule: CredentialRule,
    headers: HeaderMap,
    query: Option<String>,
    client: IpAddr,
    now: Now,
}

fn request(fields: &[(&'static str, String)]) -> Request {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let client = "10.1.2.3".parse().unwrap();
    Request { rule: CredentialRule::Key, headers, query: None, client, now: now() }
}

impl Request {
    fn proven(&self, node: &Node) -> Result<(Proven, Trace), Stop> {
        let identity = identity();
        let judge = Judge {
            identity: &identity,
            known: node,
            now: self.now,
            headers: &self.headers,
            client: self.client,
            machines: false,
        };
        let mut trace = Trace::new();
        let proven = judge.judge(self.rule, self.query.as_deref(), &mut trace)?;
        Ok((proven, trace))
    }

    fn fault(&self, node: &Node) -> CredentialFault {
        match self.proven(node) {
            Err(Stop::Refused(Refusal::Unauthenticated(fault))) => fault,
            other => panic!("not a credential fault: {other:?}"),
        }
    }
}

fn bearer(token: &str) -> (&'static str, String) {
    ("authorization", format!("Bearer {token}"))
}

fn apikey(key: &str) -> (&'static str, String) {
    ("apikey", key.to_owned())
}

/// The fault of a bearer token, on a node that has fetched its keys.
fn token_fault(token: &str) -> CredentialFault {
    request(&[bearer(token)]).fault(&Node::fetched())
}

#[test]
fn every_algorithm_is_verified_with_the_key_that_is_pinned_to_it() {
    let node = Node::fetched();
    let plain = claims(json!({ "iss": null, "aud": null })).to_string();
    for token in [
        user(),
        hs256(json!({ "alg": "HS256", "kid": "h1" }), &claims(json!({}))),
        hs256(json!({ "alg": "HS256", "kid": "another" }), &claims(json!({}))),
        fleet(json!({ "alg": "RS256", "kid": "rsa" }), With::Rsa, Algorithm::RS256, json!({})),
        fleet(json!({ "alg": "ES256", "kid": "p256" }), With::P256, Algorithm::ES256, json!({})),
        fleet(json!({ "alg": "EdDSA", "kid": "ed25519" }), With::Ed, Algorithm::EdDSA, json!({})),
        fleet(json!({ "alg": "ES256" }), With::P256, Algorithm::ES256, json!({})),
        sign(&json!({ "alg": "ES384" }), &plain, With::P384, Algorithm::ES384),
        sign(&json!({ "alg": "RS512", "kid": "rs" }), &plain, With::Rsa, Algorithm::RS512),
        sign(&json!({ "alg": "PS256", "typ": "at+jwt" }), &plain, With::Rsa, Algorithm::PS256),
    ] {
        let (proven, _) = request(&[bearer(&token)]).proven(&node).unwrap();
        assert_eq!(proven.principal.user().unwrap().as_str(), "u1");
        assert_eq!(proven.bearer.unwrap(), format!("Bearer {token}"));
    }
}

#[test]
fn the_algorithm_is_never_the_headers_choice() {
    let fleet_claims = claims(json!({ "iss": "https://fleet.example" })).to_string();
    let unsigned = |alg: &str| {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(claims(json!({})).to_string()))
    };
    for alg in ["none", "None", "NONE", "nOnE"] {
        assert_eq!(token_fault(&format!("{}AA", unsigned(alg))), CredentialFault::Algorithm);
        assert_eq!(token_fault(&unsigned(alg)), CredentialFault::Algorithm);
    }
    assert_eq!(token_fault(&unsigned("HS256")), CredentialFault::Malformed);
    for alg in ["hs256", "RS1", "ES512", "HS256 ", ""] {
        assert_eq!(token_fault(&format!("{}AA", unsigned(alg))), CredentialFault::Algorithm);
    }
    // A public key as an HMAC secret: with and without the id of that key.
    for header in [json!({ "alg": "HS256", "kid": "rsa" }), json!({ "alg": "HS256" })] {
        let forged = sign(&header, &fleet_claims, With::PublicAsSecret, Algorithm::HS256);
        assert_eq!(token_fault(&forged), CredentialFault::Algorithm);
    }
    // A good RS256 signature under the id of the key for ES256.
    let crossed =
        fleet(json!({ "alg": "RS256", "kid": "p256" }), With::Rsa, Algorithm::RS256, json!({}));
    assert_eq!(token_fault(&crossed), CredentialFault::Algorithm);
    // An allowed family, not the allowed algorithm.
    let wider = fleet(json!({ "alg": "RS384" }), With::Rsa, Algorithm::RS384, json!({}));
    assert_eq!(token_fault(&wider), CredentialFault::Algorithm);
}

#[test]
fn keys_and_addresses_of_keys_inside_a_token_are_refused_without_a_look() {
    for (name, value) in [
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("jwk", json!({ "kty": "oct", "k": "AAAA" })),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["exp"])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("cty", json!("JWT")),
        ("kid", json!(7)),
        ("kid", json!("k".repeat(257))),
        ("typ", json!("JOSE")),
        ("typ", json!(null)),
        ("alg", json!(["HS256"])),
    ] {
        let mut header = json!({ "alg": "HS256" });
        header.as_object_mut().unwrap().insert(name.into(), value.clone());
        let token = hs256(header, &claims(json!({})));
        let node = Node::with(Keys::Ask);
        let fault = request(&[bearer(&token)]).fault(&node);
        assert_eq!(fault, CredentialFault::Malformed, "{name}: {value}");
        assert_eq!(node.asked.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_token_that_two_parsers_could_read_differently_is_refused() {
    let good = user();
    let [header, payload, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let b64 = |text: &str| URL_SAFE_NO_PAD.encode(text);
    // The last character of 32 bytes carries two unused bits; setting them is another spelling.
    let last = signature.chars().last().unwrap();
    let twin = char::from_u32(u32::from(last) + 1).unwrap();
    let respelt = format!("{}{twin}", signature.strip_suffix(last).unwrap());
    let whole = claims(json!({})).to_string();
    let doubled = whole.replacen('{', r#"{"sub":"victim","#, 1);
    let nested = whole.replacen('{', r#"{"app_metadata":{"a":1,"a":2},"#, 1);
    let h = json!({ "alg": "HS256" });
    for token in [
        format!("{header}.{payload}"),
        format!("{header}.{payload}.{signature}.x"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}.{respelt}"),
        format!("{header}=.{payload}.{signature}"),
        format!("{header}.{payload}.{signature}="),
        format!("{}.{payload}.{signature}", b64("[]")),
        format!("{}.{payload}.{signature}", b64(r#"{"alg":"HS256","alg":"none"}"#)),
        format!("{}.{payload}.{signature}", b64(r#"{"alg":"HS256","\u0061lg":"none"}"#)),
        format!("{header}.{}.{signature}", b64("not json")),
        sign(&h, &doubled, With::Secret, Algorithm::HS256),
        sign(&h, &nested, With::Secret, Algorithm::HS256),
        sign(&h, "[]", With::Secret, Algorithm::HS256),
        sign(&h, "\"text\"", With::Secret, Algorithm::HS256),
    ] {
        assert_eq!(token_fault(&token), CredentialFault::Malformed, "{token}");
    }
}

#[test]
fn a_changed_token_has_a_bad_signature() {
    let good = user();
    let [header, _, signature] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let payload = URL_SAFE_NO_PAD.encode(claims(json!({ "sub": "victim" })).to_string());
    let forged = format!("{header}.{payload}.{signature}");
    assert_eq!(token_fault(&forged), CredentialFault::Signature);
    let expired = URL_SAFE_NO_PAD.encode(claims(json!({ "exp": 1 })).to_string());
    let forged = format!("{header}.{expired}.{signature}");
    assert_eq!(token_fault(&forged), CredentialFault::Signature, "not merely expired");
}

#[test]
fn no_character_of_a_token_can_be_changed() {
    let good = user();
    for (place, character) in good.char_indices() {
        for other in ['A', 'B', '-', '.', '=', '%'] {
            let changed = format!("{}{other}{}", &good[..place], &good[place + 1..]);
            let proven = request(&[bearer(&changed)]).proven(&Node::fetched());
            assert!(proven.is_err() || other == character, "{changed}");
        }
        let shorter = format!("{}{}", &good[..place], &good[place + 1..]);
        assert!(request(&[bearer(&shorter)]).proven(&Node::fetched()).is_err(), "{shorter}");
    }
}

#[test]
fn claims_that_are_missing_of_the_wrong_type_or_out_of_time_are_refused() {
    use CredentialFault::*;
    for (changes, wanted) in [
        (json!({ "exp": null }), RequiredClaim),
        (json!({ "exp": (NOW + 60).to_string() }), RequiredClaim),
        (json!({ "exp": [NOW + 60] }), RequiredClaim),
        (json!({ "exp": -1 }), RequiredClaim),
        (json!({ "exp": 1e300 }), RequiredClaim),
        (json!({ "exp": true }), RequiredClaim),
        (json!({ "exp": NOW - 5 }), Expired),
        (json!({ "exp": 0 }), Expired),
        (json!({ "exp": NOW + 86_406 }), NotYetValid),
        (json!({ "nbf": NOW + 6 }), NotYetValid),
        (json!({ "nbf": NOW + 1_000_000_000_u64 }), NotYetValid),
        (json!({ "nbf": "0" }), RequiredClaim),
        (json!({ "iat": NOW + 6 }), NotYetValid),
        (json!({ "iat": "0" }), RequiredClaim),
        (json!({ "aud": "other" }), Audience),
        (json!({ "aud": null }), Audience),
        (json!({ "aud": [] }), Audience),
        (json!({ "aud": ["authenticated", 7] }), Malformed),
        (json!({ "aud": { "authenticated": true } }), Malformed),
        (json!({ "aud": "Authenticated" }), Audience),
        (json!({ "iss": "https://auth.example/" }), UnknownIssuer),
        (json!({ "iss": "HTTPS://auth.example" }), UnknownIssuer),
        (json!({ "iss": ["https://auth.example"] }), Malformed),
        (json!({ "sub": null }), RequiredClaim),
        (json!({ "sub": 7 }), Malformed),
        (json!({ "sub": "" }), RequiredClaim),
        (json!({ "sub": "a b" }), RequiredClaim),
        (json!({ "role": ["service_role"] }), Malformed),
        (json!({ "session_id": 7 }), Malformed),
    ] {
        let token = hs256(json!({ "alg": "HS256" }), &claims(changes.clone()));
        assert_eq!(token_fault(&token), wanted, "{changes}");
    }
}

#[test]
fn claims_at_the_edge_of_what_is_allowed_count() {
    for changes in [
        json!({ "exp": NOW - 4 }),
        json!({ "exp": NOW as f64 + 60.5 }),
        json!({ "exp": NOW + 86_405 }),
        json!({ "nbf": NOW + 5 }),
        json!({ "iat": NOW + 5 }),
        json!({ "iat": null }),
        json!({ "aud": ["x", "authenticated"] }),
        json!({ "iss": "https://auth.example/old" }),
        json!({ "role": null }),
    ] {
        let token = hs256(json!({ "alg": "HS256" }), &claims(changes.clone()));
        let proven = request(&[bearer(&token)]).proven(&Node::fetched());
        assert!(proven.is_ok(), "{changes}: {:?}", proven.err());
    }
}

#[test]
fn what_the_issuer_must_state_is_asked_for() {
    let header = || json!({ "alg": "RS256", "kid": "rsa" });
    let token = fleet(header(), With::Rsa, Algorithm::RS256, json!({ "session_id": null }));
    assert_eq!(token_fault(&token), CredentialFault::RequiredClaim);
    // `iss` is what tells issuers apart: without it, only the issuer for such tokens is asked.
    let nameless = hs256(json!({ "alg": "HS256" }), &claims(json!({ "iss": null })));
    assert_eq!(token_fault(&nameless), CredentialFault::Algorithm);
}

#[test]
fn a_key_id_of_another_issuer_opens_nothing() {
    // Issuer 3 has `rs`; a token that names issuer 0 or 1 cannot use it.
    let here = claims(json!({})).to_string();
    let crossed = sign(&json!({ "alg": "RS512", "kid": "rs" }), &here, With::Rsa, Algorithm::RS512);
    assert_eq!(token_fault(&crossed), CredentialFault::Algorithm);
    let unknown =
        fleet(json!({ "alg": "RS256", "kid": "h1" }), With::Rsa, Algorithm::RS256, json!({}));
    assert_eq!(token_fault(&unknown), CredentialFault::UnknownKeyId);
}

#[test]
fn an_unknown_key_is_asked_for_only_by_a_token_that_would_count() {
    let header = || json!({ "alg": "RS256", "kid": "new" });
    let good = fleet(header(), With::Rsa, Algorithm::RS256, json!({}));
    let asked = request(&[bearer(&good)]).proven(&Node::with(Keys::Ask));
    let wanted = Question::Key { issuer: IssuerIndex(1), kid: "new".into() };
    assert!(matches!(asked, Err(Stop::Ask(question)) if question == wanted));
    for (changes, fault) in [
        (json!({ "exp": NOW - 60 }), CredentialFault::Expired),
        (json!({ "nbf": NOW + 60 }), CredentialFault::NotYetValid),
        (json!({ "session_id": null }), CredentialFault::RequiredClaim),
    ] {
        let token = fleet(header(), With::Rsa, Algorithm::RS256, changes);
        assert_eq!(request(&[bearer(&token)]).fault(&Node::with(Keys::Ask)), fault);
        assert_eq!(request(&[bearer(&token)]).fault(&Node::with(Keys::Away)), fault);
    }
}

#[test]
fn keys_that_were_never_fetched_are_an_outage_and_not_the_callers_fault() {
    let token =
        fleet(json!({ "alg": "RS256", "kid": "rsa" }), With::Rsa, Algorithm::RS256, json!({}));
    let stop = request(&[bearer(&token)]).proven(&Node::with(Keys::Away));
    assert!(matches!(stop, Err(Stop::Refused(Refusal::Unavailable(Outage::Keys)))));
    // Issuers with keys of their own go on.
    assert!(request(&[bearer(&user())]).proven(&Node::with(Keys::Away)).is_ok());
}

#[test]
fn a_remembered_token_needs_no_signature_but_still_expires() {
    let node = Node::fetched();
    let token = user();
    let mut request = request(&[bearer(&token)]);
    let (first, _) = request.proven(&node).unwrap();
    let remembered = node.remembered(&token).unwrap();
    assert!(Arc::ptr_eq(&first.token.unwrap(), &remembered));
    let (second, _) = request.proven(&node).unwrap();
    assert!(Arc::ptr_eq(&second.token.unwrap(), &remembered));
    request.now = now().plus(std::time::Duration::from_secs(3605));
    assert_eq!(request.fault(&node), CredentialFault::Expired);
    let early = Now { unix_micros: (NOW - 60) * 1_000_000, mono_nanos: 0 };
    request.now = early;
    assert_eq!(request.fault(&node), CredentialFault::NotYetValid);
}

#[test]
fn a_refused_token_is_not_remembered() {
    let node = Node::fetched();
    let expired = hs256(json!({ "alg": "HS256" }), &claims(json!({ "exp": NOW - 60 })));
    request(&[bearer(&expired)]).fault(&node);
    assert!(node.tokens.lock().unwrap().is_empty());
}

#[test]
fn a_token_above_the_cap_is_refused_before_it_is_read() {
    let long = format!("{}.{}.{}", "a".repeat(8192), "b".repeat(8192), "c");
    assert_eq!(token_fault(&long), CredentialFault::TooLarge);
}

#[test]
fn supabase_keys_and_tokens_make_the_principals_they_make_there() {
    let (anon, service, user) = (legacy("anon"), legacy("service_role"), user());
    for (fields, wanted) in [
        (vec![apikey(&anon)], "anonymous key anon"),
        (vec![apikey(&anon), bearer(&anon)], "anonymous key anon"),
        (vec![bearer(&anon)], "anonymous key -"),
        (vec![apikey(&anon), bearer(&user)], "user key anon"),
        (vec![bearer(&user)], "user key -"),
        (vec![apikey(&service)], "service key service_role"),
        (vec![apikey(&service), bearer(&service)], "service key service_role"),
        (vec![apikey(&service), bearer(&user)], "user key service_role"),
        (vec![apikey(&anon), bearer(&service)], "service key anon"),
        (vec![apikey("sb_publishable_web")], "anonymous key web"),
        (vec![apikey("sb_publishable_web"), bearer("sb_publishable_web")], "anonymous key web"),
        (vec![bearer("sb_publishable_web")], "anonymous key web"),
        (vec![apikey("sb_publishable_web"), bearer(&user)], "user key web"),
        (vec![apikey("sb_secret_jobs")], "service key jobs"),
        (vec![bearer("sb_secret_jobs")], "service key jobs"),
        (vec![apikey("sb_secret_jobs"), bearer(&user)], "user key jobs"),
    ] {
        let (proven, trace) = request(&fields).proven(&Node::fetched()).unwrap();
        let key = proven.api_key.as_deref().unwrap_or("-");
        assert_eq!(format!("{} key {key}", proven.principal.kind().as_str()), wanted);
        assert_eq!(trace.api_key, proven.api_key);
        assert_eq!(trace.principal.unwrap().kind(), proven.principal.kind());
    }
}

#[test]
fn a_key_in_the_query_is_as_good_as_one_in_a_header() {
    let mut request = request(&[]);
    request.query = Some(format!("vsn=1.0.0&apikey={}", legacy("anon")));
    let (proven, _) = request.proven(&Node::fetched()).unwrap();
    assert_eq!(proven.api_key.as_deref(), Some("anon"));
    assert_eq!(proven.bearer.unwrap(), format!("Bearer {}", legacy("anon")));
}

#[test]
fn bad_keys_are_refused_even_beside_a_good_token() {
    use CredentialFault::*;
    let (anon, user) = (legacy("anon"), user());
    let expired = json!({ "iss": "supabase", "role": "anon", "exp": NOW - 60 });
    let expired = hs256(json!({ "alg": "HS256" }), &expired);
    for (fields, wanted) in [
        (vec![apikey("sb_secret_guess"), bearer(&user)], UnknownKey),
        (vec![apikey("guess")], UnknownKey),
        (vec![bearer("sb_secret_guess")], UnknownKey),
        (vec![apikey(&expired), bearer(&user)], Expired),
        (vec![apikey(&user)], Kind),
        (vec![apikey(&anon), bearer("sb_secret_jobs")], Conflict),
        (vec![apikey(&anon), bearer("rubbish")], Malformed),
        (vec![apikey(&anon), apikey(&anon)], Conflict),
        (vec![bearer(&user), bearer(&user)], Conflict),
    ] {
        assert_eq!(request(&fields).fault(&Node::fetched()), wanted, "{fields:?}");
    }
}

#[test]
fn services_call_from_where_they_may() {
    let service = legacy("service_role");
    for fields in [
        vec![apikey("sb_secret_jobs")],
        vec![apikey(&service)],
        vec![bearer(&service)],
        vec![apikey("sb_secret_jobs"), bearer(&user())],
    ] {
        let mut request = request(&fields);
        request.client = "192.0.2.1".parse().unwrap();
        assert_eq!(request.fault(&Node::fetched()), CredentialFault::Address);
        request.client = "::ffff:10.0.0.9".parse().unwrap();
        assert!(request.proven(&Node::fetched()).is_ok());
    }
}

#[test]
fn each_route_asks_for_its_kind_of_credential() {
    use CredentialFault::{Kind, Missing, MissingKey};
    let (nobody, anon, user, service) = (
        vec![],
        vec![apikey("sb_publishable_web")],
        vec![bearer(&user())],
        vec![apikey("sb_secret_jobs")],
    );
    for (rule, fields, wanted) in [
        (CredentialRule::Key, &nobody, Some(MissingKey)),
        (CredentialRule::Key, &anon, None),
        (CredentialRule::Key, &user, None),
        (CredentialRule::Key, &service, None),
        (CredentialRule::User, &nobody, Some(Missing)),
        (CredentialRule::User, &anon, Some(Kind)),
        (CredentialRule::User, &user, None),
        (CredentialRule::User, &service, None),
        (CredentialRule::Service, &nobody, Some(Missing)),
        (CredentialRule::Service, &anon, Some(Kind)),
        (CredentialRule::Service, &user, Some(Kind)),
        (CredentialRule::Service, &service, None),
    ] {
        let request = Request { rule, ..request(fields) };
        match wanted {
            Some(fault) => assert_eq!(request.fault(&Node::fetched()), fault, "{rule:?}"),
            None => assert!(request.proven(&Node::fetched()).is_ok(), "{rule:?} {fields:?}"),
        }
    }
}
