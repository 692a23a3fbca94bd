//! The other request headers that PostgREST reads: media types, profiles, ranges.
//!
//! Each is parsed and printed afresh, or refused; a proxy removes all of [`OWNED_HEADERS`] and
//! sets those that the confined request names. May not import anything of this crate but this
//! room.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::refusal::RestRefusal;

/// Headers that only this room may set on a request to PostgREST.
pub const OWNED_HEADERS: [&str; 10] = [
    "prefer",
    "accept",
    "accept-profile",
    "content-profile",
    "content-type",
    "content-encoding",
    "range",
    "range-unit",
    "if-range",
    "x-http-method-override",
];

/// `Accept-Profile`: the schema of a read.
pub(super) const ACCEPT_PROFILE: HeaderName = HeaderName::from_static("accept-profile");
/// `Content-Profile`: the schema of a write.
pub(super) const CONTENT_PROFILE: HeaderName = HeaderName::from_static("content-profile");

/// The one media type to ask for: the client's most preferred of those that are served. `None`
/// where the client states none, which means JSON.
pub(super) fn accept(headers: &HeaderMap) -> Result<Option<HeaderValue>, RestRefusal> {
    let mut stated = false;
    let mut best: Option<(u16, &'static str)> = None;
    for value in headers.get_all(header::ACCEPT) {
        let text = value.to_str().map_err(|_| RestRefusal::NotAcceptable)?;
        for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            stated = true;
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default().to_ascii_lowercase();
            if media.starts_with("application/vnd.pgrst.plan") {
                return Err(RestRefusal::PlanNotAcceptable);
            }
            let mut quality = 1000;
            let mut nulls_stripped = false;
            for parameter in parts {
                match parameter.split_once('=') {
                    Some((name, value)) if name.eq_ignore_ascii_case("q") => {
                        quality = thousandths(value)
                    }
                    _ => nulls_stripped |= parameter == "nulls=stripped",
                }
            }
            if let Some(served) = served(&media, nulls_stripped)
                && quality > best.map_or(0, |(best, _)| best)
            {
                best = Some((quality, served));
            }
        }
    }
    match best {
        Some((_, served)) => Ok(Some(HeaderValue::from_static(served))),
        None if stated => Err(RestRefusal::NotAcceptable),
        None => Ok(None),
    }
}

fn served(media: &str, nulls_stripped: bool) -> Option<&'static str> {
    Some(match (media, nulls_stripped) {
        ("application/json" | "application/*", _) => "application/json",
        ("*/*", _) => "*/*",
        ("text/csv", _) => "text/csv",
        ("application/vnd.pgrst.object+json" | "application/vnd.pgrst.object", false) => {
            "application/vnd.pgrst.object+json"
        }
        ("application/vnd.pgrst.object+json" | "application/vnd.pgrst.object", true) => {
            "application/vnd.pgrst.object+json;nulls=stripped"
        }
        ("application/vnd.pgrst.array+json" | "application/vnd.pgrst.array", false) => {
            "application/json"
        }
        ("application/vnd.pgrst.array+json" | "application/vnd.pgrst.array", true) => {
            "application/vnd.pgrst.array+json;nulls=stripped"
        }
        _ => return None,
    })
}

/// A quality value (RFC 9110 section 12.4.2) in thousandths; 0 where it does not parse.
fn thousandths(text: &str) -> u16 {
    match text.trim().parse::<f32>() {
        Ok(quality) if (0.0..=1.0).contains(&quality) => (quality * 1000.0) as u16,
        _ => 0,
    }
}

/// Checks the profile header that PostgREST would look at, of which the first value counts. The
/// caller sets it to the catalogue's schema in any case.
pub(super) fn profile(
    headers: &HeaderMap,
    name: &HeaderName,
    schema: &str,
) -> Result<(), RestRefusal> {
    match headers.get(name) {
        Some(stated) if stated.as_bytes() != schema.as_bytes() => {
            Err(RestRefusal::ProfileNotAcceptable)
        }
        _ => Ok(()),
    }
}

