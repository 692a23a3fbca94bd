//! `tollgate roles`: what each role may do, and who may do something.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::config::{self, Loaded, settings::DirectorySettings};
use crate::domain::directory::DirectoryData;
use crate::domain::organization::{Membership, TeamName};
use crate::policy::Snapshot;
use crate::policy::condition::{Condition, Requirement};
use crate::policy::gates::Gates;
use crate::policy::mode::Mode;
use crate::policy::rights::{Right, Rights};
use crate::policy::roles::{PermissionId, Role};

use super::arguments::{Matrix, MatrixFormat, Roles, WhoCan};
use super::{Done, Failure, environment, print};

pub(super) fn run(arguments: &Roles) -> Result<Done, Failure> {
    match arguments {
        Roles::Matrix(arguments) => matrix(arguments),
        Roles::WhoCan(arguments) => who_can(arguments),
    }
}

fn matrix(arguments: &Matrix) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let matrix = Table::of(&loaded.snapshot);
    print(&match arguments.format {
        MatrixFormat::Table => matrix.text(),
        MatrixFormat::Csv => matrix.csv(),
        MatrixFormat::Json => json(&matrix.objects())?,
    })?;
    Ok(Done::Well)
}

/// Roles from the highest rank down, permissions by name.
struct Table<'s> {
    roles: Vec<&'s Arc<Role>>,
    permissions: Vec<(PermissionId, &'s Arc<str>)>,
    gates: &'s Gates,
}

#[derive(Serialize)]
struct RoleObject<'s> {
    role: &'s str,
    level: u32,
    requires: Vec<String>,
    permissions: Vec<&'s str>,
}

impl<'s> Table<'s> {
    fn of(snapshot: &'s Snapshot) -> Self {
        let mut roles: Vec<&Arc<Role>> = snapshot.roles.roles().collect();
        roles.sort_by_key(|role| (std::cmp::Reverse(role.level), Arc::clone(&role.name)));
        let permissions = snapshot.roles.permissions().collect();
        Self { roles, permissions, gates: &snapshot.gates }
    }

    /// One line for each permission, one column for each role, as there are more of the former.
    fn text(&self) -> String {
        let first = self.permissions.iter().map(|(_, name)| name.len()).max().unwrap_or(0);
        let first = first.max("permission".len());
        let mut out = format!("{:first$}", "permission");
        for role in &self.roles {
            let _ = write!(out, "  {}", role.name);
        }
        let _ = write!(out, "\n{:first$}", "level");
        for role in &self.roles {
            let _ = write!(out, "  {:width$}", role.level, width = role.name.len());
        }
        out = out.trim_end().to_owned();
        for (id, name) in &self.permissions {
            let mut line = format!("{name:first$}");
            for role in &self.roles {
                let free = role.requires.iter().all(|of| of.mode != Mode::Enforce);
                let mark = match (role.allows(*id), free) {
                    (true, true) => "yes",
                    (true, false) => "if",
                    (false, _) => "-",
                };
                let _ = write!(line, "  {mark:width$}", width = role.name.len());
            }
            let _ = write!(out, "\n{}", line.trim_end());
        }
        out.push('\n');
        for role in self.roles.iter().filter(|role| !role.requires.is_empty()) {
            let asked = conditions(&role.requires).join(", ");
            let _ = writeln!(out, "if: `{}` asks for {asked}", role.name);
        }
        for gate in self.gates.iter() {
            let closed: Vec<String> =
                gate.permissions.iter().map(|pattern| format!("`{pattern}`")).collect();
            let asked = conditions(&gate.requires).join(", ");
            let _ = writeln!(out, "gate `{}`: {} ask for {asked}", gate.name, closed.join(", "));
        }
        out
    }

    /// RFC 4180. Names have no commas, quotes or line breaks.
    fn csv(&self) -> String {
        let mut out = String::from("role,level");
        for (_, name) in &self.permissions {
            let _ = write!(out, ",{name}");
        }
        out.push_str("\r\n");
        for role in &self.roles {
            let _ = write!(out, "{},{}", role.name, role.level);
            for (id, _) in &self.permissions {
                out.push_str(if role.allows(*id) { ",yes" } else { ",no" });
            }
            out.push_str("\r\n");
        }
        out
    }

    fn objects(&self) -> Vec<RoleObject<'_>> {
        let object = |role: &&'s Arc<Role>| RoleObject {
            role: &role.name,
            level: role.level,
            requires: conditions(&role.requires),
            permissions: self
                .permissions
                .iter()
                .filter(|(id, _)| role.allows(*id))
                .map(|(_, name)| name.as_ref())
                .collect(),
        };
        self.roles.iter().map(object).collect()
    }
}

/// Who holds one permission.
#[derive(Serialize)]
struct Holders {
    permission: String,
    roles: Vec<Holder>,
    /// `None` where the directory is a database.
    members: Option<Vec<Member>>,
}

#[derive(Serialize)]
struct Holder {
    role: String,
    /// The pattern that grants it, the role that states that, and where.
    by: String,
    of: String,
    at: String,
    requires: Vec<String>,
}

#[derive(Serialize)]
struct Member {
    organization: String,
    user: String,
    /// The team in which it counts; in the whole organization where `None`.
    team: Option<String>,
    by: String,
}

fn who_can(arguments: &WhoCan) -> Result<Done, Failure> {
    let loaded = config::load(&arguments.config.config, &environment)?;
    let holders = holders(&loaded, &arguments.permission)?;
    print(&if arguments.json { json(&holders)? } else { holders.text() })?;
    Ok(Done::Well)
}

