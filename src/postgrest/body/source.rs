//! In which language a body is written.
//!
//! May import this room only.

use http::{HeaderMap, header};

use crate::postgrest::refusal::RestRefusal;

/// The language of a body, as its head states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodySource {
    /// `application/json`, or nothing stated.
    Json,
    /// `text/csv`: a line of column names, then one line for each row.
    Csv,
    /// `application/x-www-form-urlencoded`: one row.
    Form,
}

impl BodySource {
    /// Reads `Content-Type` and `Content-Encoding`.
    ///
    /// # Errors
    /// If the body is compressed (PostgREST decodes nothing), or its type is repeated, unknown or
    /// in another character set than UTF-8.
    pub(in crate::postgrest) fn from_content_type(
        headers: &HeaderMap,
    ) -> Result<Self, RestRefusal> {
        for encoding in headers.get_all(header::CONTENT_ENCODING) {
            if !encoding.as_bytes().eq_ignore_ascii_case(b"identity") {
                return Err(RestRefusal::ContentEncodingUnsupported);
            }
        }
        let mut types = headers.get_all(header::CONTENT_TYPE).iter();
        let (stated, second) = (types.next(), types.next());
        // PostgREST reads what states nothing as JSON too.
        let Some(stated) = stated else { return Ok(Self::Json) };
        let text = stated.to_str().map_err(|_| RestRefusal::ContentTypeUnsupported)?;
        let mut parts = text.split(';').map(str::trim);
        let source = parts.next().and_then(Self::from_media_type);
        match source {
            Some(source) if second.is_none() && parts.all(is_utf8) => Ok(source),
            Some(_) | None => Err(RestRefusal::ContentTypeUnsupported),
        }
    }

    fn from_media_type(media: &str) -> Option<Self> {
        let all = [Self::Json, Self::Csv, Self::Form];
        all.into_iter().find(|source| source.media_type().eq_ignore_ascii_case(media))
    }

    pub(in crate::postgrest) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

fn is_utf8(parameter: &str) -> bool {
    let is_charset = |(name, value): (&str, &str)| {
        name.eq_ignore_ascii_case("charset")
            && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    };
    parameter.is_empty() || parameter.split_once('=').is_some_and(is_charset)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn source(name: HeaderName, values: &[&'static str]) -> Result<BodySource, RestRefusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        BodySource::from_content_type(&headers)
    }

    #[test]
    fn three_languages_are_read_and_no_other() {
        for (values, expected) in [
            (&[][..], BodySource::Json),
            (&["application/json"], BodySource::Json),
            (&["Application/JSON; charset=\"UTF-8\""], BodySource::Json),
            (&["text/csv"], BodySource::Csv),
            (&["text/csv;charset=utf-8"], BodySource::Csv),
            (&["application/x-www-form-urlencoded"], BodySource::Form),
        ] {
            assert_eq!(source(header::CONTENT_TYPE, values), Ok(expected), "{values:?}");
        }
        for values in [
            &["text/plain"][..],
            &["application/octet-stream"],
            &["multipart/form-data; boundary=x"],
            &["application/vnd.pgrst.object+json"],
            &["application/json", "application/json"],
            &["application/json, text/csv"],
            &["application/json; charset=utf-16"],
            &["text/csv; header=absent"],
            &[""],
        ] {
            let refused = source(header::CONTENT_TYPE, values);
            assert_eq!(refused, Err(RestRefusal::ContentTypeUnsupported), "{values:?}");
        }
    }

    #[test]
    fn compressed_bodies_are_refused() {
        for encoding in ["gzip", "br", "deflate", "identity, gzip", ""] {
            let refused = source(header::CONTENT_ENCODING, &[encoding]);
            assert_eq!(refused, Err(RestRefusal::ContentEncodingUnsupported), "{encoding}");
        }
        assert_eq!(source(header::CONTENT_ENCODING, &["identity"]), Ok(BodySource::Json));
    }
}
