//! `tollgate token`: test tokens, signed with a shared secret that the configuration names.

use std::path::Path;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Map, Value};

use crate::config;
use crate::domain::clock::{Clock, Now};
use crate::policy::identity::{Algorithm, IdentityPolicy, Issuer};
use crate::telemetry::clock::SystemClock;

use super::arguments::Token;
use super::{Done, Failure, environment, print};

/// Tokens that `explain --as` makes live as long as those of the command by default.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

pub(super) fn run(arguments: &Token) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let wish = Wish {
        user: arguments.user.as_deref(),
        claims: arguments.claims.as_deref().map(parse_claims).transpose()?.unwrap_or_default(),
        issuer: arguments.issuer.as_deref(),
        key_file: arguments.key_file.as_deref(),
        lifetime: arguments.lifetime,
    };
    let token = make(&loaded.snapshot.identity, wish, SystemClock::new().now())?;
    print(&format!("{token}\n"))?;
    Ok(Done::Well)
}

/// A token for a user, as `tollgate token --user` makes it.
pub(super) fn for_user(identity: &IdentityPolicy, user: &str, now: Now) -> Result<String, Failure> {
    let wish = Wish {
        user: Some(user),
        claims: Map::new(),
        issuer: None,
        key_file: None,
        lifetime: DEFAULT_LIFETIME,
    };
    make(identity, wish, now)
}

/// A token for a test: what the issuer requires and nobody states is made up.
pub(super) fn for_test(
    identity: &IdentityPolicy,
    user: Option<&str>,
    mut claims: Map<String, Value>,
    lifetime: Duration,
    now: Now,
) -> Result<String, Failure> {
    let issuer = choose(identity, None, false)?;
    for name in &issuer.required_claims {
        let given = matches!(&**name, "iss" | "aud" | "sub" | "role" | "iat" | "exp");
        if !given && !claims.contains_key(&**name) {
            claims.insert(name.to_string(), "made-up".into());
        }
    }
    // A required subject of a token that is nobody's.
    if user.is_none() {
        claims.entry("sub").or_insert_with(|| "made-up".into());
    }
    let longest = issuer.max_lifetime_secs.map_or(lifetime, Duration::from_secs);
    let lifetime = lifetime.min(longest);
    make(identity, Wish { user, claims, issuer: None, key_file: None, lifetime }, now)
}

/// `90s`, `15m`, `8h`, `2d`.
pub(super) fn lifetime(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time: write `90s`, `15m`, `8h` or `2d`");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let secs: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let total = number.checked_mul(secs).filter(|secs| *secs > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(total))
}

/// The token that is wanted.
struct Wish<'a> {
    user: Option<&'a str>,
    claims: Map<String, Value>,
    issuer: Option<&'a str>,
    key_file: Option<&'a Path>,
    lifetime: Duration,
}

fn parse_claims(text: &str) -> Result<Map<String, Value>, Failure> {
    match serde_json::from_str(text) {
        Ok(Value::Object(claims)) => Ok(claims),
        Ok(_) => Err(Failure::usage("--claims must be a JSON object, like `{\"sub\":\"alice\"}`")),
        Err(error) => Err(Failure::usage(format!("--claims is not JSON: {error}"))),
    }
}

fn make(identity: &IdentityPolicy, wish: Wish<'_>, now: Now) -> Result<String, Failure> {
    let given = wish.key_file.map(read_secret).transpose()?;
    let issuer = choose(identity, wish.issuer, given.is_some())?;
    let (algorithm, kid, secret) = match given {
        Some(secret) => (Algorithm::HS256, None, secret),
        None => shared_secret(issuer).ok_or_else(|| public_only(&issuer.name))?,
    };
    let claims = claims(issuer, &wish, now)?;
    let mut header = Header::new(algorithm);
    header.kid = kid;
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(&secret));
    Ok(token.map_err(|error| anyhow::anyhow!("the token cannot be signed: {error}"))?)
}

