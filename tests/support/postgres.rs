//! A PostgreSQL server of the test's own, with the fixture database in it.
//!
//! `initdb` and the fixture's SQL take more than a second, so they run once per build directory:
//! the result is kept as a template under `target/tmp` and copied for each test.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::place::{Port, TempDir, user_id};
use super::process::{Process, Signal, Spec, children, run, send};
use super::{eventually, fixture};

/// The database that holds the fixture.
pub(crate) const APP: &str = "app";

/// PostgreSQL refuses to run as root; Debian's package makes this user for it.
const ACCOUNT: &str = "postgres";

#[derive(Debug)]
pub(crate) struct Postgres {
    // Before the directory, so that the server has ended when the directory goes.
    process: Process,
    paused: Vec<u32>,
    port: Port,
    dir: TempDir,
}

impl Postgres {
    /// A server with the fixture database [`APP`] and the empty database `postgres`.
    pub(crate) async fn start() -> Self {
        let template = template().await;
        let dir = TempDir::new();
        let data = dir.path().join("data");
        copy(&template, &data);
        own(dir.path());
        Self::run(dir, Port::reserve()).await
    }

    async fn run(dir: TempDir, port: Port) -> Self {
        let mut process = launch(&dir, &port);
        accepts(&mut process, &port).await;
        Self { process, paused: Vec::new(), port, dir }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// A connection string for the superuser.
    pub(crate) fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    pub(crate) fn url_as(&self, user: &str, database: &str) -> String {
        url(&self.port, user, database)
    }

    /// A connection as superuser, which no policy of the database restrains: the oracle.
    pub(crate) async fn client(&self, database: &str) -> Client {
        connect(&self.url(database)).await.expect("a connection to PostgreSQL")
    }

    /// Runs a script of statements.
    pub(crate) async fn execute(&self, database: &str, sql: &str) {
        let client = self.client(database).await;
        client.batch_execute(sql).await.unwrap_or_else(|error| panic!("`{sql}`: {error:?}"));
    }

    /// The rows of a query, each as JSON.
    pub(crate) async fn rows(&self, database: &str, query: &str) -> Vec<Value> {
        let client = self.client(database).await;
        let wrapped = format!("select to_jsonb(q) from ({query}) q");
        let rows = client.query(&wrapped, &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("`{query}`: {error:?}"));
        rows.into_iter().map(|row| row.get(0)).collect()
    }

    /// `kill -9` of the server and of everything it has forked.
    pub(crate) async fn kill(&mut self) {
        let backends = children(self.process.id());
        self.process.kill();
        send(Signal::Kill, &backends);
        self.paused.clear();
        // A backend that lives on would keep the next server from starting.
        eventually("the end of PostgreSQL's backends", async || {
            let gone = |pid: &u32| !Path::new(&format!("/proc/{pid}/exe")).exists();
            backends.iter().all(gone).then_some(())
        })
        .await;
    }

    /// Starts it again after [`Self::kill`], with its data and on its port.
    pub(crate) async fn restart(&mut self) {
        self.process = launch(&self.dir, &self.port);
        accepts(&mut self.process, &self.port).await;
    }

    /// Stops every process of the server in its tracks: connections stay open and say nothing.
    pub(crate) fn pause(&mut self) {
        let server = self.process.id();
        // First the one that forks, so that the list of the others is complete.
        send(Signal::Stop, &[server]);
        self.paused = children(server);
        self.paused.push(server);
        send(Signal::Stop, &self.paused);
    }

    pub(crate) fn resume(&mut self) {
        send(Signal::Cont, &std::mem::take(&mut self.paused));
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if !self.paused.is_empty() {
            self.resume();
        }
    }
}

fn url(port: &Port, user: &str, database: &str) -> String {
    format!("postgres://{user}@127.0.0.1:{}/{database}", port.number())
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends with the client; an error in it reaches the client's callers.
    tokio::spawn(connection);
    Ok(client)
}

async fn accepts(process: &mut Process, port: &Port) {
    let url = url(port, "postgres", "postgres");
    process.ready(async || connect(&url).await.is_ok()).await;
}

fn launch(dir: &TempDir, port: &Port) -> Process {
    // No fsync: what the server has written survives its own death, and the machine does not die.
    // Commits still wait for the write, or a killed server would lose what it has acknowledged.
    let settings = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        "fsync=off",
        "full_page_writes=off",
        "shared_buffers=16MB",
        "autovacuum=off",
        "jit=off",
        "wal_level=logical",
    ];
    let mut args = vec![
        "-D".to_owned(),
        dir.path().join("data").display().to_string(),
        "-p".to_owned(),
        port.number().to_string(),
    ];
    args.extend(settings.iter().flat_map(|setting| ["-c".to_owned(), (*setting).to_owned()]));
    Process::spawn(Spec {
        name: "PostgreSQL",
        program: program("postgres"),
        args,
        env: Vec::new(),
        user: account(),
        dir: dir.path().to_owned(),
        log: dir.path().join("postgres.log"),
        // Its immediate shutdown: it takes its own children and shared memory along.
        end: Signal::Quit,
    })
}

