//! `Prefer`: the preferences that are understood, and their canonical spelling.
//!
//! As PostgREST's `ApiRequest/Preferences.hs` reads them: comma-separated, case-sensitive, over
//! all headers, the first of each kind wins. May not import anything of this crate but this room.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::refusal::RestRefusal;

/// `Prefer` (RFC 7240).
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");

/// The preferences of one request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Preferences {
    pub(super) returning: Option<Returning>,
    pub(super) count: bool,
    /// The client asked for a count from statistics, which are those of all organizations.
    pub(super) count_made_exact: bool,
    /// What becomes of an inserted row whose key is there already.
    pub(super) resolution: Option<&'static str>,
    missing: Option<&'static str>,
    handling: Option<&'static str>,
    timezone: Option<String>,
    max_affected: Option<u64>,
}

/// `return=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Returning {
    Representation,
    HeadersOnly,
    Minimal,
}

impl Preferences {
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, RestRefusal> {
        let mut preferences = Self::default();
        let mut unknown = false;
        for value in headers.get_all(PREFER) {
            let Ok(text) = value.to_str() else {
                unknown = true;
                continue;
            };
            for preference in text.split(',').map(str::trim) {
                unknown |= preferences.take(preference)? == Known::No;
            }
        }
        match preferences.handling {
            Some("strict") if unknown => {
                Err(RestRefusal::PreferenceUnsupported("unknown preference with `handling=strict`"))
            }
            _ => Ok(preferences),
        }
    }

    fn take(&mut self, preference: &str) -> Result<Known, RestRefusal> {
        match preference {
            "" => {}
            "return=representation" => first(&mut self.returning, Returning::Representation),
            "return=headers-only" => first(&mut self.returning, Returning::HeadersOnly),
            "return=minimal" => first(&mut self.returning, Returning::Minimal),
            "count=exact" => self.count = true,
            "count=planned" | "count=estimated" => {
                self.count_made_exact |= !self.count;
                self.count = true;
            }
            "missing=default" => first(&mut self.missing, "missing=default"),
            "missing=null" => first(&mut self.missing, "missing=null"),
            "handling=strict" => first(&mut self.handling, "strict"),
            "handling=lenient" => first(&mut self.handling, "lenient"),
            "resolution=merge-duplicates" => {
                first(&mut self.resolution, "resolution=merge-duplicates");
            }
            "resolution=ignore-duplicates" => {
                first(&mut self.resolution, "resolution=ignore-duplicates");
            }
            // To drop it would turn a trial run into a lasting change.
            "tx=rollback" => return Err(RestRefusal::PreferenceUnsupported("tx=rollback")),
            // The body of a call is its arguments, each of which is known by name.
            "params=single-object" => {
                return Err(RestRefusal::PreferenceUnsupported("params=single-object"));
            }
            // The default anyway.
            "tx=commit" => {}
            other => return Ok(self.take_parameter(other)),
        }
        Ok(Known::Yes)
    }

    fn take_parameter(&mut self, preference: &str) -> Known {
        let zone = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'+' | b'-');
        match preference.split_once('=') {
            Some(("timezone", name))
                if (1..=64).contains(&name.len()) && name.bytes().all(zone) =>
            {
                first(&mut self.timezone, name.to_owned());
                Known::Yes
            }
            Some(("max-affected", number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                match number.parse() {
                    Ok(number) => {
                        first(&mut self.max_affected, number);
                        Known::Yes
                    }
                    Err(_) => Known::No,
                }
            }
            _ => Known::No,
        }
    }

    /// The one header to send; `None` where nothing is preferred.
    pub(super) fn print(&self) -> Option<HeaderValue> {
        let mut out = String::new();
        let mut push = |text: &str| {
            if !out.is_empty() {
                out.push_str(", ");
            }
            out.push_str(text);
        };
        match self.returning {
            None => {}
            Some(Returning::Representation) => push("return=representation"),
            Some(Returning::HeadersOnly) => push("return=headers-only"),
            Some(Returning::Minimal) => push("return=minimal"),
        }
        if self.count {
            push("count=exact");
        }
        if let Some(resolution) = self.resolution {
            push(resolution);
        }
        if let Some(missing) = self.missing {
            push(missing);
        }
        match self.handling {
            Some("strict") => push("handling=strict"),
            Some(_) => push("handling=lenient"),
            None => {}
        }
        if let Some(zone) = &self.timezone {
            push(&format!("timezone={zone}"));
        }
        if let Some(number) = self.max_affected {
            push(&format!("max-affected={number}"));
        }
        if out.is_empty() { None } else { HeaderValue::try_from(out).ok() }
    }
}

