//! Signing keys made on the spot, and tokens of any shape signed with them.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

/// A key with its id and the one algorithm it is for.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) algorithm: Algorithm,
    private: EncodingKey,
}

impl Key {
    /// A shared secret, for HS256.
    pub(crate) fn hs256(id: &str, secret: &str) -> Self {
        let private = EncodingKey::from_secret(secret.as_bytes());
        Self { id: id.to_owned(), algorithm: Algorithm::HS256, private }
    }

    /// A new 2048-bit RSA key.
    pub(crate) fn rs256(id: &str) -> Self {
        Self::rsa(id, Algorithm::RS256)
    }

    pub(crate) fn ps256(id: &str) -> Self {
        Self::rsa(id, Algorithm::PS256)
    }

    fn rsa(id: &str, algorithm: Algorithm) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let der = AsDer::as_der(&pair).expect("PKCS#8");
        let private = EncodingKey::from_rsa_pem(&pem(der.as_ref())).expect("an RSA key");
        Self { id: id.to_owned(), algorithm, private }
    }

    /// A new key on the curve P-256.
    pub(crate) fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("an EC key");
        let der = pair.to_pkcs8v1().expect("PKCS#8");
        let private = EncodingKey::from_ec_pem(&pem(der.as_ref())).expect("an EC key");
        Self { id: id.to_owned(), algorithm: Algorithm::ES256, private }
    }

    /// A new Ed25519 key.
    pub(crate) fn eddsa(id: &str) -> Self {
        let pair = Ed25519KeyPair::generate().expect("an Ed25519 key");
        let der = pair.to_pkcs8v1().expect("PKCS#8");
        let private = EncodingKey::from_ed_pem(&pem(der.as_ref())).expect("an Ed25519 key");
        Self { id: id.to_owned(), algorithm: Algorithm::EdDSA, private }
    }

    /// The public half (of an HS256 key: the secret) as a JWK, with its id and algorithm.
    pub(crate) fn jwk(&self) -> Value {
        let jwk = Jwk::from_encoding_key(&self.private, self.algorithm).expect("a JWK");
        let mut value = serde_json::to_value(jwk).expect("JSON");
        value["kid"] = json!(self.id);
        value["use"] = json!("sig");
        value
    }

    /// A token with the header that belongs to this key.
    pub(crate) fn mint(&self, claims: &Value) -> String {
        let header = json!({ "alg": self.algorithm, "typ": "JWT", "kid": self.id });
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// A token with header and claims of any text at all: wrong algorithms, duplicate claims,
    /// embedded keys. The signature is this key's over exactly these bytes.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = unsigned(header, claims);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &self.private, self.algorithm);
        format!("{message}.{}", signature.expect("a signature"))
    }
}

/// `header.claims`, without a signature.
pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims))
}

/// Seconds since 1970, for `exp`, `nbf` and `iat`.
#[expect(clippy::disallowed_methods, reason = "a token's times are compared with the real clock")]
pub(crate) fn now_secs() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("a time after 1970").as_secs()
}

/// Claims as Supabase Auth issues them to a signed-in user, good for an hour.
pub(crate) fn user_claims(user: &str) -> Value {
    json!({
        "sub": user,
        "aud": "authenticated",
        "role": "authenticated",
        "aal": "aal1",
        "iat": now_secs(),
        "exp": now_secs() + 3600,
        "session_id": "5e551011-0000-4000-8000-000000000001",
    })
}

fn pem(der: &[u8]) -> Vec<u8> {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = (0..body.len())
        .step_by(64)
        .filter_map(|start| body.get(start..body.len().min(start + 64)))
        .collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
        .into_bytes()
}
