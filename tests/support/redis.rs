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

    /// From now on it follows another server; returns when it has all of it.
    pub(crate) async fn follow(&self, primary: &Self) {
        let mut connection = self.connection().await;
        let mut replicaof = redis::cmd("REPLICAOF");
        replicaof.arg("127.0.0.1").arg(primary.port());
        let () = replicaof.query_async(&mut connection).await.expect("a replica");
        super::eventually("the replica being there", async || {
            let info: String =
                redis::cmd("INFO").arg("replication").query_async(&mut connection).await.ok()?;
            info.contains("master_link_status:up").then_some(())
        })
        .await;
    }

    /// It follows nobody any more: what its primary is told from now on is lost to it.
    pub(crate) async fn promote(&self) {
        let mut replicaof = redis::cmd("REPLICAOF");
        replicaof.arg("NO").arg("ONE");
        let () = replicaof.query_async(&mut self.connection().await).await.expect("a primary");
    }

    /// Waits until everything written up to now is with a replica.
    pub(crate) async fn replicated(&self) {
        // `WAIT` counts what its own connection wrote.
        let mut connection = self.connection().await;
        let () = redis::cmd("SET")
            .arg("replicated")
            .arg(1)
            .query_async(&mut connection)
            .await
            .expect("a write");
        super::eventually("the replica having it", async || {
            let wait = redis::cmd("WAIT").arg(1).arg(100).to_owned();
            let there: u32 = wait.query_async(&mut connection).await.ok()?;
            (there == 1).then_some(())
        })
        .await;
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
