//! The members of one JSON object, as they stand in a text: for bodies that are looked at and go
//! on unchanged. May import this room.

use std::borrow::Cow;

use super::scan::Scanner;
use crate::postgrest::refusal::RestRefusal;

/// A member of an object: its name, decoded, and its value.
pub type Member<'b> = (Cow<'b, str>, MemberValue<'b>);

/// The value of a member, as far as somebody may want to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberValue<'b> {
    /// A string, decoded.
    Text(Cow<'b, str>),
    /// `null`.
    Null,
    /// Anything else.
    Other,
}

/// Reads a text that is one object and nothing else, and gives its members in their order, those
/// that stand twice included.
///
/// # Errors
/// [`RestRefusal::BodyMalformed`] if it is not UTF-8, not JSON, or no object.
pub fn members(body: &[u8]) -> Result<Vec<Member<'_>>, RestRefusal> {
    let text = str::from_utf8(body).map_err(|_| RestRefusal::BodyMalformed("not utf-8"))?;
    let mut scan = Scanner::new(text);
    let mut members = Vec::new();
    scan.space();
    if !scan.take(b'{') {
        return Err(RestRefusal::BodyMalformed("no object"));
    }
    scan.space();
    if !scan.take(b'}') {
        loop {
            let name = scan.string()?.decode()?;
            scan.space();
            scan.expect(b':')?;
            scan.space();
            let value = scan.value()?;
            let value = match value.string {
                Some(text) => MemberValue::Text(text.decode()?),
                None if value.raw == b"null" => MemberValue::Null,
                None => MemberValue::Other,
            };
            members.push((name, value));
            scan.space();
            if scan.take(b'}') {
                break;
            }
            scan.expect(b',')?;
            scan.space();
        }
    }
    scan.space();
    if scan.is_at_end() { Ok(members) } else { Err(RestRefusal::BodyMalformed("something behind")) }
}
