//! The law itself, as tables, and the judge of one file.

use crate::lexer::{Placed, Token, tokens};
use crate::paths::{Named, Target, named_paths};

/// Each room and the rooms it may import besides itself. `cli` alone may import everything.
const ROOMS: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("policy", &["domain"]),
    // The grammar is what its stage `isolate` speaks.
    ("pipeline", &["domain", "policy", "postgrest"]),
    ("postgrest", &["domain"]),
    ("config", &["domain", "policy"]),
    ("telemetry", &["domain"]),
    ("stores", &["domain", "policy", "config", "telemetry"]),
    ("proxy", &["domain", "policy", "pipeline", "postgrest", "config", "telemetry", "stores"]),
    ("admin", &["domain", "policy", "pipeline", "postgrest", "config", "telemetry", "stores"]),
    (
        "cli",
        &[
            "domain",
            "policy",
            "pipeline",
            "postgrest",
            "config",
            "telemetry",
            "stores",
            "proxy",
            "admin",
        ],
    ),
];

/// Crates (and every crate whose name continues one of these with `_`) that one room keeps to
/// itself, so that they can be replaced there.
const KEPT: &[(&str, &str)] = &[
    ("pingora", "proxy"),
    ("redis", "stores"),
    ("tokio_postgres", "stores"),
    ("serde_saphyr", "config"),
    ("cel", "config"),
];

/// Rooms that decide and never act: no waiting, no clock, no I/O.
const PURE: &[&str] = &["domain", "policy", "pipeline", "postgrest"];

/// What a pure room may not name: runtimes, sockets, files, threads.
const IO: &[&[&str]] = &[
    &["tokio"],
    &["reqwest"],
    &["std", "fs"],
    &["std", "thread"],
    &["std", "process"],
    &["std", "net", "TcpStream"],
    &["std", "net", "TcpListener"],
    &["std", "net", "UdpSocket"],
];

/// The one file that may read the clock.
const CLOCK: &str = "telemetry/clock.rs";

pub(crate) fn is_room(name: &str) -> bool {
    ROOMS.iter().any(|(room, _)| *room == name)
}

/// What is wrong with one file, given by its path under `src/`.
pub(crate) fn breaches(file: &str, source: &str) -> Vec<String> {
    let module = module_path(file);
    // `lib.rs` and `main.rs` stand above the rooms.
    let room = module.first().map(String::as_str);
    let mut out = Vec::new();
    if !source.starts_with("//!") {
        out.push(format!("{file}:1: does not begin with `//!` saying what it is"));
    }
    for named in named_paths(source, &module) {
        let verdict = match &named.target {
            Target::Internal(path) => internal(room, path),
            Target::External(path) => external(room, path),
        };
        out.extend(verdict.map(|why| format!("{file}:{}: {why}", named.line)));
        out.extend(clock(file, &named));
    }
    out.extend(words(file, room, source));
    out
}

/// `stores/redis.rs` → `["stores", "redis"]`; `lib.rs` and `main.rs` → `[]`.
fn module_path(file: &str) -> Vec<String> {
    let stem = file.trim_end_matches(".rs");
    let mut path: Vec<String> = stem.split('/').map(str::to_owned).collect();
    let last_is_parent = path.last().is_some_and(|last| last == "mod");
    if last_is_parent || ["lib", "main"].contains(&stem) {
        path.pop();
    }
    path
}

fn internal(room: Option<&str>, path: &[String]) -> Option<String> {
    let room = room?;
    let Some(target) = path.first().filter(|first| *first != "*") else {
        return Some(format!("`{room}` imports the crate root, which hides the room it wants"));
    };
    if target == room {
        return None;
    }
    let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == room) else {
        return Some(format!("`{room}` is not a room"));
    };
    if !is_room(target) {
        return Some(format!("`{room}` imports `crate::{target}`, which is not a room"));
    }
    (!allowed.contains(&target.as_str()))
        .then(|| format!("`{room}` may not import `{target}` (`crate::{}`)", path.join("::")))
}

