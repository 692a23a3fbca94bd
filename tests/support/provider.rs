//! A real OpenID provider, the npm package `oidc-provider`, as a process of its own on loopback.

use std::path::Path;

use serde_json::Value;

use super::eventually;
use super::http;
use super::place::{Port, TempDir};
use super::process::{Process, Signal, Spec};

/// What its access tokens are for.
pub(crate) const AUDIENCE: &str = "api://crm";

#[derive(Debug)]
pub(crate) struct Provider {
    process: Process,
    port: Port,
    _dir: TempDir,
}

impl Provider {
    /// One that signs with `alg`, with clients that have these groups.
    pub(crate) async fn start(alg: &str, groups: &Value) -> Self {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let package = tests.join("node_modules/oidc-provider");
        assert!(package.exists(), "oidc-provider is not installed: run `make setup`");
        let (port, dir) = (Port::reserve(), TempDir::new());
        let process = Process::spawn(Spec {
            name: "the OpenID provider",
            program: "node".into(),
            args: vec![
                tests.join("e2e/provider.mjs").display().to_string(),
                port.number().to_string(),
                alg.to_owned(),
                groups.to_string(),
            ],
            env: Vec::new(),
            user: None,
            dir: tests,
            log: dir.path().join("provider.log"),
            end: Signal::Kill,
        });
        let provider = Self { process, port, _dir: dir };
        eventually("the provider's start", async || {
            let answer = http::get(provider.port.addr(), "/jwks", &[]).await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(())
        })
        .await;
        provider
    }

    pub(crate) fn issuer(&self) -> String {
        format!("http://{}", self.port.addr())
    }

    /// A new access token of a client.
    pub(crate) async fn token(&self, client: &str) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id={client}&client_secret=a-secret-of-a-test\
             &resource={AUDIENCE}"
        );
        let form_type = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer = http::send(self.port.addr(), "POST", "/token", &form_type, form.as_bytes());
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), self.process.log());
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    /// The next key signs from now on; those before it are still published.
    pub(crate) async fn announce_key(&self) {
        self.tell("/test/keys?step=announce", b"").await;
    }

    /// Only the newest key is published.
    pub(crate) async fn retire_keys(&self) {
        self.tell("/test/keys?step=retire", b"").await;
    }

    pub(crate) async fn set_groups(&self, client: &str, groups: &Value) {
        let body = groups.to_string();
        self.tell(&format!("/test/groups?client={client}"), body.as_bytes()).await;
    }

    async fn tell(&self, target: &str, body: &[u8]) {
        let answer = http::send(self.port.addr(), "POST", target, &[], body).await.unwrap();
        assert_eq!(answer.status, 200, "{target}");
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }
}
