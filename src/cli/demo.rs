//! `tollgate demo`: the whole gateway in one process, with nothing else installed, and requests to
//! try on it.

mod scenes;
mod text;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};

use crate::config::settings::DirectorySettings;
use crate::config::{self, Loaded};
use crate::domain::directory::DirectoryData;
use crate::proxy::{self, sample};

use super::arguments::Demo;
use super::{Done, Failure, assembly, print, serve, token};
use scenes::Scene;

/// How long the listeners may take before what to try is printed all the same.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);

/// A demo that is about to run, for those who print it.
#[derive(Debug)]
struct Scenery {
    gateway: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    audit: PathBuf,
    directory: DirectoryData,
    /// User → token, in the order of the directory.
    tokens: Vec<(String, String)>,
    scenes: Vec<Scene>,
}

pub(super) fn run(arguments: &Demo) -> Result<Done, Failure> {
    let place = Place::new()?;
    let audit = place.0.join("audit.jsonl");
    let listen = proxy::claim(arguments.listen).map_err(anyhow::Error::from)?;
    let admin = proxy::claim(arguments.admin).map_err(anyhow::Error::from)?;
    let secret = secret();
    let load = |upstream: Option<SocketAddr>| {
        let upstream = upstream.map_or_else(|| NOWHERE.to_owned(), |at| at.to_string());
        let environment = |name: &str| match name {
            "TOLLGATE_DEMO_LISTEN" => Some(listen.to_string()),
            "TOLLGATE_DEMO_ADMIN" => Some(admin.to_string()),
            "TOLLGATE_DEMO_UPSTREAM" => Some(upstream.clone()),
            "TOLLGATE_DEMO_SECRET" => Some(secret.clone()),
            "TOLLGATE_DEMO_AUDIT" => Some(audit.display().to_string()),
            _ => None,
        };
        config::load_embedded(&environment)
    };
    // Loaded once for what the sample upstream holds, and again with its address.
    let plan = load(None)?;
    let directory = directory(&plan)?;
    let runtime = serve::runtime()?;
    let upstream = runtime
        .block_on(sample::start(ANYWHERE, &plan.snapshot.catalog, &directory.organizations))
        .context("cannot start the sample upstream")?;
    let loaded = load(Some(upstream))?;
    serve::start_log(&loaded.settings.log)?;
    let assembled = assembly::assemble(loaded, runtime.handle())?;
    let now = assembled.parts.clock.now();
    let identity = &assembled.gateway.current().snapshot.identity;
    let mut tokens = Vec::new();
    for user in users(&directory) {
        let token = token::for_user(identity, &user, now)?;
        tokens.push((user, token));
    }
    let scenes = scenes::all(&directory);
    let scenery = Scenery { gateway: listen, admin, upstream, audit, directory, tokens, scenes };
    let out = if arguments.json { format!("{}\n", scenery.json()) } else { text::text(&scenery) };
    runtime.spawn(async move {
        for address in [listen, admin] {
            let _ = tokio::time::timeout(PATIENCE, accepting(address)).await;
        }
        // Who started the demo may have stopped reading; it goes on all the same.
        let _ = print(&out);
    });
    serve::serve(assembled, runtime, false)
}

/// The embedded configuration without a process around it, for `tollgate explain --demo`.
pub(super) fn load_for_explain() -> Result<Loaded, config::Problems> {
    let secret = std::env::var("TOLLGATE_DEMO_SECRET").unwrap_or_else(|_| secret());
    config::load_embedded(&|name: &str| match name {
        "TOLLGATE_DEMO_UPSTREAM" => Some(NOWHERE.to_owned()),
        "TOLLGATE_DEMO_SECRET" => Some(secret.clone()),
        _ => None,
    })
}

/// A free port that only this machine reaches.
const ANYWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// Stands for the sample upstream where there is none.
const NOWHERE: &str = "sample-upstream:80";

impl Scenery {
    fn json(&self) -> Value {
        let tokens: serde_json::Map<String, Value> = self
            .tokens
            .iter()
            .map(|(user, token)| (user.clone(), Value::from(token.as_str())))
            .collect();
        let organizations: Vec<Value> = self
            .directory
            .organizations
            .iter()
            .map(|organization| {
                let members: serde_json::Map<String, Value> = self
                    .directory
                    .memberships
                    .iter()
                    .filter(|membership| membership.organization == organization.id)
                    .map(|m| (m.user.to_string(), Value::from(m.role.as_ref())))
                    .collect();
                json!({
                    "id": organization.id.to_string(),
                    "slug": organization.slug.as_str(),
                    "plan": organization.plan.as_ref(),
                    "members": members,
                })
            })
            .collect();
        let requests: Vec<Value> = self.scenes.iter().map(Scene::json).collect();
        json!({
            "gateway": format!("http://{}", self.gateway),
            "admin": format!("http://{}", self.admin),
            "upstream": format!("http://{}", self.upstream),
            "audit_file": self.audit.display().to_string(),
            "organizations": organizations,
            "tokens": tokens,
            "requests": requests,
        })
    }
}

fn directory(loaded: &Loaded) -> Result<DirectoryData, Failure> {
    match &loaded.settings.directory {
        DirectorySettings::File(data) => Ok(data.as_ref().clone()),
        DirectorySettings::Postgres(_) => {
            Err(anyhow::anyhow!("the demo's directory is not a file").into())
        }
    }
}

/// Every user, once, in the order of the directory.
fn users(directory: &DirectoryData) -> Vec<String> {
    let mut users = Vec::new();
    for membership in &directory.memberships {
        let user = membership.user.to_string();
        if !users.contains(&user) {
            users.push(user);
        }
    }
    users
}

/// 244 random bits, for this demo only.
fn secret() -> String {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple())
}

async fn accepting(address: SocketAddr) {
    while tokio::net::TcpStream::connect(address).await.is_err() {
        tokio::time::sleep(LOOK).await;
    }
}

/// A directory of its own, removed when the demo ends.
struct Place(PathBuf);

impl Place {
    fn new() -> anyhow::Result<Self> {
        let name = format!("tollgate-demo-{}", uuid::Uuid::new_v4().simple());
        let path = std::env::temp_dir().join(name);
        create_private(&path)
            .with_context(|| format!("cannot make the directory `{}`", path.display()))?;
        Ok(Self(path))
    }
}

/// Others on this machine have no business in an audit log.
fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
