//! Stands for Supabase Auth: its endpoints for signing in, inside the test process.
//!
//! It reads bodies as Go's `encoding/json` does, because that is what a gateway in front of it has
//! to reckon with: keys match their fields in any case, by Unicode's simple folding (`ſ` is an s,
//! the Kelvin sign a k), the last of several wins, and the media type means nothing.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::keys::Key;
use super::stack::{USER_SECRET, claims};

/// What it does instead of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Answers this status, with an error of that code.
    Says(u16, &'static str),
    /// Reads, and never answers.
    Hangs,
    /// Reads, and breaks off.
    Breaks,
}

/// What came to it: the path with its query, and whom it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) account: String,
    pub(crate) address: String,
}

#[derive(Debug, Default)]
struct State {
    /// Accounts, as it stores them, with user id and password.
    users: HashMap<String, (String, String)>,
    asked: Vec<Asked>,
    trouble: Option<Trouble>,
    /// Requests that came, answered or not.
    came: usize,
}

#[derive(Debug)]
pub(crate) struct GoTrue {
    addr: SocketAddr,
    state: Arc<Mutex<State>>,
    task: JoinHandle<()>,
}

impl GoTrue {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let state = Arc::<Mutex<State>>::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { addr, state, task }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn user(&self, account: &str, id: &str, password: &str) {
        let user = (id.to_owned(), password.to_owned());
        self.state.lock().expect("the lock").users.insert(account.to_owned(), user);
    }

    pub(crate) fn trouble(&self, trouble: Option<Trouble>) {
        self.state.lock().expect("the lock").trouble = trouble;
    }

    /// What it was asked about an account, as it understood it.
    pub(crate) fn asked(&self, account: &str) -> Vec<Asked> {
        let state = self.state.lock().expect("the lock");
        state.asked.iter().filter(|asked| asked.account == account).cloned().collect()
    }

    /// How often it was asked at all.
    pub(crate) fn count(&self) -> usize {
        self.state.lock().expect("the lock").asked.len()
    }

    /// How many requests came, in whatever trouble it was.
    pub(crate) fn came(&self) -> usize {
        self.state.lock().expect("the lock").came
    }
}

impl Drop for GoTrue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(serve(stream, Arc::clone(&state)));
    }
}

struct Request {
    method: String,
    target: String,
    address: String,
    body: Vec<u8>,
}

async fn serve(stream: TcpStream, state: Arc<Mutex<State>>) {
    let mut stream = BufReader::new(stream);
    let Some(request) = read(&mut stream).await else { return };
    let trouble = {
        let mut state = state.lock().expect("the lock");
        state.came += 1;
        state.trouble
    };
    let (status, code, body) = match trouble {
        Some(Trouble::Hangs) => std::future::pending().await,
        Some(Trouble::Breaks) => return,
        Some(Trouble::Says(status, code)) => fault(status, code),
        None => answer(&request, &mut state.lock().expect("the lock")),
    };
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let code = if code.is_empty() { String::new() } else { format!("x-sb-error-code: {code}\r\n") };
    let answer = format!(
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\n{code}Content-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    // The gateway may have gone: that is its own affair.
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let mut line = lines.next()?.split(' ');
    let (method, target) = (line.next()?.to_owned(), line.next()?.to_owned());
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let field = |name: &str| fields.iter().find(|(key, _)| key == name).map(|(_, value)| *value);
    let address = field("x-forwarded-for").unwrap_or_default().to_owned();
    let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
    assert!(field("transfer-encoding").is_none(), "the gateway states the length: {head}");
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { method, target, address, body })
}

type Said = (u16, &'static str, Value);

fn fault(status: u16, code: &'static str) -> Said {
    (status, code, json!({ "code": status, "error_code": code, "msg": code }))
}

fn answer(request: &Request, state: &mut State) -> Said {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let params = match serde_json::from_slice::<Params>(&request.body) {
        Ok(params) => params,
        Err(_) if request.body.is_empty() => Params::default(),
        Err(_) => return fault(400, "bad_json"),
    };
    let account = params.account();
    let asked = Asked {
        target: request.target.clone(),
        account: account.clone(),
        address: request.address.clone(),
    };
    state.asked.push(asked);
    let grant = query.split('&').find_map(|part| part.strip_prefix("grant_type="));
    let user = state.users.get(&account);
    match (request.method.as_str(), path, grant) {
        ("POST", "/token", Some("password")) => match user {
            Some((id, password)) if *password == params.text("password") => session(id, &account),
            Some(_) | None => fault(400, "invalid_credentials"),
        },
        ("POST", "/token", Some("refresh_token")) => {
            let whose = params.text("refresh_token");
            let user = state.users.iter().find(|(_, (id, _))| whose == format!("of-{id}"));
            user.map_or_else(
                || fault(400, "refresh_token_not_found"),
                |(account, (id, _))| session(id, account),
            )
        }
        ("POST", "/verify", _) => match user {
            Some((id, _)) if params.text("token") == "123456" => session(id, &account),
            Some(_) | None => fault(403, "otp_expired"),
        },
        ("POST", "/signup", _) if user.is_some() => fault(422, "user_already_exists"),
        ("POST", "/signup" | "/otp" | "/recover" | "/resend", _) => (200, "", json!({})),
        ("POST", "/logout", _) => (204, "", Value::Null),
        ("GET" | "PUT", "/user", _) => (200, "", json!({ "id": "x" })),
        _ => fault(404, "not_found"),
    }
}

fn session(id: &str, account: &str) -> Said {
    let token = Key::hs256("users", USER_SECRET).mint(&claims(id));
    let body = json!({
        "access_token": token,
        "token_type": "bearer",
        "expires_in": 3600,
        "refresh_token": format!("of-{id}"),
        "user": { "id": id, "aud": "authenticated", "role": "authenticated", "email": account },
    });
    (200, "", body)
}

/// The fields of a body, with the value that Go would give them.
#[derive(Debug, Default)]
struct Params(HashMap<String, Value>);

impl Params {
    fn text(&self, field: &str) -> String {
        self.0.get(field).and_then(Value::as_str).unwrap_or_default().to_owned()
    }

    /// Whom it is about, as GoTrue looks it up: in lower case; a number without plus and spaces.
    fn account(&self) -> String {
        let phone = self.text("phone");
        let phone = phone.strip_prefix('+').unwrap_or(&phone).replace(' ', "");
        match self.text("email") {
            email if email.is_empty() => phone,
            // Go lowers each rune by itself.
            email => email.chars().map(lower).collect(),
        }
    }
}

fn lower(c: char) -> char {
    if c == 'İ' {
        return 'i';
    }
    let mut lower = c.to_lowercase();
    lower.next().filter(|_| lower.next().is_none()).unwrap_or(c)
}

/// A key as Go compares it with the name of a field in ASCII.
fn folded(key: &str) -> String {
    let fold = |c| match c {
        'ſ' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    };
    key.chars().map(fold).collect()
}

impl<'de> Deserialize<'de> for Params {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Params;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Params, A::Error> {
                let mut params = Params::default();
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    // `null` leaves a field as it is.
                    if !value.is_null() {
                        params.0.insert(folded(&key), value);
                    }
                }
                Ok(params)
            }
        }
        deserializer.deserialize_map(Members)
    }
}
