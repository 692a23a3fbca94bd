//! `tollgate keys`: the keys of machines, made, listed, rotated and revoked.
//!
//! Against the directory's database; where the directory is a file, which no program writes, the
//! entry for it is printed. A key goes to standard output once; everything else that is said goes to
//! standard error, so that `KEY=$(tollgate keys create …)` works.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::anyhow;
use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::json;

use crate::config::settings::DirectorySettings;
use crate::config::{self, Loaded};
use crate::domain::clock::{Clock, Now};
use crate::domain::directory::DirectoryData;
use crate::domain::machine::{
    KeyId, KeyPepper, KeyStatus, MachineKey, NewKey, PreviousSecret, looks_like_key,
};
use crate::domain::organization::{OrgSelector, Organization};
use crate::domain::permission::PermissionPattern;
use crate::domain::secret::Secret;
use crate::policy::limits::Scope;
use crate::stores::machine_keys::{Created, KeyStoreError, KeyTable, Listed};
use crate::telemetry::clock::SystemClock;

use super::arguments::{KeyCreate, KeyDirectory, KeyList, KeyRevoke, KeyRotate, Keys};
use super::{Done, Failure, environment, print};

pub(super) fn run(arguments: &Keys) -> Result<Done, Failure> {
    match arguments {
        Keys::Create(arguments) => create(arguments),
        Keys::List(arguments) => list(arguments),
        Keys::Rotate(arguments) => rotate(arguments),
        Keys::Revoke(arguments) => revoke(arguments),
    }
}

/// Where the keys are.
enum Place {
    Database(Secret),
    File(std::sync::Arc<DirectoryData>),
}

fn place(arguments: &KeyDirectory, loaded: &Loaded) -> Place {
    if let Some(url) = &arguments.database_url {
        return Place::Database(Secret::new(url.as_str()));
    }
    match &loaded.settings.directory {
        DirectorySettings::Postgres(postgres) => Place::Database(postgres.url.clone()),
        DirectorySettings::File(data) => Place::File(std::sync::Arc::clone(data)),
    }
}

fn load(arguments: &KeyDirectory) -> Result<Loaded, Failure> {
    Ok(config::load(&arguments.config.config, &environment)?)
}

/// Does one thing with a database.
fn with_table<T>(
    url: &Secret,
    act: impl AsyncFnOnce(KeyTable) -> Result<T, KeyStoreError>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async { act(KeyTable::open(url).await?).await });
    done.map_err(|error| match error {
        KeyStoreError::UnknownOrganization(_)
        | KeyStoreError::NameTaken(_)
        | KeyStoreError::UnknownKey(_)
        | KeyStoreError::Revoked(_) => Failure::usage(error.to_string()),
        KeyStoreError::Url(_) | KeyStoreError::Away(_) | KeyStoreError::NotMigrated => {
            Failure::Failed(error.into())
        }
    })
}

fn create(arguments: &KeyCreate) -> Result<Done, Failure> {
    let loaded = load(&arguments.directory)?;
    let pepper = pepper(&loaded)?;
    useful(&arguments.scope, &loaded)?;
    chargeable(arguments.limit.as_deref(), &loaded)?;
    let organization: OrgSelector = arguments.organization.parse().map_err(|_| {
        Failure::usage(format!("`{}` is neither a slug nor an id", arguments.organization))
    })?;
    let new = NewKey::of(random()?, random()?).map_err(|error| anyhow!("{error}"))?;
    let hash = pepper.hash(new.key.expose());
    let expires_at = arguments.expires.map(|lifetime| ending(lifetime, now()));
    let place = place(&arguments.directory, &loaded);
    let entry = match &place {
        Place::Database(url) => {
            let key = Created {
                id: new.id,
                organization: &organization,
                name: &arguments.name,
                hash,
                scopes: arguments.scope.iter().map(ToString::to_string).collect(),
                addresses: arguments.address.iter().map(ToString::to_string).collect(),
                limit: arguments.limit.as_deref(),
                expires_at: expires_at.map(signed),
            };
            with_table(url, async |table| table.create(&key).await)?;
            None
        }
        Place::File(data) => {
            let found = in_file(data, &organization)?;
            let taken = |key: &&MachineKey| {
                key.organization == found.id
                    && key.status == KeyStatus::Active
                    && *key.name == *arguments.name
            };
            if data.machine_keys.iter().any(|key| taken(&key)) {
                let taken = KeyStoreError::NameTaken(arguments.name.clone());
                return Err(Failure::usage(taken.to_string()));
            }
            Some(entry(&MachineKey {
                id: new.id,
                name: arguments.name.as_str().into(),
                organization: found.id,
                hash,
                previous: None,
                scopes: arguments.scope.clone(),
                addresses: arguments.address.clone(),
                limit: arguments.limit.as_deref().map(Into::into),
                status: KeyStatus::Active,
                expires_at,
            }))
        }
    };
    let what = format!("`{}` for `{organization}`", arguments.name);
    show(&new, &what, entry.as_deref(), arguments.json)
}

