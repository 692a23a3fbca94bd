//! The words of the gateway: ids, heads, principals, organizations, refusals, amounts, clocks.
//!
//! Pure data and pure functions. Imports nothing else of this crate; never awaits, never reads a
//! clock, never does I/O.

pub mod address;
pub mod audit;
pub mod caller;
pub mod catalog;
pub mod charge;
pub mod clock;
pub mod device;
pub mod directory;
pub mod escape;
pub mod fields;
pub mod head;
pub mod ids;
pub mod known;
pub mod login;
pub mod machine;
pub mod mail;
pub mod milestone;
pub mod organization;
pub mod permission;
pub mod principal;
pub mod published;
pub mod refusal;
pub mod rule;
pub mod secret;
pub mod session;
pub mod source;
#[cfg(test)]
pub(crate) mod steps;
pub mod trusted;
pub mod usage;
pub mod would;
pub mod zone;
