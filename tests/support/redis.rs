//! A Redis server of the test's own.

use redis::aio::MultiplexedConnection;

use super::place::{Port, TempDir};
use super::process::{Process, Signal, Spec};

#[derive(Debug)]
pub(crate) struct Redis {
    process: Process,
    port: Port,
    /// Where the nodes of a cluster talk to each other.
    bus: Option<Port>,
    dir: TempDir,
}

impl Redis {
    /// An empty server that keeps nothing on disk: after a kill and a restart it is empty again,
    /// as a Redis without persistence, or a failed-over one, is.
    pub(crate) async fn start() -> Self {
        Self::launched(None).await
    }

    /// A node of a cluster that knows no other. It keeps nothing on disk but who it is.
    pub(crate) async fn start_node() -> Self {
        Self::launched(Some(Port::reserve())).await
    }

    async fn launched(bus: Option<Port>) -> Self {
        let (port, dir) = (Port::reserve(), TempDir::new());
        let process = launch(&dir, &port, bus.as_ref());
        let mut redis = Self { process, port, bus, dir };
        redis.answers().await;
        redis
    }

    pub(crate) fn bus_port(&self) -> u16 {
        self.bus.as_ref().expect("a node of a cluster").number()
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

    pub(crate) async fn try_connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        connect(&self.url()).await
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
        self.process = launch(&self.dir, &self.port, self.bus.as_ref());
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

fn launch(dir: &TempDir, port: &Port, bus: Option<&Port>) -> Process {
    let port = port.number().to_string();
    let bus = bus.map(|bus| bus.number().to_string());
    let mut settings = vec![
        ["--port", &port],
        ["--bind", "127.0.0.1"],
        ["--save", ""],
        ["--appendonly", "no"],
        ["--daemonize", "no"],
    ];
    if let Some(bus) = &bus {
        settings.extend([
            ["--cluster-enabled", "yes"],
            ["--cluster-port", bus],
            // Long enough for a machine with other work to do, short enough to wait for.
            ["--cluster-node-timeout", "1500"],
            ["--cluster-replica-validity-factor", "0"],
            ["--repl-diskless-sync-delay", "0"],
            ["--repl-ping-replica-period", "1"],
        ]);
    }
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