fn rotate(arguments: &KeyRotate) -> Result<Done, Failure> {
    let loaded = load(&arguments.directory)?;
    let pepper = pepper(&loaded)?;
    let new = NewKey::again(arguments.key, random()?).map_err(|error| anyhow!("{error}"))?;
    let hash = pepper.hash(new.key.expose());
    let expires_at = arguments.expires.map(|lifetime| ending(lifetime, now()));
    let entry = match place(&arguments.directory, &loaded) {
        Place::Database(url) => {
            let expires_at = expires_at.map(signed);
            with_table(&url, async |table| {
                table.rotate(new.id, hash, arguments.overlap, expires_at).await
            })?;
            None
        }
        Place::File(data) => {
            let before = listed_key(&data, new.id)?;
            let until = arguments.overlap.map(|overlap| ending(overlap, now()));
            Some(entry(&MachineKey {
                hash,
                previous: until.map(|until| PreviousSecret { hash: before.hash, until }),
                expires_at: expires_at.or(before.expires_at),
                ..before.clone()
            }))
        }
    };
    let what = match arguments.overlap {
        Some(overlap) => format!("in place of one that counts for {} s more", overlap.as_secs()),
        None => "in place of one that no longer counts".to_owned(),
    };
    show(&new, &what, entry.as_deref(), arguments.json)
}

fn revoke(arguments: &KeyRevoke) -> Result<Done, Failure> {
    let loaded = load(&arguments.directory)?;
    match place(&arguments.directory, &loaded) {
        Place::Database(url) => {
            with_table(&url, async |table| table.revoke(arguments.key).await)?;
            print(&format!("{} is revoked\n", arguments.key))?;
        }
        Place::File(data) => {
            let key = listed_key(&data, arguments.key)?;
            say("Put this in the place of the key's entry in the directory file, and reload:\n\n")?;
            let status = KeyStatus::Revoked;
            print(&entry(&MachineKey { status, previous: None, ..key.clone() }))?;
        }
    }
    Ok(Done::Well)
}

fn list(arguments: &KeyList) -> Result<Done, Failure> {
    let loaded = load(&arguments.directory)?;
    let organization = arguments.organization.as_deref().map(|stated| {
        let wrong = || Failure::usage(format!("`{stated}` is neither a slug nor an id"));
        stated.parse::<OrgSelector>().map_err(|_| wrong())
    });
    let organization = organization.transpose()?;
    let listed = match place(&arguments.directory, &loaded) {
        Place::Database(url) => {
            with_table(&url, async |table| table.list(organization.as_ref()).await)?
        }
        Place::File(data) => of_file(&data, organization.as_ref())?,
    };
    let text = match arguments.json {
        true => format!("{}\n", serde_json::to_string(&listed).map_err(anyhow::Error::from)?),
        false => table(&listed, now()),
    };
    print(&text)?;
    Ok(Done::Well)
}

fn pepper(loaded: &Loaded) -> Result<&KeyPepper, Failure> {
    loaded.snapshot.identity.machines.as_ref().ok_or_else(|| {
        Failure::usage(
            "nothing says how keys are hashed: state `identity.machines` in the gateway file",
        )
    })
}

/// A scope that nothing asks for was mistyped.
fn useful(scopes: &[PermissionPattern], loaded: &Loaded) -> Result<(), Failure> {
    let roles = &loaded.snapshot.roles;
    for scope in scopes {
        let grants = |name: &str| {
            let (resource, action) = name.split_once(':').unwrap_or((name, ""));
            scope.grants(resource, action)
        };
        if !roles.permissions().any(|(_, name)| grants(name)) {
            let stated = scope.to_string();
            let names: Vec<&str> = roles.permissions().map(|(_, name)| name.as_ref()).collect();
            let hint = match config::nearest(&stated, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`tollgate roles matrix` shows what there is".to_owned(),
            };
            return Err(Failure::usage(format!("the scope `{stated}` grants nothing: {hint}")));
        }
    }
    Ok(())
}

