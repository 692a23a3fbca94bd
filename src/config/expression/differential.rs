//! The compiled expressions beside the interpreter of the `cel` crate, over expressions of the
//! standard part that fit their types, and requests, both made at random.
//!
//! Where one has an answer the other has the same; where one has none the other has none. What is
//! written differently for the two, because it differs on purpose:
//!
//! - `has(variable)` asks here whether the variable is null, or empty; the interpreter has maps in
//!   place of records, in which every variable is a key.
//! - Names of header fields are told apart by their letters alone here, not by their case.
//! - `null in map` is false here, as `null in list` is in both; the interpreter has no answer.
//! - What is no number is neither less nor greater than any, as the specification has it; the
//!   interpreter has no answer. Doubles that are no numbers are not made.
//! - Parts of moments are those of UTC where no time zone is stated, as the specification has it; the
//!   interpreter takes the offset that the moment was written with. Moments are written in UTC.
//! - Records are null in no part; their fields are.
//! - Expressions that cost more than the budget have no answer here alone: none is so large.
//!
//! May import `policy`.

use std::collections::HashMap;
use std::sync::Arc;

use cel::{Context, Env, Value};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::compile;
use crate::domain::clock::Now;
use crate::policy::expression::scene::{ClientView, RequestView, ResponseView, Scene};
use crate::policy::expression::{Expression, Fault, Phase};

/// One expression in both spellings.
#[derive(Debug, Clone)]
struct Pair(String, String);

/// The same for both.
fn same(text: impl Into<String>) -> Pair {
    let text = text.into();
    Pair(text.clone(), text)
}

/// The template with its `{}` filled in.
fn filled(template: &str, parts: &[Pair]) -> Pair {
    let fill = |side: fn(&Pair) -> &str| {
        let mut pieces = template.split("{}");
        let mut out = pieces.next().unwrap().to_owned();
        for (piece, part) in pieces.zip(parts) {
            out.push_str(side(part));
            out.push_str(piece);
        }
        out
    };
    Pair(fill(|pair| &pair.0), fill(|pair| &pair.1))
}

const MICROS: u64 = 1_767_607_200_500_000;
const NOW: &str = "timestamp('2026-01-05T10:00:00.5Z')";
const TEXTS: [&str; 12] = [
    "''",
    "'a'",
    "'GET'",
    "'POST'",
    "'/rest/v1/'",
    "'ü'",
    "'aü😀b'",
    "'42'",
    "'-7'",
    "'x-a'",
    "'DE'",
    "\"it's\\n\"",
];
const INTS: [&str; 10] =
    ["0", "1", "2", "-1", "7", "-3", "42", "9223372036854775807", "-9223372036854775808", "100000"];

/// Makes expressions of choices; without choices left, the smallest.
struct Maker<'c> {
    choices: std::slice::Iter<'c, u16>,
    /// Loop variables that are texts, and that are whole numbers.
    texts: Vec<String>,
    ints: Vec<String>,
}