/// Preferences in the client's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stated {
    /// As they are read here.
    pub(super) preferences: Preferences,
    /// Those that are understood, in their order, in one header; `None` where there are none.
    pub(super) header: Option<HeaderValue>,
}

/// What the client prefers, as it states it: nothing is made exact and nothing refused that
/// PostgREST understands. `None` where something is not understood and the client wants it to be.
pub(super) fn stated(headers: &HeaderMap) -> Option<Stated> {
    let (mut parsed, mut all, mut unknown) = (Preferences::default(), Vec::new(), false);
    for value in headers.get_all(PREFER) {
        let Ok(text) = value.to_str() else {
            unknown = true;
            continue;
        };
        for preference in text.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            match (preference, parsed.take(preference)) {
                ("tx=rollback", _) | (_, Ok(Known::Yes)) => all.push(preference),
                (_, Ok(Known::No) | Err(_)) => unknown = true,
            }
        }
    }
    if unknown && parsed.handling == Some("strict") {
        return None;
    }
    let header = (!all.is_empty()).then(|| HeaderValue::try_from(all.join(", ")));
    Some(Stated { preferences: parsed, header: header.transpose().ok()? })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    Yes,
    No,
}

fn first<T>(slot: &mut Option<T>, value: T) {
    slot.get_or_insert(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[&'static str]) -> Result<Option<String>, RestRefusal> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(PREFER, HeaderValue::from_static(value));
        }
        let printed = Preferences::parse(&headers)?.print();
        Ok(printed.map(|value| value.to_str().unwrap().to_owned()))
    }

    #[test]
    fn known_preferences_are_printed_in_one_header() {
        for (values, printed) in [
            (&[][..], None),
            (&["return=minimal"], Some("return=minimal")),
            (
                &["missing=default,return=representation", "count=exact"],
                Some("return=representation, count=exact, missing=default"),
            ),
            (
                &["resolution=merge-duplicates", "return=minimal,resolution=ignore-duplicates"],
                Some("return=minimal, resolution=merge-duplicates"),
            ),
            (&["count=planned"], Some("count=exact")),
            (&["count=estimated,  count=exact"], Some("count=exact")),
            (&["return=minimal", "return=representation"], Some("return=minimal")),
            (&["Return=minimal, whatever, tx=commit"], None),
            (
                &["timezone=America/New_York, max-affected=3, handling=strict"],
                Some("handling=strict, timezone=America/New_York, max-affected=3"),
            ),
            (&["timezone=x;y, max-affected=-1, max-affected="], None),
        ] {
            assert_eq!(parse(values).unwrap().as_deref(), printed, "{values:?}");
        }
    }

    #[test]
    fn preferences_can_be_told_in_the_clients_words() {
        for (value, words) in [
            ("", Some(None)),
            (
                "count=planned, tx=rollback,return=minimal",
                Some(Some("count=planned, tx=rollback, return=minimal")),
            ),
            ("whatever, return=representation", Some(Some("return=representation"))),
            ("params=single-object", Some(None)),
            ("whatever, handling=strict", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(PREFER, HeaderValue::from_static(value));
            let stated = stated(&headers);
            let told = stated.as_ref().map(|stated| stated.header.as_ref());
            let told = told.map(|header| header.map(|value| value.to_str().unwrap()));
            assert_eq!(told, words, "{value}");
            let read = |stated: Stated| stated.preferences.count == value.contains("count");
            assert!(stated.is_none_or(read), "{value}");
        }
    }

    #[test]
    fn what_cannot_be_honoured_is_refused() {
        for (value, code) in [
            ("return=minimal, params=single-object", "rest_preference_unsupported"),
            ("tx=rollback", "rest_preference_unsupported"),
            ("whatever, handling=strict", "rest_preference_unsupported"),
        ] {
            assert_eq!(parse(&[value]).unwrap_err().code(), code, "{value}");
        }
    }
}
