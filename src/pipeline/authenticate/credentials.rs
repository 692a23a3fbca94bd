//! Which credentials a request shows, and where.
//!
//! Part of the authenticate stage. `Authorization: Bearer …` and Supabase's `apikey`, as header or
//! (for WebSockets, which cannot set headers in a browser) as query parameter. Whatever could be
//! read in two ways is refused: fields that are repeated, and places that disagree.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::machine::looks_like_key;
use crate::domain::refusal::CredentialFault;

use super::token::looks_like_jwt;

/// The name of Supabase's key, as header and as query parameter.
const API_KEY: &str = "apikey";

/// What was shown. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Shown<'h> {
    /// The key, from wherever it came.
    pub(super) key: Option<Key<'h>>,
    /// A bearer token other than the key.
    pub(super) bearer: Option<&'h str>,
}

/// A key for the whole application, as opposed to a user's token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key<'h> {
    /// `sb_publishable_…`, `sb_secret_…`.
    Opaque(Cow<'h, str>),
    /// `tgk_…`, of a machine.
    Machine(Cow<'h, str>),
    /// Supabase's legacy anon and service keys are tokens.
    Jwt(Cow<'h, str>),
}

impl Key<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Opaque(text) | Self::Machine(text) | Self::Jwt(text) => text,
        }
    }
}

/// Collects the credentials.
///
/// # Errors
/// [`CredentialFault::Conflict`] where a field is repeated or two places disagree,
/// [`CredentialFault::Malformed`] where one is not what its place asks for,
/// [`CredentialFault::KeyInQuery`] where the key of a machine stands in the query.
pub(super) fn credentials<'h>(
    headers: &'h HeaderMap,
    query: Option<&'h str>,
) -> Result<Shown<'h>, CredentialFault> {
    let in_header = one(headers, HeaderName::from_static(API_KEY))?;
    let in_header = in_header.map(|value| value.to_str().map(Cow::Borrowed)).transpose();
    let in_header = in_header.map_err(|_| CredentialFault::Malformed)?;
    let in_query = query_key(query.unwrap_or_default())?;
    if in_query.as_deref().is_some_and(looks_like_key) {
        return Err(CredentialFault::KeyInQuery);
    }
    let stated = match (in_header, in_query) {
        (Some(a), Some(b)) if a != b => return Err(CredentialFault::Conflict),
        (Some(key), _) | (None, Some(key)) => Some(key),
        (None, None) => None,
    };
    let key = stated.map(classify).transpose()?;
    let Some(bearer) = bearer(headers)? else { return Ok(Shown { key, bearer: None }) };
    match key {
        Some(key) if key.text() == bearer => Ok(Shown { key: Some(key), bearer: None }),
        // supabase-js sends a new-style key in both fields; alone in this one it is still the key.
        None if is_opaque(bearer) => {
            Ok(Shown { key: Some(classify(Cow::Borrowed(bearer))?), bearer: None })
        }
        Some(_) if is_opaque(bearer) => Err(CredentialFault::Conflict),
        // A machine calls for itself and for nobody else.
        Some(Key::Machine(_)) => Err(CredentialFault::Conflict),
        key => Ok(Shown { key, bearer: Some(bearer) }),
    }
}

/// The query without the key: it goes neither upstream nor into a log. All other bytes stay.
pub fn without_api_key(query: &str) -> Cow<'_, str> {
    if !may_hold_key(query) {
        return Cow::Borrowed(query);
    }
    let mine = |pair: &&str| !is_key_name(pair.split_once('=').map_or(*pair, |(name, _)| name));
    Cow::Owned(query.split('&').filter(mine).collect::<Vec<_>>().join("&"))
}

fn one(headers: &HeaderMap, name: HeaderName) -> Result<Option<&HeaderValue>, CredentialFault> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Ok(Some(value)),
        (Some(_), Some(_)) => Err(CredentialFault::Conflict),
    }
}

/// RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1).
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, CredentialFault> {
    const SCHEME: &[u8] = b"bearer ";
    let Some(value) = one(headers, header::AUTHORIZATION)? else { return Ok(None) };
    let (scheme, mut token) =
        value.as_bytes().split_at_checked(SCHEME.len()).ok_or(CredentialFault::Malformed)?;
    while let Some(rest) = token.strip_prefix(b" ") {
        token = rest;
    }
    // A comma would be a second challenge to some readers and part of the token to others. Tokens
    // are long: a fold without a way out early looks at sixteen bytes at a time.
    let sound = token.iter().fold(true, |ok, b| ok & b.is_ascii_graphic() & (*b != b','));
    if scheme.eq_ignore_ascii_case(SCHEME) && sound && !token.is_empty() {
        str::from_utf8(token).map(Some).map_err(|_| CredentialFault::Malformed)
    } else {
        Err(CredentialFault::Malformed)
    }
}

fn classify(text: Cow<'_, str>) -> Result<Key<'_>, CredentialFault> {
    if text.is_empty() {
        Err(CredentialFault::Malformed)
    } else if looks_like_key(&text) {
        Ok(Key::Machine(text))
    } else if looks_like_jwt(&text) {
        Ok(Key::Jwt(text))
    } else {
        Ok(Key::Opaque(text))
    }
}

fn is_opaque(bearer: &str) -> bool {
    bearer.starts_with("sb_") || looks_like_key(bearer)
}

fn query_key(query: &str) -> Result<Option<Cow<'_, str>>, CredentialFault> {
    if !may_hold_key(query) {
        return Ok(None);
    }
    let mut keys = query
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .filter(|(name, _)| is_key_name(name));
    match (keys.next(), keys.next()) {
        (None, _) => Ok(None),
        (Some((_, value)), None) => decoded(value).map(Some).ok_or(CredentialFault::Malformed),
        (Some(_), Some(_)) => Err(CredentialFault::Conflict),
    }
}

/// Whether some parameter could be the key: most queries are told apart from those that hold it
/// without being taken apart.
fn may_hold_key(query: &str) -> bool {
    let bytes = query.as_bytes();
    bytes.contains(&b'%') || bytes.windows(API_KEY.len()).any(|name| name == API_KEY.as_bytes())
}

/// Compares as the upstream will: decoded, so that `%61pikey` is no way around.
fn is_key_name(name: &str) -> bool {
    name == API_KEY || (name.contains('%') && decoded(name).is_some_and(|name| name == API_KEY))
}

