//! Bodies of requests by which somebody signs in: one JSON object with one reading, and the account
//! that it names.
//!
//! The auth server is written in Go, whose `encoding/json` takes a key for a field in any case, by
//! Unicode's simple folding, and the last of several: `{"email":"decoy","EMAIL":"victim"}` is the
//! victim's. It also takes a body for JSON whatever its media type says, but for forms, whose
//! `grant_type` counts before that of the query (`net/http`, `Request.FormValue`).

use std::collections::HashSet;

use http::{HeaderMap, header};

use crate::domain::login::{Account, LoginRefusal};
use crate::postgrest::{MemberValue, object_members};

/// Looks at the header fields that say what a body is.
///
/// # Errors
/// If it may be anything but JSON as it stands.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), LoginRefusal> {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    if encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(LoginRefusal::Ambiguous("a compressed body"));
    }
    let mut types = headers.get_all(header::CONTENT_TYPE).iter();
    let is_json = |text: &str| {
        let mut parts = text.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        media.eq_ignore_ascii_case("application/json")
            && parts.all(|part| part.is_empty() || part.eq_ignore_ascii_case("charset=utf-8"))
    };
    match (types.next(), types.next()) {
        (None, _) => Ok(()),
        (Some(one), None) if one.to_str().is_ok_and(is_json) => Ok(()),
        (Some(_), _) => Err(LoginRefusal::Ambiguous("not of the type json")),
    }
}

/// Whether Go may take a body for a form, whose `grant_type` then counts and not that of the query.
pub(super) fn may_be_form(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().any(|stated| {
        let media = stated.as_bytes().trim_ascii_start().to_ascii_lowercase();
        media.starts_with(b"application/x-www-form-urlencoded") || media.starts_with(b"multipart/")
    })
}

/// The account that a body names.
///
/// # Errors
/// If the body is not one JSON object, two of its keys are the same to Go, or it names an e-mail
/// address and a telephone number, or something else in the place of either.
pub(super) fn account(body: &[u8]) -> Result<Option<Account>, LoginRefusal> {
    let members = object_members(body).map_err(|_| LoginRefusal::Ambiguous("not one object"))?;
    let mut seen = HashSet::with_capacity(members.len());
    let (mut email, mut phone) = (None, None);
    for (key, value) in &members {
        let key: String = key.chars().map(folded).collect();
        let field = match key.as_str() {
            "email" => Some(&mut email),
            "phone" => Some(&mut phone),
            _ => None,
        };
        match (field, value) {
            (None, _) | (Some(_), MemberValue::Null) => {}
            (Some(field), MemberValue::Text(text)) => {
                *field = Some(text.as_ref()).filter(|text| !text.is_empty());
            }
            (Some(_), MemberValue::Other) => {
                return Err(LoginRefusal::Ambiguous("an account that is no text"));
            }
        }
        if !seen.insert(key) {
            return Err(LoginRefusal::Ambiguous("a key that stands twice"));
        }
    }
    match (email, phone) {
        (Some(_), Some(_)) => Err(LoginRefusal::Ambiguous("two accounts")),
        (Some(email), None) => Ok(Some(Account::email(email))),
        (None, phone) => Ok(phone.map(Account::phone)),
    }
}

/// A character as Go's `unicode.SimpleFold` makes it equal to others: through its capital, so that
/// `ſ` is an s, the Kelvin sign a k, and all of `σ`, `ς` and `Σ` are one. The dotless i has a
/// capital in ASCII and is folded to nothing else.
fn folded(c: char) -> char {
    if c.is_ascii() {
        return c.to_ascii_lowercase();
    }
    if c == '\u{131}' {
        return c;
    }
    alone(alone(c, char::to_uppercase), char::to_lowercase)
}

