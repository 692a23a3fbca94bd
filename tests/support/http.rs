//! Two clients: one that sends a well-formed HTTP/1.1 request, one that sends bytes.
//!
//! Written out instead of taken from a library, because a library would refuse to send what these
//! tests must send, and would follow, retry and decode what they must see.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

/// What came back.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In the order they came, names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; panics with the whole answer when it is none.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {} {}", self.status, self.text()))
    }
}

pub(crate) async fn get(to: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Result<Answer> {
    send(to, "GET", target, headers, b"").await
}

/// One request on a connection of its own. `Host` is the address unless `headers` names one; a
/// body gets its `Content-Length`.
pub(crate) async fn send(
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
    let given = |name: &str| headers.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    if !given("host") {
        head.push_str(&format!("Host: {to}\r\n"));
    }
    if !body.is_empty() && !given("content-length") && !given("transfer-encoding") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let bytes = [head.as_bytes(), body].concat();
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(&bytes).await?;
        answer(&mut BufReader::new(stream), method == "HEAD").await
    };
    timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// Sends bytes as they are and returns everything that comes back until the other side closes.
///
/// # Errors
/// `TimedOut` when it never does: that a connection stays open is a finding too.
pub(crate) async fn raw(to: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(to).await?;
        // The other side may answer and close before it has read everything.
        let _ = stream.write_all(bytes).await;
        let mut back = Vec::new();
        match stream.read_to_end(&mut back).await {
            Err(error) if back.is_empty() => Err(error),
            Ok(_) | Err(_) => Ok(back),
        }
    };
    timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// Reads one answer off a connection, by its own framing: usable on a kept-alive one as well.
pub(crate) async fn answer(
    stream: &mut (impl AsyncBufRead + Unpin),
    head_only: bool,
) -> Result<Answer> {
    let status_line = line(stream).await?;
    let status = status_line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| malformed(&status_line))?;
    let mut headers = Vec::new();
    loop {
        let field = line(stream).await?;
        if field.is_empty() {
            break;
        }
        let (name, value) = field.split_once(':').ok_or_else(|| malformed(&field))?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if head_only || status == 204 || status == 304 || status < 200 {
        return Ok(answer);
    }
    if answer.header("transfer-encoding").is_some() {
        answer.body = chunks(stream).await?;
    } else if let Some(length) = answer.header("content-length") {
        let length = length.parse().map_err(|_| malformed(length))?;
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body).await?;
    } else {
        stream.read_to_end(&mut answer.body).await?;
    }
    Ok(answer)
}

async fn chunks(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = line(stream).await?;
        let length = usize::from_str_radix(size.trim(), 16).map_err(|_| malformed(&size))?;
        let start = body.len();
        body.resize(start + length, 0);
        stream.read_exact(&mut body[start..]).await?;
        // The line end behind the chunk, or the one that ends the (empty) trailer.
        line(stream).await?;
        if length == 0 {
            return Ok(body);
        }
    }
}

async fn line(stream: &mut (impl AsyncBufRead + Unpin)) -> Result<String> {
    let mut bytes = Vec::new();
    stream.read_until(b'\n', &mut bytes).await?;
    match bytes.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None if bytes.is_empty() => Err(ErrorKind::UnexpectedEof.into()),
        None => Err(malformed(&String::from_utf8_lossy(&bytes))),
    }
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, format!("malformed answer: `{what}`"))
}