/// Percent-decodes what must be printable ASCII in the end, as every key is.
fn decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return text.bytes().all(|b| b.is_ascii_graphic()).then_some(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            plain => plain,
        };
        if !byte.is_ascii_graphic() {
            return None;
        }
        out.push(char::from(byte));
    }
    Some(Cow::Owned(out))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const JWT: &str = "aaa.bbb.ccc";
    const USER: &str = "ddd.eee.fff";

    fn show(fields: &[(&'static str, &str)], query: &str) -> Result<String, CredentialFault> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let shown = credentials(&headers, Some(query).filter(|query| !query.is_empty()))?;
        let key = match &shown.key {
            None => "-".to_owned(),
            Some(Key::Opaque(text)) => format!("opaque {text}"),
            Some(Key::Machine(text)) => format!("machine {text}"),
            Some(Key::Jwt(text)) => format!("jwt {text}"),
        };
        Ok(format!("{key} / {}", shown.bearer.unwrap_or("-")))
    }

    #[test]
    fn credentials_are_found_where_supabase_clients_put_them() {
        let bearer = |token: &str| format!("Bearer {token}");
        let (jwt, user, secret) = (bearer(JWT), bearer(USER), bearer("sb_secret_1"));
        let machine = bearer("tgk_1");
        let auth = "authorization";
        for (fields, query, wanted) in [
            (vec![], "", "- / -"),
            (vec![(auth, user.as_str())], "", "- / ddd.eee.fff"),
            (vec![(auth, "bEARER   ddd.eee.fff")], "", "- / ddd.eee.fff"),
            (vec![("apikey", JWT)], "", "jwt aaa.bbb.ccc / -"),
            (vec![("apikey", JWT), (auth, &jwt)], "", "jwt aaa.bbb.ccc / -"),
            (vec![("apikey", JWT), (auth, &user)], "", "jwt aaa.bbb.ccc / ddd.eee.fff"),
            (vec![("apikey", "sb_secret_1"), (auth, &secret)], "", "opaque sb_secret_1 / -"),
            (
                vec![("apikey", "sb_secret_1"), (auth, &user)],
                "",
                "opaque sb_secret_1 / ddd.eee.fff",
            ),
            (vec![(auth, &secret)], "", "opaque sb_secret_1 / -"),
            (vec![(auth, &machine)], "", "machine tgk_1 / -"),
            (vec![("apikey", "tgk_1")], "", "machine tgk_1 / -"),
            (vec![("apikey", "tgk_1"), (auth, &machine)], "", "machine tgk_1 / -"),
            (vec![], "vsn=1.0.0&apikey=sb_publishable_1", "opaque sb_publishable_1 / -"),
            (vec![], "%61pi%6bey=sb%5Fpublishable", "opaque sb_publishable / -"),
            (vec![("apikey", JWT)], "apikey=aaa.bbb.ccc", "jwt aaa.bbb.ccc / -"),
            (vec![], "apikeys=1&xapikey=2&Apikey=3", "- / -"),
        ] {
            assert_eq!(show(&fields, query).as_deref(), Ok(wanted), "{fields:?} {query}");
        }
    }

    #[test]
    fn credentials_that_can_be_read_in_two_ways_are_refused() {
        let auth = "authorization";
        for (fields, query, wanted) in [
            (vec![(auth, "Bearer a.b.c"), (auth, "Bearer a.b.c")], "", CredentialFault::Conflict),
            (vec![("apikey", JWT), ("apikey", JWT)], "", CredentialFault::Conflict),
            (vec![("apikey", JWT)], "apikey=x.y.z", CredentialFault::Conflict),
            (vec![], "apikey=a&apikey=a", CredentialFault::Conflict),
            (vec![], "apikey=a&%61pikey=b", CredentialFault::Conflict),
            (vec![("apikey", JWT), (auth, "Bearer sb_secret_1")], "", CredentialFault::Conflict),
            (vec![("apikey", "tgk_1"), (auth, "Bearer tgk_2")], "", CredentialFault::Conflict),
            (
                vec![("apikey", "tgk_1"), (auth, "Bearer ddd.eee.fff")],
                "",
                CredentialFault::Conflict,
            ),
            (
                vec![("apikey", "sb_secret_1"), (auth, "Bearer tgk_1")],
                "",
                CredentialFault::Conflict,
            ),
            (vec![], "apikey=tgk_1", CredentialFault::KeyInQuery),
            (vec![], "%61pikey=tg%6b_1", CredentialFault::KeyInQuery),
            (vec![("apikey", "tgk_1")], "apikey=tgk_1", CredentialFault::KeyInQuery),
            (vec![(auth, "Basic dXNlcjpwYXNz")], "", CredentialFault::Malformed),
            (vec![(auth, "Bearer")], "", CredentialFault::Malformed),
            (vec![(auth, "Bearer ")], "", CredentialFault::Malformed),
            (vec![(auth, "Bearer a.b.c, Bearer d.e.f")], "", CredentialFault::Malformed),
            (vec![(auth, "Bearer a.b.c d")], "", CredentialFault::Malformed),
            (vec![("apikey", "")], "", CredentialFault::Malformed),
            (vec![], "apikey", CredentialFault::Malformed),
            (vec![], "apikey=%ff", CredentialFault::Malformed),
            (vec![], "apikey=%4", CredentialFault::Malformed),
        ] {
            assert_eq!(show(&fields, query), Err(wanted), "{fields:?} {query}");
        }
    }

    #[test]
    fn the_key_is_taken_out_of_the_query_and_all_else_stays() {
        for (query, wanted) in [
            ("apikey=a", ""),
            ("apikey", ""),
            ("vsn=1&apikey=a&log=x%20y", "vsn=1&log=x%20y"),
            ("%61pikey=a&b=apikey", "b=apikey"),
            ("apikey=a&apikey=b&c", "c"),
            ("a=1&&b=2", "a=1&&b=2"),
            ("", ""),
        ] {
            assert_eq!(without_api_key(query), wanted, "{query}");
        }
    }
}
