//! What kind of device a `User-Agent` speaks of: enough to recognise one's own, too little to tell
//! people apart.
//!
//! Pure; imports no other room.

/// Bytes of a description at most.
pub const MAX_DEVICE_BYTES: usize = 48;

/// In the order in which they are looked for: many programs name others, too.
const PROGRAMS: [(&str, &str); 15] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("okhttp/", "okhttp"),
    ("Dart/", "Dart"),
    ("curl/", "curl"),
    ("python", "Python"),
    ("Deno/", "Deno"),
    ("node", "Node.js"),
    ("Go-http-client/", "Go"),
];

const SYSTEMS: [(&str, &str); 7] = [
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
];

/// `Firefox on Windows`, `curl`; the product's name where it is none that is known, and `unknown`
/// where there is none.
pub fn device(user_agent: Option<&str>) -> Box<str> {
    let text = user_agent.unwrap_or_default();
    let found = |list: &[(&str, &'static str)]| {
        list.iter().find(|(sign, _)| text.contains(sign)).map(|(_, name)| *name)
    };
    let own = text.split(['/', ' ']).next().unwrap_or_default();
    let own = own.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)).then_some(own);
    let program = found(&PROGRAMS).or(own.filter(|own| !own.is_empty())).unwrap_or("unknown");
    let described = match found(&SYSTEMS) {
        Some(system) => format!("{program} on {system}"),
        None => program.to_owned(),
    };
    described.get(..MAX_DEVICE_BYTES).unwrap_or(&described).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_its_family_and_nothing_more() {
        let long = "x".repeat(500);
        for (user_agent, wanted) in [
            (None, "unknown"),
            (Some(""), "unknown"),
            (Some("\u{1b}[2J"), "unknown"),
            (Some("curl/8.5.0"), "curl"),
            (Some("acme-sync/2.1 (nightly)"), "acme-sync"),
            (Some(long.as_str()), &long[..MAX_DEVICE_BYTES]),
            (
                Some(
                    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36 Edg/126.0",
                ),
                "Edge on Windows",
            ),
            (
                Some(
                    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1",
                ),
                "Safari on iOS",
            ),
        ] {
            assert_eq!(device(user_agent).as_ref(), wanted);
        }
    }
}