fn external(room: Option<&str>, path: &[String]) -> Option<String> {
    let head = path.first()?;
    let here = room.unwrap_or("the root");
    // The binary reaches the library by its own name; inside it that would be a way around.
    if head == "tollgate" && room.is_some() {
        return Some(format!("`{here}` names its own crate `tollgate`: write `crate::`"));
    }
    for (kept, owner) in KEPT {
        let family = head.strip_prefix(kept).is_some_and(|t| t.is_empty() || t.starts_with('_'));
        if family && room != Some(owner) {
            return Some(format!("`{here}` may not name `{head}`: only `{owner}` does"));
        }
    }
    let pure = PURE.contains(&here);
    let io = IO.iter().any(|forbidden| {
        forbidden.len() <= path.len() && forbidden.iter().zip(path).all(|(f, p)| f == p)
    });
    (pure && io).then(|| format!("`{here}` may not name `{}`: it does no I/O", path.join("::")))
}

fn clock(file: &str, named: &Named) -> Option<String> {
    let (Target::Internal(path) | Target::External(path)) = &named.target;
    let reads = path
        .windows(2)
        .any(|pair| ["SystemTime", "Instant"].contains(&pair[0].as_str()) && pair[1] == "now");
    (reads && file != CLOCK).then(|| {
        format!(
            "{file}:{}: `{}` reads the clock; take `now` as an argument",
            named.line,
            path.join("::")
        )
    })
}

/// Whether the token at this place comes right behind `#[`.
fn begins_attribute(tokens: &[Placed], at: usize) -> bool {
    let back = |by: usize| at.checked_sub(by).and_then(|at| tokens.get(at)).map(|of| &of.token);
    back(1) == Some(&Token::Mark('[')) && back(2) == Some(&Token::Mark('#'))
}

/// Rules that are about words and not about paths.
fn words(file: &str, room: Option<&str>, source: &str) -> Vec<String> {
    let pure = room.filter(|room| PURE.contains(room));
    let tokens = tokens(source);
    let mut out = Vec::new();
    for (at, placed) in tokens.iter().enumerate() {
        let Token::Word(word) = &placed.token else { continue };
        let before = at.checked_sub(1).and_then(|index| tokens.get(index)).map(|p| &p.token);
        let after = tokens.get(at + 1).map(|p| &p.token);
        let why = match (word.as_str(), pure) {
            // Both would bring in source that this walk does not see where it stands.
            ("include", _) if after == Some(&Token::Mark('!')) => {
                "`include!` hides imports".to_owned()
            }
            ("path", _) if begins_attribute(&tokens, at) => "`#[path]` hides imports".to_owned(),
            ("async" | "await", Some(room)) => format!("`{room}` may not wait: `{word}`"),
            ("elapsed", Some(room)) if before == Some(&Token::Mark('.')) => {
                format!("`{room}` may not read a clock: `.elapsed`")
            }
            ("now_v7", Some(room)) => format!("`{room}` may not read a clock: `now_v7`"),
            (_, Some(_) | None) => continue,
        };
        out.push(format!("{file}:{}: {why}", placed.line));
    }
    out
}

