//! An HTTP/2 client that sends any frame: prior knowledge, no compression, no rules (RFC 9113).

use std::io::{ErrorKind, Result};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::PATIENCE;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The status of an answer, which is the first field of its head (section 8.3).
    pub(crate) fn status(&self) -> Option<u16> {
        let mut block = self.payload.as_slice();
        while let [size, rest @ ..] = block {
            // Updates of the table's size come first (RFC 7541 section 4.2).
            if size & 0xe0 != 0x20 {
                break;
            }
            block = rest;
        }
        match block {
            [first @ 0x88..=0x8e, ..] => {
                let known = [200, 204, 206, 304, 400, 404, 500];
                known.get(usize::from(first - 0x88)).copied()
            }
            [0x08 | 0x18 | 0x48, length, text @ ..] => {
                let text = text.get(..usize::from(length & 0x7f))?;
                let digits = if length & 0x80 == 0 { text.to_vec() } else { digits(text) };
                String::from_utf8(digits).ok()?.parse().ok()
            }
            _ => None,
        }
    }
}

/// Digits in the code of RFC 7541, appendix B: the first three have five bits, the others six.
fn digits(coded: &[u8]) -> Vec<u8> {
    let bits: Vec<u8> = coded.iter().flat_map(|b| (0..8).rev().map(move |i| b >> i & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |number, bit| number << 1 | bit);
    let (mut at, mut digits) = (0, Vec::new());
    while let Some(five) = bits.get(at..at + 5) {
        if number(five) < 3 {
            digits.push(b'0' + number(five));
            at += 5;
        } else if let Some(six) = bits.get(at..at + 6).filter(|six| number(six) < 0x20) {
            digits.push(b'3' + number(six) - 0x19);
            at += 6;
        } else {
            break;
        }
    }
    digits
}

/// A head: literal fields that nobody is to remember (RFC 7541 section 6.2.2).
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let length = text.len();
            if length < 127 {
                block.push(u8::try_from(length).expect("a short text"));
            } else {
                block.push(127);
                let mut rest = length - 127;
                while rest >= 128 {
                    block.push(u8::try_from(rest % 128).expect("seven bits") | 0x80);
                    rest /= 128;
                }
                block.push(u8::try_from(rest).expect("seven bits"));
            }
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a length").to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()];
    [head.concat().as_slice(), payload].concat()
}

#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    /// Connects and says which protocol it speaks, with a table of no size for what is answered.
    pub(crate) async fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut client = Self { stream };
        client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.send(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0])).await;
        client
    }

    /// Sends bytes, as far as the other side takes them. Returns whether it took them all.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    /// Sends a head, and says whether a body follows.
    pub(crate) async fn head(&mut self, stream: u32, fields: &[(&str, &str)], ends: bool) -> bool {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(&frame(HEADERS, flags, stream, &block(fields))).await
    }

    pub(crate) async fn data(&mut self, stream: u32, bytes: &[u8], ends: bool) -> bool {
        self.send(&frame(DATA, u8::from(ends), stream, bytes)).await
    }

    pub(crate) async fn reset(&mut self, stream: u32) -> bool {
        self.send(&frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())).await
    }

    /// The next frame.
    ///
    /// # Errors
    /// When the connection is closed.
    pub(crate) async fn next(&mut self) -> Result<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await?;
            let [a, b, c, kind, flags, stream @ ..] = head;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            self.stream.read_exact(&mut payload).await?;
            let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
            Ok(Frame { kind, flags, stream, payload })
        };
        timeout(PATIENCE, reading).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }

    /// How a stream ends: with an answer's status, or without one when it is reset or the
    /// connection is given up.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Option<u16> {
        let mut status = None;
        loop {
            let Ok(frame) = self.next().await else { return status };
            if frame.kind == GOAWAY && frame.payload.get(4..8) != Some(&[0; 4]) {
                return status;
            }
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if status.is_none() => status = frame.status(),
                RST_STREAM => return status,
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return status;
            }
        }
    }
}