/// `Range: from-to` or `from-`, in rows. PostgREST heeds it on GET only.
pub(super) fn range(headers: &HeaderMap) -> Result<Option<HeaderValue>, RestRefusal> {
    let mut ranges = headers.get_all(header::RANGE).iter();
    let (stated, second) = (ranges.next(), ranges.next());
    let Some(stated) = stated else { return Ok(None) };
    let digits = |text: &str| {
        let number = text.parse::<i64>().ok();
        number.filter(|_| text.bytes().all(|b| b.is_ascii_digit()))
    };
    let printed = stated.to_str().ok().and_then(|text| text.split_once('-')).and_then(
        |(from, to)| match to {
            "" => Some(format!("{}-", digits(from)?)),
            to => Some(format!("{}-{}", digits(from)?, digits(to)?)),
        },
    );
    match (printed, second) {
        (Some(printed), None) => {
            HeaderValue::try_from(printed).map(Some).map_err(|_| RestRefusal::RangeMalformed)
        }
        _ => Err(RestRefusal::RangeMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_most_preferred_media_type_that_is_served_is_asked_for() {
        for (values, served) in [
            (&[][..], Ok(None)),
            (&["*/*"], Ok(Some("*/*"))),
            (&["application/json, text/plain, */*"], Ok(Some("application/json"))),
            (&["text/html,application/xhtml+xml,*/*;q=0.8"], Ok(Some("*/*"))),
            (&["text/csv;q=0.5, application/JSON;q=0.9"], Ok(Some("application/json"))),
            (&["text/html", "text/csv"], Ok(Some("text/csv"))),
            (&["application/vnd.pgrst.object+json"], Ok(Some("application/vnd.pgrst.object+json"))),
            (
                &["application/vnd.pgrst.object+json;nulls=stripped"],
                Ok(Some("application/vnd.pgrst.object+json;nulls=stripped")),
            ),
            (
                &["application/vnd.pgrst.array+json; nulls=stripped"],
                Ok(Some("application/vnd.pgrst.array+json;nulls=stripped")),
            ),
            (&["application/vnd.pgrst.plan"], Err(RestRefusal::PlanNotAcceptable)),
            (
                &["application/json, application/vnd.pgrst.plan+json; options=analyze"],
                Err(RestRefusal::PlanNotAcceptable),
            ),
            (&["application/openapi+json"], Err(RestRefusal::NotAcceptable)),
            (&["text/html, application/json;q=0"], Err(RestRefusal::NotAcceptable)),
        ] {
            let asked = accept(&with(header::ACCEPT, values));
            let asked = asked.map(|value| value.map(|value| value.to_str().unwrap().to_owned()));
            assert_eq!(asked, served.map(|text| text.map(str::to_owned)), "{values:?}");
        }
    }

    #[test]
    fn only_the_catalogues_schema_is_a_profile() {
        assert_eq!(profile(&HeaderMap::new(), &ACCEPT_PROFILE, "public"), Ok(()));
        let first_counts = with(ACCEPT_PROFILE, &["public", "private"]);
        assert_eq!(profile(&first_counts, &ACCEPT_PROFILE, "public"), Ok(()));
        for value in ["private", "Public", "public ", ""] {
            let headers = with(ACCEPT_PROFILE, &[value]);
            let refused = profile(&headers, &ACCEPT_PROFILE, "public");
            assert_eq!(refused, Err(RestRefusal::ProfileNotAcceptable), "{value}");
        }
    }

    #[test]
    fn ranges_of_rows_are_reprinted_and_others_refused() {
        for (value, printed) in [("0-9", "0-9"), ("05-", "5-")] {
            let asked = range(&with(header::RANGE, &[value])).unwrap();
            assert_eq!(asked.unwrap(), printed);
        }
        assert_eq!(range(&HeaderMap::new()), Ok(None));
        for values in
            [&["bytes=0-9"][..], &["-5"], &["0-9,20-29"], &["+1-2"], &["0-1", "0-2"], &["5"]]
        {
            let refused = range(&with(header::RANGE, values));
            assert_eq!(refused, Err(RestRefusal::RangeMalformed), "{values:?}");
        }
    }
}