#[test]
fn a_file_that_breaks_the_law_is_found() {
    let cases = [
        ("domain/ids.rs", "use crate::policy::Plan;", "`domain` may not import `policy`"),
        (
            "policy/mod.rs",
            "use crate::{domain::A, pipeline::B};",
            "`policy` may not import `pipeline`",
        ),
        (
            "policy/a/b.rs",
            "use super::super::super::stores::X;",
            "`policy` may not import `stores`",
        ),
        (
            "pipeline/limit.rs",
            "fn f() { crate::stores::take() }",
            "`pipeline` may not import `stores`",
        ),
        (
            "pipeline/mod.rs",
            "mod t { use super::super::proxy; }",
            "`pipeline` may not import `proxy`",
        ),
        ("postgrest/mod.rs", "use crate::policy as p;", "`postgrest` may not import `policy`"),
        ("config/mod.rs", "use crate::telemetry::log;", "`config` may not import `telemetry`"),
        ("telemetry/mod.rs", "use crate::config::C;", "`telemetry` may not import `config`"),
        ("stores/mod.rs", "use crate::pipeline::C;", "`stores` may not import `pipeline`"),
        ("admin/mod.rs", "use crate::proxy::C;", "`admin` may not import `proxy`"),
        ("proxy/mod.rs", "use crate::cli::C;", "`proxy` may not import `cli`"),
        ("domain/mod.rs", "use crate::*;", "imports the crate root"),
        ("domain/mod.rs", "use crate as all;", "imports the crate root"),
        ("domain/mod.rs", "use crate::helpers::X;", "which is not a room"),
        ("domain/mod.rs", "use tollgate::stores::X;", "names its own crate"),
        ("domain/mod.rs", "$crate::stores::x!()", "`domain` may not import `stores`"),
        ("admin/mod.rs", "use pingora::server::Server;", "`admin` may not name `pingora`"),
        ("cli/mod.rs", "fn f() { pingora_core::x() }", "`cli` may not name `pingora_core`"),
        ("main.rs", "use ::redis as r;", "`the root` may not name `redis`"),
        ("proxy/a.rs", "use {redis::Client, std::io};", "`proxy` may not name `redis`"),
        (
            "config/a.rs",
            "use tokio_postgres_rustls::M;",
            "`config` may not name `tokio_postgres_rustls`",
        ),
        ("policy/a.rs", "use serde_saphyr::Span;", "`policy` may not name `serde_saphyr`"),
        ("policy/a.rs", "use std::{sync::Arc, fs};", "`policy` may not name `std::fs`"),
        ("pipeline/a.rs", "tokio::spawn(x)", "`pipeline` may not name `tokio::spawn`"),
        ("pipeline/a.rs", "async fn f() {}", "`pipeline` may not wait: `async`"),
        ("postgrest/a.rs", "x.await;", "`postgrest` may not wait: `await`"),
        ("stores/a.rs", "std::time::SystemTime::now()", "reads the clock"),
        ("telemetry/log.rs", "use std::time::Instant; Instant::now()", "reads the clock"),
        ("domain/a.rs", "start.elapsed()", "may not read a clock: `.elapsed`"),
        ("domain/a.rs", "Uuid::now_v7()", "may not read a clock: `now_v7`"),
        ("stores/a.rs", "include!(\"x.rs\");", "`include!` hides imports"),
        ("stores/a.rs", "#[path = \"x.rs\"] mod x;", "`#[path]` hides imports"),
    ];
    for (file, body, expected) in cases {
        let found = breaches(file, &format!("//! A file.\n{body}\n"));
        assert!(
            found
                .iter()
                .any(|line| line.contains(expected) && line.starts_with(&format!("{file}:2:"))),
            "`{body}` in {file} should give `{expected}`, gave {found:?}"
        );
    }
    let headless = breaches("domain/a.rs", "use std::fmt;\n");
    assert!(headless.iter().any(|line| line.contains("does not begin with `//!`")), "{headless:?}");
}

#[test]
fn a_file_that_keeps_the_law_is_left_alone() {
    let cases = [
        ("domain/ids.rs", "use super::source::Source; use std::net::IpAddr; pub(crate) struct A;"),
        ("policy/mod.rs", "use crate::domain::{self, ids::*}; mod tests { use super::*; }"),
        ("pipeline/mod.rs", "use crate::{domain::A, policy::{B, C}}; use self::edge::E;"),
        ("stores/redis.rs", "use redis::aio::X; use tokio_postgres::Client; use crate::config::C;"),
        ("config/load.rs", "use serde_saphyr::from_str; let redis = section.redis; // pingora::x"),
        (
            "proxy/mod.rs",
            "use pingora::proxy::P; use crate::stores::redis; async fn f() { x.await }",
        ),
        ("telemetry/clock.rs", "fn now() { std::time::Instant::now(); SystemTime::now() }"),
        ("main.rs", "use tollgate::cli; fn main() { let path = include_str!(\"a\"); }"),
        ("cli/mod.rs", "use crate::{proxy::A, admin::B, stores::C}; use clap::Parser;"),
    ];
    for (file, body) in cases {
        let found = breaches(file, &format!("//! A file.\n{body}\n"));
        assert!(found.is_empty(), "`{body}` in {file} gave {found:?}");
    }
}
