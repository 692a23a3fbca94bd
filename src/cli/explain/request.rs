//! The request to be explained, as its owner would have sent it.

use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use super::super::Failure;
use super::super::arguments::Explain;

/// No body that is explained is larger.
const MAX_BODY: u64 = 16 * 1024 * 1024;

/// A request, owned.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    /// Path and query, byte for byte as they were given.
    pub(super) target: String,
    pub(super) headers: HeaderMap,
    pub(super) secure: bool,
    pub(super) body: Option<Bytes>,
}

impl Request {
    /// Reads it from the arguments. `token` is the bearer token, given or made.
    pub(super) fn from(arguments: &Explain, token: Option<&str>) -> Result<Self, Failure> {
        let stated = arguments.method.as_deref().unwrap_or_default();
        let method = Method::from_bytes(stated.as_bytes())
            .map_err(|_| Failure::usage(format!("`{stated}` is no method")))?;
        let (secure, host, target) = split(arguments.url.as_deref().unwrap_or_default())?;
        let mut headers = HeaderMap::new();
        for field in &arguments.headers {
            let (name, value) = parse_field(field)?;
            headers.append(name, value);
        }
        if !headers.contains_key(header::HOST) {
            let value = HeaderValue::from_str(&host)
                .map_err(|_| Failure::usage(format!("`{host}` is no host")))?;
            headers.insert(header::HOST, value);
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| Failure::usage("the token has characters that no header may have"))?;
            headers.insert(header::AUTHORIZATION, value);
        }
        let body = arguments.body.as_deref().map(read_body).transpose()?;
        if let Some(body) = &body
            && !headers.contains_key(header::CONTENT_LENGTH)
            && !headers.contains_key(header::TRANSFER_ENCODING)
        {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        }
        Ok(Self { method, target, headers, secure, body })
    }

    /// The host, for the reader.
    pub(super) fn host(&self) -> String {
        let host = self.headers.get(header::HOST).map(HeaderValue::as_bytes).unwrap_or_default();
        String::from_utf8_lossy(host).into_owned()
    }
}

/// Whether it is https, the host, and the rest.
fn split(url: &str) -> Result<(bool, String, String), Failure> {
    if url.starts_with('/') {
        return Ok((false, "localhost".into(), url.into()));
    }
    let (secure, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
        (Some(rest), _) => (false, rest),
        (None, Some(rest)) => (true, rest),
        (None, None) => {
            let message = format!("`{url}` is neither a path (`/…`) nor a URL (`http://…`)");
            return Err(Failure::usage(message));
        }
    };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (host, target) = rest.split_at_checked(end).unwrap_or((rest, ""));
    // A client puts in the slash that belongs before a query.
    let slash = if target.starts_with('/') { "" } else { "/" };
    Ok((secure, host.into(), format!("{slash}{target}")))
}

fn parse_field(field: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let malformed = || Failure::usage(format!("`{field}` is no header field: write `name: value`"));
    let (name, value) = field.split_once(':').ok_or_else(malformed)?;
    let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| malformed())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| malformed())?;
    Ok((name, value))
}

fn read_body(given: &str) -> Result<Bytes, Failure> {
    match (given, given.strip_prefix('@')) {
        ("-", _) => capped(std::io::stdin().lock(), "standard input"),
        (_, Some(file)) => {
            let open = std::fs::File::open(Path::new(file));
            let open = open.map_err(|e| Failure::usage(format!("cannot read `{file}`: {e}")))?;
            capped(open, file)
        }
        (text, None) => Ok(Bytes::from(text.to_owned())),
    }
}

fn capped(from: impl Read, name: &str) -> Result<Bytes, Failure> {
    let mut bytes = Vec::new();
    from.take(MAX_BODY + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BODY {
        return Err(Failure::usage(format!("`{name}` is larger than {MAX_BODY} bytes")));
    }
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_and_a_url_are_told_apart_and_kept_byte_for_byte() {
        let cases = [
            ("/a?b=%2F", (false, "localhost", "/a?b=%2F")),
            ("/a/../b", (false, "localhost", "/a/../b")),
            ("http://h:1/a", (false, "h:1", "/a")),
            ("https://h", (true, "h", "/")),
            ("https://h?x=1", (true, "h", "/?x=1")),
        ];
        for (url, (secure, host, target)) in cases {
            assert_eq!(split(url).unwrap(), (secure, host.to_owned(), target.to_owned()));
        }
        let error = split("ftp://h/").unwrap_err().to_string();
        assert!(error.contains("neither a path"), "{error}");
    }

    #[test]
    fn a_field_without_a_colon_is_refused_with_how_to_write_it() {
        let error = parse_field("x-org acme").unwrap_err().to_string();
        assert_eq!(error, "error: `x-org acme` is no header field: write `name: value`");
    }
}
