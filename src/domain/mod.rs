//! The words of the gateway: ids, heads, principals, organizations, refusals, amounts, clocks.
//!
//! Pure data and pure functions. Imports nothing else of this crate; never awaits, never reads a
//! clock, never does I/O.

pub mod catalog;
pub mod source;