fn holders(loaded: &Loaded, asked: &str) -> Result<Holders, Failure> {
    let roles = &loaded.snapshot.roles;
    let parts = asked.split_once(':');
    let id = parts.and_then(|(resource, action)| roles.permission(resource, action));
    let (Some(id), Some((resource, action))) = (id, parts) else {
        let near = config::nearest(asked, roles.permissions().map(|(_, name)| name.as_ref()));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`tollgate roles matrix` lists those that there are".to_owned(),
        };
        let message = format!("no policy names the permission `{asked}`\n  = hint: {hint}");
        return Err(Failure::usage(message));
    };
    let holder = |role: &Arc<Role>| {
        let grant = role.grant_for(resource, action)?;
        role.allows(id).then(|| Holder {
            role: role.name.to_string(),
            by: grant.pattern.to_string(),
            of: grant.role.to_string(),
            at: grant.source.to_string(),
            requires: conditions(&role.requires),
        })
    };
    let members = match &loaded.settings.directory {
        DirectorySettings::File(data) => Some(members(data, &loaded.snapshot, id, asked)),
        DirectorySettings::Postgres(_) => None,
    };
    let permission = asked.to_owned();
    Ok(Holders { permission, roles: roles.roles().filter_map(holder).collect(), members })
}

fn members(data: &DirectoryData, snapshot: &Snapshot, id: PermissionId, name: &str) -> Vec<Member> {
    let mut out = Vec::new();
    for membership in &data.memberships {
        let membership = Arc::new(membership.clone());
        let find =
            |org: &&crate::domain::organization::Organization| org.id == membership.organization;
        let Some(organization) = data.organizations.iter().find(find) else { continue };
        let mut add = |team: Option<&TeamName>| {
            let Some(by) = held(&membership, team, snapshot, id, name) else { return false };
            out.push(Member {
                organization: organization.slug.to_string(),
                user: membership.user.to_string(),
                team: team.map(ToString::to_string),
                by,
            });
            true
        };
        // Whoever may everywhere may in every team.
        if !add(None)
            && let Some(more) = &membership.more
        {
            let mut teams: Vec<&TeamName> = more.teams.iter().map(|of| &of.team).collect();
            teams.sort_by_key(|team| team.as_str().to_owned());
            teams.dedup();
            for team in teams {
                add(Some(team));
            }
        }
    }
    out
}

fn held(
    membership: &Arc<Membership>,
    team: Option<&TeamName>,
    snapshot: &Snapshot,
    id: PermissionId,
    name: &str,
) -> Option<String> {
    let rights = Rights::of_member(membership, team, &snapshot.roles).ok()?;
    match rights.to(id, name) {
        Right::Role(role) => Some(format!("role `{}`", role.name)),
        Right::Grant(pattern) => Some(format!("grant `{pattern}`")),
        Right::Scope(_) | Right::Denial(_) | Right::None => None,
    }
}

impl Holders {
    fn text(&self) -> String {
        let mut out = format!("`{}` is held by\n", self.permission);
        if self.roles.is_empty() {
            out.push_str("  no role\n");
        }
        for Holder { role, by, of, at, requires } in &self.roles {
            let from = if of == role { String::new() } else { format!(" of `{of}`") };
            let _ = write!(out, "  role `{role}`: `{by}`{from}  [{at}]");
            if !requires.is_empty() {
                let _ = write!(out, ", if {}", requires.join(", "));
            }
            out.push('\n');
        }
        match &self.members {
            None => out.push_str("members are in the database, and not listed\n"),
            Some(members) => {
                for Member { organization, user, team, by } in members {
                    let team = team.as_ref().map(|team| format!(" in team `{team}`"));
                    let team = team.unwrap_or_default();
                    let _ = writeln!(out, "  `{user}` of `{organization}`{team}: {by}");
                }
            }
        }
        out
    }
}

/// What all of them ask for.
pub(super) fn conditions(requires: &[Requirement]) -> Vec<String> {
    requires
        .iter()
        .map(|requirement| match requirement.mode {
            Mode::Enforce => condition(requirement),
            Mode::Shadow | Mode::Off => format!("{} (in shadow)", condition(requirement)),
        })
        .collect()
}

/// What one asks for, in words.
pub(super) fn condition(requirement: &Requirement) -> String {
    match &requirement.condition {
        Condition::Feature { name, .. } => format!("feature `{name}`"),
        Condition::PlanAtLeast { name, .. } => format!("plan `{name}` or above"),
        Condition::SecondFactor { within: None, .. } => "a second factor".to_owned(),
        Condition::SecondFactor { within: Some(within), .. } => {
            format!("a second factor of the last {}", span(*within))
        }
        Condition::SessionAge(age) => format!("a session of at most {}", span(*age)),
        Condition::SessionIdle(most) => {
            format!("a session that rested for at most {}", span(*most))
        }
        Condition::Addresses(networks) => {
            let networks: Vec<String> = networks.iter().map(ToString::to_string).collect();
            format!("an address in {}", networks.join(" or "))
        }
        Condition::Hours(_) => "certain hours".to_owned(),
        Condition::Stage { name, .. } => format!("stage `{name}` or later"),
        Condition::When(expression) => format!("`{}`", expression.text().trim()),
    }
}

/// As the configuration writes it.
fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(anyhow::Error::from)?;
    Ok(format!("{text}\n"))
}
