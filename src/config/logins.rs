//! `logins` of policy files, and of `identity`: how failed logins are counted.
//!
//! May import `domain` and `policy`.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::Value;

use crate::domain::audit::Severity;
use crate::domain::login::LoginPepper;
use crate::domain::secret::Secret;
use crate::policy::logins::{Ladder, LoginMode, LoginPolicy, LoginsAway, Spraying, Stuffing};

use super::context::Context;
use super::decode::{At, Decode, Fields, Shapes, Table};
use super::defaults::{self as preset, Preset};
use super::leaf::{word, words};
use super::yaml::Node;

/// Bytes of a pepper: as many as of the hash that it keys.
const MIN_PEPPER_BYTES: usize = 32;
/// Accounts that are remembered for one place, of many: more would take much memory.
const MOST_ACCOUNTS: u32 = 200;

/// `logins` of a policy file; nothing where its mode is `off`.
pub(super) struct LoginFields(pub(super) Option<LoginPolicy>);

impl Fields for LoginFields {
    const NAME: &'static str = "logins";
    const ABOUT: &'static str = "How failed logins at upstreams of kind `auth` are counted.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let mode = table.or::<Mode>(
            "mode",
            &preset::LOGIN_MODE,
            "`enforce`; `shadow`: count and tell, and refuse nothing; or `off`.",
        );
        let when_away = table.or(
            "when_away",
            &preset::LOGINS_AWAY,
            "While the shared store is away: `local` (each node counts by itself) or `closed` (503).",
        );
        let known_for = table.or(
            "known_for",
            &preset::LOGIN_KNOWN_FOR,
            "For how long an address from which an account was signed in is known to it: lockouts \
             of the account elsewhere do not hold there.",
        );
        let factor = table.or(
            "factor",
            &preset::LOGIN_FACTOR,
            "Each further lockout lasts so many times as long.",
        );
        let forget = table.or(
            "forget",
            &preset::LOGIN_FORGET,
            "A lockout is forgotten after this time: the next is a first one.",
        );
        let severity = table.or(
            "severity",
            &preset::LOGIN_SEVERITY,
            "How a lockout is told: `low` or `high`.",
        );
        let pair = table.section::<PairFields>("account_at_address", "An account at one address.");
        let address = table
            .section::<AddressFields>("address", "An address, whatever the account; IPv6 by /64.");
        let network = table.section::<NetworkFields>(
            "network",
            "The network around an address: /24, and /48 of IPv6.",
        );
        let account = table.section::<AccountFields>(
            "account",
            "An account, at all addresses that it does not know.",
        );
        let spraying = table.section::<SprayFields>(
            "spraying",
            "Failures for many accounts from one place: a security event.",
        );
        let stuffing = table.section::<StuffFields>(
            "stuffing",
            "Failures of most attempts, wherever they come from: a security event.",
        );
        let span = table.span;
        let source = table.context()?.source(span);
        let (factor, forget): (NonZeroU32, Duration) = (factor?, forget?);
        let ladder = |steps: Steps| steps.ladder(factor, forget);
        let Some(mode) = mode?.0 else { return Some(Self(None)) };
        Some(Self(Some(LoginPolicy {
            mode,
            when_away: when_away?,
            known_for: known_for?,
            pair: ladder(pair?.0),
            address: ladder(address?.0),
            network: ladder(network?.0),
            account: ladder(account?.0),
            spraying: spraying?.0,
            stuffing: stuffing?.0,
            severity: severity?,
            // The gateway file states it.
            pepper: None,
            source,
        })))
    }
}

/// The steps of a ladder that subjects have of their own.
struct Steps {
    failures: NonZeroU32,
    again: NonZeroU32,
    within: Duration,
    first: Duration,
    most: Duration,
}

impl Steps {
    fn read(table: &mut Table<'_, '_>, presets: &[Preset; 5]) -> Option<Self> {
        let [failures, again, within, first, most] = presets;
        let failures = table.or("failures", failures, "Failures that lock it first.");
        let again = table.or("again", again, "Failures that lock it again after a lockout.");
        let within = table.or(
            "within",
            within,
            "Failures count together if they come within this time of the first of them.",
        );
        let first = table.or("first", first, "How long the first lockout lasts.");
        let most = table.or::<At<Duration>>("most", most, "No lockout lasts for longer.");
        let (first, most): (Duration, At<Duration>) = (first?, most?);
        if most.value < first {
            table.error(
                most.span,
                "`most` is shorter than the first lockout",
                "raise it, or lower `first`",
            );
        }
        let most = most.value;
        Some(Self { failures: failures?, again: again?, within: within?, first, most })
    }

    fn ladder(self, factor: NonZeroU32, forget: Duration) -> Ladder {
        let Self { failures, again, within, first, most } = self;
        Ladder { failures, again, within, first, factor, most, forget }
    }
}

struct PairFields(Steps);

impl Fields for PairFields {
    const NAME: &'static str = "login account_at_address";
    const ABOUT: &'static str = "When an account is locked at one address.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        Steps::read(table, &preset::LOGIN_PAIR).map(Self)
    }
}

struct AddressFields(Steps);

impl Fields for AddressFields {
    const NAME: &'static str = "login address";
    const ABOUT: &'static str = "When an address is locked, for all accounts.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        Steps::read(table, &preset::LOGIN_ADDRESS).map(Self)
    }
}