fn chargeable(limit: Option<&str>, loaded: &Loaded) -> Result<(), Failure> {
    let Some(name) = limit else { return Ok(()) };
    match loaded.snapshot.limits.get(name).map(|limit| limit.scope) {
        Some(scope @ (Scope::User | Scope::Account)) => Err(Failure::usage(format!(
            "the limit `{name}` counts {}s: name one with `scope: key`",
            scope.as_str()
        ))),
        Some(Scope::Organization | Scope::Key | Scope::Route | Scope::Address) => Ok(()),
        None => Err(Failure::usage(format!("the policies have no limit `{name}`"))),
    }
}

fn in_file<'d>(
    data: &'d DirectoryData,
    selector: &OrgSelector,
) -> Result<&'d Organization, Failure> {
    let mut organizations = data.organizations.iter();
    let found = organizations.find(|organization| match selector {
        OrgSelector::Id(id) => organization.id == *id,
        OrgSelector::Slug(slug) => organization.slug == *slug,
    });
    let unknown = || KeyStoreError::UnknownOrganization(selector.clone()).to_string();
    found.ok_or_else(|| Failure::usage(unknown()))
}

fn listed_key(data: &DirectoryData, id: KeyId) -> Result<&MachineKey, Failure> {
    let found = data.machine_keys.iter().find(|key| key.id == id);
    let key = found.ok_or_else(|| Failure::usage(KeyStoreError::UnknownKey(id).to_string()))?;
    match key.status {
        KeyStatus::Active => Ok(key),
        KeyStatus::Revoked => Err(Failure::usage(KeyStoreError::Revoked(id).to_string())),
    }
}

fn of_file(
    data: &DirectoryData,
    organization: Option<&OrgSelector>,
) -> Result<Vec<Listed>, Failure> {
    let only = organization.map(|selector| in_file(data, selector)).transpose()?;
    let keys = data.machine_keys.iter();
    let keys = keys.filter(|key| only.is_none_or(|only| only.id == key.organization));
    let slug = |key: &MachineKey| {
        let mut all = data.organizations.iter();
        all.find(|of| of.id == key.organization).map(|of| of.slug.to_string()).unwrap_or_default()
    };
    Ok(keys
        .map(|key| Listed {
            id: key.id.to_string(),
            organization: slug(key),
            name: key.name.to_string(),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            addresses: key.addresses.iter().map(ToString::to_string).collect(),
            limit: key.limit.as_ref().map(ToString::to_string),
            status: key.status.as_str().to_owned(),
            expires_at: key.expires_at.map(signed),
            previous_until: key.previous.map(|previous| signed(previous.until)),
            last_used_at: None,
        })
        .collect())
}

/// The key to standard output, and what to do with it to standard error.
fn show(new: &NewKey, what: &str, entry: Option<&str>, as_json: bool) -> Result<Done, Failure> {
    let key = new.key.expose();
    if as_json {
        let shown = json!({ "id": new.id.as_str(), "key": key, "entry": entry });
        print(&format!("{shown}\n"))?;
        return Ok(Done::Well);
    }
    say(&format!("The key {} {what}. It is shown this once: keep it now.\n", new.id))?;
    if let Some(entry) = entry {
        say(&format!(
            "Put its entry under `api_keys` of the organization in the directory file, in the place \
             of the one with the same id if there is one, and reload:\n\n{entry}\n"
        ))?;
    }
    print(&format!("{key}\n"))?;
    Ok(Done::Well)
}

/// A key as directory files state it.
fn entry(key: &MachineKey) -> String {
    let texts = |texts: Vec<String>| {
        let quoted: Vec<String> = texts.iter().map(|text| format!("\"{text}\"")).collect();
        quoted.join(", ")
    };
    let scopes = texts(key.scopes.iter().map(ToString::to_string).collect());
    // Quoted: digits alone, with an `e` among them, would be a number.
    let mut out = format!(
        "      - id: {}\n        name: \"{}\"\n        hash: \"{}\"\n        scopes: [{scopes}]\n",
        key.id, key.name, key.hash
    );
    if !key.addresses.is_empty() {
        let networks = texts(key.addresses.iter().map(ToString::to_string).collect());
        let _ = writeln!(out, "        addresses: [{networks}]");
    }
    if let Some(limit) = &key.limit {
        let _ = writeln!(out, "        limit: {limit}");
    }
    if let Some(ends) = key.expires_at {
        let _ = writeln!(out, "        expires: \"{}\"", moment(signed(ends)));
    }
    if let Some(previous) = &key.previous {
        let until = moment(signed(previous.until));
        let _ = writeln!(
            out,
            "        previous: {{ hash: \"{}\", until: \"{until}\" }}",
            previous.hash
        );
    }
    if key.status == KeyStatus::Revoked {
        out.push_str("        status: revoked\n");
    }
    out
}

