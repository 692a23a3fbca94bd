//! Defaults of failed logins.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const LOGIN_MODE: Preset =
    Preset::new("logins", "mode", "enforce", "who states `logins` wants them guarded");
pub(in crate::config) const LOGINS_AWAY: Preset = Preset::new(
    "logins",
    "when_away",
    "local",
    "users can sign in, and a guesser gets no further than nodes times the threshold",
);
pub(in crate::config) const LOGIN_KNOWN_FOR: Preset = Preset::new(
    "logins",
    "known_for",
    "90d",
    "longer than holidays; an address that somebody else has by then is only spared, not let in",
);
pub(in crate::config) const LOGIN_FACTOR: Preset =
    Preset::new("logins", "factor", "2", "30 s, 1 min, 2 min, and after seven lockouts an hour");
pub(in crate::config) const LOGIN_FORGET: Preset =
    Preset::new("logins", "forget", "24h", "who comes back tomorrow begins anew");
pub(in crate::config) const LOGIN_SEVERITY: Preset = Preset::new(
    "logins",
    "severity",
    "low",
    "people who forgot their passwords are locked at times",
);
pub(in crate::config) const LOGIN_PAIR: [Preset; 5] = [
    Preset::new("login account_at_address", "failures", "5", "who knows the password needs fewer"),
    Preset::new(
        "login account_at_address",
        "again",
        "1",
        "the next guess may be the last for a while",
    ),
    Preset::new("login account_at_address", "within", "1h", "slower guesses are few in a day"),
    Preset::new("login account_at_address", "first", "30s", "an honest user waits it out"),
    Preset::new(
        "login account_at_address",
        "most",
        "1h",
        "24 guesses a day; nobody is locked for ever",
    ),
];
pub(in crate::config) const LOGIN_ADDRESS: [Preset; 5] = [
    Preset::new("login address", "failures", "50", "an office behind one address fails less often"),
    Preset::new("login address", "again", "10", "its honest users come back at the same time"),
    Preset::new(
        "login address",
        "within",
        "10m",
        "a morning's mistakes are spread out more widely",
    ),
    Preset::new("login address", "first", "30s", "honest users behind the address wait it out"),
    Preset::new("login address", "most", "1h", "240 guesses a day, for all accounts together"),
];
pub(in crate::config) const LOGIN_NETWORK: [Preset; 5] = [
    Preset::new("login network", "failures", "200", "as many as four addresses that are locked"),
    Preset::new("login network", "again", "40", "as of its addresses"),
    Preset::new("login network", "within", "10m", "as of its addresses"),
    Preset::new("login network", "first", "30s", "as of its addresses"),
    Preset::new("login network", "most", "15m", "a network has more honest users than an address"),
];
pub(in crate::config) const LOGIN_ACCOUNT: [Preset; 5] = [
    Preset::new("login account", "failures", "100", "20 addresses with 5 guesses each"),
    Preset::new("login account", "again", "20", "an attack that goes on is found at once"),
    Preset::new("login account", "within", "1h", "as of the account at one address"),
    Preset::new(
        "login account",
        "first",
        "1m",
        "its user may be at an address that it does not know",
    ),
    Preset::new(
        "login account",
        "most",
        "15m",
        "whoever attacks must not keep its user out for long",
    ),
];
pub(in crate::config) const SPRAYING_MODE: Preset =
    Preset::new("login spraying", "mode", "enforce", "the address would be locked soon anyway");
pub(in crate::config) const SPRAYING_ACCOUNTS: Preset = Preset::new(
    "login spraying",
    "accounts",
    "20",
    "so many users behind one address do not forget their passwords at once",
);
pub(in crate::config) const SPRAYING_NETWORK_ACCOUNTS: Preset = Preset::new(
    "login spraying",
    "network_accounts",
    "60",
    "an attacker with several addresses side by side",
);
pub(in crate::config) const SPRAYING_WINDOW: Preset =
    Preset::new("login spraying", "window", "10m", "as failures of an address count together");
pub(in crate::config) const SPRAYING_SEVERITY: Preset =
    Preset::new("login spraying", "severity", "high", "honest users do not do this");
pub(in crate::config) const STUFFING_MODE: Preset = Preset::new(
    "login stuffing",
    "mode",
    "enforce",
    "while it lasts, most who fail at an address are not its users",
);
pub(in crate::config) const STUFFING_FAILURES: Preset =
    Preset::new("login stuffing", "failures", "200", "few enough to be found within minutes");
pub(in crate::config) const STUFFING_PERCENT: Preset =
    Preset::new("login stuffing", "percent", "80", "of honest attempts most succeed");
pub(in crate::config) const STUFFING_WINDOW: Preset =
    Preset::new("login stuffing", "window", "5m", "an attack lasts longer");
pub(in crate::config) const STUFFING_ADDRESS_FAILURES: Preset =
    Preset::new("login stuffing", "address_failures", "5", "as of one account at an address");
pub(in crate::config) const STUFFING_SEVERITY: Preset =
    Preset::new("login stuffing", "severity", "high", "lists of stolen passwords are being tried");
