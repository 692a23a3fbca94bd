//! The load driver: raw HTTP/1.1 over keep-alive connections, on one thread, with little cost.
//!
//! Two paces. *Saturated*: every connection sends as soon as it has its answer. *Fixed rate*: a
//! schedule says when each request is due, and its latency counts from then, whether or not a
//! connection was free to send it: a proxy that stalls cannot hide it (no coordinated omission).

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{JoinSet, LocalSet};

/// One measurement to make.
#[derive(Clone)]
pub(crate) struct Load {
    /// Where to send to.
    pub(crate) address: SocketAddr,
    /// Keep-alive connections, all opened before the first request.
    pub(crate) connections: usize,
    /// When requests are sent.
    pub(crate) pace: Pace,
    /// Time under load before anything is counted.
    pub(crate) warm_up: Duration,
    /// Time that is counted.
    pub(crate) duration: Duration,
    /// Whole requests, sent in turn.
    pub(crate) requests: Arc<[Vec<u8>]>,
}

/// When requests are sent.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// As soon as the connection has its answer.
    Saturated,
    /// So many per second, whatever comes back.
    PerSecond(u32),
}

/// What was measured; `before` and `after` are the probe at both ends of the counted time.
pub(crate) struct Outcome<P> {
    /// Answers that came within the counted time.
    pub(crate) answers: u64,
    /// The counted time.
    pub(crate) elapsed: Duration,
    /// Answers by status, warm-up included: anything but 2xx makes a comparison worthless.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Latencies in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// The 99th percentile of each whole second, in nanoseconds.
    pub(crate) p99_by_second: Vec<u64>,
    /// The probe when counting began.
    pub(crate) before: P,
    /// The probe when counting ended.
    pub(crate) after: P,
}

impl<P> Outcome<P> {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.answers as f64 / self.elapsed.as_secs_f64()
    }

    /// Median over the seconds of their 99th percentile: one bad second does not decide it.
    pub(crate) fn windowed_p99(&self) -> Duration {
        let mut sorted = self.p99_by_second.clone();
        sorted.sort_unstable();
        let middle = sorted.get(sorted.len() / 2).copied();
        Duration::from_nanos(middle.unwrap_or_else(|| self.latency.value_at_quantile(0.99)))
    }

    /// Latency at the quantile.
    pub(crate) fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(quantile))
    }

    /// Answers whose status was not 2xx.
    pub(crate) fn refused(&self) -> u64 {
        self.statuses.iter().filter(|(status, _)| **status / 100 != 2).map(|(_, n)| n).sum()
    }
}

/// Applies the load; runs on the calling thread, which must be in a current-thread runtime.
///
/// # Errors
///
/// A connection that cannot be opened or breaks, or an answer that is not HTTP/1.1.
pub(crate) async fn drive<P>(load: &Load, probe: impl Fn() -> Result<P>) -> Result<Outcome<P>> {
    LocalSet::new().run_until(drive_locally(load, probe)).await
}

async fn drive_locally<P>(load: &Load, probe: impl Fn() -> Result<P>) -> Result<Outcome<P>> {
    let shared = Rc::new(Shared::new(Arc::clone(&load.requests))?);
    let mut tasks = JoinSet::new();
    // Dropped at every way out, which ends the pacing thread.
    let pacer = match load.pace {
        Pace::Saturated => {
            for _ in 0..load.connections {
                let connection = Connection::open(load.address).await?;
                tasks.spawn_local(closed_loop(connection, Rc::clone(&shared)));
            }
            None
        }
        Pace::PerSecond(rate) => Some(open_loop(load, rate, &shared, &mut tasks).await?),
    };
    let pause = |time| async move { tokio::time::sleep(time).await };
    run_beside(&mut tasks, pause(load.warm_up)).await?;
    let before = probe()?;
    shared.start_counting();
    run_beside(&mut tasks, pause(load.duration)).await?;
    let recorder = shared.stop_counting();
    let after = probe()?;
    drop(pacer);
    tasks.shutdown().await;
    Ok(Outcome {
        answers: recorder.latency.len(),
        elapsed: recorder.began.elapsed(),
        statuses: recorder.statuses,
        latency: recorder.latency,
        p99_by_second: recorder.p99_by_second,
        before,
        after,
    })
}