impl Maker<'_> {
    fn choose(&mut self, of: usize) -> usize {
        usize::from(self.choices.next().copied().unwrap_or(0)) % of
    }

    fn one(&mut self, of: &[&str]) -> Pair {
        let at = self.choose(of.len());
        same(of[at])
    }

    fn test(&mut self, depth: usize) -> Pair {
        let kinds = if depth == 0 { 3 } else { 26 };
        let less = depth.saturating_sub(1);
        match self.choose(kinds) {
            0 => self.one(&["true", "false"]),
            1 => filled("request.method == {}", &[self.one(&["'GET'", "'POST'", "'PUT'"])]),
            2 => self.presence(),
            3 | 4 => filled("({} && {})", &[self.test(less), self.test(less)]),
            5 | 6 => filled("({} || {})", &[self.test(less), self.test(less)]),
            7 => filled("!({})", &[self.test(less)]),
            8 => filled("({} ? {} : {})", &[self.test(less), self.test(less), self.test(less)]),
            9 => {
                let operator = self.one(&["==", "!=", "<", "<=", ">", ">="]);
                filled("{} {} {}", &[self.int(less), operator, self.int(less)])
            }
            10 | 11 => {
                let operator = self.one(&["==", "!=", "<", "<=", ">", ">="]);
                filled("{} {} {}", &[self.text(less), operator, self.text(less)])
            }
            12 => {
                let operator = self.one(&["==", "!=", "<", "<=", ">", ">="]);
                filled("{} {} {}", &[self.moment(less), operator, self.moment(less)])
            }
            13 => {
                let operator = self.one(&["==", "!=", "<", "<=", ">", ">="]);
                filled("{} {} {}", &[self.span(less), operator, self.span(less)])
            }
            14 => {
                let operator = self.one(&["==", "!=", "<", "<=", ">", ">="]);
                filled("{} {} {}", &[self.double(less), operator, self.double(less)])
            }
            15 | 16 => {
                let function = self.one(&["contains", "startsWith", "endsWith"]);
                filled("{}.{}({})", &[self.text(less), function, self.text(less)])
            }
            17 => {
                let pattern = self.one(&["'^a'", "'[0-9]+$'", "'ü|/v1/'", "''", "'(?i)get'"]);
                filled("{}.matches({})", &[self.text(less), pattern])
            }
            18 => filled("{} in {}", &[self.text(less), self.texts(less)]),
            19 => filled("{} in {}", &[self.int(less), self.ints(less)]),
            20 => filled("{} == {}", &[self.texts(less), self.texts(less)]),
            21 => filled("{} != {}", &[self.ints(less), self.ints(less)]),
            22 => {
                let over = self.texts(less);
                let name = format!("t{}", self.texts.len());
                self.texts.push(name.clone());
                let test = self.test(less);
                self.texts.pop();
                let quantity = self.one(&["all", "exists", "exists_one"]);
                filled("{}.{}({}, {})", &[over, quantity, same(name), test])
            }
            23 => {
                let over = self.ints(less);
                let name = format!("n{}", self.ints.len());
                self.ints.push(name.clone());
                let test = self.test(less);
                self.ints.pop();
                let quantity = self.one(&["all", "exists", "exists_one"]);
                filled("{}.{}({}, {})", &[over, quantity, same(name), test])
            }
            24 => {
                let operator = self.one(&["==", "!="]);
                let null = self.one(&["client.country", "request.id"]);
                let other = self.one(&["null", "'DE'", "'a'", "client.country"]);
                filled("{} {} {}", &[null, operator, other])
            }
            _ => {
                let map = self.one(&["request.headers", "request.params", "{'a': 1, 'b': 2}"]);
                filled("('' + {}) in {}", &[self.text(less), map])
            }
        }
    }

    fn presence(&mut self) -> Pair {
        let asked = [
            Pair("has(client.country)".into(), "client.country != null".into()),
            Pair("has(request.id)".into(), "request.id != null".into()),
            Pair("has(request.method)".into(), "true".into()),
            same("has(request.headers.accept)"),
            same("has(request.headers.missing)"),
            same("has(request.params.q)"),
            same("has({'a': 1}.b)"),
        ];
        let at = self.choose(asked.len());
        asked[at].clone()
    }

    fn text(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 3 } else { 13 }) {
            0 => self.one(&TEXTS),
            1 => self.one(&[
                "request.method",
                "request.path",
                "request.host",
                "request.query",
                "request.scheme",
            ]),
            2 => match self.texts.is_empty() {
                true => self.one(&TEXTS),
                false => {
                    let at = self.choose(self.texts.len());
                    same(self.texts[at].clone())
                }
            },
            3 => same("client.country"),
            4 => filled("request.headers[{}]", &[self.text(less)]),
            5 => self.one(&[
                "request.headers.accept",
                "request.headers['x-a']",
                "request.headers.missing",
            ]),
            6 => filled("({} + {})", &[self.text(less), self.text(less)]),
            7 => filled("({} ? {} : {})", &[self.test(less), self.text(less), self.text(less)]),
            8 => filled("{}[{}]", &[self.texts(less), self.int(less)]),
            9 => filled("string({})", &[self.int(less)]),
            10 => filled("string({})", &[self.span(less)]),
            11 => filled("{'GET': 'a', 'a': 'b'}[{}]", &[self.text(less)]),
            _ => filled("string(bytes({}))", &[self.text(less)]),
        }
    }

    fn int(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 2 } else { 13 }) {
            0 => self.one(&INTS),
            1 => match self.ints.is_empty() {
                true => self.one(&INTS),
                false => {
                    let at = self.choose(self.ints.len());
                    same(self.ints[at].clone())
                }
            },
            2 | 3 => {
                let operator = self.one(&["+", "-", "*", "/", "%"]);
                filled("({} {} {})", &[self.int(less), operator, self.int(less)])
            }
            4 => filled("size({})", &[self.text(less)]),
            5 => filled("size({})", &[self.texts(less)]),
            6 => filled("size({})", &[self.ints(less)]),
            7 => filled("-({})", &[self.int(less)]),
            8 => filled("({} ? {} : {})", &[self.test(less), self.int(less), self.int(less)]),
            9 => filled("{}[{}]", &[self.ints(less), self.int(less)]),
            10 => filled("int({})", &[self.double(less)]),
            11 => {
                let part = self.one(&[
                    "getFullYear()",
                    "getMonth()",
                    "getDate()",
                    "getDayOfMonth()",
                    "getDayOfWeek()",
                    "getDayOfYear()",
                    "getHours()",
                    "getMinutes()",
                    "getSeconds()",
                    "getMilliseconds()",
                    "getHours('Europe/Berlin')",
                    "getDate('America/New_York')",
                    "getMinutes('+05:30')",
                ]);
                filled("{}.{}", &[self.moment(less), part])
            }
            _ => filled("int({})", &[self.text(less)]),
        }
    }

    fn double(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 1 } else { 4 }) {
            0 => self.one(&["0.0", "1.5", "-2.25", "1e100", "-1e-300", "3.0"]),
            1 => filled("({} / {})", &[self.double(less), self.one(&["0.5", "-4.0", "3.0"])]),
            2 => {
                let operator = self.one(&["+", "-"]);
                filled("({} {} {})", &[self.double(less), operator, self.double(less)])
            }
            _ => filled("double({})", &[self.int(less)]),
        }
    }

    fn moment(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 2 } else { 4 }) {
            0 => Pair("now".into(), NOW.into()),
            1 => self.one(&[
                "timestamp('2024-02-29T23:59:59.999Z')",
                "timestamp('2025-12-31T23:30:00Z')",
                "timestamp('1969-07-20T20:17:40Z')",
            ]),
            2 => filled("({} + {})", &[self.moment(less), self.span(less)]),
            _ => filled("({} - {})", &[self.moment(less), self.span(less)]),
        }
    }

    fn span(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 1 } else { 4 }) {
            0 => self.one(&[
                "duration('1h30m')",
                "duration('-1.5s')",
                "duration('0s')",
                "duration('100ms')",
                "duration('8760h')",
            ]),
            1 => filled("({} + {})", &[self.span(less), self.span(less)]),
            2 => filled("({} - {})", &[self.span(less), self.span(less)]),
            _ => filled("({} - {})", &[self.moment(less), self.moment(less)]),
        }
    }

    fn texts(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 2 } else { 7 }) {
            0 => self.one(&["tags", "['a', 'GET', 'ü']", "['GET']", "['DE', 'a', 'a']"]),
            1 => same("tags"),
            2 => filled("[{}, {}]", &[self.text(less), self.text(less)]),
            3 => filled("({} + {})", &[self.texts(less), self.texts(less)]),
            4 => filled("request.params[{}]", &[self.text(less)]),
            5 => {
                let over = self.texts(less);
                let name = format!("t{}", self.texts.len());
                self.texts.push(name.clone());
                let test = self.test(less);
                self.texts.pop();
                filled("{}.filter({}, {})", &[over, same(name), test])
            }
            _ => {
                let over = self.ints(less);
                let name = format!("n{}", self.ints.len());
                self.ints.push(name.clone());
                let each = self.text(less);
                self.ints.pop();
                filled("{}.map({}, {})", &[over, same(name), each])
            }
        }
    }

    fn ints(&mut self, depth: usize) -> Pair {
        let less = depth.saturating_sub(1);
        match self.choose(if depth == 0 { 1 } else { 5 }) {
            0 => self.one(&["[1, 2, 3]", "[0]", "[-1, 7, 7, 42]"]),
            1 => filled("[{}, {}]", &[self.int(less), self.int(less)]),
            2 => filled("({} + {})", &[self.ints(less), self.ints(less)]),
            3 => {
                let over = self.texts(less);
                let name = format!("t{}", self.texts.len());
                self.texts.push(name.clone());
                let (test, each) = (self.test(less), self.int(less));
                self.texts.pop();
                filled("{}.map({}, {}, {})", &[over, same(name), test, each])
            }
            _ => {
                let over = self.ints(less);
                let name = format!("n{}", self.ints.len());
                self.ints.push(name.clone());
                let test = self.test(less);
                self.ints.pop();
                filled("{}.filter({}, {})", &[over, same(name), test])
            }
        }
    }
}

