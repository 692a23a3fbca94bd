//! Random requests over the grammar, confined before a database of two organizations, and as they
//! were written before one that holds only the caller's rows: the answers have to be equal.
//!
//! `TOLLGATE_SEED` repeats a run, `TOLLGATE_CASES` says how many requests it has. A request that
//! fails is shown with everything taken off that it fails without.

use std::fmt::Write;
use std::hash::{BuildHasher, Hasher, RandomState};

use serde_json::Value;

use crate::embeds::{World, get};
use crate::support::fixture::{ACME, GLOBEX};

const CASES: u64 = 2_000;
/// As many as the catalogue allows by default.
const MOST_EMBEDS: u64 = 10;

/// Where embeds lead, and whether to many rows.
const RELATIONS: [(&str, &str, bool); 9] = [
    ("events", "projects", false),
    ("events", "comments", true),
    ("events", "labels", true),
    ("projects", "events", true),
    ("comments", "events", false),
    ("comments", "replies", true),
    ("labels", "events", true),
    ("event_labels", "events", false),
    ("event_labels", "labels", false),
];
const ROOTS: [&str; 5] = ["events", "projects", "comments", "labels", "event_labels"];

#[derive(Debug, Clone)]
struct Case {
    root: &'static str,
    level: Level,
}

/// What is asked of one table.
#[derive(Debug, Clone)]
struct Level {
    table: &'static str,
    columns: Vec<&'static str>,
    embeds: Vec<Embed>,
    /// `key=value`, without the path that leads here.
    parameters: Vec<String>,
}

#[derive(Debug, Clone)]
struct Embed {
    name: String,
    modifier: &'static str,
    many: bool,
    level: Level,
}

/// Numbers from a seed (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

fn columns_of(table: &str) -> &'static [&'static str] {
    match table {
        "events" => &["id", "organization_id", "project_id", "title", "capacity", "starts_at"],
        "projects" => &["id", "organization_id", "name", "status", "notes"],
        "comments" => &["id", "event_id", "body"],
        "replies" => &["id", "comment_id", "body"],
        "labels" => &["id", "organization_id", "label"],
        _ => &["event_id", "label_id"],
    }
}

fn order_of(table: &str) -> &'static str {
    if table == "event_labels" { "event_id,label_id" } else { "id" }
}

impl Case {
    fn random(numbers: &mut Numbers) -> Self {
        let root = numbers.one(&ROOTS);
        let mut names = 0;
        let mut level = Level::random(root, numbers, 0, &mut names);
        if numbers.below(3) == 0 {
            level.parameters.push(format!("limit={}", numbers.below(4)));
        }
        Self { root, level }
    }

    fn url(&self) -> String {
        let mut url = format!("/{}?select=", self.root);
        self.level.select(&mut url);
        self.level.parameters("", true, &mut url);
        url
    }

    /// The same request with one thing less, in every way.
    fn smaller(&self) -> Vec<Self> {
        self.level.smaller().into_iter().map(|level| Self { level, ..self.clone() }).collect()
    }
}

impl Level {
    fn random(table: &'static str, numbers: &mut Numbers, depth: u64, names: &mut u64) -> Self {
        let all = columns_of(table);
        let mut columns: Vec<&str> =
            all.iter().copied().filter(|_| numbers.below(2) == 0).collect();
        if columns.is_empty() {
            columns.push(all[0]);
        }
        let mut embeds = Vec::new();
        for (_, target, many) in RELATIONS.iter().filter(|(from, ..)| *from == table) {
            if depth < 3 && *names < MOST_EMBEDS && numbers.below(3) == 0 {
                *names += 1;
                let name = format!("e{names}");
                let modifier = numbers.one(&["", "", "!inner", "!left"]);
                let level = Self::random(target, numbers, depth + 1, names);
                embeds.push(Embed { name, modifier, many: *many, level });
            }
        }
        let mut parameters = Vec::new();
        for _ in 0..numbers.below(3) {
            parameters.push(match numbers.below(4) {
                0 => {
                    let word = numbers.one(&["or", "and", "not.or", "not.and"]);
                    let (a, b) = (leaf(table, numbers), leaf(table, numbers));
                    format!("{word}=({},{})", a.replacen('=', ".", 1), b.replacen('=', ".", 1))
                }
                _ => leaf(table, numbers),
            });
        }
        for embed in &embeds {
            if numbers.below(4) == 0 {
                let there = numbers.one(&["is.null", "not.is.null"]);
                parameters.push(format!("{}={there}", embed.name));
            }
        }
        Self { table, columns, embeds, parameters }
    }

