//! Tollgate.

pub mod domain;
