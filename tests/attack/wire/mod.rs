//! Attacks on the wire: bytes that no HTTP library would send, to the built gateway, in front of an
//! upstream that keeps every byte it gets.
//!
//! What holds for all of them is looked at when a test ends: the upstream got nothing but requests
//! with one reading, every gauge is back at zero, and no secret is in a log, the audit file or the
//! metrics.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::fixture::ALICE;
use crate::support::gateway::{Draft, Gateway};
use crate::support::http::{self, Answer};
use crate::support::recorder::Recorder;
use crate::support::stack::{
    Options, UPSTREAM_SECRET, USER_SECRET, directory_yaml, gateway_yaml, policy_yaml, token,
};
use crate::support::{PATIENCE, eventually};

mod framing;
mod pipelining;
mod reloading;
mod secure;
mod slowness;
mod sockets;
mod spoofed;
mod streams;
mod targets;
mod vanishing;

/// Stands in every secret that the tests send: nothing that holds it may be written down.
pub(super) const MARK: &str = "UNMISTAKABLE";

/// What tests vary of the edge: a line of YAML for every key.
pub(super) const EDGE: &str = "  head_timeout: 5s
  body_timeout: 5s
  keepalive_timeout: 300ms
  connections_per_address: 4096
  requests_per_organization: 4096
  requests_per_user: 4096
";

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(super) struct Wire {
    pub(super) gateway: Gateway,
    pub(super) upstream: Recorder,
    /// A member's token.
    pub(super) token: String,
}

impl Wire {
    pub(super) async fn start(edge: &str) -> Self {
        Self::start_with(edge, |_, yaml| yaml).await
    }

    /// Starts it with a configuration that the test has changed.
    pub(super) async fn start_with(
        edge: &str,
        change: impl FnOnce(&Draft, String) -> String,
    ) -> Self {
        let upstream = Recorder::start().await;
        let draft = Draft::new();
        let options = Options::default();
        let yaml = gateway_yaml(&draft, upstream.addr(), &options);
        let yaml = change(&draft, with_edge(&yaml, edge, upstream.addr()));
        draft.write("gateway.yaml", &yaml);
        draft.write("policy.yaml", &policy(&options));
        draft.write("directory.yaml", &directory_yaml());
        let gateway = draft.start().await;
        let wire = Self { gateway, upstream, token: token(ALICE) };
        assert_eq!(wire.get("/open/first").await.status, 200, "{}", wire.gateway.log());
        wire
    }

    pub(super) fn to(&self) -> SocketAddr {
        self.gateway.listen()
    }

    pub(super) async fn get(&self, target: &str) -> Answer {
        http::get(self.to(), target, &[]).await.expect("an answer")
    }

    /// A metric without labels.
    pub(super) async fn metric(&self, name: &str) -> f64 {
        let metrics = http::get(self.gateway.admin(), "/metrics", &[]).await.expect("metrics");
        let text = metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.trim().parse().ok())
            .unwrap_or_else(|| panic!("no `{name}` in {text}"))
    }

    /// Waits until nothing is at work any more.
    pub(super) async fn comes_to_rest(&self) {
        for gauge in ["tollgate_requests_in_flight", "tollgate_connections_open"] {
            eventually(&format!("{gauge} at zero"), async || {
                (self.metric(gauge).await == 0.0).then_some(())
            })
            .await;
        }
    }

    /// What must hold whatever was sent.
    pub(super) async fn finish(mut self) {
        self.comes_to_rest().await;
        assert_eq!(self.get("/open/last").await.status, 200);
        assert_eq!(self.upstream.flaws(), Vec::<String>::new());
        let metrics = http::get(self.gateway.admin(), "/metrics", &[]).await.expect("metrics");
        assert!(self.gateway.terminate().await.success(), "{}", self.gateway.log());
        let log = self.gateway.log();
        let audit = std::fs::read_to_string(self.gateway.dir().join("audit.jsonl")).expect("audit");
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.contains("/open/last") && audit.contains("/open/last"), "{log}");
        let mut secrets = vec![
            MARK.to_owned(),
            USER_SECRET.to_owned(),
            UPSTREAM_SECRET.to_owned(),
            signature(&self.token),
        ];
        for request in self.upstream.requests("") {
            secrets.extend(request.all("authorization").into_iter().map(signature));
        }
        for (place, text) in [("log", &log), ("audit", &audit), ("metrics", &metrics.text())] {
            for secret in &secrets {
                let line = text.lines().find(|line| line.contains(secret.as_str()));
                assert_eq!(line, None, "`{secret}` in the {place}");
            }
        }
    }
}