fn choose<'i>(
    identity: &'i IdentityPolicy,
    name: Option<&str>,
    has_key: bool,
) -> Result<&'i Issuer, Failure> {
    let names = || {
        let names: Vec<String> =
            identity.issuers.iter().map(|issuer| format!("`{}`", issuer.name)).collect();
        if names.is_empty() { "it has none".to_owned() } else { names.join(", ") }
    };
    match name {
        Some(name) => {
            identity.issuers.iter().find(|issuer| issuer.name.as_ref() == name).ok_or_else(|| {
                Failure::usage(format!(
                    "the configuration has no issuer `{name}`; its issuers: {}",
                    names()
                ))
            })
        }
        None => identity
            .issuers
            .iter()
            .find(|issuer| has_key || shared_secret(issuer).is_some())
            .ok_or_else(|| {
                Failure::usage(format!(
                    "no issuer of the configuration has a shared secret ({}): tokens of public \
                     keys can only be made by who holds the private key; to stand in for an \
                     issuer, name it with --issuer and give its secret with --key-file",
                    names()
                ))
            }),
    }
    .map(AsRef::as_ref)
}

fn public_only(name: &str) -> Failure {
    Failure::usage(format!(
        "the issuer `{name}` has public keys only: a token of it can only be made by who holds \
         the private key; choose another with --issuer, or give a shared secret with --key-file"
    ))
}

/// The first shared secret of the issuer, how it is used, and its `kid`.
fn shared_secret(issuer: &Issuer) -> Option<(Algorithm, Option<String>, Vec<u8>)> {
    issuer.keys.keys.iter().find_map(|key| match key.algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => {
            let secret = key.key.try_get_as_bytes().ok()?.to_vec();
            Some((key.algorithm, key.kid.as_ref().map(ToString::to_string), secret))
        }
        _ => None,
    })
}

fn read_secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut secret = std::fs::read(file)
        .map_err(|error| Failure::usage(format!("cannot read `{}`: {error}", file.display())))?;
    if secret.last() == Some(&b'\n') {
        secret.pop();
    }
    match secret.is_empty() {
        true => Err(Failure::usage(format!("`{}` is empty", file.display()))),
        false => Ok(secret),
    }
}

