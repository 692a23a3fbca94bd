//! The way of a request, in the order in which it is decided.
//!
//! ```text
//! client
//!   │
//!   ▼ edge          one reading of the head, or none; spoofable headers off; client address
//!   ▼ route         which upstream, which policies
//!   ▼ rules         of the phase `request`: refuse, redirect, tag, choose
//!   ▼ authenticate  bearer token, API key                     → who calls
//!   ▼ tenant        claim, header, host, path, default        → for which organization
//!   ▼ authorize     roles, grants, denials; conditions       → with which right
//!   ▼ rules         of the phase `authenticated`; the upstream is chosen now
//!   ▼ isolate       the PostgREST request, rewritten to that organization's rows, or refused
//!   ▼ limit         user ∧ organization ∧ key ∧ route ∧ address, all or none
//!   ▼ upstream      identity in a fresh token, canonical target, body through its gate
//!   ▼ rules         of the phase `response`: fields of the answer
//!   ▼ response      CORS, security headers, limits; errors in the client's own shape
//!   ▼ audit         one record, from whichever stage the request ended in
//! ```
//!
//! Each stage takes the proof that the stage before it made and returns its own. A proof has
//! private fields and one constructor, so that a request that skipped a stage does not compile.
//!
//! Nothing here waits or reads a clock. What this node does not know comes back as
//! [`Stop::Ask`]; the shell finds out and calls [`decide`] again, which costs nothing that it had
//! not paid for, because no stage before the charge changes anything. The charge itself is handed
//! out as a value ([`Chargeable::charge`]) and its answer handed in ([`Chargeable::settle`]),
//! exactly once.
//!
//! May import `domain`, `policy` and `postgrest`.

pub mod authenticate;
pub mod authorize;
pub mod body;
mod conditions;
mod devices;
pub mod edge;
pub mod isolate;
pub mod limit;
pub mod login;
mod quota;
pub mod response;
pub mod route;
pub mod rules;
pub mod shadow;
pub mod tenant;
pub mod trace;
pub mod upstream;

pub use limit::{Chargeable, Settled};
pub use trace::{Note, Stage, Trace};
pub use upstream::Passed;

use crate::domain::clock::Now;
use crate::domain::head::Arrival;
use crate::domain::known::Question;
use crate::domain::refusal::Refusal;
use crate::policy::Snapshot;
use crate::policy::known::Known;

/// Decides one request, up to what it is to be charged.
pub fn decide(
    arrival: &Arrival<'_>,
    snapshot: &Snapshot,
    known: &dyn Known,
    trace: &mut Trace,
    now: Now,
) -> Result<Chargeable, Stop> {
    trace.told_version = edge::told_version(arrival, snapshot);
    let edged = edge::admit(arrival, &snapshot.edge, trace, now)?;
    let routed = route::find(edged, snapshot, trace)?;
    let screened = rules::of_request(routed, snapshot, trace, now)?;
    let authenticated = authenticate::prove(screened, snapshot, known, trace, now)?;
    let tenanted = tenant::settle(authenticated, snapshot, known, trace, now)?;
    let authorized = authorize::check(tenanted, snapshot, known, trace, now)?;
    let cleared = rules::of_caller(authorized, snapshot, trace, now)?;
    let isolated = isolate::confine(cleared, snapshot, trace)?;
    Ok(limit::charge(isolated, trace))
}

/// Why [`decide`] stopped before the charge.
#[derive(Debug)]
pub enum Stop {
    /// The request ends here.
    Refused(Refusal),
    /// This node has to find something out first.
    Ask(Question),
    /// The gateway answers by itself (a CORS preflight, a redirect).
    Answered(Box<response::DirectAnswer>),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