struct NetworkFields(Steps);

impl Fields for NetworkFields {
    const NAME: &'static str = "login network";
    const ABOUT: &'static str = "When a network is locked, for all accounts.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        Steps::read(table, &preset::LOGIN_NETWORK).map(Self)
    }
}

struct AccountFields(Steps);

impl Fields for AccountFields {
    const NAME: &'static str = "login account";
    const ABOUT: &'static str = "When an account is locked at addresses that it does not know.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        Steps::read(table, &preset::LOGIN_ACCOUNT).map(Self)
    }
}

struct SprayFields(Option<Spraying>);

impl Fields for SprayFields {
    const NAME: &'static str = "login spraying";
    const ABOUT: &'static str = "When failures for many accounts from one place are an attack.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let mode = table.or::<Mode>(
            "mode",
            &preset::SPRAYING_MODE,
            "`enforce`: the place is locked; `shadow`: it is only told; or `off`.",
        );
        let accounts = table.or::<At<NonZeroU32>>(
            "accounts",
            &preset::SPRAYING_ACCOUNTS,
            "So many accounts from one address; at most 200.",
        );
        let network_accounts = table.or::<At<NonZeroU32>>(
            "network_accounts",
            &preset::SPRAYING_NETWORK_ACCOUNTS,
            "So many accounts from one network; at most 200.",
        );
        let window = table.or("window", &preset::SPRAYING_WINDOW, "In this time.");
        let severity =
            table.or("severity", &preset::SPRAYING_SEVERITY, "How it is told: `low` or `high`.");
        let (accounts, network_accounts) = (accounts?, network_accounts?);
        for most in [&accounts, &network_accounts] {
            if most.value.get() > MOST_ACCOUNTS {
                let hint = "the accounts of every place are remembered: state at most 200";
                table.error(most.span, "too many accounts", hint);
            }
        }
        let (window, severity) = (window?, severity?);
        let (accounts, network_accounts) = (accounts.value, network_accounts.value);
        let of = |mode| Spraying { mode, accounts, network_accounts, window, severity };
        Some(Self(mode?.0.map(of)))
    }
}

struct StuffFields(Option<Stuffing>);

impl Fields for StuffFields {
    const NAME: &'static str = "login stuffing";
    const ABOUT: &'static str = "When failures of most attempts are an attack.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let mode = table.or::<Mode>(
            "mode",
            &preset::STUFFING_MODE,
            "`enforce`: addresses are locked sooner; `shadow`: it is only told; or `off`.",
        );
        let failures =
            table.or("failures", &preset::STUFFING_FAILURES, "So many failures at least.");
        let percent = table.or::<At<NonZeroU32>>(
            "percent",
            &preset::STUFFING_PERCENT,
            "So many of a hundred attempts that came to an end at least.",
        );
        let window = table.or("window", &preset::STUFFING_WINDOW, "In this time.");
        let address_failures = table.or(
            "address_failures",
            &preset::STUFFING_ADDRESS_FAILURES,
            "Failures that lock an address first while it lasts.",
        );
        let severity =
            table.or("severity", &preset::STUFFING_SEVERITY, "How it is told: `low` or `high`.");
        let percent = percent?;
        if percent.value.get() > 100 {
            table.error(percent.span, "more than a hundred of a hundred", "state 1 to 100");
        }
        let (failures, window, severity) = (failures?, window?, severity?);
        let (percent, address_failures) = (percent.value, address_failures?);
        let of = |mode| Stuffing { mode, failures, percent, window, address_failures, severity };
        Some(Self(mode?.0.map(of)))
    }
}

/// A mode; nothing for `off`.
#[derive(Clone, Copy)]
struct Mode(Option<LoginMode>);

impl Decode for Mode {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, MODES, "mode", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(MODES)
    }
}

const MODES: &[(&str, Mode)] = &[
    ("enforce", Mode(Some(LoginMode::Enforce))),
    ("shadow", Mode(Some(LoginMode::Shadow))),
    ("off", Mode(None)),
];

impl Decode for LoginsAway {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, AWAY, "behaviour", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(AWAY)
    }
}

const AWAY: &[(&str, LoginsAway)] = &[("local", LoginsAway::Local), ("closed", LoginsAway::Closed)];

impl Decode for Severity {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, SEVERITIES, "severity", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(SEVERITIES)
    }
}

const SEVERITIES: &[(&str, Severity)] = &[("low", Severity::Low), ("high", Severity::High)];

/// `logins` of `identity`.
pub(super) struct LoginIdentity(pub(super) LoginPepper);

impl Fields for LoginIdentity {
    const NAME: &'static str = "identity logins";
    const ABOUT: &'static str = "Accounts of those who sign in.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let pepper = table.required::<At<Secret>>(
            "pepper",
            "A secret of 32 bytes or more that hashes of accounts are keyed with, the same on all \
             nodes; with another one, counts begin anew.",
        )?;
        if pepper.value.expose().len() < MIN_PEPPER_BYTES {
            let hint = "make one with `openssl rand -base64 48`, and state it as `${NAME}`";
            table.error(pepper.span, "the pepper is shorter than 32 bytes", hint);
        }
        Some(Self(LoginPepper::new(&pepper.value)))
    }
}
