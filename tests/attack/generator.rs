//! Random requests over the grammar, confined before a database of two organizations, and as they
//! were written before one that holds only the caller's rows: the answers have to be equal, and so
//! have the caller's rows after a write; the other organization's stay as they were.
//!
//! `TOLLGATE_SEED` repeats a run, `TOLLGATE_CASES` says how many requests it has. A request that
//! fails is shown with everything taken off that it fails without.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::embeds::World;
use crate::support::fixture::{ACME, GLOBEX};
use crate::support::http::Answer;
use crate::upstream::Request;

mod body;
mod numbers;
mod read;
mod words;
mod world;
mod write;

use numbers::{Numbers, number, seed};
use read::Read;
use world::{Places, Rows};
use write::Write;

const CASES: u64 = 2_000;
/// Of ten requests so many are writes.
const WRITES: u64 = 3;
/// After so many writes the databases start anew, so that they stay small.
const WRITES_IN_A_ROW: usize = 40;

/// What is wrong with what a request came to.
#[derive(Debug, Clone)]
struct Finding {
    kind: Kind,
    shown: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Refused,
    Leak,
    Answer,
    OtherRows,
    OwnRows,
}

/// How two answers are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Alike {
    /// Rows in their order, with members in any: PostgREST puts several embeds into an order of
    /// its own.
    InOrder,
    /// Rows in any order, embedded ones, too: PostgREST orders none that hang on a write.
    InAnyOrder,
    /// Rows in any order, in the database's own text.
    ToTheLetter,
}

/// The status that both gave, or what is wrong.
async fn answered(world: &World, request: &Request<'_>, alike: Alike) -> Result<u16, Finding> {
    let sent = world
        .both
        .confine(request, ACME)
        .map_err(|refusal| Finding { kind: Kind::Refused, shown: format!("refused: {refusal}") })?;
    let (answer, expected) =
        tokio::join!(world.both.send(&sent), world.alone.send_as_written(request));
    let (text, wanted) = (answer.text(), expected.text());
    if text.contains(GLOBEX.mark) {
        return Err(Finding { kind: Kind::Leak, shown: format!("a leak: {sent:?}: {text}") });
    }
    let heads = |answer: &Answer| {
        let names = ["content-range", "location", "content-type"];
        names.map(|name| answer.header(name).map(str::to_owned))
    };
    let (head, wanted_head) = (heads(&answer), heads(&expected));
    let same = said(&answer, alike) == said(&expected, alike) && head == wanted_head;
    if same && answer.status == expected.status {
        return Ok(answer.status);
    }
    let (status, wanted_status) = (answer.status, expected.status);
    let shown = format!(
        "{sent:?}: {status} {head:?}\n{text}\nwanted {wanted_status} {wanted_head:?}\n{wanted}"
    );
    Err(Finding { kind: Kind::Answer, shown })
}

/// What an answer says: the rows, or of an error what the gateway keeps of it.
fn said(answer: &Answer, alike: Alike) -> Vec<String> {
    let text = answer.text();
    if answer.status >= 400 {
        let error: Value = serde_json::from_str(&text).unwrap_or_default();
        return vec![error["code"].to_string(), error["message"].to_string()];
    }
    let canonical = |text: &str| {
        let mut value: Value = serde_json::from_str(text).unwrap_or_default();
        value.sort_all_objects();
        if alike != Alike::InOrder {
            sort(&mut value);
        }
        value.to_string()
    };
    let row = |row: &RawValue| match alike {
        Alike::ToTheLetter => row.get().to_owned(),
        Alike::InOrder | Alike::InAnyOrder => canonical(row.get()),
    };
    let rows = serde_json::from_str::<Vec<&RawValue>>(&text);
    let mut said =
        rows.map_or_else(|_| vec![canonical(&text)], |rows| rows.into_iter().map(row).collect());
    if alike != Alike::InOrder {
        said.sort();
    }
    said
}

