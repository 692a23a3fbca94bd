//! A key set endpoint inside the test process, whose behaviour the test decides and whose
//! requests it counts.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::keys::Key;

/// What the endpoint does with a request.
#[derive(Debug, Clone)]
pub(crate) enum Behaviour {
    /// 200 with this body.
    Serve(String),
    /// This status, with an empty object.
    Fail(u16),
    /// Accepts, reads, and never answers.
    Hang,
}

#[derive(Debug)]
pub(crate) struct Jwks {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    fetches: AtomicU32,
}

impl Jwks {
    pub(crate) async fn serving(keys: &[&Key]) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            behaviour: Mutex::new(Behaviour::Serve(key_set(keys))),
            fetches: AtomicU32::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/auth/v1/.well-known/jwks.json", self.addr)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many requests have come in, answered or not.
    pub(crate) fn fetches(&self) -> u32 {
        self.shared.fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn rotate(&self, keys: &[&Key]) {
        self.behave(Behaviour::Serve(key_set(keys)));
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().expect("the lock") = behaviour;
    }
}

impl Drop for Jwks {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The public halves as a JSON key set.
pub(crate) fn key_set(keys: &[&Key]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        // Not awaited: a hanging answer must not keep others from being served.
        tokio::spawn(serve(stream, Arc::clone(&shared)));
    }
}

async fn serve(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut request = Vec::new();
    let mut part = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") && request.len() < 16 * 1024 {
        match stream.read(&mut part).await {
            Ok(count) if count > 0 => request.extend_from_slice(&part[..count]),
            Ok(_) | Err(_) => return,
        }
    }
    shared.fetches.fetch_add(1, Ordering::SeqCst);
    let behaviour = shared.behaviour.lock().expect("the lock").clone();
    let (status, body) = match behaviour {
        Behaviour::Serve(body) => (200, body),
        Behaviour::Fail(status) => (status, "{}".to_owned()),
        Behaviour::Hang => std::future::pending().await,
    };
    let answer = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    // The client may have gone: that is its own affair.
    let _ = stream.write_all(answer.as_bytes()).await;
}
