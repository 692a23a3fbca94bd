//! Clients, and an upstream that writes down what gets through to it, on one clock.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tollgate::domain::clock::Clock;
use tollgate::telemetry::clock::SystemClock;

use super::bound::Admission;
use crate::support::http;

/// Between two requests of a client.
const PACE: Duration = Duration::from_millis(20);
/// Longer than anything is stopped for.
const ANSWERED: Duration = Duration::from_secs(8);

/// What came back to a client.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    Passed,
    /// 429.
    Refused,
    /// 503.
    Away,
    /// The connection broke, or nothing came.
    Broken,
    Other,
}

/// What is known of a request that was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fate {
    pub(crate) via: SocketAddr,
    /// When it came to the upstream.
    pub(crate) arrived: Option<Duration>,
    /// The status that its client got.
    pub(crate) answered: Option<u16>,
}

#[derive(Debug)]
pub(crate) struct Load {
    upstream: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
    clients: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    clock: SystemClock,
    next: AtomicU64,
    ended: AtomicBool,
    rests: AtomicBool,
    sent: Mutex<HashMap<u64, Duration>>,
    via: Mutex<HashMap<u64, SocketAddr>>,
    answered: Mutex<HashMap<u64, u16>>,
    arrived: Mutex<HashMap<u64, Duration>>,
    outcomes: Mutex<[u64; 5]>,
}

impl Load {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let upstream = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            clock: SystemClock::new(),
            next: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            sent: Mutex::default(),
            via: Mutex::default(),
            answered: Mutex::default(),
            arrived: Mutex::default(),
            outcomes: Mutex::default(),
        });
        let heard = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&heard)));
            }
        });
        Self { upstream, shared, server, clients: Mutex::default() }
    }

    pub(crate) fn upstream(&self) -> SocketAddr {
        self.upstream
    }

    pub(crate) fn now(&self) -> Duration {
        self.shared.now()
    }

    /// One more client, until the end.
    pub(crate) fn client(&self, gateway: SocketAddr, token: String) {
        let shared = Arc::clone(&self.shared);
        let client = tokio::spawn(async move {
            let mut pace = tokio::time::interval(PACE);
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut connection = None;
            while !shared.ended.load(Ordering::Relaxed) {
                pace.tick().await;
                if shared.rests.load(Ordering::Relaxed) {
                    continue;
                }
                shared.ask(&mut connection, gateway, &token).await;
            }
        });
        self.clients.lock().unwrap().push(client);
    }

    /// Clients send nothing for a while, or do again.
    pub(crate) fn rests(&self, rests: bool) {
        self.shared.rests.store(rests, Ordering::Relaxed);
    }

    /// One request on a connection of its own, and what was said of the limits.
    pub(crate) async fn ask(&self, gateway: SocketAddr, token: &str) -> (Outcome, String) {
        self.shared.ask(&mut None, gateway, token).await
    }

    /// Ends the clients. What became of each request that was sent, and what came of all.
    pub(crate) async fn fates(self) -> (Vec<Fate>, [u64; 5]) {
        let shared = Arc::clone(&self.shared);
        let (_, outcomes) = self.end().await;
        let arrived = shared.arrived.lock().unwrap();
        let answered = shared.answered.lock().unwrap();
        let via = shared.via.lock().unwrap();
        let fate = |(id, via): (&u64, &SocketAddr)| Fate {
            via: *via,
            arrived: arrived.get(id).copied(),
            answered: answered.get(id).copied(),
        };
        (via.iter().map(fate).collect(), outcomes)
    }

    /// Ends the clients. What was admitted, and what came of all requests.
    pub(crate) async fn end(self) -> (Vec<Admission>, [u64; 5]) {
        self.shared.ended.store(true, Ordering::Relaxed);
        let clients = std::mem::take(&mut *self.clients.lock().unwrap());
        for client in clients {
            client.await.expect("a client");
        }
        self.server.abort();
        let sent = self.shared.sent.lock().unwrap();
        let arrived = self.shared.arrived.lock().unwrap();
        let admitted =
            arrived.iter().map(|(id, at)| Admission { sent: sent[id], arrived: *at }).collect();
        (admitted, *self.shared.outcomes.lock().unwrap())
    }
}

impl Shared {
    /// Since the load began.
    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock.now().mono_nanos)
    }

    async fn ask(
        &self,
        connection: &mut Option<BufReader<TcpStream>>,
        gateway: SocketAddr,
        token: &str,
    ) -> (Outcome, String) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let exchange = async {
            if connection.is_none() {
                *connection = Some(BufReader::new(TcpStream::connect(gateway).await?));
            }
            let stream = connection.as_mut().expect("just made");
            self.sent.lock().unwrap().insert(id, self.now());
            self.via.lock().unwrap().insert(id, gateway);
            let request = format!(
                "GET /r/{id} HTTP/1.1\r\nHost: {gateway}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await?;
            http::answer(stream, false).await
        };
        let answer = tokio::time::timeout(ANSWERED, exchange).await;
        let (outcome, said) = match answer {
            Ok(Ok(answer)) => {
                self.answered.lock().unwrap().insert(id, answer.status);
                let said = answer.header("ratelimit-policy").unwrap_or_default().to_owned();
                if answer.header("connection") == Some("close") {
                    *connection = None;
                }
                match answer.status {
                    200 => (Outcome::Passed, said),
                    429 => (Outcome::Refused, said),
                    503 => (Outcome::Away, said),
                    _ => (Outcome::Other, answer.text()),
                }
            }
            Ok(Err(_)) | Err(_) => {
                *connection = None;
                (Outcome::Broken, String::new())
            }
        };
        self.outcomes.lock().unwrap()[outcome as usize] += 1;
        (outcome, said)
    }
}

/// Answers every request on a connection.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    let mut id = None;
    loop {
        line.clear();
        if !matches!(stream.read_line(&mut line).await, Ok(1..)) {
            return;
        }
        if let Some(rest) = line.strip_prefix("GET /r/") {
            id = rest.split(' ').next().and_then(|id| id.parse().ok());
        } else if line == "\r\n" {
            let id = id.take().expect("a request of a client");
            let at = shared.now();
            // One that is tried again was charged once.
            shared.arrived.lock().unwrap().entry(id).or_insert(at);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            if stream.write_all(answer).await.is_err() {
                return;
            }
        }
    }
}
