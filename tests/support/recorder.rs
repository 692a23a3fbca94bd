//! An upstream inside the test process that keeps every byte it gets, and reads it as strictly as
//! HTTP/1.1 can be read: what is left to interpretation is a flaw that it reports.
//!
//! The path says what it does: `/hang` never answers, `/halfway` stops in the middle of its answer,
//! `/much` has more to say than buffers hold, `/socket` switches to a WebSocket and listens,
//! everything else is answered with its own request line.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Its place among all, whatever connection it came on.
    order: usize,
    pub(crate) method: String,
    pub(crate) target: String,
    /// In the order they came, names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|(key, _)| key == name);
        fields.map(|(_, value)| value.as_str()).collect()
    }

    /// What it is answered with.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// What one connection brought.
#[derive(Debug, Default)]
struct Tape {
    bytes: Vec<u8>,
    requests: Vec<Recorded>,
    /// How many of the bytes belong to whole requests, or to a WebSocket.
    read: usize,
    flaw: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    tapes: Mutex<Vec<Arc<Mutex<Tape>>>>,
    open: AtomicUsize,
    count: AtomicUsize,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Recorder {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let addr = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, task }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// All whole requests so far whose target has this in it, in the order in which they came.
    pub(crate) fn requests(&self, with: &str) -> Vec<Recorded> {
        let tapes = self.shared.tapes.lock().expect("the lock");
        let mut wanted = Vec::new();
        for tape in tapes.iter() {
            let tape = tape.lock().expect("the lock");
            let has = |request: &&Recorded| request.target.contains(with);
            wanted.extend(tape.requests.iter().filter(has).cloned());
        }
        wanted.sort_by_key(|request| request.order);
        wanted
    }

    /// Whether a text has come, in a whole request or not.
    pub(crate) fn has_heard(&self, text: &str) -> bool {
        self.count(text) > 0
    }

    /// How often a text has come, in whole requests or not.
    pub(crate) fn count(&self, text: &str) -> usize {
        let tapes = self.shared.tapes.lock().expect("the lock");
        let heard = |bytes: &[u8]| {
            bytes.windows(text.len()).filter(|part| *part == text.as_bytes()).count()
        };
        tapes.iter().map(|tape| heard(&tape.lock().expect("the lock").bytes)).sum()
    }

    /// What was not HTTP with one reading.
    pub(crate) fn flaws(&self) -> Vec<String> {
        let tapes = self.shared.tapes.lock().expect("the lock");
        tapes.iter().filter_map(|tape| tape.lock().expect("the lock").flaw.clone()).collect()
    }

    /// Connections that are open now.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let tape = Arc::<Mutex<Tape>>::default();
        shared.tapes.lock().expect("the lock").push(Arc::clone(&tape));
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // The other side may break off wherever it likes.
            let _ = serve(stream, &tape, &shared.count).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    tape: &Mutex<Tape>,
    count: &AtomicUsize,
) -> std::io::Result<()> {
    let mut part = vec![0; 64 * 1024];
    loop {
        let next = next_request(&mut tape.lock().expect("the lock"), count);
        match next {
            Next::More => {
                let count = stream.read(&mut part).await?;
                if count == 0 {
                    return Ok(());
                }
                tape.lock().expect("the lock").bytes.extend_from_slice(&part[..count]);
            }
            Next::Flaw => return Ok(()),
            Next::Whole(request) => answer(&mut stream, tape, &request).await?,
        }
    }
}

