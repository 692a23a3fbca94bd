//! What a running process cannot change: settings that count from its next start.

use crate::config::settings::{DirectorySettings, Settings};

/// The settings that differ and that a running process cannot change.
pub(super) fn at_next_start(running: &Settings, wanted: &Settings) -> Vec<&'static str> {
    let Settings {
        listeners,
        admin,
        server,
        directory,
        limits,
        sessions,
        audit,
        metering,
        log,
        tests: _,
        snapshots,
    } = running;
    let same_directory = match (directory, &wanted.directory) {
        // Its contents were reloaded.
        (DirectorySettings::File(_), DirectorySettings::File(_)) => true,
        (DirectorySettings::Postgres(a), DirectorySettings::Postgres(b)) => a == b,
        (DirectorySettings::File(_), DirectorySettings::Postgres(_))
        | (DirectorySettings::Postgres(_), DirectorySettings::File(_)) => false,
    };
    [
        ("listen", *listeners == wanted.listeners),
        ("admin", *admin == wanted.admin),
        ("server", *server == wanted.server),
        ("directory", same_directory),
        ("limits_store", *limits == wanted.limits),
        ("sessions", *sessions == wanted.sessions),
        ("audit", *audit == wanted.audit),
        ("metering", *metering == wanted.metering),
        ("log", *log == wanted.log),
        ("snapshots", *snapshots == wanted.snapshots),
    ]
    .into_iter()
    .filter_map(|(name, same)| (!same).then_some(name))
    .collect()
}
