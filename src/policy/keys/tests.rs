//! What the key readers promise: which keys are read, and which are refused with which message.

use super::*;
use serde_json::{Value, json};

const JWKS: &str = include_str!("../../../tests/fixtures/keys/jwks.json");
const WEAK: &str = include_str!("../../../tests/fixtures/keys/jwks-weak.json");
const RSA_PEM: &str = include_str!("../../../tests/fixtures/keys/rsa2048.pub.pem");
const RSA_PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa2048.pem");
const RSA_WEAK: &str = include_str!("../../../tests/fixtures/keys/rsa1024.pub.pem");
const P256_PEM: &str = include_str!("../../../tests/fixtures/keys/p256.pub.pem");
const P384_PEM: &str = include_str!("../../../tests/fixtures/keys/p384.pub.pem");
const ED_PEM: &str = include_str!("../../../tests/fixtures/keys/ed25519.pub.pem");

const ALL: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The set with one member of one key changed; `Value::Null` takes the member out.
fn changed(kid: &str, name: &str, value: Value) -> String {
    let mut document: Value = serde_json::from_str(JWKS).unwrap();
    let keys = document["keys"].as_array_mut().unwrap();
    let key = keys.iter_mut().find(|key| key["kid"] == kid).unwrap().as_object_mut().unwrap();
    match value {
        Value::Null => drop(key.remove(name)),
        value => drop(key.insert(name.into(), value)),
    }
    document.to_string()
}

fn algorithms(set: &KeySet, kid: &str) -> Vec<Algorithm> {
    set.with_kid(kid).map(|key| key.algorithm).collect()
}

#[test]
fn each_key_of_a_set_is_pinned_to_the_algorithm_it_states() {
    let set = KeySet::from_jwks(JWKS, &ALL).unwrap();
    assert_eq!(set.keys.len(), 4);
    assert_eq!(algorithms(&set, "rsa"), [Algorithm::RS256]);
    assert_eq!(algorithms(&set, "p256"), [Algorithm::ES256]);
    assert_eq!(algorithms(&set, "p384"), [Algorithm::ES384]);
    assert_eq!(algorithms(&set, "ed25519"), [Algorithm::EdDSA]);
}

#[test]
fn an_rsa_key_without_algorithm_gives_one_key_for_each_allowed_one() {
    let open = changed("rsa", "alg", Value::Null);
    let allowed = [Algorithm::PS512, Algorithm::RS256, Algorithm::ES256];
    let set = KeySet::from_jwks(&open, &allowed).unwrap();
    assert_eq!(algorithms(&set, "rsa"), [Algorithm::RS256, Algorithm::PS512]);
}

#[test]
fn keys_for_others_are_passed_over() {
    for (name, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["encrypt"])),
        ("alg", json!("RSA-OAEP")),
        ("kty", json!("LATTICE")),
    ] {
        let set = KeySet::from_jwks(&changed("rsa", name, value), &ALL).unwrap();
        assert_eq!(algorithms(&set, "rsa"), [], "{name}");
        assert_eq!(set.keys.len(), 3, "{name}");
    }
    let curve = changed("p256", "crv", json!("P-521"));
    assert_eq!(KeySet::from_jwks(&curve, &ALL).unwrap().keys.len(), 3);
    let narrow = KeySet::from_jwks(JWKS, &[Algorithm::EdDSA]).unwrap();
    assert_eq!(narrow.keys.len(), 1);
}

#[test]
fn a_malformed_or_weak_key_refuses_the_whole_set() {
    let key = |index, error| KeySetError::Key { index, error };
    for (kid, name, value, wanted) in [
        ("rsa", "alg", json!("ES256"), key(0, KeyError::WrongType(Algorithm::ES256))),
        ("rsa", "alg", json!("HS256"), key(0, KeyError::WrongType(Algorithm::HS256))),
        ("p256", "alg", json!("ES384"), key(1, KeyError::WrongType(Algorithm::ES384))),
        ("rsa", "n", json!("AQAB"), key(0, KeyError::RsaBits(17))),
        ("rsa", "n", Value::Null, key(0, KeyError::Member("n"))),
        ("rsa", "n", json!("not base64!"), key(0, KeyError::Member("n"))),
        ("rsa", "e", json!("AA"), key(0, KeyError::Member("e"))),
        ("rsa", "e", json!("AQ"), key(0, KeyError::Member("e"))),
        ("rsa", "d", json!("AQAB"), key(0, KeyError::Private)),
        ("p256", "x", json!("AQAB"), key(1, KeyError::Member("x"))),
        ("p384", "y", Value::Null, key(2, KeyError::Member("y"))),
        ("ed25519", "x", json!("AQAB"), key(3, KeyError::Member("x"))),
        ("p256", "kid", json!("rsa"), KeySetError::DuplicateKid("rsa".into())),
    ] {
        let got = KeySet::from_jwks(&changed(kid, name, value.clone()), &ALL).unwrap_err();
        assert_eq!(got, wanted, "{kid}.{name} = {value}");
    }
    let weak = KeySet::from_jwks(WEAK, &ALL).unwrap_err();
    assert_eq!(weak, key(0, KeyError::RsaBits(1024)));
}