/// A request, as both see it.
#[derive(Debug, Clone)]
struct Asked {
    method: Method,
    path: &'static str,
    query: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    country: Option<&'static str>,
    id: Option<&'static str>,
    tags: Vec<&'static str>,
}

fn requests() -> impl Strategy<Value = Asked> {
    let method = prop::sample::select(vec![Method::GET, Method::POST, Method::DELETE]);
    let path = prop::sample::select(vec!["/", "/rest/v1/events", "/a/GET", "/42"]);
    let query = prop::sample::select(vec!["", "q=a&q=GET", "a=1&x-a=%C3%BC", "DE"]);
    let pairs = vec![("accept", "a"), ("x-a", "GET"), ("b-b", "ü"), ("a", "42"), ("c", "")];
    let headers = prop::sample::subsequence(pairs, 0..=5);
    let country = prop::sample::select(vec![None, Some("DE"), Some("a")]);
    let id = prop::sample::select(vec![None, Some("a")]);
    let tags = prop::sample::subsequence(vec!["a", "GET", "DE", "x-a"], 0..=4);
    (method, path, query, headers, country, id, tags).prop_map(
        |(method, path, query, headers, country, id, tags)| Asked {
            method,
            path,
            query,
            headers,
            country,
            id,
            tags,
        },
    )
}