/// What the issuer would state, and over it what is wished.
fn claims(issuer: &Issuer, wish: &Wish<'_>, now: Now) -> Result<Map<String, Value>, Failure> {
    if let Some(most) = issuer.max_lifetime_secs.filter(|most| wish.lifetime.as_secs() > *most) {
        return Err(Failure::usage(format!(
            "tokens of the issuer `{}` may live for {most} s at most: choose a shorter --lifetime",
            issuer.name
        )));
    }
    let now = now.unix_secs();
    let mut claims = Map::new();
    if let Some(iss) = issuer.iss.first() {
        claims.insert("iss".into(), Value::from(iss.as_ref()));
    }
    if let Some(aud) = issuer.audiences.first() {
        claims.insert("aud".into(), Value::from(aud.as_ref()));
    }
    if let Some(user) = wish.user {
        claims.insert("sub".into(), Value::from(user));
    }
    claims.insert("role".into(), Value::from("authenticated"));
    claims.insert("iat".into(), Value::from(now));
    claims.insert("exp".into(), Value::from(now.saturating_add(wish.lifetime.as_secs())));
    claims.extend(wish.claims.iter().map(|(name, value)| (name.clone(), value.clone())));
    let missing: Vec<String> = issuer
        .required_claims
        .iter()
        .filter(|name| !claims.contains_key(name.as_ref()))
        .map(|name| format!("`{name}`"))
        .collect();
    match missing.is_empty() {
        true => Ok(claims),
        false => Err(Failure::usage(format!(
            "tokens of the issuer `{}` must have {}: add it with --claims",
            issuer.name,
            missing.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::source::Source;
    use crate::policy::identity::{ApiKeys, KeySet, VerifyingKey};

    const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";
    const NOW: Now = Now { unix_micros: 1_800_000_000_000_000, mono_nanos: 0 };

    fn identity(keys: Vec<VerifyingKey>, required: &[&str]) -> IdentityPolicy {
        let issuer = Issuer {
            name: Arc::from("main"),
            iss: vec!["https://id.example".into()],
            audiences: vec!["authenticated".into()],
            keys: KeySet { keys },
            jwks: None,
            required_claims: required.iter().map(|name| Box::from(*name)).collect(),
            leeway_secs: 0,
            max_lifetime_secs: Some(7_200),
            sign_on: Default::default(),
            source: Source::built_in(),
        };
        IdentityPolicy {
            issuers: vec![Arc::new(issuer)],
            api_keys: ApiKeys::default(),
            organization_claims: Vec::new(),
            max_token_bytes: 16_384,
            service_claims: Vec::new(),
            anonymous_claims: Vec::new(),
            service_role: None,
            service_addresses: Vec::new(),
            devices: None,
            machines: None,
            anonymous_role: None,
        }
    }

    fn shared() -> Vec<VerifyingKey> {
        vec![VerifyingKey {
            kid: Some("k1".into()),
            algorithm: Algorithm::HS256,
            key: Arc::new(jsonwebtoken::DecodingKey::from_secret(SECRET)),
        }]
    }

    fn wish(claims: &str) -> Wish<'static> {
        Wish {
            user: Some("alice"),
            claims: parse_claims(claims).unwrap(),
            issuer: None,
            key_file: None,
            lifetime: DEFAULT_LIFETIME,
        }
    }

    #[test]
    fn a_token_states_what_its_issuer_would_and_the_given_claims_win() {
        let token = make(&identity(shared(), &[]), wish(r#"{"role":"anon","x":1}"#), NOW).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!((header.alg, header.kid.as_deref()), (Algorithm::HS256, Some("k1")));
        let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
        validation.validate_exp = false;
        validation.set_audience(&["authenticated"]);
        let key = jsonwebtoken::DecodingKey::from_secret(SECRET);
        let claims = jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap().claims;
        let expected = serde_json::json!({
            "iss": "https://id.example", "aud": "authenticated", "sub": "alice", "role": "anon",
            "iat": 1_800_000_000_u64, "exp": 1_800_003_600_u64, "x": 1,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn an_issuer_of_public_keys_is_politely_declined() {
        let error = make(&identity(Vec::new(), &[]), wish("{}"), NOW).unwrap_err();
        assert_eq!(error.code(), 2);
        assert!(error.to_string().contains("give its secret with --key-file"), "{error}");
    }

    #[test]
    fn a_claim_that_the_issuer_wants_has_to_be_given() {
        let identity = identity(shared(), &["session_id"]);
        let error = make(&identity, wish("{}"), NOW).unwrap_err().to_string();
        assert!(error.contains("must have `session_id`"), "{error}");
        assert!(make(&identity, wish(r#"{"session_id":"s"}"#), NOW).is_ok());
    }

    #[test]
    fn a_lifetime_that_the_issuer_does_not_allow_is_refused() {
        let wish = Wish { lifetime: Duration::from_secs(7_201), ..wish("{}") };
        let error = make(&identity(shared(), &[]), wish, NOW).unwrap_err().to_string();
        assert!(error.contains("7200 s at most"), "{error}");
    }

    #[test]
    fn lifetimes_are_written_with_a_unit() {
        assert_eq!(lifetime("15m"), Ok(Duration::from_secs(900)));
        assert_eq!(lifetime("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "15", "m", "0s", "-1s", "99999999999999999999d", "1 h", "ä"] {
            assert!(lifetime(wrong).unwrap_err().contains("write `90s`"), "{wrong}");
        }
    }
}