#[test]
fn what_is_no_key_set_is_refused() {
    for bad in ["", "[]", "{}", "<html>", r#"{"keys":{}}"#, r#"{"keys":[{"kid":"a"}]}"#] {
        assert!(matches!(KeySet::from_jwks(bad, &ALL), Err(KeySetError::Json(_))), "{bad}");
    }
    let twice = r#"{"keys":[{"kty":"RSA","kty":"oct"}]}"#;
    assert!(matches!(KeySet::from_jwks(twice, &ALL), Err(KeySetError::Json(_))));
    assert_eq!(KeySet::from_jwks(r#"{"keys":[]}"#, &ALL).unwrap_err(), KeySetError::Empty);
    assert_eq!(KeySet::from_jwks(JWKS, &[Algorithm::HS256]).unwrap_err(), KeySetError::Empty);
    let many = json!({ "keys": vec![json!({ "kty": "X" }); 65] }).to_string();
    assert_eq!(KeySet::from_jwks(&many, &ALL).unwrap_err(), KeySetError::TooMany);
}

#[test]
fn a_symmetric_key_counts_only_where_the_issuer_signs_with_one() {
    let secret = URL_SAFE_NO_PAD.encode([7; 48]);
    let set = |alg: Option<&str>| {
        json!({ "keys": [{ "kty": "oct", "kid": "s", "k": secret, "alg": alg }] }).to_string()
    };
    let symmetric = KeySetError::Key { index: 0, error: KeyError::Symmetric };
    assert_eq!(KeySet::from_jwks(&set(None), &[Algorithm::RS256]).unwrap_err(), symmetric);
    let read = KeySet::from_jwks(&set(Some("HS256")), &ALL).unwrap();
    assert_eq!(algorithms(&read, "s"), [Algorithm::HS256]);
    let short = KeySetError::Key {
        index: 0,
        error: KeyError::ShortSecret { algorithm: Algorithm::HS512, least: 64 },
    };
    assert_eq!(KeySet::from_jwks(&set(Some("HS512")), &ALL).unwrap_err(), short);
}

#[test]
fn a_pem_fits_only_the_algorithms_of_its_type_and_curve() {
    let fits = |pem: &str| -> Vec<Algorithm> {
        ALL.into_iter().filter(|alg| VerifyingKey::pem(pem, *alg, None).is_ok()).collect()
    };
    assert_eq!(fits(RSA_PEM), RSA);
    assert_eq!(fits(P256_PEM), [Algorithm::ES256]);
    assert_eq!(fits(P384_PEM), [Algorithm::ES384]);
    assert_eq!(fits(ED_PEM), [Algorithm::EdDSA]);
}

#[test]
fn private_weak_and_foreign_pems_are_refused() {
    let read = |pem: &str| VerifyingKey::pem(pem, Algorithm::RS256, None).map(drop).unwrap_err();
    assert_eq!(read(RSA_PRIVATE), KeyError::Private);
    assert_eq!(read(RSA_WEAK), KeyError::RsaBits(1024));
    assert_eq!(read("secret"), KeyError::Pem);
    let broken = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert_eq!(read(broken), KeyError::WrongType(Algorithm::RS256));
}

#[test]
fn a_shared_secret_is_at_least_as_long_as_the_hash() {
    let read = |bytes: usize, alg| VerifyingKey::hmac(&vec![1; bytes], alg, Some("k")).map(drop);
    assert!(read(32, Algorithm::HS256).is_ok());
    let short = KeyError::ShortSecret { algorithm: Algorithm::HS256, least: 32 };
    assert_eq!(read(31, Algorithm::HS256).unwrap_err(), short);
    assert_eq!(read(64, Algorithm::RS256).unwrap_err(), KeyError::WrongType(Algorithm::RS256));
}

#[test]
fn a_key_that_is_taken_out_or_replaced_under_its_id_is_missed() {
    let all = KeySet::from_jwks(JWKS, &ALL).unwrap();
    let fewer = KeySet { keys: all.keys[1..].to_vec() };
    let again = KeySet::from_jwks(JWKS, &ALL).unwrap();
    assert!(again.keeps_all_of(&all) && all.keeps_all_of(&fewer));
    assert!(!fewer.keeps_all_of(&all));
    let mut replaced = all.clone();
    replaced.keys[1].key = Arc::clone(&replaced.keys[2].key);
    assert!(!replaced.keeps_all_of(&all));
}
