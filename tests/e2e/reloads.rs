//! Reloads and rollbacks while requests are at work: no connection is dropped, and each answer is of
//! one version, from the first rule to the last field and in the audit log.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::support::eventually;
use crate::support::gateway::{Draft, Gateway, tollgate};
use crate::support::http::{self, Answer};
use crate::support::process::Signal;
use crate::support::recorder::Recorder;

/// Five changes each.
const CYCLES: usize = 5;
const CLIENTS: usize = 4;
/// What `/much` of the recorder has to say.
const MUCH: usize = 64_000_000;

/// The gateway file of one of the two policies: one file that is replaced, so that there is nothing
/// between them.
fn gateway_yaml(draft: &Draft, upstream: &Recorder, letter: &str) -> String {
    format!(
        "listen: [{{ address: {} }}]
admin: {}
edge: {{ body_timeout: 10m, tell_version: {{ addresses: [127.0.0.0/8] }} }}
identity:
  issuers: [{{ name: users, iss: https://users.test, keys: [{{ hs256: a-secret-of-the-tests-that-nobody-may-see }}] }}]
directory: {{ file: directory.yaml }}
upstreams:
  web: {{ kind: http, addresses: [{}], identity: none, read_timeout: 10m }}
audit: {{ file: audit.jsonl }}
snapshots: {{ socket: control.sock }}
policies: [{letter}.policy.yaml]
rules: [{letter}.rules.yaml]
",
        draft.listen(),
        draft.admin(),
        upstream.addr(),
    )
}

fn policy(letter: &str) -> String {
    format!(
        "routes:
  - name: web
    match: {{ path: '/web/{{path*}}' }}
    upstream: web
    strip_prefix: /web
    credential: open
    tenant: none
    audit: all
    response: {{ set: {{ X-By-Route: {letter} }} }}
"
    )
}

/// Rules at both ends of the way.
fn rules(letter: &str) -> String {
    format!(
        "rules:
  - {{ id: sent, phase: authenticated, when: true, then: {{ request_headers: {{ set: {{ X-Sent: {letter} }} }} }} }}
  - {{ id: answered, phase: response, when: true, then: {{ response_headers: {{ set: {{ X-By-Rule: {letter} }} }} }} }}
"
    )
}

/// What an answer says of the policy that it was made by.
#[derive(Debug, Clone)]
struct Told {
    target: String,
    request_id: String,
    version: String,
    letter: String,
}

fn told(target: &str, answer: &Answer) -> Told {
    assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    let field =
        |name| answer.header(name).unwrap_or_else(|| panic!("{name}: {answer:?}")).to_owned();
    let letter = field("x-by-route");
    assert_eq!(letter, field("x-by-rule"), "{target}: a mix of two policies");
    let (request_id, version) = (field("x-request-id"), field("x-tollgate-policy"));
    Told { target: target.to_owned(), request_id, version, letter }
}

/// Asks over one connection, again and again, until it is to stop.
async fn client(gateway: std::net::SocketAddr, number: usize, stop: Arc<AtomicBool>) -> Vec<Told> {
    let mut stream = BufReader::new(TcpStream::connect(gateway).await.unwrap());
    let mut all = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let target = format!("/web/steady/{number}-{}", all.len());
        let head = format!("GET {target} HTTP/1.1\r\nHost: gateway.test\r\n\r\n");
        stream.write_all(head.as_bytes()).await.expect("the connection to stay open");
        let answer = http::answer(&mut stream, false).await.expect("an answer on it");
        all.push(told(&target, &answer));
    }
    all
}

/// A request whose body comes in pieces, and one whose answer is taken in pieces.
struct Slow {
    upload: TcpStream,
    download: BufReader<TcpStream>,
    much: Told,
    taken: usize,
}

impl Slow {
    async fn begin(gateway: std::net::SocketAddr, pieces: usize) -> Self {
        let mut upload = TcpStream::connect(gateway).await.unwrap();
        let head = format!(
            "POST /web/upload HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: {}\r\n\r\n",
            pieces * PIECE.len()
        );
        upload.write_all(head.as_bytes()).await.unwrap();
        let mut download = BufReader::new(TcpStream::connect(gateway).await.unwrap());
        let head = "GET /web/much HTTP/1.1\r\nHost: gateway.test\r\n\r\n";
        download.write_all(head.as_bytes()).await.unwrap();
        let head = http::answer(&mut download, true).await.unwrap();
        let much = told("/web/much", &head);
        Self { upload, download, much, taken: 0 }
    }

    async fn go_on(&mut self) {
        self.upload.write_all(PIECE).await.expect("the upload to go on");
        let mut part = vec![0; 500_000];
        self.download.read_exact(&mut part).await.expect("the download to go on");
        self.taken += part.len();
    }

    /// Both to their ends.
    async fn end(mut self) -> [Told; 2] {
        let mut rest = vec![0; MUCH - self.taken];
        self.download.read_exact(&mut rest).await.expect("the whole answer");
        let answer = http::answer(&mut BufReader::new(self.upload), false).await.unwrap();
        [told("/web/upload", &answer), self.much]
    }
}

const PIECE: &[u8] = b"a piece of a body\n";

async fn version(gateway: &Gateway) -> String {
    let told = http::get(gateway.admin(), "/version", &[]).await.unwrap().json();
    told["snapshot"].as_str().unwrap().to_owned()
}

async fn records(gateway: &Gateway, with: impl Fn(&Value) -> bool, count: usize) -> Vec<Value> {
    eventually("the records", async || {
        let text = std::fs::read_to_string(gateway.dir().join("audit.jsonl")).unwrap_or_default();
        let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok());
        let found: Vec<Value> = lines.filter(&with).collect();
        (found.len() >= count).then_some(found)
    })
    .await
}

#[tokio::test]
async fn reloads_and_rollbacks_drop_nothing_and_every_answer_is_of_one_version() {
    let web = Recorder::start().await;
    let draft = Draft::new();
    let [a, b] = ["a", "b"].map(|letter| {
        draft.write(&format!("{letter}.policy.yaml"), &policy(letter));
        draft.write(&format!("{letter}.rules.yaml"), &rules(letter));
        gateway_yaml(&draft, &web, letter)
    });
    draft.write("directory.yaml", "organizations: []\n");
    draft.write("gateway.yaml", &a);
    let gateway = draft.start().await;
    let listen = gateway.listen();
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| tokio::spawn(client(listen, number, Arc::clone(&stop))))
        .collect();
    let mut slow = Slow::begin(listen, CYCLES * 5).await;
    let socket = gateway.dir().join("control.sock").display().to_string();
    let mut in_force = version(&gateway).await;
    for cycle in 0..CYCLES {
        for change in 0..5 {
            match change {
                0 => gateway.write("gateway.yaml", if cycle % 2 == 0 { &b } else { &a }),
                1 => {
                    tollgate(&["snapshots", "rollback", "--socket", &socket]).await;
                }
                3 => gateway.signal(Signal::Usr1),
                _ => gateway.signal(Signal::Hup),
            }
            in_force = eventually("another policy in force", async || {
                let now = version(&gateway).await;
                (now != in_force).then_some(now)
            })
            .await;
            slow.go_on().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let mut all: Vec<Told> = slow.end().await.into();
    for client in clients {
        let answers = client.await.expect("the client's connection to hold");
        assert!(answers.len() > CYCLES, "{} answers", answers.len());
        all.extend(answers);
    }

    // Two versions, each of one letter.
    let mut letters: BTreeMap<&str, &str> = BTreeMap::new();
    for Told { target, version, letter, .. } in &all {
        assert_eq!(*letters.entry(version).or_insert(letter), letter, "{target}: {version}");
    }
    assert_eq!(letters.values().copied().collect::<Vec<_>>().len(), 2, "{letters:?}");
    // The upstream was sent what the same version wants.
    let sent: BTreeMap<String, String> = web
        .requests("/")
        .iter()
        .map(|request| (request.target.clone(), request.all("x-sent").concat()))
        .collect();
    // Records name the version that decided.
    let snapshots: BTreeMap<String, String> =
        records(&gateway, |line| line["request_id"].is_string(), all.len())
            .await
            .iter()
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
                (text("request_id"), text("snapshot"))
            })
            .collect();
    for Told { target, request_id, version, letter } in &all {
        let path = target.strip_prefix("/web").unwrap();
        assert_eq!(sent.get(path), Some(letter), "{target}");
        assert_eq!(snapshots.get(request_id), Some(version), "{target}");
    }
    let upload = web.requests("/upload");
    assert_eq!(upload[0].body, PIECE.repeat(CYCLES * 5));
    let changes = records(&gateway, |line| line["event"] == "policy", CYCLES * 5).await;
    assert!(changes.iter().all(|line| line["outcome"] == "published"), "{changes:?}");
    assert_eq!(web.flaws(), Vec::<String>::new());
}
