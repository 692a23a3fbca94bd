//! A Redis server of the test's own.

use redis::aio::MultiplexedConnection;

use super::place::{Port, TempDir};
use super::process::{Process, Signal, Spec};

#[derive(Debug)]
pub(crate) struct Redis {
    process: Process,
    port: Port,
    dir: TempDir,
}

impl Redis {
    /// An empty server that keeps nothing on disk: after a kill and a restart it is empty again,
    /// as a Redis without persistence, or a failed-over one, is.
    pub(crate) async fn start() -> Self {
        let (port, dir) = (Port::reserve(), TempDir::new());
        let process = launch(&dir, &port);
        let mut redis = Self { process, port, dir };
        redis.answers().await;
        redis
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port.number())
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        connect(&self.url()).await.expect("a connection to Redis")
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, empty, on the same port.
    pub(crate) async fn restart(&mut self) {
        self.process = launch(&self.dir, &self.port);
        self.answers().await;
    }

    /// Connections stay open, new ones are accepted by the kernel, and nothing is answered.
    pub(crate) fn pause(&self) {
        self.process.signal(Signal::Stop);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::Cont);
    }

    async fn answers(&mut self) {
        let url = self.url();
        self.process
            .ready(async || match connect(&url).await {
                Ok(mut connection) => {
                    redis::cmd("PING").query_async::<String>(&mut connection).await.is_ok()
                }
                Err(_) => false,
            })
            .await;
    }
}

async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    redis::Client::open(url)?.get_multiplexed_async_connection().await
}

fn launch(dir: &TempDir, port: &Port) -> Process {
    let port = port.number().to_string();
    let settings = [
        ["--port", &port],
        ["--bind", "127.0.0.1"],
        ["--save", ""],
        ["--appendonly", "no"],
        ["--daemonize", "no"],
    ];
    Process::spawn(Spec {
        name: "Redis",
        program: "redis-server".into(),
        args: settings.concat().into_iter().map(str::to_owned).collect(),
        env: Vec::new(),
        user: None,
        dir: dir.path().to_owned(),
        log: dir.path().join("redis.log"),
        end: Signal::Kill,
    })
}
