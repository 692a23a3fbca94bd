//! That nothing is left of policies that are not in force any more.

use std::path::PathBuf;
use std::sync::{Mutex, Weak};

use super::super::assembly;
use super::*;
use crate::policy::Snapshot;

const RELOADS: usize = 1_000;

/// What is small and has one of everything that a reload begins anew.
const GATEWAY: &str = "\
listen: [{ address: 127.0.0.1:0 }]
identity:
  issuers:
    - { name: one, iss: https://one.test, keys: [{ hs256: a-secret-of-the-tests-that-nobody-may-see }] }
    - { name: two, iss: https://two.test, keys: [{ jwks: http://127.0.0.1:1/keys, algorithms: [ES256] }] }
directory: { file: directory.yaml }
upstreams:
  web: { kind: http, addresses: [\"127.0.0.1:1\"], identity: none, health: { interval: 1h } }
policies: [policy.yaml]
rules: [rules.yaml]
";
const POLICY: &str = "\
plans: { free: { level: 1 } }
roles: { viewer: { permissions: [\"*:read\"] } }
permissions: [things:read]
routes:
  - { name: web, match: { path: \"/{rest*}\" }, upstream: web, credential: user, tenant: [header], permission: member }
";
const RULES: &str = "rules: [{ id: one, when: request.host == 'one', then: { tag: one } }]\n";
const DIRECTORY: &str = "\
organizations:
  - { id: a0000000-0000-4000-8000-000000000001, slug: acme, plan: free, members: [{ user: bob, role: viewer }] }
";

struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("tollgate-reload-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&path).unwrap();
        let new = Self(path);
        for (name, text) in [
            ("gateway.yaml", GATEWAY),
            ("policy.yaml", POLICY),
            ("rules.yaml", RULES),
            ("directory.yaml", DIRECTORY),
        ] {
            new.write(name, text);
        }
        new
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.join(name), text).unwrap();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let waiting = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect(what);
}

#[test]
fn a_thousand_reloads_and_rollbacks_leave_one_policy_with_its_tasks_and_series() {
    let place = Place::new();
    let path = place.0.join("gateway.yaml");
    let (loaded, read) = candidate::read(&path).unwrap();
    let runtime = super::super::serve::runtime().unwrap();
    let version = Arc::clone(&loaded.snapshot.version.0);
    let (files, directory) = (loaded.files.clone(), loaded.directory.clone());
    let assembled = assembly::assemble(loaded, runtime.handle()).unwrap();
    let metrics = Arc::clone(&assembled.parts.metrics);
    let snapshots: Arc<Mutex<Vec<Weak<Snapshot>>>> = Arc::default();
    let (gateway, parts) = (Arc::clone(&assembled.gateway), Arc::clone(&assembled.parts));
    let (canary, seen) = (Arc::clone(&assembled.canary), Arc::clone(&snapshots));
    let apply = move |loaded: Loaded| {
        assembly::install(&gateway, &canary, &parts, loaded);
        seen.lock().unwrap().push(Arc::downgrade(&gateway.current().snapshot));
    };
    let running = Running {
        settings: assembled.settings.clone(),
        version,
        files,
        texts: read.texts(),
        directory,
    };
    let shell = Shell {
        clock: Arc::clone(&assembled.parts.clock),
        metrics: Arc::clone(&metrics),
        audit: None,
    };
    let mut reloader = Reloader::new(path, running, Box::new(apply), shell).unwrap();
    let tasks = || runtime.metrics().num_alive_tasks();
    let series = || metrics.exposition().unwrap().lines().count();
    let mut after_ten = None;
    for number in 1..=RELOADS {
        if number % 10 == 0 {
            let back = reloader.roll_back(None, Directory::Stays, ChangedBy::User1);
            runtime.block_on(back).unwrap();
        } else {
            place.write("policy.yaml", &format!("# {number}\n{POLICY}"));
            let reloaded = runtime.block_on(reloader.reload(ChangedBy::Hangup));
            assert!(matches!(reloaded, Reloaded::Applied { .. }), "{reloaded:?}");
        }
        if number == 10 {
            after_ten = Some((tasks(), series()));
        }
    }
    let (few, lines) = after_ten.unwrap();
    assert!(few > 0 && lines > 0);
    let all = std::mem::take(&mut *snapshots.lock().unwrap());
    assert_eq!(all.len(), RELOADS);
    runtime.block_on(async {
        until("one snapshot", || all.iter().filter(|one| one.strong_count() > 0).count() == 1)
            .await;
        until("no more tasks than after ten", || tasks() <= few).await;
        // Whoever looks at the policy in force has it for a moment.
        until("one generation", || Arc::strong_count(&assembled.gateway.current()) == 2).await;
    });
    assert_eq!(series(), lines);
    assert_eq!(reloader.history.all().count(), 10);
    drop(reloader);
    runtime.shutdown_background();
}