impl Asked {
    fn ours(&self, expression: &Expression) -> Result<bool, Fault> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_bytes(value.as_bytes()).unwrap(),
            );
        }
        let request = RequestView {
            id: self.id,
            method: &self.method,
            secure: true,
            host: "api.example.com",
            path: self.path,
            query: self.query,
            headers: &headers,
            size: None,
        };
        let client = ClientView { address: "192.0.2.1".parse().unwrap(), country: self.country };
        let now = Now { unix_micros: MICROS, mono_nanos: 0 };
        let mut scene = Scene::new(request, client, now);
        self.tags.iter().for_each(|tag| scene.tag((*tag).into()));
        scene.response = Some(ResponseView {
            status: 200,
            headers: &headers,
            took: std::time::Duration::from_millis(5),
        });
        expression.holds(&scene)
    }

    /// `None`: it has no answer.
    fn theirs(&self, env: &Arc<Env>, text: &str) -> Option<bool> {
        let program = env.compile(text).unwrap_or_else(|errors| panic!("{text}: {errors}"));
        let mut context = Context::with_env(Arc::clone(env));
        let text = |text: &str| Value::from(text);
        let map = |entries: Vec<(&str, Value)>| {
            let entries = entries.into_iter().map(|(key, value)| (key.to_owned(), value));
            Value::from(entries.collect::<HashMap<String, Value>>())
        };
        let headers = self.headers.iter().map(|(name, value)| (*name, text(value))).collect();
        let mut params: HashMap<String, Vec<String>> = HashMap::new();
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            params.entry(name.into()).or_default().push(value.replace("%C3%BC", "ü"));
        }
        let absent = |stated: Option<&str>| stated.map_or(Value::Null, Value::from);
        let request = map(vec![
            ("method", text(self.method.as_str())),
            ("scheme", text("https")),
            ("host", text("api.example.com")),
            ("path", text(self.path)),
            ("query", text(self.query)),
            ("id", absent(self.id)),
            ("headers", map(headers)),
            ("params", Value::from(params)),
        ]);
        context.add_variable_from_value("request", request);
        context.add_variable_from_value("client", map(vec![("country", absent(self.country))]));
        let tags: Vec<Value> = self.tags.iter().map(|tag| text(tag)).collect();
        context.add_variable_from_value("tags", Value::from(tags));
        match program.execute(&context) {
            Ok(Value::Bool(holds)) => Some(holds),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_expressions_and_the_interpreter_say_the_same(
        choices in prop::collection::vec(any::<u16>(), 1..60),
        asked in requests(),
    ) {
        let mut maker = Maker { choices: choices.iter(), texts: Vec::new(), ints: Vec::new() };
        let Pair(ours, theirs) = maker.test(4);
        // The parser's bound on nesting, and conversions that can never succeed.
        let Ok(expression) = compile(&ours, Phase::Response) else { return Ok(()) };
        let env = Arc::new(Env::stdlib());
        let ours = asked.ours(&expression);
        prop_assume!(!ours.is_err_and(Fault::is_final));
        prop_assert_eq!(ours.ok(), asked.theirs(&env, &theirs), "{}", theirs);
    }
}

#[test]
fn most_expressions_that_are_made_compile_and_many_have_an_answer() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let choices = prop::collection::vec(any::<u16>(), 1..60);
    let (mut compiled, mut answered) = (0, 0);
    for _ in 0..300 {
        let choices = choices.new_tree(&mut runner).unwrap().current();
        let asked = requests().new_tree(&mut runner).unwrap().current();
        let mut maker = Maker { choices: choices.iter(), texts: Vec::new(), ints: Vec::new() };
        let Pair(ours, _) = maker.test(4);
        match compile(&ours, Phase::Response) {
            Ok(expression) => {
                compiled += 1;
                answered += u32::from(asked.ours(&expression).is_ok());
            }
            Err(mistakes) => println!("{ours}\n  {:?}", mistakes[0]),
        }
    }
    assert!(compiled >= 270, "{compiled}");
    assert!(answered >= 150, "{answered}");
}
