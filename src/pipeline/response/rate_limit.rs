//! `RateLimit` and `RateLimit-Policy`, as structured fields (RFC 9651).
//!
//! The one place that writes them: the draft still moves. This is
//! draft-ietf-httpapi-ratelimit-headers-10: `q` is the quota of a window of `w` seconds, `r` what
//! is left, `t` the seconds until it is whole again. A token bucket refills all the time, so `q`
//! and `w` state its rate, and `r` can be above `q` where the burst is.

use std::fmt::Write;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use crate::pipeline::limit::LimitState;

use super::AnswerFields;

/// Adds both fields for the limits that were looked at, if there are any.
pub fn fields(limits: &[LimitState], set: &mut AnswerFields) {
    if limits.is_empty() {
        return;
    }
    let (mut policies, mut states) = (String::with_capacity(96), String::with_capacity(96));
    for limit in limits {
        let separator = if policies.is_empty() { "" } else { ", " };
        let window = u64::from(limit.rate.period_millis.get()).div_ceil(1000);
        let full_in = whole_seconds(limit.balance.full_in);
        // Writing to a String cannot fail.
        let _ =
            write!(policies, "{separator}\"{}\";q={};w={window}", limit.limit, limit.rate.tokens);
        let _ = write!(
            states,
            "{separator}\"{}\";r={};t={full_in}",
            limit.limit, limit.balance.remaining
        );
    }
    for (name, text) in [("ratelimit-policy", policies), ("ratelimit", states)] {
        if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(text)) {
            set.push((HeaderName::from_static(name), value));
        }
    }
}

/// Seconds, rounded up, so that whoever waits that long has waited long enough.
pub fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
