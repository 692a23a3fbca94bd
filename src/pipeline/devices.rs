//! Trusted devices: which one the caller shows, and what becomes of the wish that this one be
//! trusted.
//!
//! Part of the authorize stage. A device is shown in a cookie (browsers) or a header (everything
//! else); neither goes on to an upstream. A device that is not proven is no reason to refuse: it
//! stands in for nothing.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::domain::clock::Now;
use crate::domain::principal::Principal;
use crate::domain::refusal::Refusal;
use crate::domain::trusted::TrustedDevice;
use crate::policy::Snapshot;
use crate::policy::identity::{DevicePolicy, SameSite};
use crate::policy::known::Known;

use super::authenticate::Authenticated;
use super::conditions::factor_shown;
use super::tenant::Tenanted;
use super::trace::{Trace, Trust};

/// What a caller wishes of devices.
const WISH: HeaderName = HeaderName::from_static("x-trust-device");
/// The device's token, in requests and answers.
const SHOWN: HeaderName = HeaderName::from_static("x-trusted-device");
/// Only this host sets a cookie with this prefix, and only over TLS (RFC 6265bis section 4.1.3.2).
const COOKIE: &str = "__Host-tollgate-device";
/// Clocks of nodes differ by less.
const SKEW_SECS: u64 = 60;

/// The device that the caller shows, where it is theirs and still trusted.
pub(super) fn shown(
    authenticated: &Authenticated<'_>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
    now: Now,
) -> Option<TrustedDevice> {
    let policy = snapshot.identity.devices.as_ref()?;
    let Principal::User { id, .. } = authenticated.principal() else { return None };
    let headers = authenticated.routed().headers();
    let token = match headers.get(&SHOWN) {
        Some(value) => value.to_str().ok()?,
        None => cookies(headers).find_map(|(name, value)| (name == COOKIE).then_some(value))?,
    };
    let device = policy.keys.iter().find_map(|key| key.proven(token, id));
    let now = now.unix_secs();
    let counts = device.filter(|device| {
        let at = device.trusted_at;
        at <= now.saturating_add(SKEW_SECS)
            && now.saturating_sub(at) <= policy.trusted_for.as_secs()
            && known.trusts(id, *device)
    });
    trace.note(None, || match (counts, device) {
        (Some(device), _) => format!("the caller's device `{}` is trusted", device.id),
        (None, Some(device)) => format!("the device `{}` is not trusted any more", device.id),
        (None, None) => "the device's token is not one of this user".to_owned(),
    });
    trace.device = counts;
    counts
}

/// Trusts the caller's device, or none any more, where the request says so.
pub(super) fn asked(
    tenanted: &Tenanted<'_>,
    snapshot: &Snapshot,
    trace: &mut Trace,
    now: Now,
) -> Result<(), Refusal> {
    let authenticated = tenanted.authenticated();
    let headers = authenticated.routed().headers();
    let Some(policy) = snapshot.identity.devices.as_ref() else { return Ok(()) };
    let mut wishes = headers.get_all(&WISH).iter();
    let Some(wish) = wishes.next() else { return Ok(()) };
    let (Principal::User { id, token }, None, None) =
        (authenticated.principal(), tenanted.acts_as(), wishes.next())
    else {
        return Err(Refusal::TrustDevice);
    };
    let wish = wish.as_bytes();
    if wish == b"forget" {
        let gone = format!("{COOKIE}=; {}", attributes(policy, 0));
        let field = (header::SET_COOKIE, value(&gone)?);
        trace.note(None, || "none of the caller's devices is trusted any more".to_owned());
        trace.trust = Some(Trust { field, forgets: true });
        return Ok(());
    }
    if ![b"cookie".as_slice(), b"header"].contains(&wish) {
        return Err(Refusal::TrustDevice);
    }
    factor_shown(Some(token), Some(policy.within), now).map_err(Refusal::Condition)?;
    let key = policy.keys.first().ok_or(Refusal::Internal("devices are trusted without a key"))?;
    let request = trace.request_id.as_ref().map_or("", |id| id.as_str());
    let device = key.device(request, token.marks.token.bits(), now.unix_secs());
    let made = key.token(device, id);
    let field = if wish == b"cookie" {
        let lives = policy.trusted_for.as_secs();
        let cookie = format!("{COOKIE}={}; {}", made.expose(), attributes(policy, lives));
        (header::SET_COOKIE, value(&cookie)?)
    } else {
        (SHOWN, value(made.expose())?)
    };
    trace.note(None, || format!("the caller's device is trusted as `{}`", device.id));
    trace.device = Some(device);
    trace.trust = Some(Trust { field, forgets: false });
    Ok(())
}

/// The cookies that go on to an upstream: all but that of the device. `None`: all that there are.
pub(super) fn other_cookies(headers: &HeaderMap) -> Option<String> {
    cookies(headers).find(|(name, _)| *name == COOKIE)?;
    let others = cookies(headers).filter(|(name, _)| *name != COOKIE);
    let others: Vec<String> = others
        .map(|(name, value)| if name.is_empty() { value.into() } else { [name, value].join("=") })
        .collect();
    Some(others.join("; "))
}

/// Names and values (RFC 6265bis section 5.7). What is no text is nobody's device.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).map(str::trim);
    pairs.filter(|pair| !pair.is_empty()).map(|pair| match pair.split_once('=') {
        Some((name, value)) => (name.trim(), value.trim()),
        None => ("", pair),
    })
}

fn attributes(policy: &DevicePolicy, lives: u64) -> String {
    let same_site = match policy.same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
        SameSite::None => "None",
    };
    format!("Path=/; Max-Age={lives}; Secure; HttpOnly; SameSite={same_site}")
}

fn value(text: &str) -> Result<HeaderValue, Refusal> {
    let value = HeaderValue::from_str(text);
    let mut value = value.map_err(|_| Refusal::Internal("a device's token is no field"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let line = |text: &&'static str| (header::COOKIE, HeaderValue::from_static(text));
        lines.iter().map(line).collect()
    }

    #[test]
    fn cookies_go_on_without_that_of_the_device() {
        for (lines, wanted) in [
            (&["a=1; b=2"][..], None),
            (&[], None),
            (&["__Host-tollgate-device=x"], Some("")),
            (&["a=1; __Host-tollgate-device=x; b=2=3"], Some("a=1; b=2=3")),
            (&["a=1", "__Host-tollgate-device = x ;c; d="], Some("a=1; c; d=")),
            (&["__Host-tollgate-device=x;__Host-tollgate-device=y"], Some("")),
            (&["__host-tollgate-device=x"], None),
        ] {
            assert_eq!(other_cookies(&headers(lines)).as_deref(), wanted, "{lines:?}");
        }
    }
}
