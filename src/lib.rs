//! Tollgate.

pub mod domain;
pub mod policy;
