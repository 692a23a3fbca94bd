//! The token that an upstream gets in place of the caller's: verified facts, short-lived, signed
//! with a secret that only gateway and upstream share.
//!
//! Part of the upstream stage. Row-level security then compares claims and needs no join. Nothing
//! that the caller could have written (`user_metadata`, `email`) goes in.

use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use crate::domain::caller::{Caller, Minted};
use crate::domain::clock::Now;
use crate::domain::machine::KeyId;
use crate::domain::organization::TeamName;
use crate::domain::principal::PrincipalKind;
use crate::domain::refusal::{CredentialFault, Refusal};
use crate::policy::upstream::MintPolicy;

/// The claims, in the order in which they are written.
#[derive(Serialize)]
struct Claims<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<Actor<'a>>,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_role: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    org_team: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    iat: u64,
    exp: u64,
}

/// Who acts as the subject.
#[derive(Serialize)]
struct Actor<'a> {
    sub: &'a str,
}

/// Mints a token for the caller. It lives for as long as the policy says, and never for longer
/// than the caller's own.
///
/// # Errors
/// [`CredentialFault::Expired`] if the caller's token ends this second (a leeway may have let it
/// in, but an upstream would refuse what is made of it).
pub fn mint(policy: &MintPolicy, caller: &Caller, now: Now) -> Result<Minted, Refusal> {
    let iat = now.unix_secs();
    let own = iat.saturating_add(policy.lifetime.as_secs().max(1));
    let exp = caller.expires_at.map_or(own, |callers| callers.min(own));
    if exp <= iat {
        return Err(Refusal::Unauthenticated(CredentialFault::Expired));
    }
    let role = match caller.kind {
        PrincipalKind::User => &policy.user_role,
        PrincipalKind::Service => &policy.service_role,
        PrincipalKind::Machine => &policy.machine_role,
        PrincipalKind::Anonymous => &policy.anonymous_role,
    };
    let claims = Claims {
        sub: caller.user.as_ref().map(|user| user.as_str()),
        act: caller.actor.as_ref().map(|actor| Actor { sub: actor.as_str() }),
        role,
        org_id: caller.org.map(|org| org.to_string()),
        org_role: caller.org_role.as_deref(),
        org_team: caller.org_team.as_ref().map(TeamName::as_str),
        key_id: caller.key.as_ref().map(KeyId::as_str),
        session_id: caller.session_id.as_deref(),
        aud: policy.audience.as_deref(),
        iat,
        exp,
    };
    let key = EncodingKey::from_secret(policy.secret.expose().as_bytes());
    let failed = Refusal::Internal("a token for the upstream could not be minted");
    let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key);
    let value = token.ok().and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
    let mut authorization = value.ok_or(failed)?;
    authorization.set_sensitive(true);
    Ok(Minted { authorization, expires_at: exp })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::secret::Secret;

    const NOW: Now = Now { unix_micros: 1_800_000_000_000_000, mono_nanos: 0 };

    fn policy() -> MintPolicy {
        MintPolicy {
            secret: Secret::new("a secret of thirty-two bytes, or more"),
            lifetime: Duration::from_secs(60),
            user_role: "authenticated".into(),
            service_role: "service_role".into(),
            machine_role: "machines".into(),
            anonymous_role: "anon".into(),
            audience: Some("rest".into()),
        }
    }

    fn caller() -> Caller {
        Caller {
            kind: PrincipalKind::User,
            user: Some("u1".parse().unwrap()),
            org: Some("7b0d3c1e-0000-4000-8000-00000000000a".parse().unwrap()),
            org_role: Some("editor".into()),
            org_team: None,
            key: None,
            actor: None,
            session_id: Some("s1".into()),
            expires_at: Some(NOW.unix_secs() + 3600),
        }
    }

    fn claims(minted: &Minted) -> serde_json::Value {
        let token = minted.authorization.to_str().unwrap().strip_prefix("Bearer ").unwrap();
        let mut validation = jsonwebtoken::Validation::new(Algorithm::HS256);
        validation.validate_aud = false;
        validation.validate_exp = false;
        let secret = policy();
        let key = jsonwebtoken::DecodingKey::from_secret(secret.secret.expose().as_bytes());
        jsonwebtoken::decode(token, &key, &validation).unwrap().claims
    }

    #[test]
    fn a_minted_token_states_the_verified_facts_and_nothing_else() {
        let minted = mint(&policy(), &caller(), NOW).unwrap();
        let wanted = serde_json::json!({
            "sub": "u1", "role": "authenticated",
            "org_id": "7b0d3c1e-0000-4000-8000-00000000000a", "org_role": "editor",
            "session_id": "s1", "aud": "rest",
            "iat": 1_800_000_000_u64, "exp": 1_800_000_060_u64,
        });
        assert_eq!(claims(&minted), wanted);
        assert!(minted.authorization.is_sensitive());
    }

    #[test]
    fn facts_that_are_not_there_are_left_out() {
        for (kind, role) in
            [(PrincipalKind::Service, "service_role"), (PrincipalKind::Anonymous, "anon")]
        {
            let nobody = Caller {
                kind,
                user: None,
                org: None,
                org_role: None,
                org_team: None,
                key: None,
                actor: None,
                session_id: None,
                expires_at: None,
            };
            let minted = mint(&MintPolicy { audience: None, ..policy() }, &nobody, NOW).unwrap();
            let wanted = serde_json::json!({
                "role": role, "iat": 1_800_000_000_u64, "exp": 1_800_000_060_u64,
            });
            assert_eq!(claims(&minted), wanted);
        }
    }

    #[test]
    fn a_machine_is_named_by_its_key_and_has_neither_subject_nor_role_in_the_organization() {
        let org = "7b0d3c1e-0000-4000-8000-00000000000a";
        let machine = Caller {
            kind: PrincipalKind::Machine,
            user: None,
            org: Some(org.parse().unwrap()),
            org_role: None,
            org_team: None,
            key: Some("tgk_0123456789Ab".parse().unwrap()),
            actor: None,
            session_id: None,
            expires_at: None,
        };
        let minted = mint(&MintPolicy { audience: None, ..policy() }, &machine, NOW).unwrap();
        let wanted = serde_json::json!({
            "role": "machines", "org_id": org, "key_id": "tgk_0123456789Ab",
            "iat": 1_800_000_000_u64, "exp": 1_800_000_060_u64,
        });
        assert_eq!(claims(&minted), wanted);
    }

    #[test]
    fn a_minted_token_never_outlives_the_callers_own() {
        let soon = Caller { expires_at: Some(NOW.unix_secs() + 7), ..caller() };
        assert_eq!(mint(&policy(), &soon, NOW).unwrap().expires_at, NOW.unix_secs() + 7);
        let over = Caller { expires_at: Some(NOW.unix_secs()), ..caller() };
        let expired = Refusal::Unauthenticated(CredentialFault::Expired);
        assert_eq!(mint(&policy(), &over, NOW).unwrap_err(), expired);
    }
}
