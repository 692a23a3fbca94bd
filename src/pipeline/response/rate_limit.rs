//! `RateLimit` and `RateLimit-Policy`, as structured fields (RFC 9651).
//!
//! The one place that writes them: the draft still moves. This is
//! draft-ietf-httpapi-ratelimit-headers-10: `q` is the quota of a window of `w` seconds, `r` what
//! is left, `t` the seconds until it is whole again. A token bucket refills all the time, so `q`
//! and `w` state its rate, and `r` can be above `q` where the burst is.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::pipeline::limit::LimitState;

use super::AnswerFields;

const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");

/// Adds both fields for the limits that were looked at, if there are any.
pub fn fields(limits: &[LimitState], set: &mut AnswerFields) {
    if limits.is_empty() {
        return;
    }
    let room = || String::with_capacity(32 * limits.len());
    let (mut policies, mut states) = (room(), room());
    for limit in limits {
        let window = u64::from(limit.rate.period_millis.get()).div_ceil(1000);
        let full_in = whole_seconds(limit.balance.full_in);
        item(
            &mut policies,
            &limit.limit,
            [(";q=", limit.rate.tokens.get().into()), (";w=", window)],
        );
        let remaining = u64::from(limit.balance.remaining);
        item(&mut states, &limit.limit, [(";r=", remaining), (";t=", full_in)]);
    }
    for (name, text) in [(RATELIMIT_POLICY, policies), (RATELIMIT, states)] {
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(text)) {
            set.push((name, value));
        }
    }
}

/// `"name";a=1;b=2`. By hand: every answer has six such numbers, and `write!` takes ten times as
/// long for one as the digits do.
fn item(text: &mut String, name: &str, parameters: [(&str, u64); 2]) {
    text.push_str(if text.is_empty() { "\"" } else { ", \"" });
    text.push_str(name);
    text.push('"');
    for (key, number) in parameters {
        text.push_str(key);
        text.push_str(itoa::Buffer::new().format(number));
    }
}

/// Seconds, rounded up, so that whoever waits that long has waited long enough.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
