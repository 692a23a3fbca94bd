//! What rules that see the answer are shown of the request: the proofs are gone by then, and of its
//! head only the fields are still there.

use std::net::IpAddr;

use crate::domain::principal::Principal;

use super::super::authorize::Authorized;
use super::super::tenant::Tenancy;

/// What is kept until the answer comes.
#[derive(Debug)]
pub struct Kept {
    pub(super) secure: bool,
    pub(super) host: Box<str>,
    pub(super) client: IpAddr,
    pub(super) country: Option<Box<str>>,
    pub(super) principal: Principal,
    pub(super) tenancy: Option<Tenancy>,
}

impl Kept {
    pub(super) fn of(authorized: &Authorized<'_>) -> Self {
        let tenanted = authorized.tenanted();
        let authenticated = tenanted.authenticated();
        let edged = authenticated.routed().edged();
        Self {
            secure: edged.secure(),
            host: Box::from(edged.host()),
            client: edged.client(),
            country: edged.country().map(Box::from),
            principal: authenticated.principal().clone(),
            tenancy: tenanted.tenancy().cloned(),
        }
    }
}
