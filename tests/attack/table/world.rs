//! The way of a request through the built gateway, and the oracle.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio_postgres::Client;

use super::spelling::{Row, Spelling, Verdict};
use crate::support::fixture::{ACME, ALICE};
use crate::support::gateway::Gateway;
use crate::support::http::{self, Answer};
use crate::support::keys::{Key, user_claims};
use crate::support::postgres::{APP, Postgres};
use crate::support::postgrest::PostgRest;
use crate::support::stack::{Options, UPSTREAM_SECRET, drafted, gateway_yaml, token};

const SCHEMA: &str = include_str!("schema.sql");
const ALONE: &str = include_str!("alone.sql");
const KEPT: &str = include_str!("kept.sql");
const POLICY: &str = include_str!("policy.yaml");

/// What stands in rows of the other organization only, in lower case: its marks, its id in every
/// spelling that PostgreSQL prints or reads, its members, the ids of its rows.
const OTHERS: [&str; 5] =
    ["globex", "22222222-2222-4222-8222", "22222222222242228222", "b0b00000-0000", "88008800"];

pub(super) const SECRET_KEY: &str = "sb_secret_0123456789abcdef0123456789abcdef";

/// Fields in the order in which they must end.
pub(super) struct World {
    gateway: Gateway,
    both: Database,
    alone: Database,
    caller: String,
    minted: String,
}

struct Database {
    postgrest: PostgRest,
    client: Client,
    _postgres: Postgres,
}

impl Database {
    async fn start(scripts: &[&str]) -> Self {
        let postgres = Postgres::start().await;
        for script in scripts {
            postgres.execute(APP, script).await;
        }
        let postgrest = PostgRest::start(&postgres, UPSTREAM_SECRET).await;
        let client = postgres.client(APP).await;
        Self { postgrest, client, _postgres: postgres }
    }

    /// All rows that belong to the caller's organization, or all that do not.
    async fn rows(&self, own: bool) -> Vec<(String, Value)> {
        let is = if own { "not" } else { "" };
        let owner = ACME.id;
        let query = format!(
            "select home, contents from kept.owned where owner is {is} distinct from '{owner}'
             order by home, contents::text"
        );
        let rows = self.client.query(&query, &[]).await.expect("the rows");
        rows.into_iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn restore(&self) {
        self.client.batch_execute("select kept.restore()").await.expect("the rows as they were");
    }
}

impl World {
    pub(super) async fn start() -> Self {
        let (both, alone) =
            tokio::join!(Database::start(&[SCHEMA, KEPT]), Database::start(&[SCHEMA, ALONE, KEPT]));
        let options = Options::default();
        let draft = drafted(both.postgrest.addr(), &options);
        let gateway = gateway_yaml(&draft, both.postgrest.addr(), &options);
        let keys = format!(
            "  api_keys:
    - {{ name: backend, secret: {SECRET_KEY} }}
"
        );
        let service = "  service: { role: editor, addresses: [10.0.0.0/8] }\ndirectory:";
        let gateway = gateway.replacen("  api_keys:\n", &keys, 1);
        draft.write("gateway.yaml", &gateway.replacen("directory:", service, 1));
        draft.write("policy.yaml", POLICY);
        let gateway = draft.start().await;
        let caller = format!("Bearer {}", token(ALICE));
        let minted = Key::hs256("legacy", UPSTREAM_SECRET).mint(&user_claims(ALICE));
        Self { gateway, both, alone, caller, minted: format!("Bearer {minted}") }
    }

    /// Sends every spelling of every row.
    ///
    /// # Panics
    /// With all that has gone wrong.
    pub(super) async fn withstands(&self, rows: Vec<Row>) {
        let others = self.both.rows(false).await;
        let mut wrong = Vec::new();
        for row in rows {
            for (spelling, verdict) in &row.spellings {
                let answer = self.ask(spelling).await;
                let mut found = judged(&answer, spelling, verdict);
                found.extend(leaks(&answer));
                if self.both.rows(false).await != others {
                    found.push("rows of others have changed".to_owned());
                }
                match verdict {
                    Verdict::Alike => found.extend(self.differs(&answer, spelling).await),
                    Verdict::Means(same) => found.extend(self.differs(&answer, same).await),
                    Verdict::Refused(..) if spelling.writes() => {
                        if self.both.rows(true).await != self.alone.rows(true).await {
                            found.push("a refused request has written".to_owned());
                        }
                    }
                    Verdict::Refused(..) | Verdict::Answered(..) => {}
                }
                if spelling.writes() {
                    self.both.restore().await;
                    self.alone.restore().await;
                }
                let (number, about) = (row.number, row.about);
                let Spelling { method, target, headers, .. } = spelling;
                let body = String::from_utf8_lossy(&spelling.body);
                wrong.extend(found.into_iter().map(|found| {
                    format!("#{number} ({about}): {method} {target} {headers:?} {body}\n  {found}")
                }));
            }
        }
        assert!(wrong.is_empty(), "{}\n{} findings", wrong.join("\n"), wrong.len());
    }

    async fn ask(&self, spelling: &Spelling) -> Answer {
        let to = self.gateway.listen();
        if let Some(raw) = &spelling.raw {
            return self.ask_raw(raw).await;
        }
        let target = match spelling.target.strip_prefix('!') {
            Some(target) => target.to_owned(),
            None => format!("/rest/v1{}", spelling.target),
        };
        send(to, &target, spelling, &self.caller).await
    }