fn table(listed: &[Listed], now: Now) -> String {
    let now = signed(now.unix_secs());
    let mut rows = vec![
        ["id", "organization", "name", "state", "scopes", "expires", "last used"]
            .map(str::to_owned),
    ];
    rows.extend(listed.iter().map(|key| {
        let or_never = |at: Option<i64>| at.map_or_else(|| "never".to_owned(), moment);
        [
            key.id.clone(),
            key.organization.clone(),
            key.name.clone(),
            state(key, now),
            key.scopes.join(" "),
            or_never(key.expires_at),
            key.last_used_at.map_or_else(|| "-".to_owned(), moment),
        ]
    }));
    let widths = rows.iter().fold([0; 7], |mut widths: [usize; 7], row| {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
        widths
    });
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn state(key: &Listed, now: i64) -> String {
    let ended = key.expires_at.is_some_and(|at| at <= now);
    let overlaps = key.previous_until.filter(|until| *until > now);
    match (key.status.as_str(), ended, overlaps) {
        ("active", true, _) => "expired".to_owned(),
        ("active", false, Some(until)) => format!("active, old secret until {}", moment(until)),
        (status, _, _) => status.to_owned(),
    }
}

fn moment(unix_secs: i64) -> String {
    Timestamp::from_second(unix_secs).map_or_else(|_| "-".to_owned(), |at| at.to_string())
}

fn ending(lifetime: Duration, now: Now) -> u64 {
    now.unix_secs().saturating_add(lifetime.as_secs())
}

fn signed(unix_secs: u64) -> i64 {
    i64::try_from(unix_secs).unwrap_or(i64::MAX)
}

fn now() -> Now {
    SystemClock::new().now()
}

/// From the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    let source = rustls::crypto::ring::default_provider().secure_random;
    source.fill(&mut bytes).map_err(|_| anyhow!("the system has no random numbers"))?;
    Ok(bytes)
}

fn say(text: &str) -> io::Result<()> {
    io::stderr().lock().write_all(text.as_bytes())
}

/// Reads the id of a key from the command line.
pub(super) fn key_id(text: &str) -> Result<KeyId, String> {
    text.parse().map_err(|_| {
        if looks_like_key(text) && text.len() > 16 {
            // It is in the shell's history and in the list of processes now.
            "this is more than an id; if it is a whole key, rotate it, because it was shown here; \
             an id is what stands before the second `_`"
                .to_owned()
        } else {
            "write the id of a key: `tgk_` and twelve letters or digits".to_owned()
        }
    })
}

/// Reads a scope from the command line.
pub(super) fn scope(text: &str) -> Result<PermissionPattern, String> {
    let wrong = "write `resource:action`, such as `events:read`; either side may be `*`";
    PermissionPattern::parse(text).ok_or_else(|| wrong.to_owned())
}

/// Reads a network, or one address, from the command line.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network) if network.trunc() == network => Ok(network),
        Ok(network) => Err(format!("write the network as `{}`", network.trunc())),
        Err(_) => Err("write a network such as `10.0.0.0/8`, or an address".to_owned()),
    }
}

/// Reads what a key is called: what directory files take as a name.
pub(super) fn key_name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match (1..=64).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("a name is 1 to 64 letters, digits, `_`, `-` and `.`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_key_in_place_of_an_id_is_refused_with_what_to_do() {
        let new = NewKey::of([1; 16], [2; 32]).unwrap();
        assert_eq!(key_id(new.id.as_str()), Ok(new.id));
        assert!(key_id(new.key.expose()).unwrap_err().contains("rotate it"));
        assert!(key_id("ci").unwrap_err().contains("`tgk_`"));
    }

    #[test]
    fn networks_are_written_without_host_bits() {
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert!(network("10.1.2.3/8").unwrap_err().contains("`10.0.0.0/8`"));
        assert!(network("here").is_err());
    }

    #[test]
    fn a_list_tells_what_counts_now() {
        let key = |status: &str, expires_at, previous_until| Listed {
            id: "tgk_0123456789Ab".into(),
            organization: "acme".into(),
            name: "ci".into(),
            scopes: vec!["events:read".into()],
            addresses: Vec::new(),
            limit: None,
            status: status.into(),
            expires_at,
            previous_until,
            last_used_at: None,
        };
        for (key, wanted) in [
            (key("active", None, None), "active"),
            (key("active", Some(100), None), "expired"),
            (key("active", Some(101), Some(100)), "active"),
            (key("active", None, Some(101)), "active, old secret until 1970-01-01T00:01:41Z"),
            (key("revoked", Some(101), None), "revoked"),
        ] {
            assert_eq!(state(&key, 100), wanted);
        }
    }
}
