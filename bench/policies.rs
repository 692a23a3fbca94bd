//! A configuration of the size that a reload is measured with: 1,000 routes over several upstreams,
//! 200 roles, 500 rules, tables and organizations, spread over files as teams would keep them.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use uuid::Uuid;

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) routes: usize,
    pub(crate) roles: usize,
    pub(crate) rules: usize,
    pub(crate) tables: usize,
    pub(crate) organizations: usize,
    pub(crate) members: usize,
}

impl Size {
    /// What a reload is to be fast with.
    pub(crate) const STATED: Self = Self {
        routes: 1_000,
        roles: 200,
        rules: 500,
        tables: 100,
        organizations: 100,
        members: 20,
    };
}

/// What belongs together stands in one file, of which there are so many.
const FILES: usize = 20;

/// What rules ask; `N` stands for the number of the rule.
const CONDITIONS: [&str; 8] = [
    "request.method == 'GET' && request.headers.get('x-client-version', '') == 'N'",
    "request.path.startsWith('/api/vN/') && !cidr(client.address, ['10.0.0.0/8', '192.168.N.0/24'])",
    "request.host == 'N.example' && 'n' in request.params",
    "request.headers.get('user-agent', '').contains('crawler-N')",
    "pathMatch(request.path, '/api/vN/{rest*}') && request.method in ['POST', 'PATCH']",
    "'x-client-version' in request.headers && version(request.headers['x-client-version']) < version('2.N.0')",
    "client.country in ['XN', 'YN'] || request.headers.get('accept', '').startsWith('text/N')",
    "request.size != null && request.size > N000 && request.path.startsWith('/api/')",
];

/// Writes the files, and returns the path of the main one.
pub(crate) fn write(
    directory: &Path,
    size: Size,
    listen: SocketAddr,
    admin: SocketAddr,
) -> Result<PathBuf> {
    let put = |name: String, text: String| {
        let path = directory.join(name);
        std::fs::write(&path, text).with_context(|| format!("write `{}`", path.display()))
    };
    for name in ["policies", "rules"] {
        std::fs::create_dir_all(directory.join(name))?;
    }
    put("policies/plans.yaml".into(), PLANS.to_owned())?;
    for file in 0..FILES {
        put(format!("policies/team-{file:02}.yaml"), team(file, size))?;
        put(format!("rules/team-{file:02}.yaml"), rules(file, size))?;
    }
    put("directory.yaml".into(), people(size))?;
    let upstreams: String = (0..8)
        .map(|n| format!("  app-{n}: {{ kind: http, addresses: [\"127.0.0.1:9\"] }}\n"))
        .collect();
    put(
        "gateway.yaml".into(),
        format!(
            "listen: [{{ address: \"{listen}\" }}]\nadmin: {admin}\n\
             server: {{ threads: 1 }}\nlog: {{ format: json, filter: info }}\n\
             identity:\n  issuers: [{{ name: main, iss: https://issuer.example, keys: [{{ hs256: bench-only-secret-of-32-bytes-or-more }}] }}]\n\
             directory: {{ file: directory.yaml }}\n\
             policies: [\"policies/*.yaml\"]\nrules: [\"rules/*.yaml\"]\n\
             upstreams:\n\
             \x20 rest:\n    kind: postgrest\n    addresses: [\"127.0.0.1:9\"]\n    canary: off\n\
             \x20   identity: {{ mint: {{ secret: bench-only-secret-of-32-bytes-or-more }} }}\n{upstreams}"
        ),
    )?;
    Ok(directory.join("gateway.yaml"))
}

const PLANS: &str = "\
plans:
  free: { level: 10 }
  pro: { level: 20 }
  enterprise: { level: 30 }
limits:
  per_user: { scope: user, rate: 10/s, burst: 20 }
  per_organization:
    scope: organization
    by_plan: { free: 100/min, pro: 1000/min, enterprise: { rate: 5000/min, burst: 1000 } }
    otherwise: 10/min
