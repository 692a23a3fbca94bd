//! JSON bodies: the tenant column forced or checked, everything else kept as its exact text.
//!
//! A body is read once and written afresh, so that PostgREST and PostgreSQL cannot read another
//! tenant out of it than the gateway did: keys are decoded before they are compared, a key that
//! stands twice is refused, and values keep their text (numbers of any length, order of keys). May
//! import `domain` and this room.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use uuid::Uuid;

use super::limits::MAX_INSERT_ROWS;
use super::refusal::{Cap, RestRefusal};
use crate::domain::catalog::Table;
use crate::domain::ids::OrgId;

/// What is to become of a request's body.
#[derive(Debug, Clone)]
pub enum BodyRule {
    /// There must be none.
    None,
    /// JSON, to be rewritten as a whole before it is sent.
    Json(JsonRule),
}

/// How the rows of a JSON body are bound to the organization.
#[derive(Debug, Clone)]
pub struct JsonRule {
    table: Arc<Table>,
    tenant_column: Arc<str>,
    org: OrgId,
    write: Write,
}

/// What the body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// One row or an array of rows; each gets the tenant.
    Insert,
    /// One object of changes; the tenant may be restated, not changed.
    Update,
    /// The same where `columns` names the tenant column: a body without it would set it to NULL.
    UpdateNamingTenant,
}

impl JsonRule {
    pub(super) fn new(
        table: Arc<Table>,
        tenant_column: Arc<str>,
        org: OrgId,
        write: Write,
    ) -> Self {
        Self { table, tenant_column, org, write }
    }

    /// The body to send in place of the client's.
    ///
    /// # Errors
    /// A [`RestRefusal`] where the body is not what the method takes, names an unknown column or a
    /// key twice, or belongs to another organization.
    pub fn rewrite(&self, body: &[u8]) -> Result<Vec<u8>, RestRefusal> {
        let mut columns: Vec<&str> = self.table.columns.iter().map(AsRef::as_ref).collect();
        columns.sort_unstable();
        let mut writer = Writer {
            rule: self,
            seen: vec![false; columns.len()],
            columns,
            rows: 0,
            out: Vec::with_capacity(body.len() + 64),
            refusal: None,
        };
        let mut json = serde_json::Deserializer::from_slice(body);
        let first = body.iter().find(|b| !matches!(b, b' ' | b'\t' | b'\n' | b'\r'));
        let parsed = match first {
            Some(b'{') => Row(&mut writer).deserialize(&mut json),
            Some(b'[') if self.write == Write::Insert => Rows(&mut writer).deserialize(&mut json),
            Some(b'[') => return Err(RestRefusal::BodyMalformed("an array in an update")),
            Some(_) => return Err(RestRefusal::BodyMalformed("neither object nor array")),
            None => return Err(RestRefusal::BodyMalformed("empty")),
        };
        match parsed.and_then(|()| json.end()) {
            Ok(()) => Ok(writer.out),
            Err(_) => Err(writer.refusal.unwrap_or(RestRefusal::BodyMalformed("not valid json"))),
        }
    }
}

/// Writes rows while they are parsed.
struct Writer<'r> {
    rule: &'r JsonRule,
    /// The table's columns, sorted.
    columns: Vec<&'r str>,
    /// Which of them the row at hand has named.
    seen: Vec<bool>,
    rows: usize,
    out: Vec<u8>,
    /// Why parsing was stopped, where it was not for broken JSON.
    refusal: Option<RestRefusal>,
}

/// A key of a row, decoded and looked up.
enum Key<'r> {
    Tenant,
    Column { index: usize, name: &'r str },
    Unknown(String),
}

