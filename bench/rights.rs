//! What authorising costs under the pack of 27 roles, 63 permissions and 13 gates, over every role
//! with every permission: the decision alone, for members without and with rights of their own, and
//! the stage with its gates and conditions, for what is allowed and for what is refused.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use serde_json::json;
use tollgate::config::{Loaded, load, settings::DirectorySettings};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::directory::DirectoryData;
use tollgate::domain::head::Arrival;
use tollgate::domain::organization::{MemberStatus, Membership, MoreRights};
use tollgate::domain::permission::PermissionPattern;
use tollgate::pipeline::tenant::Tenanted;
use tollgate::pipeline::{Stop, Trace, authenticate, authorize, edge, route, rules, tenant};
use tollgate::policy::Snapshot;
use tollgate::policy::rights::{Right, Rights};
use tollgate::policy::roles::{PermissionId, RoleTable};
use tollgate::stores::node::{Facts, NodeKnowledge};

/// The secret of the pack's gateway file.
const SECRET: &[u8] = b"development-only-secret-of-32-bytes-or-more";
/// The stage at which every gate of the journey is open.
const LAST_STAGE: &str = "exit";
/// Decisions between two readings of the clock.
const BATCH: u64 = 256;

/// One caller and what is asked.
struct Asked {
    method: Method,
    target: String,
    headers: HeaderMap,
}

/// Measures the authorize stage, and nothing before it.
pub(crate) fn measure(
    criterion: &mut Criterion,
    clock: &Arc<dyn Clock>,
    node: impl Fn(&Loaded, &DirectoryData) -> Result<NodeKnowledge>,
) -> Result<()> {
    let pack = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies/venture-platform/gateway.yaml");
    let loaded = load(&pack, &|_| None)?;
    let people = people(&loaded)?;
    let node = node(&loaded, &people)?;
    let snapshot = &loaded.snapshot;
    let now = clock.now();
    let (mut allowed, mut refused) = (Vec::new(), Vec::new());
    for member in &people.memberships {
        let headers = headers(member.user.as_str(), now)?;
        for (_, permission) in snapshot.roles.permissions() {
            let (method, target) = request(permission)?;
            let asked = Asked { method, target, headers: headers.clone() };
            let facts = Facts::new(&node, now);
            let made = tenanted(&asked, snapshot, &node, now)?;
            let may = authorize::check(made, snapshot, &facts, &mut Trace::new(), now).is_ok();
            if may { allowed.push(asked) } else { refused.push(asked) }
        }
    }
    // What is measured are the 1,701 answers of the pack's own test.
    if allowed.len() + refused.len() != 27 * 63 || allowed.len() < 400 {
        bail!("{} are allowed, {} refused", allowed.len(), refused.len());
    }
    let mut group = criterion.benchmark_group("rights");
    for (name, own) in [("decision", false), ("decision, with a grant and a denial", true)] {
        let decisions = decisions(&people, &snapshot.roles, own)?;
        let mut turn = decisions.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                turn.next().map(|(rights, id, name)| {
                    matches!(black_box(rights.to(*id, name)), Right::Role(_) | Right::Grant(_))
                })
            });
        });
    }
    for (name, asked) in [("authorize, allowed", &allowed), ("authorize, refused", &refused)] {
        let mut turn = asked.iter().cycle();
        let facts = Facts::new(&node, now);
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || {
                    let asked = turn.next();
                    let made = asked.and_then(|asked| tenanted(asked, snapshot, &node, now).ok());
                    (made, Trace::new())
                },
                |(made, trace)| {
                    let tenanted = made.take()?;
                    Some(black_box(authorize::check(tenanted, snapshot, &facts, trace, now)))
                },
                BatchSize::NumIterations(BATCH),
            );
        });
    }
    group.finish();
    Ok(())
}

/// Whose rights, and what is asked of them.
type Decision = (Arc<Rights>, PermissionId, Arc<str>);

