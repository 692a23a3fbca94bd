//! Who is told which version of the policies decided: `tell_version` of `edge`.
//!
//! May import `domain` and `policy`.

use ipnet::IpNet;

use crate::domain::secret::Secret;
use crate::policy::edge::TellVersion;

use super::decode::{At, Fields, Filled, Table};

/// As many bytes as of the hash that is kept of it.
const MIN_SECRET_BYTES: usize = 32;

impl Fields for TellVersion {
    const NAME: &'static str = "tell_version";
    const ABOUT: &'static str = "Who is told which version of the policies decided: whoever meets \
                                 all that is stated here.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let nowhere = !table.has("addresses") && !table.has("secret");
        let addresses = table.optional::<Filled<IpNet>>(
            "addresses",
            "Networks of operators; the client's address has to be in one of them.",
        );
        let secret = table.optional::<At<Secret>>(
            "secret",
            "A secret of 32 bytes or more, which operators show in `X-Tollgate-Operator`. It never \
             goes on to an upstream.",
        );
        if nowhere {
            let span = table.span;
            table.error(span, "every client would be told", "state `addresses`, `secret` or both");
        }
        let short = |at: &&At<Secret>| at.value.expose().len() < MIN_SECRET_BYTES;
        if let Some(short) = secret.as_ref().filter(short) {
            let hint = "make one with `openssl rand -base64 48`, and state it as `${NAME}`";
            table.error(short.span, "the secret is shorter than 32 bytes", hint);
        }
        Some(Self {
            addresses: addresses.map(|filled| filled.0).unwrap_or_default(),
            secret: secret.map(|at| blake3::hash(at.value.expose().as_bytes())),
        })
    }
}
