//! A very cheap HTTP/1.1 upstream that answers every request as PostgREST answers a small read.
//!
//! One thread, keep-alive, one write per answer: it must cost so little that the proxy in front of
//! it is what is measured. It understands just enough HTTP for what a proxy sends to it:
//! heads up to 64 KiB, bodies with a `Content-Length` or in chunks (which it reads and drops).

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Answers every request with the same JSON.
#[derive(Parser)]
struct Arguments {
    /// Address to listen on.
    #[arg(long)]
    listen: SocketAddr,
    /// Bytes of the JSON body.
    #[arg(long, default_value_t = 1024)]
    body: usize,
    /// Milliseconds before each answer.
    #[arg(long)]
    delay_ms: Option<u64>,
}

const MAX_HEAD: usize = 64 * 1024;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(arguments))
}

async fn serve(arguments: Arguments) -> Result<()> {
    // The answer lives as long as the process, so that connections share it without counting.
    let answer: &'static [u8] = Vec::leak(answer(arguments.body));
    let delay = arguments.delay_ms.map(Duration::from_millis);
    let socket = tokio::net::TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(arguments.listen).with_context(|| format!("bind `{}`", arguments.listen))?;
    let listener: TcpListener = socket.listen(4096)?;
    loop {
        let (stream, _) = listener.accept().await?;
        // A connection that breaks or speaks nonsense ends alone.
        tokio::spawn(async move { connection(stream, answer, delay).await.ok() });
    }
}

/// The whole answer: head and a JSON array of rows that is `body` bytes long.
fn answer(body: usize) -> Vec<u8> {
    const ROW: &str =
        r#"{"id":"018f6f0e-0000-7000-8000-000000000000","title":"quarterly report","done":false}"#;
    let mut rows = String::from("[");
    while rows.len() + ROW.len() + 2 < body {
        rows.push_str(ROW);
        rows.push(',');
    }
    rows.push('0');
    // JSON allows blanks before the closing bracket: pad to the exact size.
    while rows.len() + 1 < body {
        rows.push(' ');
    }
    rows.push(']');
    format!(
        "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nServer: postgrest/12.0.2\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Range: 0-9/*\r\n\
         Content-Length: {}\r\n\r\n{rows}",
        rows.len(),
    )
    .into_bytes()
}

async fn connection(mut stream: TcpStream, answer: &[u8], delay: Option<Duration>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(4096);
    loop {
        let Some(head) = read_head(&mut stream, &mut buffer).await? else { return Ok(()) };
        match body_of(buffer.get(..head).unwrap_or_default())? {
            Body::Length(length) => skip(&mut stream, &mut buffer, head + length).await?,
            Body::Chunked => skip_chunks(&mut stream, &mut buffer, head).await?,
        }
        if let Some(delay) = delay {
            tokio::time::sleep(delay).await;
        }
        stream.write_all(answer).await?;
    }
}

/// Reads until a head is complete; returns its length, or `None` at the end of the connection.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<Option<usize>> {
    loop {
        if let Some(at) = find(buffer, b"\r\n\r\n") {
            return Ok(Some(at + 4));
        }
        if buffer.len() > MAX_HEAD {
            bail!("head over {MAX_HEAD} bytes");
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

enum Body {
    Length(usize),
    Chunked,
}

fn body_of(head: &[u8]) -> Result<Body> {
    // A GET, by far the most frequent, has no body: do not look through its head.
    if head.starts_with(b"GET ") {
        return Ok(Body::Length(0));
    }
    let head = std::str::from_utf8(head)?;
    for line in head.lines().skip(1) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("content-length") {
            return Ok(Body::Length(value.trim().parse()?));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return Ok(Body::Chunked);
        }
    }
    Ok(Body::Length(0))
}

/// Drops the first `count` bytes of the connection, reading them where they are still to come.
async fn skip(stream: &mut TcpStream, buffer: &mut Vec<u8>, mut count: usize) -> Result<()> {
    while count > buffer.len() {
        count -= buffer.len();
        buffer.clear();
        if stream.read_buf(buffer).await? == 0 {
            bail!("connection ended in a body");
        }
    }
    buffer.drain(..count);
    Ok(())
}

async fn skip_chunks(stream: &mut TcpStream, buffer: &mut Vec<u8>, head: usize) -> Result<()> {
    skip(stream, buffer, head).await?;
    loop {
        let line = loop {
            if let Some(at) = find(buffer, b"\r\n") {
                break at;
            }
            if stream.read_buf(buffer).await? == 0 {
                bail!("connection ended in a chunk");
            }
        };
        let size = std::str::from_utf8(buffer.get(..line).unwrap_or_default())?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        skip(stream, buffer, line + 2 + size + 2).await?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn find(bytes: &[u8], pattern: &[u8]) -> Option<usize> {
    bytes.windows(pattern.len()).position(|window| window == pattern)
}