routes:
  - name: rest
    match: { path: \"/rest/v1/{table}\" }
    upstream: rest
    strip_prefix: /rest/v1
    credential: user
    tenant: [{ claim: app_metadata.org_id }, header, default]
    permission: { table: table }
    limits: [per_user, per_organization]
";

/// The numbers of a file, of so many in all files.
fn share(file: usize, all: usize) -> std::ops::Range<usize> {
    file * all / FILES..(file + 1) * all / FILES
}

/// What one team brings: its roles, each inheriting the one before it, its tables and its routes.
fn team(file: usize, size: Size) -> String {
    let mut out = String::from("roles:\n");
    let own = share(file, size.roles);
    for role in own.clone() {
        let inherits = match role == own.start {
            true => String::new(),
            false => format!("inherits: [role-{}], ", role - 1),
        };
        let routes: Vec<String> = share(file, size.routes)
            .skip(role - own.start)
            .step_by(own.len())
            .map(|route| format!("resource-{route}:use"))
            .collect();
        let routes = routes.join(", ");
        let _ = writeln!(
            out,
            "  role-{role}: {{ level: {}, {inherits}permissions: [\"*:read\", {routes}] }}",
            role % 100 + 1
        );
    }
    out.push_str("tables:\n");
    for table in share(file, size.tables) {
        let _ = writeln!(
            out,
            "  table_{table}:\n    tenant: organization_id\n    pk: [id]\n    \
             columns: [id, organization_id, name, status, created_at, updated_at, note, amount]"
        );
    }
    let _ = writeln!(
        out,
        "limits:\n  team_{file}: {{ scope: organization, rate: 50/s, burst: 100 }}\nroutes:"
    );
    for route in share(file, size.routes) {
        let upstream = route % 8;
        let _ = write!(
            out,
            "  - name: route-{route}\n    match: {{ path: \"/api/v{}/resource-{route}/{{rest*}}\" }}\n    \
             upstream: app-{upstream}\n    credential: user\n    tenant: [header, default]\n    \
             permission: resource-{route}:use\n    limits: [per_user, team_{file}]\n",
            route % 4
        );
        match route % 5 {
            0 => out.push_str("    require: [{ plan: pro }]\n    audit: all\n"),
            1 => out.push_str(
                "    require: [{ when: \"request.size == null || request.size < 65536\" }]\n",
            ),
            2 => out.push_str("    max_body: 10MiB\n    read_timeout: 60s\n"),
            _ => {}
        }
    }
    out
}

fn rules(file: usize, size: Size) -> String {
    let mut out = String::from("rules:\n");
    for rule in share(file, size.rules) {
        let when = CONDITIONS.get(rule % CONDITIONS.len()).copied().unwrap_or("true");
        let when = when.replace('N', &(rule % 200).to_string());
        let then = match rule % 4 {
            0 => "{ tag: seen }".to_owned(),
            1 => format!(
                "{{ deny: {{ status: 403, code: rule_{rule} }}, event: {{ kind: odd, severity: low }} }}"
            ),
            2 => "{ cost: 2, audit: 10% }".to_owned(),
            _ => "{ tag: slow, cost: 3 }".to_owned(),
        };
        let _ = write!(
            out,
            "  - id: rule-{rule}\n    description: What team {file} wants of such requests.\n    \
             when: \"{when}\"\n    then: {then}\n"
        );
    }
    out
}

fn people(size: Size) -> String {
    let mut out = String::from("organizations:\n");
    for organization in 0..size.organizations {
        let plan = ["free", "pro", "enterprise"].get(organization % 3).copied().unwrap_or("free");
        let id = Uuid::from_u128(0x0190_0000_0000_7000_9000_0000_0000_0000 | organization as u128);
        let _ = write!(
            out,
            "  - id: {id}\n    slug: org-{organization}\n    plan: {plan}\n    members:\n"
        );
        for member in 0..size.members {
            let user = organization * size.members + member;
            let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 | user as u128);
            let role = user % size.roles;
            let _ = writeln!(out, "      - {{ user: {id}, role: role-{role} }}");
        }
    }
    out
}
