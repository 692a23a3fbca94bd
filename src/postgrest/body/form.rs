//! Forms: one row, written as JSON, or the arguments of a call, written as a form again.
//!
//! PostgREST 12 hands a form's values to PostgreSQL as texts, of which arguments of any type are
//! read; a row's values as JSON strings. Stricter than PostgREST: `;` separates nothing, every name
//! has a value, and none stands twice. May import this room.

use std::borrow::Cow;

use super::members::{Found, Members, Role, Seen, Stated, Writer};
use crate::postgrest::percent::{Plus, decode, encode};
use crate::postgrest::refusal::RestRefusal;

/// Rewrites a row.
pub(super) fn row(text: &str, writer: &mut Writer<'_>) -> Result<(), RestRefusal> {
    if text.is_empty() {
        return Err(RestRefusal::BodyMalformed("empty"));
    }
    writer.begin_row();
    for pair in pairs(text) {
        let (name, value) = pair?;
        let found = writer.find(&name)?;
        writer.text(found, Some(&value))?;
    }
    writer.end_row(text.len(), 0)
}

/// Rewrites a call's arguments. There may be none.
pub(super) fn arguments(text: &str, members: &Members<'_>) -> Result<Vec<u8>, RestRefusal> {
    let mut seen = Seen::new(members);
    let mut out = String::with_capacity(text.len() + 64);
    for pair in pairs(text) {
        let (name, value) = pair?;
        let Found::Member(index) = members.find(&name)? else { continue };
        seen.insert(index, members)?;
        match members.role(index) {
            Role::Kept => argument(members.name(index), &value, &mut out),
            Role::Tenant => {
                members.check_tenant(index, Stated::Text(&value))?;
                argument(members.name(index), members.tenant_id(), &mut out);
            }
            Role::Dropped => {}
        }
    }
    for index in members.missing(&seen) {
        argument(members.name(index), members.tenant_id(), &mut out);
    }
    Ok(out.into_bytes())
}

fn argument(name: &str, value: &str, out: &mut String) {
    if !out.is_empty() {
        out.push('&');
    }
    encode(name, out);
    out.push('=');
    encode(value, out);
}

type Pair<'b> = (Cow<'b, str>, Cow<'b, str>);

fn pairs(text: &str) -> impl Iterator<Item = Result<Pair<'_>, RestRefusal>> {
    let whole = Some(text).filter(|text| !text.is_empty());
    whole.into_iter().flat_map(|text| text.split('&')).map(|pair| {
        if pair.contains(';') {
            return Err(RestRefusal::BodyMalformed("a `;` in a form"));
        }
        let malformed = RestRefusal::BodyMalformed("a name without a value in a form");
        let (name, value) = pair.split_once('=').ok_or(malformed)?;
        let decoded = |raw| {
            decode(raw, Plus::Space)
                .map_err(|_| RestRefusal::BodyMalformed("a broken percent sequence in a form"))
        };
        Ok((decoded(name)?, decoded(value)?))
    })
}