/// The data directory that tests start from; built by the first that comes, under a lock.
async fn template() -> PathBuf {
    let version = Command::new(program("postgres")).arg("--version").output().expect("postgres");
    let mut hasher = DefaultHasher::new();
    (version.stdout, fixture::SCHEMA).hash(&mut hasher);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(root).expect("target/tmp");
    let finished = root.join(format!("postgres-template-{:016x}", hasher.finish()));
    let lock = std::fs::File::create(root.join("postgres-template.lock")).expect("a lock file");
    // Away from the runtime's thread: the one that builds may be another task of this test.
    let lock = tokio::task::spawn_blocking(move || lock.lock().map(|()| lock)).await;
    let _lock = lock.expect("a thread").expect("the lock on the template");
    if !finished.exists() {
        let draft = root.join("postgres-template.draft");
        let _ = std::fs::remove_dir_all(&draft);
        build(&draft).await;
        std::fs::rename(&draft, &finished).expect("the finished template");
    }
    finished
}

async fn build(draft: &Path) {
    let dir = TempDir::new();
    own(dir.path());
    let data = dir.path().join("data");
    let target = data.display().to_string();
    let options = ["-U", "postgres", "-A", "trust", "--locale", "C.UTF-8", "-E", "UTF8"];
    let size = ["--wal-segsize", "1", "--no-sync", "--no-instructions"];
    let args = [&["-D", &target], &options[..], &size[..]].concat();
    run(&program("initdb"), &args, account(), dir.path());
    let mut server = Postgres::run(dir, Port::reserve()).await;
    server.execute("postgres", &format!("create database {APP}")).await;
    server.execute(APP, fixture::SCHEMA).await;
    server.process.signal(Signal::Int);
    let status = server.process.ended().await;
    assert!(status.success(), "PostgreSQL's shutdown: {status}\n{}", server.process.log());
    copy(&data, draft);
}

fn copy(from: &Path, to: &Path) {
    let (from, to) = (from.display().to_string(), to.display().to_string());
    run(Path::new("cp"), &["-a", &from, &to], None, Path::new("/"));
}

/// Hands a directory to the account that PostgreSQL runs as.
fn own(dir: &Path) {
    if let Some(user) = account() {
        let owner = format!("{user}:{user}");
        run(Path::new("chown"), &["-R", &owner, &dir.display().to_string()], None, Path::new("/"));
    }
}

fn account() -> Option<&'static str> {
    (user_id() == 0).then_some(ACCOUNT)
}

/// Debian keeps the server's programs out of `PATH`, one directory per major version.
fn program(name: &str) -> PathBuf {
    let version = |path: &PathBuf| -> Option<u32> {
        path.file_name()?.to_str()?.split('.').next()?.parse().ok()
    };
    let newest = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.join("bin").join(name).exists())
        .max_by_key(version);
    newest.map_or_else(|| PathBuf::from(name), |path| path.join("bin").join(name))
}
