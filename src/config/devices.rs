//! Trusted devices: `devices` of `identity`.
//!
//! May import `domain` and `policy`.

use std::time::Duration;

use serde_json::Value;

use crate::domain::secret::Secret;
use crate::domain::trusted::DeviceKey;
use crate::policy::identity::{DevicePolicy, SameSite};

use super::context::Context;
use super::decode::{At, Decode, Fields, Filled, Shapes, Table};
use super::defaults as preset;
use super::leaf::{Seconds, word, words};
use super::yaml::Node;

/// Bytes of a key: as many as of the hash that it keys.
const MIN_KEY_BYTES: usize = 32;

/// `devices` of `identity`.
pub(super) struct DeviceFields(pub(super) DevicePolicy);

impl Fields for DeviceFields {
    const NAME: &'static str = "devices";
    const ABOUT: &'static str = "Devices that are trusted: where a condition or an organization says so, one stands in for \
         a second factor that was shown on it.";

    fn fields(table: &mut Table<'_, '_>) -> Option<Self> {
        let keys = table.required::<Filled<At<Secret>>>(
            "keys",
            "Secrets of 32 bytes or more that tokens of devices are made with: the first makes \
             them, all of them count. Without the one that made its token, a device is not \
             trusted any more.",
        );
        let trusted_for = table.or::<Seconds>(
            "trusted_for",
            &preset::DEVICE_TRUSTED_FOR,
            "How long a device is trusted at most.",
        );
        let within = table.or::<Seconds>(
            "within",
            &preset::DEVICE_WITHIN,
            "How long ago the second factor may have been shown, by `amr`, when a device is \
             trusted.",
        );
        let same_site = table.or(
            "same_site",
            &preset::DEVICE_SAME_SITE,
            "`SameSite` of the cookie: `strict`, `lax`, or `none` for pages of other sites.",
        );
        let keys = keys?.0;
        let short: Vec<_> =
            keys.iter().filter(|key| key.value.expose().len() < MIN_KEY_BYTES).collect();
        for key in short {
            let hint = "make one with `openssl rand -base64 48`, and state it as `${NAME}`";
            table.error(key.span, "the key is shorter than 32 bytes", hint);
        }
        Some(Self(DevicePolicy {
            keys: keys.iter().map(|key| DeviceKey::new(&key.value)).collect(),
            trusted_for: Duration::from_secs(trusted_for?.0),
            within: Duration::from_secs(within?.0),
            same_site: same_site?,
        }))
    }
}

impl Decode for SameSite {
    fn decode(node: &Node, cx: &mut Context<'_>) -> Option<Self> {
        word(node, SAME_SITE, "choice", cx)
    }

    fn shape(_: &mut Shapes) -> Value {
        words(SAME_SITE)
    }
}

const SAME_SITE: &[(&str, SameSite)] =
    &[("strict", SameSite::Strict), ("lax", SameSite::Lax), ("none", SameSite::None)];

/// Whether devices are trusted, as conditions have to know.
#[derive(Debug, Clone, Copy)]
pub(super) enum Trusting {
    /// They are, for so many seconds.
    For(u64),
    /// None is.
    Nobody,
    /// What is said of it is wrong, and reported.
    Unclear,
}