/// Sorts all lists.
fn sort(value: &mut Value) {
    match value {
        Value::Array(members) => {
            members.iter_mut().for_each(sort);
            members.sort_by_key(Value::to_string);
        }
        Value::Object(members) => members.values_mut().for_each(sort),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A write before both databases, and what they hold afterwards.
async fn written(places: &Places, before: &Rows, write: &Write) -> Result<u16, Finding> {
    let (url, headers, body) = (write.url(), write.headers(), write.body());
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let request = Request { method: write.method, url: &url, headers: &headers, body: &body };
    let alike = if write.has_embeds() { Alike::InAnyOrder } else { Alike::ToTheLetter };
    let status = answered(&places.world, &request, alike).await?;
    let (both, alone) = places.rows().await;
    if both.others != before.others {
        let shown = differing(&both.others, &before.others);
        return Err(Finding { kind: Kind::OtherRows, shown });
    }
    match both.own == alone.own {
        true => Ok(status),
        false => {
            let shown = differing(&both.own, &alone.own);
            Err(Finding { kind: Kind::OwnRows, shown })
        }
    }
}

/// The rows that are in one of the two only.
fn differing(found: &str, wanted: &str) -> String {
    let only = |one: &str, other: &str| {
        let rows = one.lines().filter(|row| !other.lines().any(|known| known == *row));
        rows.collect::<Vec<_>>().join("\n")
    };
    format!("found\n{}\nwanted\n{}", only(found, wanted), only(wanted, found))
}

/// What the last of some writes comes to, from the start.
async fn replayed(places: &Places, history: &[Write], write: &Write) -> Result<u16, Finding> {
    let before = places.reset().await;
    for earlier in history {
        let _ = written(places, &before, earlier).await;
    }
    written(places, &before, write).await
}

#[tokio::test]
async fn random_reads_answer_as_if_the_other_organization_were_not_there() {
    let seed = seed();
    let world = World::new().await;
    let mut numbers = Numbers::new(seed);
    let cases = number("TOLLGATE_CASES").unwrap_or(CASES) * (10 - WRITES) / 10;
    let mut rows = 0;
    let headers = &[("prefer", "count=exact")];
    for at in 0..cases {
        let mut case = Read::random(&mut numbers);
        let check = async |case: &Read| {
            let request = Request { method: case.method, url: &case.url(), headers, body: "" };
            answered(&world, &request, Alike::InOrder).await
        };
        let mut found = match check(&case).await {
            Ok(status) => {
                rows += u64::from(matches!(status, 200 | 206));
                continue;
            }
            Err(found) => found,
        };
        'shrink: loop {
            for smaller in case.smaller() {
                match check(&smaller).await {
                    Err(still) if still.kind == found.kind => {
                        (case, found) = (smaller, still);
                        continue 'shrink;
                    }
                    Err(_) | Ok(_) => {}
                }
            }
            break;
        }
        let (method, url) = (case.method, case.url());
        panic!("read {at} of TOLLGATE_SEED={seed}: {method} {url}\n{}", found.shown);
    }
    // Requests that PostgREST refuses alike show nothing.
    assert!(rows * 10 >= cases * 9, "{rows} of {cases} with TOLLGATE_SEED={seed}");
}

#[tokio::test]
async fn random_reads_of_tables_in_shadow_answer_as_they_were_written() {
    let seed = seed();
    let world = World::new().await;
    let mut numbers = Numbers::new(seed);
    let cases = number("TOLLGATE_CASES").unwrap_or(CASES) / 5;
    let (mut rows, headers) = (0, &[("prefer", "count=exact")]);
    for at in 0..cases {
        let case = Read::random(&mut numbers);
        let (method, url) = (case.method, case.url());
        let request = Request { method, url: &url, headers, body: "" };
        let sent = world.both.written(&request, ACME);
        let sent = sent.unwrap_or_else(|| panic!("read {at} of {seed}: {method} {url} is refused"));
        let (answer, wanted) =
            tokio::join!(world.both.send(&sent), world.both.send_as_written(&request));
        let same = said(&answer, Alike::InOrder) == said(&wanted, Alike::InOrder)
            && answer.header("content-range") == wanted.header("content-range");
        let text = || format!("{sent:?}\n{}\nwanted\n{}", answer.text(), wanted.text());
        assert!(
            same && answer.status == wanted.status,
            "read {at} of TOLLGATE_SEED={seed}: {method} {url}\n{}",
            text()
        );
        rows += u64::from(matches!(answer.status, 200 | 206));
    }
    assert!(rows * 10 >= cases * 9, "{rows} of {cases} with TOLLGATE_SEED={seed}");
}

#[tokio::test]
async fn random_writes_do_what_they_would_if_the_other_organization_were_not_there() {
    let seed = seed();
    let places = Places::new().await;
    let mut numbers = Numbers::new(seed);
    let cases = number("TOLLGATE_CASES").unwrap_or(CASES) * WRITES / 10;
    let (mut done, mut history) = (0, Vec::new());
    let before = places.reset().await;
    for at in 0..cases {
        if history.len() == WRITES_IN_A_ROW {
            places.reset().await;
            history.clear();
        }
        let write = Write::random(&mut numbers);
        match written(&places, &before, &write).await {
            Ok(status) => done += u64::from(status < 300),
            Err(found) => {
                let (history, write, found) = shrunk(&places, history, write, found).await;
                let earlier: String = history.iter().map(shown).collect();
                let last = shown(&write);
                panic!("write {at} of TOLLGATE_SEED={seed}:{earlier}{last}\n{}", found.shown);
            }
        }
        history.push(write);
    }
    assert!(done * 10 >= cases * 6, "{done} of {cases} with TOLLGATE_SEED={seed}");
}

async fn shrunk(
    places: &Places,
    mut history: Vec<Write>,
    mut write: Write,
    mut found: Finding,
) -> (Vec<Write>, Write, Finding) {
    let kind = found.kind;
    // What was written before matters less often than what is written now.
    if let Err(still) = replayed(places, &[], &write).await
        && still.kind == kind
    {
        (history, found) = (Vec::new(), still);
    }
    let mut at = 0;
    while at < history.len() {
        let mut fewer = history.clone();
        fewer.remove(at);
        match replayed(places, &fewer, &write).await {
            Err(still) if still.kind == kind => (history, found) = (fewer, still),
            Err(_) | Ok(_) => at += 1,
        }
    }
    'shrink: loop {
        for smaller in write.smaller() {
            match replayed(places, &history, &smaller).await {
                Err(still) if still.kind == kind => {
                    (write, found) = (smaller, still);
                    continue 'shrink;
                }
                Err(_) | Ok(_) => {}
            }
        }
        return (history, write, found);
    }
}

fn shown(write: &Write) -> String {
    format!("\n{} {} {:?}\n{:?}", write.method, write.url(), write.headers(), write.body())
}