/// Every role with every permission, as the stage has them when it decides.
fn decisions(people: &DirectoryData, table: &RoleTable, own: bool) -> Result<Vec<Decision>> {
    let mut decisions = Vec::new();
    for member in &people.memberships {
        let mut member = member.clone();
        if let Some(more) = member.more.as_mut().filter(|_| own) {
            more.grants = PermissionPattern::parse("project:export").into_iter().collect();
            more.denials = PermissionPattern::parse("equity:*").into_iter().collect();
        }
        let rights = Rights::of_member(&Arc::new(member), None, table);
        let rights = Arc::new(rights.map_err(|why| anyhow::anyhow!("{why:?}"))?);
        for (id, name) in table.permissions() {
            decisions.push((Arc::clone(&rights), id, Arc::clone(name)));
        }
    }
    Ok(decisions)
}

/// A member of the venture for each role, all of whom have come to the last stage.
fn people(loaded: &Loaded) -> Result<DirectoryData> {
    let DirectorySettings::File(stated) = &loaded.settings.directory else {
        bail!("the directory should be a file");
    };
    let rocket = stated.organizations.iter().find(|org| org.slug.as_str() == "rocket");
    let rocket = rocket.context("the pack has a venture `rocket`")?;
    let mut memberships = Vec::new();
    for role in loaded.snapshot.roles.roles() {
        let more = MoreRights { stage: Some(Arc::from(LAST_STAGE)), ..MoreRights::default() };
        memberships.push(Membership {
            organization: rocket.id,
            user: role.name.parse()?,
            role: Arc::clone(&role.name),
            status: MemberStatus::Active,
            joined_at: 0,
            more: Some(Box::new(more)),
        });
    }
    let organizations = vec![rocket.clone()];
    Ok(DirectoryData { organizations, memberships, ..DirectoryData::default() })
}

fn headers(user: &str, now: Now) -> Result<HeaderMap> {
    let at = now.unix_secs();
    let claims = json!({
        "sub": user, "role": "authenticated", "exp": at + 3600, "aal": "aal2",
        "amr": [{ "method": "totp", "timestamp": at }],
    });
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key)?;
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("bench.example"));
    headers.insert(header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}"))?);
    Ok(headers)
}

/// How the pack asks for a permission.
fn request(permission: &str) -> Result<(Method, String)> {
    const SERVICES: [&str; 8] =
        ["system", "billing", "analytics", "audit", "integration", "api", "backup", "security"];
    let (resource, action) = permission.split_once(':').context("a permission has two parts")?;
    let method = match action {
        "read" => Method::GET,
        "write" | "admin" => Method::POST,
        "delete" => Method::DELETE,
        other => bail!("`{other}` is no action of the pack"),
    };
    let target = match (action, SERVICES.contains(&resource)) {
        ("admin", _) => format!("/{resource}/admin/it"),
        (_, true) => format!("/{resource}/it"),
        (_, false) => format!("/rest/v1/{resource}"),
    };
    Ok((method, target))
}

/// Everything before the stage.
fn tenanted<'h>(
    asked: &'h Asked,
    snapshot: &Snapshot,
    node: &NodeKnowledge,
    now: Now,
) -> Result<Tenanted<'h>> {
    let arrival = Arrival {
        method: &asked.method,
        target: asked.target.as_bytes(),
        authority: None,
        version: Version::HTTP_11,
        headers: &asked.headers,
        peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
        secure: false,
        entropy: 7,
    };
    let facts = Facts::new(node, now);
    let mut trace = Trace::new();
    let mut way = || -> Result<Tenanted<'h>, Stop> {
        let edged = edge::admit(&arrival, &snapshot.edge, &mut trace, now)?;
        let routed = route::find(edged, snapshot, &mut trace)?;
        let screened = rules::of_request(routed, snapshot, &mut trace, now)?;
        let authenticated = authenticate::prove(screened, snapshot, &facts, &mut trace, now)?;
        tenant::settle(authenticated, snapshot, &facts, &mut trace, now)
    };
    way().map_err(|stop| anyhow::anyhow!("{}: {stop:?}", asked.target))
}