    fn select(&self, out: &mut String) {
        out.push_str(&self.columns.join(","));
        for embed in &self.embeds {
            write!(out, ",{}:{}{}(", embed.name, embed.level.table, embed.modifier).unwrap();
            embed.level.select(out);
            out.push(')');
        }
    }

    fn parameters(&self, path: &str, many: bool, out: &mut String) {
        for parameter in &self.parameters {
            write!(out, "&{path}{parameter}").unwrap();
        }
        if many {
            write!(out, "&{path}order={}", order_of(self.table)).unwrap();
        }
        for embed in &self.embeds {
            embed.level.parameters(&format!("{path}{}.", embed.name), embed.many, out);
        }
    }

    fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for at in 0..self.parameters.len() {
            let mut less = self.clone();
            less.parameters.remove(at);
            smaller.push(less);
        }
        for at in 0..self.embeds.len() {
            let mut less = self.clone();
            let gone = less.embeds.remove(at).name;
            less.parameters.retain(|parameter| !parameter.starts_with(&format!("{gone}=")));
            smaller.push(less);
            for level in self.embeds[at].level.smaller() {
                let mut less = self.clone();
                less.embeds[at].level = level;
                smaller.push(less);
            }
        }
        if self.columns.len() > 1 {
            let mut less = self.clone();
            less.columns.pop();
            smaller.push(less);
        }
        smaller
    }
}

fn leaf(table: &str, numbers: &mut Numbers) -> String {
    let column = numbers.one(columns_of(table));
    let not = numbers.one(&["", "", "not."]);
    let test = match column {
        "organization_id" => {
            let id = numbers.one(&[ACME.id, GLOBEX.id]);
            match numbers.below(3) {
                0 => format!("eq.{id}"),
                1 => format!("neq.{id}"),
                _ => "is.null".to_owned(),
            }
        }
        "title" | "name" | "status" | "notes" | "body" | "label" => {
            numbers.one(&["like.*e*", "ilike.*ONLY*", "eq.active", "neq.x", "is.null"]).to_owned()
        }
        "starts_at" => numbers.one(&["is.null", "gt.2026-03-01T12:00:00Z"]).to_owned(),
        _ => {
            let number = numbers.below(8);
            let operator = numbers.one(&["eq", "neq", "gt", "gte", "lt", "lte"]);
            format!("{operator}.{number}")
        }
    };
    format!("{column}={not}{test}")
}

/// The status of the answer, or what is wrong with it.
async fn answered(world: &World, case: &Case) -> Result<u16, String> {
    let url = case.url();
    let headers = &[("prefer", "count=exact")];
    let request = get(&url, headers);
    let sent = match world.both.confine(&request, ACME) {
        Ok(sent) => sent,
        Err(refusal) => return Err(format!("refused: {refusal}")),
    };
    let answer = world.both.send(&sent).await;
    let expected = world.alone.send_as_written(&request).await;
    let (text, wanted) = (answer.text(), expected.text());
    if text.contains(GLOBEX.mark) {
        return Err(format!("a leak: {sent:?}: {text}"));
    }
    let json = |text: &str| serde_json::from_str::<Value>(text).ok();
    let range = (answer.header("content-range"), expected.header("content-range"));
    let same = json(&text) == json(&wanted) && range.0 == range.1;
    if same && answer.status == expected.status {
        return Ok(answer.status);
    }
    let (status, wanted_status) = (answer.status, expected.status);
    Err(format!("{sent:?}: {status} {range:?}\n{text}\nwanted {wanted_status}\n{wanted}"))
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text}")))
}

#[tokio::test]
async fn random_reads_answer_as_if_the_other_organization_were_not_there() {
    let seed = number("TOLLGATE_SEED");
    let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let world = World::new().await;
    let mut numbers = Numbers(seed);
    let (cases, mut rows) = (number("TOLLGATE_CASES").unwrap_or(CASES), 0);
    for at in 0..cases {
        let mut case = Case::random(&mut numbers);
        let mut found = match answered(&world, &case).await {
            Ok(status) => {
                rows += u64::from(matches!(status, 200 | 206));
                continue;
            }
            Err(found) => found,
        };
        'shrink: loop {
            for smaller in case.smaller() {
                if let Err(still) = answered(&world, &smaller).await {
                    (case, found) = (smaller, still);
                    continue 'shrink;
                }
            }
            break;
        }
        panic!("case {at} of TOLLGATE_SEED={seed}: {}\n{found}", case.url());
    }
    // Requests that PostgREST refuses alike show nothing.
    assert!(rows * 10 >= cases * 9, "{rows} of {cases} with TOLLGATE_SEED={seed}");
}
