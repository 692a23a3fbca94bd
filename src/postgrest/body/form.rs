//! Forms: one row, or the arguments of a call, written as JSON the way PostgREST writes them.
//!
//! As PostgREST 12 reads it (`ApiRequest/Payload.hs`): every value is a text. Stricter than
//! PostgREST: `;` separates nothing, every name has a value, and none stands twice, which makes
//! the one difference: an argument that is variadic has to come as JSON. May import this room.

use super::writer::Writer;
use crate::postgrest::percent::{Plus, decode};
use crate::postgrest::refusal::RestRefusal;

/// Rewrites a whole body.
pub(super) fn row(text: &str, writer: &mut Writer<'_>) -> Result<(), RestRefusal> {
    writer.begin_row();
    for pair in text.split('&').filter(|_| !text.is_empty()) {
        if pair.contains(';') {
            return Err(RestRefusal::BodyMalformed("a `;` in a form"));
        }
        let malformed = RestRefusal::BodyMalformed("a name without a value in a form");
        let (name, value) = pair.split_once('=').ok_or(malformed)?;
        let decoded = |raw| {
            decode(raw, Plus::Space)
                .map_err(|_| RestRefusal::BodyMalformed("a broken percent sequence in a form"))
        };
        let found = writer.find(&decoded(name)?)?;
        writer.text(found, Some(&decoded(value)?))?;
    }
    writer.end_row(text.len(), 0)
}
