//! Defaults of directories, and of files of tests.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const TEST_FROM: Preset =
    Preset::new("test", "from", "192.0.2.1", "an address that is nobody's (RFC 5737)");
pub(in crate::config) const TEST_AT: Preset = Preset::new(
    "test",
    "at",
    "\"2026-01-07T12:00:00Z\"",
    "some moment that does not move: a Wednesday at noon",
);
pub(in crate::config) const TEST_HOST: Preset =
    Preset::new("request", "host", "api.example.com", "a host that is nobody's (RFC 2606)");
pub(in crate::config) const TEST_ANSWERS: Preset =
    Preset::new("case", "answers", "200", "what an upstream says when nothing is wrong");
pub(in crate::config) const ORGANIZATION_STATUS: Preset =
    Preset::new("organization", "status", "active", "that is why it is listed");
pub(in crate::config) const MEMBER_STATUS: Preset =
    Preset::new("member", "status", "active", "that is why they are listed");
pub(in crate::config) const JOINED: Preset =
    Preset::new("member", "joined", "1970-01-01", "only matters to users of several organizations");
