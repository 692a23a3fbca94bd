//! The key of a machine.
//!
//! Part of the authenticate stage. A text that cannot be a key is refused without a look-up; every
//! other reason is looked for only once the secret is known to be right, so that whoever does not
//! have the key learns nothing of it. To the caller all of them look alike.

use std::sync::Arc;

use crate::domain::known::{Lookup, Question};
use crate::domain::machine::{KeyStatus, MachineKey, id_of};
use crate::domain::principal::Principal;
use crate::domain::refusal::{CredentialFault, Refusal};

use super::verify::fault;
use super::{Judge, Proven, Stop, Trace};

impl Judge<'_> {
    /// What the key of a machine proves.
    pub(super) fn machine(&self, text: &str, trace: &mut Trace) -> Result<Proven, Stop> {
        let id = id_of(text).map_err(|_| fault(CredentialFault::KeyForm))?;
        let pepper = self.identity.machines.as_ref();
        let pepper = pepper.ok_or_else(|| fault(CredentialFault::KeyUnknown))?;
        let key = match self.known.machine_key(id) {
            Some(Lookup::Found(key)) if key.id == id => key,
            Some(Lookup::Found(_)) => {
                return Err(Refusal::Internal("the directory answered for another key").into());
            }
            Some(Lookup::Absent) => return Err(fault(CredentialFault::KeyUnknown)),
            Some(Lookup::Away(outage)) => return Err(Refusal::Unavailable(outage).into()),
            None => return Err(Stop::Ask(Question::MachineKey(id))),
        };
        let api_key: Arc<str> = id.as_str().into();
        // A key that is refused is worth knowing, too.
        trace.api_key = Some(Arc::clone(&api_key));
        trace.note(None, || format!("key `{id}` of a machine, called `{}`", key.name));
        let shown = pepper.hash(text);
        let current = key.hash == shown;
        let previous = key.previous.filter(|previous| previous.hash == shown);
        let until = match (current, previous) {
            (true, _) => None,
            (false, Some(previous)) => Some(previous.until),
            (false, None) => return Err(fault(CredentialFault::KeySecret)),
        };
        let until = [until, key.expires_at].into_iter().flatten().min();
        self.in_force(&key, until).map_err(fault)?;
        let principal = Principal::Machine { key, until };
        Ok(Proven { principal, api_key: Some(api_key), ..Proven::nobody() })
    }

    fn in_force(&self, key: &MachineKey, until: Option<u64>) -> Result<(), CredentialFault> {
        match key.status {
            KeyStatus::Active => {}
            KeyStatus::Revoked => return Err(CredentialFault::KeyRevoked),
        }
        if until.is_some_and(|until| self.now.unix_secs() >= until) {
            return Err(CredentialFault::KeyExpired);
        }
        let from = self.client.to_canonical();
        let anywhere = key.addresses.is_empty();
        let allowed = anywhere || key.addresses.iter().any(|network| network.contains(&from));
        allowed.then_some(()).ok_or(CredentialFault::KeyAddress)
    }
}