impl<'r> Writer<'r> {
    fn refuse<E: serde::de::Error>(&mut self, refusal: RestRefusal) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    fn resolve(&self, key: &str) -> Key<'r> {
        if key == self.rule.tenant_column.as_ref() {
            return Key::Tenant;
        }
        match self.columns.binary_search(&key) {
            Ok(index) => match self.columns.get(index) {
                Some(name) => Key::Column { index, name },
                None => Key::Unknown(key.to_owned()),
            },
            Err(_) => Key::Unknown(key.to_owned()),
        }
    }

    /// Whether the client's value for the tenant column may stand for the caller's organization.
    fn is_own(&self, value: &RawValue) -> bool {
        match serde_json::from_str::<Option<String>>(value.get()) {
            Ok(Some(text)) => Uuid::try_parse(&text).is_ok_and(|id| id == *self.rule.org.as_uuid()),
            Ok(None) => self.rule.write == Write::Insert,
            Err(_) => false,
        }
    }

    fn tenant(&mut self, members: &mut usize) {
        let mut buffer = Uuid::encode_buffer();
        let id = self.rule.org.as_uuid().as_hyphenated().encode_lower(&mut buffer);
        self.key(self.rule.tenant_column.as_ref(), members);
        self.out.push(b'"');
        self.out.extend_from_slice(id.as_bytes());
        self.out.push(b'"');
    }

    fn key(&mut self, name: &str, members: &mut usize) {
        if *members > 0 {
            self.out.push(b',');
        }
        *members += 1;
        string(name, &mut self.out);
        self.out.push(b':');
    }

    fn row<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        if self.rows == MAX_INSERT_ROWS {
            return Err(self.refuse(RestRefusal::TooMany(Cap::Rows)));
        }
        self.rows += 1;
        self.seen.fill(false);
        let mut tenant_seen = false;
        let mut members = 0;
        self.out.push(b'{');
        while let Some(key) = map.next_key_seed(KeySeed(self))? {
            let value: &RawValue = map.next_value()?;
            match key {
                Key::Unknown(name) => return Err(self.refuse(RestRefusal::ColumnUnknown(name))),
                Key::Tenant => {
                    if std::mem::replace(&mut tenant_seen, true) {
                        let name = self.rule.tenant_column.as_ref().to_owned();
                        return Err(self.refuse(RestRefusal::BodyKeyRepeated(name)));
                    }
                    if !self.is_own(value) {
                        return Err(self.refuse(RestRefusal::TenantEscape));
                    }
                    self.tenant(&mut members);
                }
                Key::Column { index, name } => {
                    if self.seen.get_mut(index).is_none_or(|seen| std::mem::replace(seen, true)) {
                        return Err(self.refuse(RestRefusal::BodyKeyRepeated(name.to_owned())));
                    }
                    self.key(name, &mut members);
                    self.out.extend_from_slice(value.get().as_bytes());
                }
            }
        }
        if !tenant_seen && self.rule.write != Write::Update {
            self.tenant(&mut members);
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// Writes a JSON string (RFC 8259 section 7).
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

struct Rows<'w, 'r>(&'w mut Writer<'r>);

impl<'de> DeserializeSeed<'de> for Rows<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Rows<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut rows: A) -> Result<(), A::Error> {
        self.0.out.push(b'[');
        let mut first = true;
        loop {
            let before = self.0.out.len();
            if !first {
                self.0.out.push(b',');
            }
            if rows.next_element_seed(Row(self.0))?.is_none() {
                self.0.out.truncate(before);
                break;
            }
            first = false;
        }
        self.0.out.push(b']');
        Ok(())
    }
}

struct Row<'w, 'r>(&'w mut Writer<'r>);

impl<'de> DeserializeSeed<'de> for Row<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Row<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.row(map)
    }
}

/// Looks a key up without copying it.
struct KeySeed<'w, 'r>(&'w Writer<'r>);

impl<'de, 'r> DeserializeSeed<'de> for KeySeed<'_, 'r> {
    type Value = Key<'r>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'r>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'r> Visitor<'_> for KeySeed<'_, 'r> {
    type Value = Key<'r>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<Key<'r>, E> {
        Ok(self.0.resolve(key))
    }
}

#[cfg(test)]
mod tests;