    /// Sends bytes, with the fields that every request needs behind their first line.
    async fn ask_raw(&self, raw: &[u8]) -> Answer {
        let to = self.gateway.listen();
        let at = raw.windows(2).position(|pair| pair == b"\r\n").expect("a line") + 2;
        let fields =
            format!("Host: {to}\r\nConnection: close\r\nAuthorization: {}\r\n", self.caller);
        let bytes = [&raw[..at], fields.as_bytes(), &raw[at..]].concat();
        let mut stream = TcpStream::connect(to).await.expect("a connection");
        stream.write_all(&bytes).await.expect("a request that is sent");
        http::answer(&mut BufReader::new(stream), false).await.expect("an answer")
    }

    /// How the answer differs from that to a request where only the caller's rows exist, and how
    /// what the request has left differs.
    async fn differs(&self, answer: &Answer, same: &Spelling) -> Option<String> {
        let to = self.alone.postgrest.addr();
        let expected = send(to, &same.target, same, &self.minted).await;
        let (said, wanted) = (told(answer, same), told(&expected, same));
        if said != wanted {
            return Some(format!("said {said:?}\n  not  {wanted:?}"));
        }
        if same.writes() && self.both.rows(true).await != self.alone.rows(true).await {
            return Some("has left other rows of its own".to_owned());
        }
        None
    }
}

async fn send(to: SocketAddr, target: &str, spelling: &Spelling, caller: &str) -> Answer {
    let mut headers: Vec<(&str, &str)> = Vec::new();
    if !spelling.headers.iter().any(|(name, _)| name == "authorization") {
        headers.push(("Authorization", caller));
    }
    let given = spelling.headers.iter().filter(|(_, value)| value != "(none)");
    headers.extend(given.map(|(name, value)| (name.as_str(), value.as_str())));
    http::send(to, spelling.method, target, &headers, &spelling.body)
        .await
        .unwrap_or_else(|error| panic!("{} {target}: {error}", spelling.method))
}

/// What an answer tells. Of rows in no stated order the order tells nothing; of errors PostgREST
/// alone tells more than a client may know.
fn told(answer: &Answer, asked: &Spelling) -> (u16, [Option<String>; 4], Value) {
    let text = answer.text();
    // PostgREST orders what it reads.
    let ordered = asked.target.contains("order=") && !asked.writes();
    let body = match serde_json::from_str(&text) {
        Ok(Value::Object(mut error)) if answer.status >= 400 => {
            let counted = error.get("code") == Some(&json!("PGRST116"));
            error.retain(|name, _| {
                matches!(name.as_str(), "code" | "message") || (counted && name == "details")
            });
            Value::Object(error)
        }
        Ok(Value::Array(mut rows)) if !ordered => {
            rows.sort_by_key(Value::to_string);
            Value::Array(rows)
        }
        Ok(body) => body,
        Err(_) if ordered => Value::String(text),
        Err(_) => {
            let mut lines: Vec<&str> = text.lines().collect();
            lines.sort_unstable();
            json!(lines)
        }
    };
    let field = |name: &str| answer.header(name).map(str::to_owned);
    let fields = ["content-range", "content-type", "location", "preference-applied"];
    (answer.status, fields.map(field), body)
}

/// What of an answer is not the verdict, or not as an error has to be.
fn judged(answer: &Answer, spelling: &Spelling, verdict: &Verdict) -> Vec<String> {
    let mut wrong = Vec::new();
    let text = answer.text();
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    let (status, code) = match verdict {
        Verdict::Refused(status, code) => (Some(*status), Some(*code)),
        Verdict::Answered(status, code) => (Some(*status), *code),
        Verdict::Alike | Verdict::Means(_) => (None, None),
    };
    let said = (answer.status, body["code"].as_str());
    let as_expected = status.is_none_or(|status| status == answer.status)
        && (spelling.method == "HEAD" || code.is_none_or(|code| said.1 == Some(code)));
    if !as_expected {
        wrong.push(format!("came to {said:?}, not to {:?}: {text}", (status, code)));
    }
    if answer.header("content-location").is_some() {
        wrong.push("a Content-Location".to_owned());
    }
    if answer.status < 400 || spelling.method == "HEAD" {
        return wrong;
    }
    let members: Vec<&str> =
        body.as_object().map(|body| body.keys().map(String::as_str).collect()).unwrap_or_default();
    let own = matches!(verdict, Verdict::Refused(..));
    let shapes: &[&[&str]] = if own {
        &[
            &["code", "message", "details", "hint", "request_id"],
            // Where no route says that PostgREST's client asks.
            &["type", "title", "status", "code", "message", "request_id"],
            // Where the request is none.
            &["type", "title", "status", "code"],
        ]
    } else {
        &[&["code", "message", "details", "hint"]]
    };
    let counted = body["code"] == json!("PGRST116");
    let text_of = |name: &str| body[name].as_str().is_some_and(|text| !text.is_empty());
    let told = (text_of("message") || text_of("title"))
        && (body["details"].is_null() || counted)
        && body["hint"].is_null();
    if !told || !shapes.contains(&members.as_slice()) {
        wrong.push(format!("an error of another shape: {text}"));
    }
    if own && said.1.is_some_and(|code| code.starts_with("rest_")) && !members.contains(&"details")
    {
        wrong.push(format!("not the shape of PostgREST: {text}"));
    }
    wrong
}

/// What of the other organization stands in an answer.
fn leaks(answer: &Answer) -> Option<String> {
    let fields = answer.headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
    let whole = fields.chain([answer.text()]).collect::<String>();
    let lower = whole.to_lowercase();
    let mark = OTHERS.iter().find(|mark| lower.contains(**mark))?;
    Some(format!("A LEAK of `{mark}`: {whole}"))
}
