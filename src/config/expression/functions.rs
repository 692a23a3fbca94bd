//! The functions of expressions: one table, by which unknown ones find the nearest, and from which
//! their reference is printed.
//!
//! `calls` and `gateway` say what each takes. May import nothing of other rooms.

/// A function, as the reference shows it.
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) member: bool,
    pub(super) signature: &'static str,
    pub(super) about: &'static str,
    /// An expression that uses it and compiles in phase `request`.
    pub(super) example: &'static str,
}

const fn global(
    name: &'static str,
    signature: &'static str,
    about: &'static str,
    example: &'static str,
) -> Function {
    Function { name, member: false, signature, about, example }
}

const fn member(
    name: &'static str,
    signature: &'static str,
    about: &'static str,
    example: &'static str,
) -> Function {
    Function { name, member: true, signature, about, example }
}

/// All functions, in the order of the reference.
pub(super) const FUNCTIONS: &[Function] = &[
    global(
        "has",
        "has(a.b) → bool",
        "It is there: not null, not empty, a key of the map.",
        "has(client.country) && has(request.headers.origin)",
    ),
    global(
        "size",
        "size(string, bytes, list or map) → int",
        "Characters, bytes, elements or keys; also `x.size()`.",
        "size(request.params) > 20",
    ),
    member(
        "contains",
        "string.contains(string) → bool",
        "The text has the other in it.",
        "request.path.contains('..')",
    ),
    member(
        "startsWith",
        "string.startsWith(string) → bool",
        "The text begins with the other.",
        "request.path.startsWith('/rest/v1/')",
    ),
    member(
        "endsWith",
        "string.endsWith(string) → bool",
        "The text ends with the other.",
        "request.host.endsWith('.example.com')",
    ),
    member(
        "matches",
        "string.matches(pattern) → bool",
        "The pattern matches somewhere in the text. It is written out, in the syntax of RE2, and matched in linear time.",
        "request.path.matches('^/rest/v[0-9]+/')",
    ),
    member(
        "all",
        "list.all(x, test) → bool",
        "The test holds for every element, or every key of a map.",
        "request.params.all(name, size(name) < 64)",
    ),
    member(
        "exists",
        "list.exists(x, test) → bool",
        "The test holds for some element.",
        "tags.exists(tag, tag.startsWith('bot-'))",
    ),
    member(
        "exists_one",
        "list.exists_one(x, test) → bool",
        "The test holds for one element and no other.",
        "tags.exists_one(tag, tag.startsWith('bot-'))",
    ),
    member(
        "filter",
        "list.filter(x, test) → list",
        "The elements for which the test holds.",
        "size(tags.filter(tag, tag.startsWith('bot-'))) > 1",
    ),
    member(
        "map",
        "list.map(x, value) → list",
        "The values of the elements; `list.map(x, test, value)` takes some of them.",
        "'curl' in tags.map(tag, tag.lower())",
    ),
    member(
        "get",
        "map.get(key, default) → value",
        "The value of the key, or the default where there is none.",
        "request.headers.get('accept', '*/*') == '*/*'",
    ),
    global(
        "int",
        "int(double, uint, string or timestamp) → int",
        "As a whole number: doubles without what stands behind the point, moments in seconds since 1970.",
        "int(request.headers.get('x-attempt', '0')) > 3",
    ),
    global(
        "uint",
        "uint(int, double or string) → uint",
        "As a whole number that is not negative.",
        "uint('5') == 5u",
    ),
    global(
        "double",
        "double(int, uint or string) → double",
        "As a number of double precision.",
        "double(request.headers.get('x-score', '0')) > 0.5",
    ),
    global(
        "string",
        "string(value) → string",
        "As a text: durations in seconds, moments by RFC 3339, addresses in their short form.",
        "string(client.address) == '192.0.2.1'",
    ),
    global(
        "bytes",
        "bytes(string) → bytes",
        "The text in UTF-8.",
        "size(bytes(request.path)) > 1024",
    ),
    global(
        "bool",
        "bool(string) → bool",
        "`true`, `t`, `1` and `false`, `f`, `0`.",
        "bool(request.headers.get('x-debug', 'false'))",
    ),
    global(
        "timestamp",
        "timestamp(string or int) → timestamp",
        "A moment by RFC 3339, or in seconds since 1970.",
        "now > timestamp('2026-12-24T18:00:00+01:00')",
    ),
    global(
        "duration",
        "duration(string) → duration",
        "Numbers with `h`, `m`, `s`, `ms`, `us`, `ns`, as in `1h30m`.",
        "now + duration('1h') > timestamp('2026-12-24T18:00:00Z')",
    ),
    member(
        "getFullYear",
        "timestamp.getFullYear(zone) → int",
        "The year. This and the following are of UTC where no time zone is written out: a name of the IANA database or an offset as `+02:00`.",
        "now.getFullYear() > 2025",
    ),
    member(
        "getMonth",
        "timestamp.getMonth(zone) → int",
        "The month, from 0.",
        "now.getMonth() == 11",
    ),
    member(
        "getDate",
        "timestamp.getDate(zone) → int",
        "The day of the month, from 1.",
        "now.getDate('Europe/Berlin') == 24",
    ),
    member(
        "getDayOfMonth",
        "timestamp.getDayOfMonth(zone) → int",
        "The day of the month, from 0.",
        "now.getDayOfMonth() == 23",
    ),
    member(
        "getDayOfWeek",
        "timestamp.getDayOfWeek(zone) → int",
        "The day of the week, from 0 for Sunday.",
        "now.getDayOfWeek() in [0, 6]",
    ),
    member(
        "getDayOfYear",
        "timestamp.getDayOfYear(zone) → int",
        "The day of the year, from 0.",
        "now.getDayOfYear() == 0",
    ),
    member(
        "getHours",
        "timestamp.getHours(zone) → int",
        "The hour; of a duration, all its hours.",
        "now.getHours('+02:00') < 6",
    ),
    member(
        "getMinutes",
        "timestamp.getMinutes(zone) → int",
        "The minute; of a duration, all its minutes.",
        "now.getMinutes() < 5",
    ),
    member(
        "getSeconds",
        "timestamp.getSeconds(zone) → int",
        "The second; of a duration, all its seconds.",
        "now.getSeconds() < 30",
    ),
    member(
        "getMilliseconds",
        "timestamp.getMilliseconds(zone) → int",
        "The millisecond.",
        "now.getMilliseconds() < 500",
    ),
    global(
        "cidr",
        "cidr(address or string, network) → bool",
        "The address is in the network, or in one of a list of networks, which are written out. An IPv4 address in IPv6 is the IPv4 address.",
        "cidr(client.address, ['10.0.0.0/8', '2001:db8::/32'])",
    ),
    global(
        "address",
        "address(string) → address",
        "An IP address, to compare with `client.address`.",
        "client.address == address('192.0.2.1')",
    ),
    global(
        "pathMatch",
        "pathMatch(string, pattern) → bool",
        "The path fits the pattern, which is written out as routes write theirs.",
        "pathMatch(request.path, '/rest/v1/{table}')",
    ),
    global(
        "headerList",
        "headerList(string) → list(string)",
        "The members of a list in a header field (RFC 9110 section 5.6.1).",
        "'text/html' in headerList(request.headers.get('accept', ''))",
    ),
    global(
        "version",
        "version(string) → version",
        "A semantic version (SemVer 2.0.0), also with a `v` before it and `.0` left out at its end. Compared by precedence.",
        "version(request.headers.get('x-client-version', '0')) < version('2.1.0')",
    ),
    global(
        "isVersion",
        "isVersion(string) → bool",
        "The text is such a version.",
        "isVersion(request.headers.get('x-client-version', ''))",
    ),
    global(
        "hours",
        "hours(timestamp, text) → bool",
        "The moment is in these hours, which are written out: days, a time of the day from and until, and a time zone. A night belongs to the day on which it begins.",
        "hours(now, 'mon-fri 08:00-18:00 Europe/Berlin')",
    ),
    global(
        "sqli",
        "sqli(string, list or map) → bool",
        "The text, or any in the list or map, looks like an injection of SQL, by libinjection.",
        "sqli(request.params)",
    ),
    global(
        "xss",
        "xss(string, list or map) → bool",
        "The text, or any in the list or map, looks like an injection of scripts, by libinjection.",
        "xss(request.params)",
    ),
    global(
        "entropy",
        "entropy(string) → double",
        "Shannon entropy in bits for each byte, from 0 to 8. Random base64 of 40 letters has about 5, English about 4.",
        "request.params.exists(name, entropy(name) > 4.5)",
    ),
    global(
        "agentFamily",
        "agentFamily(string) → string",
        "The family of a user agent: `curl`, `firefox`, `googlebot`, `sqlmap` …; `none` where it says nothing, `unknown` where it says something else.",
        "agentFamily(request.headers.get('user-agent', '')) in ['curl', 'wget']",
    ),
    global(
        "agentKind",
        "agentKind(string) → string",
        "Its kind: `browser`, `headless`, `crawler`, `scanner`, `tool`, `library`, `none` or `unknown`.",
        "agentKind(request.headers.get('user-agent', '')) == 'scanner'",
    ),
    member(
        "lower",
        "string.lower() → string",
        "The text in small letters.",
        "request.headers.get('x-mode', '').lower() == 'debug'",
    ),
    member(
        "trim",
        "string.trim() → string",
        "The text without white space around it.",
        "request.headers.get('x-mode', '').trim() == 'debug'",
    ),
    member(
        "split",
        "string.split(string) → list(string)",
        "The parts of the text between the other.",
        "request.path.split('/').size() > 8",
    ),
    member(
        "urlDecode",
        "string.urlDecode() → string",
        "The text without percent-encoding (RFC 3986 section 2.1); what is not well-formed stays.",
        "request.query.urlDecode().contains('<script')",
    ),
];

/// Those of that name.
pub(super) fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}