/// Waits for `time` to pass, or for the first connection that fails.
async fn run_beside(tasks: &mut JoinSet<Result<()>>, time: impl Future<Output = ()>) -> Result<()> {
    tokio::select! {
        () = time => Ok(()),
        Some(ended) = tasks.join_next() => match ended? {
            Ok(()) => bail!("a connection ended before its time"),
            Err(error) => Err(error),
        },
    }
}

struct Shared {
    requests: Arc<[Vec<u8>]>,
    next: Cell<usize>,
    recorder: RefCell<Recorder>,
}

impl Shared {
    fn new(requests: Arc<[Vec<u8>]>) -> Result<Self> {
        if requests.is_empty() {
            bail!("no request to send");
        }
        let recorder = RefCell::new(Recorder::new()?);
        Ok(Self { requests, next: Cell::new(0), recorder })
    }

    fn next_request(&self) -> &[u8] {
        let next = self.next.get();
        self.next.set(next.wrapping_add(1));
        self.requests.get(next % self.requests.len()).map(Vec::as_slice).unwrap_or_default()
    }

    fn start_counting(&self) {
        let mut recorder = self.recorder.borrow_mut();
        recorder.counting = true;
        recorder.began = Instant::now();
    }

    fn stop_counting(&self) -> Recorder {
        let mut recorder = self.recorder.borrow_mut();
        recorder.counting = false;
        recorder.clone()
    }
}

#[derive(Clone)]
struct Recorder {
    counting: bool,
    began: Instant,
    statuses: BTreeMap<u16, u64>,
    latency: Histogram<u64>,
    second: u64,
    in_second: Histogram<u64>,
    p99_by_second: Vec<u64>,
}

impl Recorder {
    fn new() -> Result<Self> {
        let histogram = Histogram::new_with_bounds(1, 120_000_000_000, 3)?;
        Ok(Self {
            counting: false,
            began: Instant::now(),
            statuses: BTreeMap::new(),
            latency: histogram.clone(),
            second: 0,
            in_second: histogram,
            p99_by_second: Vec::new(),
        })
    }

    fn record(&mut self, due: Instant, now: Instant, status: u16) {
        *self.statuses.entry(status).or_default() += 1;
        if !self.counting {
            return;
        }
        let second = now.duration_since(self.began).as_secs();
        if second != self.second {
            self.p99_by_second.push(self.in_second.value_at_quantile(0.99));
            self.in_second.reset();
            self.second = second;
        }
        let nanos = u64::try_from(now.duration_since(due).as_nanos()).unwrap_or(u64::MAX);
        self.latency.saturating_record(nanos.max(1));
        self.in_second.saturating_record(nanos.max(1));
    }
}

async fn closed_loop(mut connection: Connection, shared: Rc<Shared>) -> Result<()> {
    loop {
        let sent = Instant::now();
        connection.stream.write_all(shared.next_request()).await.context("send a request")?;
        let status = connection.answer().await?;
        shared.recorder.borrow_mut().record(sent, Instant::now(), status);
    }
}

