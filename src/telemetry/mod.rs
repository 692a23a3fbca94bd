//! What the gateway tells about itself: the clock it reads, metrics, logs.
//!
//! May import `domain` only. Labels are closed enums, so that no client can make series.

pub mod clock;
pub mod family;
pub mod labels;
pub mod log;
pub mod logins;
pub mod metrics;
pub mod process;
pub mod reading;
pub mod rules;
pub mod stages;
