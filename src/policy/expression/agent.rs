//! Families of user agents, by what `User-Agent` says. Anybody can say anything there: it tells
//! apart those who do not hide.
//!
//! The more telling comes first: a crawler names the browser that it is compatible with, and most
//! browsers name others. May import nothing of other rooms.

/// A family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agent {
    /// Its name.
    pub family: &'static str,
    /// Of what kind it is.
    pub kind: AgentKind,
}

/// Of what kind a user agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentKind {
    /// A person with a browser, or what says so.
    Browser,
    /// A browser without a person.
    Headless,
    /// A crawler that says so.
    Crawler,
    /// A scanner for weaknesses.
    Scanner,
    /// A program that people use from a terminal or to try requests.
    Tool,
    /// A library of another program.
    Library,
    /// It says nothing.
    None,
    /// It says something else.
    Unknown,
}

impl AgentKind {
    /// As expressions write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Headless => "headless",
            Self::Crawler => "crawler",
            Self::Scanner => "scanner",
            Self::Tool => "tool",
            Self::Library => "library",
            Self::None => "none",
            Self::Unknown => "unknown",
        }
    }
}

/// Bytes of a field that are looked at.
const LOOKED_AT: usize = 512;

use AgentKind::{Browser, Crawler, Headless, Library, Scanner, Tool};

/// What is in the field, in lowercase; the family; its kind.
pub const FAMILIES: &[(&str, &str, AgentKind)] = &[
    ("sqlmap", "sqlmap", Scanner),
    ("nikto", "nikto", Scanner),
    ("nmap", "nmap", Scanner),
    ("masscan", "masscan", Scanner),
    ("zgrab", "zgrab", Scanner),
    ("nuclei", "nuclei", Scanner),
    ("wpscan", "wpscan", Scanner),
    ("acunetix", "acunetix", Scanner),
    ("nessus", "nessus", Scanner),
    ("openvas", "openvas", Scanner),
    ("qualys", "qualys", Scanner),
    ("dirbuster", "dirbuster", Scanner),
    ("gobuster", "gobuster", Scanner),
    ("feroxbuster", "feroxbuster", Scanner),
    ("fuzz faster", "ffuf", Scanner),
    ("whatweb", "whatweb", Scanner),
    ("arachni", "arachni", Scanner),
    ("headlesschrome", "headless-chrome", Headless),
    ("phantomjs", "phantomjs", Headless),
    ("puppeteer", "puppeteer", Headless),
    ("playwright", "playwright", Headless),
    ("selenium", "selenium", Headless),
    ("googlebot", "googlebot", Crawler),
    ("bingbot", "bingbot", Crawler),
    ("duckduckbot", "duckduckbot", Crawler),
    ("yandexbot", "yandexbot", Crawler),
    ("baiduspider", "baiduspider", Crawler),
    ("applebot", "applebot", Crawler),
    ("facebookexternalhit", "facebook", Crawler),
    ("twitterbot", "twitterbot", Crawler),
    ("linkedinbot", "linkedinbot", Crawler),
    ("slackbot", "slackbot", Crawler),
    ("ahrefsbot", "ahrefsbot", Crawler),
    ("semrushbot", "semrushbot", Crawler),
    ("mj12bot", "mj12bot", Crawler),
    ("dotbot", "dotbot", Crawler),
    ("petalbot", "petalbot", Crawler),
    ("bytespider", "bytespider", Crawler),
    ("amazonbot", "amazonbot", Crawler),
    ("gptbot", "gptbot", Crawler),
    ("oai-searchbot", "oai-searchbot", Crawler),
    ("chatgpt-user", "chatgpt-user", Crawler),
    ("claudebot", "claudebot", Crawler),
    ("perplexitybot", "perplexitybot", Crawler),
    ("ccbot", "ccbot", Crawler),
    ("postmanruntime", "postman", Tool),
    ("insomnia", "insomnia", Tool),
    ("httpie", "httpie", Tool),
    ("curl/", "curl", Tool),
    ("wget/", "wget", Tool),
    ("k6/", "k6", Tool),
    ("apachebench", "apachebench", Tool),
    ("python-requests", "python-requests", Library),
    ("python-httpx", "python-httpx", Library),
    ("python-urllib", "python-urllib", Library),
    ("aiohttp", "aiohttp", Library),
    ("scrapy", "scrapy", Library),
    ("go-http-client", "go-http-client", Library),
    ("okhttp", "okhttp", Library),
    ("apache-httpclient", "apache-httpclient", Library),
    ("java/", "java", Library),
    ("axios/", "axios", Library),
    ("node-fetch", "node-fetch", Library),
    ("undici", "undici", Library),
    ("guzzlehttp", "guzzle", Library),
    ("faraday", "faraday", Library),
    ("libwww-perl", "libwww-perl", Library),
    ("reqwest/", "reqwest", Library),
    ("dart/", "dart", Library),
    ("cfnetwork", "cfnetwork", Library),
    ("crawler", "other-crawler", Crawler),
    ("spider", "other-crawler", Crawler),
    ("bot/", "other-crawler", Crawler),
    ("bot;", "other-crawler", Crawler),
    ("edg/", "edge", Browser),
    ("opr/", "opera", Browser),
    ("samsungbrowser/", "samsung-browser", Browser),
    ("firefox/", "firefox", Browser),
    ("fxios/", "firefox", Browser),
    ("crios/", "chrome", Browser),
    ("chrome/", "chrome", Browser),
    ("safari/", "safari", Browser),
];

/// The family of a user agent.
pub fn of(field: &str) -> Agent {
    let field = field.trim();
    if field.is_empty() {
        return Agent { family: "none", kind: AgentKind::None };
    }
    let end = field.floor_char_boundary(LOOKED_AT);
    let field = field.get(..end).unwrap_or_default().to_ascii_lowercase();
    let known = FAMILIES.iter().find(|(part, _, _)| field.contains(part));
    known.map_or(Agent { family: "unknown", kind: AgentKind::Unknown }, |(_, family, kind)| Agent {
        family,
        kind: *kind,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_more_telling_part_of_a_user_agent_decides() {
        for (field, family, kind) in [
            ("curl/8.5.0", "curl", Tool),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                "firefox",
                Browser,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36 Edg/130.0.0.0",
                "edge",
                Browser,
            ),
            (
                "Mozilla/5.0 (Macintosh) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
                "safari",
                Browser,
            ),
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1; +http://www.google.com/bot.html) Chrome/130.0 Safari/537.36",
                "googlebot",
                Crawler,
            ),
            ("Mozilla/5.0 (compatible; SomeBot/1.0)", "other-crawler", Crawler),
            ("sqlmap/1.8#stable (https://sqlmap.org)", "sqlmap", Scanner),
            ("python-requests/2.32.3", "python-requests", Library),
            ("", "none", AgentKind::None),
            ("my-app/1", "unknown", AgentKind::Unknown),
        ] {
            assert_eq!(of(field), Agent { family, kind }, "{field}");
        }
    }

    #[test]
    fn a_long_field_is_cut_between_characters() {
        assert_eq!(of(&"ü".repeat(4_000)).kind, AgentKind::Unknown);
    }
}