/// The part of a credential that makes it one.
fn signature(token: &str) -> String {
    token.rsplit('.').next().unwrap_or(token).to_owned()
}

fn with_edge(yaml: &str, edge: &str, upstream: SocketAddr) -> String {
    let plain = format!(
        "edge:\n{edge}log: {{ format: json, filter: debug }}\nupstreams:\n  plain: {{ kind: http, \
         addresses: [{upstream}], identity: none }}\n  named: {{ kind: http, \
         addresses: [{upstream}], identity: pass_through }}\n"
    );
    yaml.replace("upstreams:\n", &plain)
}

fn policy(options: &Options) -> String {
    let open = |name: &str, path: &str, more: &str| {
        format!(
            "  - name: {name}\n    match: {{ path: '{path}' }}\n    upstream: plain\n    \
             credential: open\n    tenant: none\n    audit: all\n{more}"
        )
    };
    let named = "  - name: named\n    match: { path: '/named/{path*}' }\n    upstream: named\n    \
                 strip_prefix: /named\n    credential: user\n    tenant: [header, default]\n    \
                 permission: member\n    audit: all\n";
    let sockets = |name: &str, path: &str, websocket: &str| {
        format!(
            "  - name: {name}\n    match: {{ path: '/socket/{path}' }}\n    upstream: named\n    \
             credential: user\n    tenant: [header, default]\n    permission: member\n    \
             websocket: {{ grace: 1s, per_organization: 2000, {websocket} }}\n"
        )
    };
    [
        policy_yaml(options),
        open("open", "/open/{path*}", "    strip_prefix: /open\n    max_body: 64KiB\n"),
        open("socket", "/socket", "    websocket: true\n"),
        open("unswitched", "/unswitched/{path*}", "    websocket: true\n"),
        named.to_owned(),
        sockets("sockets", "{path*}", "per_user: 2000"),
        sockets("few-sockets", "few/{path*}", "per_user: 3"),
        sockets("silent-sockets", "silent/{path*}", "idle: 1s"),
        sockets("checked-sockets", "checked/{path*}", "recheck: 100ms"),
    ]
    .concat()
}

/// Sends bytes and reads answers until the gateway closes. Interim answers are left out.
pub(super) async fn talk(to: SocketAddr, bytes: &[u8]) -> Vec<Answer> {
    talk_from(LOCALHOST, to, &[bytes], 0).await
}

/// The same, with the bytes in several packets.
pub(super) async fn talk_in_pieces(to: SocketAddr, pieces: &[&str]) -> Vec<Answer> {
    let pieces: Vec<&[u8]> = pieces.iter().map(|piece| piece.as_bytes()).collect();
    talk_from(LOCALHOST, to, &pieces, 3).await
}

/// The same, from an address of its own and with a pause behind each piece.
pub(super) async fn talk_from(
    from: IpAddr,
    to: SocketAddr,
    pieces: &[&[u8]],
    pause_millis: u64,
) -> Vec<Answer> {
    let talking = async {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("a loopback address");
        let stream = socket.connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let (back, mut forth) = stream.into_split();
        let writing = async {
            for piece in pieces {
                // The gateway may answer and close before it has read everything.
                if forth.write_all(piece).await.is_err() {
                    break;
                }
                if pause_millis > 0 {
                    dawdle(pause_millis).await;
                }
            }
        };
        let reading = async {
            let (mut back, mut answers) = (BufReader::new(back), Vec::new());
            loop {
                match http::answer(&mut back, false).await {
                    Ok(answer) if answer.status < 200 => {}
                    Ok(answer) => answers.push(answer),
                    Err(error) if error.kind() == ErrorKind::InvalidData => {
                        panic!("{error} after {answers:?}")
                    }
                    Err(_) => return answers,
                }
            }
        };
        tokio::join!(writing, reading).1
    };
    let answers = tokio::time::timeout(PATIENCE, talking).await;
    answers.unwrap_or_else(|_| panic!("never closed: {}", pieces.concat().escape_ascii()))
}

pub(super) async fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).await.expect("a connection");
    stream.set_nodelay(true).expect("a socket");
    stream
}

/// Writes what the other side takes.
pub(super) async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
}

/// Statuses, for messages.
pub(super) fn statuses(answers: &[Answer]) -> Vec<u16> {
    answers.iter().map(|answer| answer.status).collect()
}

/// A wait that is part of an attack: a client that is slow on purpose.
pub(super) async fn dawdle(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