async fn answer(
    stream: &mut TcpStream,
    tape: &Mutex<Tape>,
    request: &Recorded,
) -> std::io::Result<()> {
    let line = request.line();
    let head = |length: usize| {
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n")
    };
    if request.target.starts_with("/hang") {
        return listen(stream, tape).await;
    }
    if request.target.starts_with("/halfway") {
        stream.write_all(head(1_000_000).as_bytes()).await?;
        stream.write_all(&[b'x'; 500_000]).await?;
        return listen(stream, tape).await;
    }
    if request.target.starts_with("/much") {
        stream.write_all(head(64_000_000).as_bytes()).await?;
        for _ in 0..64 {
            stream.write_all(&[b'x'; 1_000_000]).await?;
        }
        return Ok(());
    }
    if request.target.starts_with("/socket") {
        let switched = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                        upgrade: websocket\r\n\r\n";
        stream.write_all(switched.as_bytes()).await?;
        return listen(stream, tape).await;
    }
    let body = if request.method == "HEAD" { "" } else { line.as_str() };
    stream.write_all(format!("{}{body}", head(line.len())).as_bytes()).await
}

/// Keeps what comes until nothing comes any more, and answers nothing.
async fn listen(stream: &mut TcpStream, tape: &Mutex<Tape>) -> std::io::Result<()> {
    let mut part = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let mut tape = tape.lock().expect("the lock");
        tape.bytes.extend_from_slice(&part[..count]);
        tape.read = tape.bytes.len();
    }
}

enum Next {
    More,
    Flaw,
    Whole(Recorded),
}

fn next_request(tape: &mut Tape, count: &AtomicUsize) -> Next {
    match read(&tape.bytes[tape.read..]) {
        Ok(Some((mut request, length))) => {
            request.order = count.fetch_add(1, Ordering::SeqCst);
            tape.read += length;
            tape.requests.push(request.clone());
            Next::Whole(request)
        }
        Ok(None) => Next::More,
        Err(flaw) => {
            let shown = tape.bytes[tape.read..].escape_ascii().to_string();
            tape.flaw = Some(format!("{flaw}: {shown}"));
            Next::Flaw
        }
    }
}

/// Reads one request, with no leniency at all. `None`: more bytes are needed.
fn read(bytes: &[u8]) -> Result<Option<(Recorded, usize)>, &'static str> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is not UTF-8")?;
    let mut lines = head.split("\r\n");
    if lines.clone().any(|line| line.bytes().any(|b| b.is_ascii_control() && b != b'\t')) {
        return Err("a control character in the head");
    }
    let mut parts = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1"), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("a request line that is none");
    };
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err("an odd method");
    }
    if !target.starts_with('/') || !target.bytes().all(|b| b.is_ascii_graphic() && b != b'#') {
        return Err("an odd target");
    }
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return Err("an odd field name");
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut request = Recorded { order: 0, method, target, fields, body: Vec::new() };
    if request.all("host").len() != 1 {
        return Err("not one host");
    }
    let start = end + 4;
    let framing = (request.all("content-length"), request.all("transfer-encoding"));
    let length = match (framing.0.as_slice(), framing.1.as_slice()) {
        ([], []) => 0,
        ([length], []) if length.bytes().all(|b| b.is_ascii_digit()) => {
            let length = length.parse().map_err(|_| "a length that is none")?;
            let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
            request.body = body.to_vec();
            length
        }
        ([], ["chunked"]) => match chunks(&bytes[start..])? {
            Some((body, length)) => {
                request.body = body;
                length
            }
            None => return Ok(None),
        },
        _ => return Err("not one framing"),
    };
    Ok(Some((request, start + length)))
}

/// A chunked body and its length on the wire: no extensions, no trailers.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(end) = bytes[at..].windows(2).position(|window| window == b"\r\n") else {
            return Ok(None);
        };
        let size = &bytes[at..at + end];
        if size.is_empty() || size.len() > 8 || !size.iter().all(u8::is_ascii_hexdigit) {
            return Err("an odd chunk size");
        }
        let size = std::str::from_utf8(size).map_err(|_| "an odd chunk size")?;
        let size = usize::from_str_radix(size, 16).map_err(|_| "an odd chunk size")?;
        at += end + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
        if !chunk.ends_with(b"\r\n") {
            return Err("a chunk of another size than it says");
        }
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}
