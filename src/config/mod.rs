//! From YAML to policy: reading, interpolating, checking, compiling; every error at once, each
//! with file, line, column, the line itself and a hint.
//!
//! The serde types of the YAML never leave this room. May import `policy` and `domain`.

pub mod settings;