/// Stops the pacing thread when it is dropped, and waits for its end.
struct Pacer {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The sending half of a connection, and when its request in flight was due.
struct Sender {
    stream: std::net::TcpStream,
    due_nanos: Arc<AtomicU64>,
}

/// Opens the connections and starts the pacing thread.
///
/// A thread of its own sends: the runtime's timers have a grain of 1 ms, and a request that is due
/// must not wait behind answers that are being read.
async fn open_loop(
    load: &Load,
    rate: u32,
    shared: &Rc<Shared>,
    tasks: &mut JoinSet<Result<()>>,
) -> Result<Pacer> {
    let origin = Instant::now();
    let (free, frees) = mpsc::channel();
    let mut senders = Vec::with_capacity(load.connections);
    for index in 0..load.connections {
        let connection = Connection::open(load.address).await?;
        let due_nanos = Arc::new(AtomicU64::new(0));
        // The duplicate shares the socket, and with it the non-blocking mode.
        let reader = connection.stream.into_std()?;
        let stream = reader.try_clone()?;
        senders.push(Sender { stream, due_nanos: Arc::clone(&due_nanos) });
        let connection = Connection::over(TcpStream::from_std(reader)?);
        let reading = Reading { connection, due_nanos, index, origin, free: free.clone() };
        tasks.spawn_local(reading.run(Rc::clone(shared)));
        free.send(index)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let schedule = Schedule {
        origin,
        interval: Duration::from_secs(1) / rate.max(1),
        requests: Arc::clone(&load.requests),
        stop: Arc::clone(&stop),
    };
    let thread = std::thread::spawn(move || schedule.run(&mut senders, &frees));
    Ok(Pacer { stop, thread: Some(thread) })
}

struct Schedule {
    origin: Instant,
    interval: Duration,
    requests: Arc<[Vec<u8>]>,
    stop: Arc<AtomicBool>,
}

impl Schedule {
    fn run(&self, senders: &mut [Sender], frees: &mpsc::Receiver<usize>) {
        let mut due = self.origin.elapsed();
        for request in self.requests.iter().cycle() {
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            due += self.interval;
            if let Some(early) = due.checked_sub(self.origin.elapsed()) {
                std::thread::sleep(early);
            }
            let Some(index) = self.free_connection(frees) else { return };
            let Some(sender) = senders.get_mut(index) else { return };
            let nanos = u64::try_from(due.as_nanos()).unwrap_or(u64::MAX);
            sender.due_nanos.store(nanos, Ordering::Release);
            // A broken connection is reported by its reader.
            if sender.stream.write_all(request).is_err() {
                return;
            }
        }
    }

    /// The connection that has been free for longest; waits while there is none.
    fn free_connection(&self, frees: &mpsc::Receiver<usize>) -> Option<usize> {
        loop {
            match frees.recv_timeout(Duration::from_millis(100)) {
                Ok(index) => return Some(index),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) => {
                    return None;
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
        }
    }
}

struct Reading {
    connection: Connection,
    due_nanos: Arc<AtomicU64>,
    index: usize,
    origin: Instant,
    free: mpsc::Sender<usize>,
}

impl Reading {
    async fn run(mut self, shared: Rc<Shared>) -> Result<()> {
        loop {
            let status = self.connection.answer().await?;
            let due = self.origin + Duration::from_nanos(self.due_nanos.load(Ordering::Acquire));
            shared.recorder.borrow_mut().record(due, Instant::now(), status);
            if self.free.send(self.index).is_err() {
                // The pacing thread has ended: no more requests.
                return std::future::pending().await;
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address);
        let stream = stream.await.with_context(|| format!("connect to `{address}`"))?;
        stream.set_nodelay(true)?;
        Ok(Self::over(stream))
    }

    fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::with_capacity(4096) }
    }

    /// Reads one answer with its body and returns its status.
    async fn answer(&mut self) -> Result<u16> {
        self.buffer.clear();
        let head = loop {
            if self.stream.read_buf(&mut self.buffer).await.context("read an answer")? == 0 {
                bail!("the connection was closed instead of an answer");
            }
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < head.total {
            if self.stream.read_buf(&mut self.buffer).await.context("read a body")? == 0 {
                bail!("the connection was closed within a body");
            }
        }
        Ok(head.status)
    }
}

struct Head {
    status: u16,
    total: usize,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            return Ok(None);
        };
        let head = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.get(9..12)).context("no status line")?;
        let length = lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
        });
        let length = length.context("an answer without `content-length` cannot be measured")??;
        Ok(Some(Self { status: status.parse()?, total: end + 4 + length }))
    }
}
