//! Defaults of rules.
//!
//! Each once, with its reason; the module above lists them in the order of the documents. May
//! import nothing of other rooms.

use super::Preset;

pub(in crate::config) const RULE_PHASE: Preset =
    Preset::new("rule", "phase", "request", "the earlier, the less is done for what is refused");
pub(in crate::config) const RULE_MODE: Preset =
    Preset::new("rule", "mode", "enforce", "who writes a rule means it");
pub(in crate::config) const DENY_STATUS: Preset =
    Preset::new("deny", "status", "403", "understood, and not wanted; clients do not repeat it");
pub(in crate::config) const DENY_CODE: Preset =
    Preset::new("deny", "code", "rule_denied", "tells such refusals from those of other policies");
pub(in crate::config) const DENY_MESSAGE: Preset = Preset::new(
    "deny",
    "message",
    "a rule of this gateway refuses the request",
    "says who refuses, and not why: that is for the operator",
);
pub(in crate::config) const REDIRECT_STATUS: Preset =
    Preset::new("redirect", "status", "307", "method and body stay, and no cache remembers it");
pub(in crate::config) const DIVERT_SHARE: Preset =
    Preset::new("rule upstream", "share", "always", "the condition says whom it is for");
pub(in crate::config) const RULE_SEVERITY: Preset =
    Preset::new("rule event", "severity", "low", "a rule that wakes somebody up says so");