/// A character in another case, where that is one character.
fn alone<I: Iterator<Item = char>>(c: char, case: fn(char) -> I) -> char {
    let mut mapped = case(c);
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        (_, _) => c,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn refused(body: &str) -> &'static str {
        match account(body.as_bytes()) {
            Err(LoginRefusal::Ambiguous(why)) => why,
            other => panic!("{body}: {other:?}"),
        }
    }

    #[test]
    fn an_account_is_found_under_any_spelling_of_its_key() {
        let ann = Some(Account::email("ann@x"));
        for body in [
            r#"{"email":"ann@x","password":"p"}"#,
            r#" {"password":"p","EMAIL":"Ann@X"} "#,
            r#"{"\u0065mail":"\u0061nn@x","phone":"","x":{"email":"b","EMAIL":"c"}}"#,
            r#"{"eMaIl":"ann@x","phone":null}"#,
        ] {
            assert_eq!(account(body.as_bytes()), Ok(ann.clone()), "{body}");
        }
        let phone = Ok(Some(Account::phone("491")));
        assert_eq!(account(r#"{"Phone":"+49 1"}"#.as_bytes()), phone);
        // Go knows neither for a field.
        for body in [r#"{"emaıl":"ann@x"}"#, r#"{"e-mail":"ann@x"}"#, "{}"] {
            assert_eq!(account(body.as_bytes()), Ok(None), "{body}");
        }
    }

    #[test]
    fn decoys_are_refused_in_every_spelling_that_go_reads_as_the_same_key() {
        let mut spellings: Vec<String> = (1..32_u32)
            .map(|bits| {
                let spell = |(index, c): (usize, char)| match bits >> index & 1 {
                    0 => c,
                    _ => c.to_ascii_uppercase(),
                };
                "email".chars().enumerate().map(spell).collect()
            })
            .collect();
        spellings.push("email".to_owned());
        spellings.push(r"\u0065mail".to_owned());
        spellings.push(r"E\u006DAIL".to_owned());
        for spelling in spellings {
            for body in [
                format!(r#"{{"email":"decoy@x","{spelling}":"ann@x"}}"#),
                format!(r#"{{"{spelling}":"ann@x","p":1,"email":null}}"#),
            ] {
                assert_eq!(refused(&body), "a key that stands twice", "{body}");
            }
        }
        for body in [
            r#"{"password":"a","paſſword":"b"}"#,
            r#"{"token":"a","toKen":"b"}"#,
            r#"{"to\u212aen":"a","TOKEN":"b"}"#,
            r#"{"σ":1,"ς":2}"#,
        ] {
            assert_eq!(refused(body), "a key that stands twice", "{body}");
        }
    }

    #[test]
    fn what_is_not_one_object_or_names_no_one_account_is_refused() {
        for body in [
            "",
            "[]",
            "null",
            r#""x""#,
            r#"{"email":"a"}{"email":"b"}"#,
            r#"{"email":"a"} x"#,
            r#"{"email":"a""#,
            r#"{"email":"\ud800"}"#,
            "\u{feff}{}",
            r#"{"email":"a",}"#,
            "{'email':'a'}",
        ] {
            assert_eq!(refused(body), "not one object", "{body}");
        }
        assert!(account(b"{\"email\":\"\xff\"}").is_err());
        assert_eq!(refused(r#"{"email":"a@x","phone":"1"}"#), "two accounts");
        for value in ["1", "true", "[\"a@x\"]", "{}"] {
            let body = format!(r#"{{"email":{value}}}"#);
            assert_eq!(refused(&body), "an account that is no text");
        }
    }

    #[test]
    fn only_json_that_is_not_compressed_is_read() {
        let checked = |name: HeaderName, values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name.clone(), HeaderValue::from_static(value));
            }
            check_type(&headers).is_ok()
        };
        for good in [&[][..], &["application/json"], &["Application/JSON;charset=UTF-8"]] {
            assert!(checked(header::CONTENT_TYPE, good), "{good:?}");
        }
        for bad in [
            &["application/x-www-form-urlencoded"][..],
            &["multipart/form-data; boundary=x"],
            &["text/plain"],
            &["application/json", "application/x-www-form-urlencoded"],
            &["application/json; charset=utf-16"],
            &[""],
        ] {
            assert!(!checked(header::CONTENT_TYPE, bad), "{bad:?}");
        }
        assert!(!checked(header::CONTENT_ENCODING, &["gzip"]));
        assert!(checked(header::CONTENT_ENCODING, &["identity"]));
    }

    /// What Go takes a field to be: the last of the keys that fold to its name.
    fn as_go_reads(members: &[(&str, &str)], field: &str) -> String {
        let fold = |key: &str| key.replace('ſ', "s").replace('\u{212a}', "k").to_ascii_lowercase();
        let of_field = members.iter().rev().find(|(key, _)| fold(key) == field);
        of_field.map(|(_, value)| (*value).to_owned()).unwrap_or_default()
    }

    proptest::proptest! {
        #[test]
        fn what_passes_is_about_the_account_that_go_reads(
            members in proptest::collection::vec(
                (
                    proptest::sample::select(vec![
                        "email", "EMAIL", "eMail", "emaıl", "phone", "Phone", "PHONE", "token",
                        "toKen", "to\u{212a}en", "password", "paſſword", "x",
                    ]),
                    proptest::sample::select(vec!["", "ann@x", "Bob@x", "+49 1", "491"]),
                ),
                0..5,
            )
        ) {
            let text: Vec<String> = members
                .iter()
                .map(|(key, value)| format!("{}:{}", serde_json::json!(key), serde_json::json!(value)))
                .collect();
            let (email, phone) =
                (as_go_reads(&members, "email"), as_go_reads(&members, "phone"));
            if let Ok(found) = account(format!("{{{}}}", text.join(",")).as_bytes()) {
                let wanted = match (email.as_str(), phone.as_str()) {
                    ("", "") => None,
                    ("", phone) => Some(Account::phone(phone)),
                    (email, "") => Some(Account::email(email)),
                    (_, _) => panic!("two accounts passed: {members:?}"),
                };
                proptest::prop_assert_eq!(found, wanted);
            }
        }
    }
}
