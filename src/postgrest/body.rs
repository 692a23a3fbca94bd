//! Bodies: the tenant forced or checked, everything else kept as its exact text.
//!
//! A body is read once and written afresh, so that PostgREST and PostgreSQL cannot read another
//! tenant out of it than the gateway did: keys are decoded before they are compared, a key that
//! stands twice is refused, and values keep their text (numbers of any length, order of keys). CSV
//! and forms become JSON. Nothing is written before the last byte was read, so that a refusal in
//! the last row leaves no row behind. May import `domain` and this room.

mod csv;
mod form;
mod json;
mod members;
mod object;
mod scan;
mod source;
mod writer;

use std::sync::Arc;

use uuid::Uuid;

use super::limits::MAX_INSERT_ROWS;
use super::refusal::RestRefusal;
use crate::domain::catalog::{Function, Table};
use crate::domain::ids::OrgId;
use members::Members;
use writer::Writer;

pub use object::{Member, MemberValue, members as object_members};
pub use source::BodySource;

/// What is to become of a request's body.
#[derive(Debug, Clone)]
pub enum BodyRule {
    /// There must be none.
    None,
    /// Rows of a table, or changes to rows.
    Rows(RowsRule),
    /// Arguments of a function.
    Arguments(ArgumentsRule),
}

impl BodyRule {
    /// The body to send in place of the client's: `None` where there must be none.
    ///
    /// # Errors
    /// A [`RestRefusal`] where the body is not what the request takes, names a column or argument
    /// that is not in the catalogue or a key twice, or belongs to another organization.
    pub fn rewrite(&self, body: &[u8]) -> Result<Option<Vec<u8>>, RestRefusal> {
        match self {
            Self::None if body.is_empty() => Ok(None),
            Self::None => Err(RestRefusal::BodyForbidden),
            Self::Rows(rule) => rule.rewrite(body).map(Some),
            Self::Arguments(rule) => rule.rewrite(body).map(Some),
        }
    }

    /// The media type of what [`Self::rewrite`] returns, whatever the client's was.
    pub fn content_type(&self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Rows(_) | Self::Arguments(_) => Some(BodySource::Json.media_type()),
        }
    }
}

/// How rows in a body are bound to the organization.
#[derive(Debug, Clone)]
pub struct RowsRule {
    table: Arc<Table>,
    tenant_column: Arc<str>,
    org: OrgId,
    write: Write,
    source: BodySource,
    columns: Option<Arc<[String]>>,
    /// The roles that may be given, where the table holds roles.
    below: Arc<[Arc<str>]>,
}

/// What the body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    /// One row or several; each gets the tenant.
    Insert,
    /// One row, which gets the tenant.
    Put,
    /// One object of changes; the tenant may be restated, not changed.
    Update,
    /// The same where `columns` names the tenant column: a body without it would set it to NULL.
    UpdateNamingTenant,
}

impl RowsRule {
    /// `columns` is the query's parameter of that name: PostgREST reads only these keys of JSON
    /// objects, so that others are dropped. It does not heed the parameter for CSV and forms; leave
    /// it out of what is sent with them.
    pub(super) fn new(
        table: Arc<Table>,
        tenant_column: Arc<str>,
        org: OrgId,
        write: Write,
        source: BodySource,
        columns: Option<&[String]>,
    ) -> Self {
        let columns = columns.filter(|_| source == BodySource::Json).map(Arc::from);
        Self { table, tenant_column, org, write, source, columns, below: Arc::from([]) }
    }

    /// The roles that the writer may give, where the table holds roles.
    pub(super) fn below(mut self, below: &[Arc<str>]) -> Self {
        if self.table.ranks.is_some() {
            self.below = Arc::from(below);
        }
        self
    }

    fn rewrite(&self, body: &[u8]) -> Result<Vec<u8>, RestRefusal> {
        let text = text(body)?;
        let members = Members::of_rows(self);
        let mut writer = Writer::new(members, text.len());
        match self.source {
            BodySource::Json => json::rows(text, &mut writer, self.write.rows())?,
            BodySource::Csv => csv::rows(text, &mut writer, self.write.rows())?,
            BodySource::Form if text.is_empty() => return Err(RestRefusal::BodyMalformed("empty")),
            BodySource::Form => form::row(text, &mut writer)?,
        }
        Ok(writer.finish())
    }
}

impl Write {
    fn rows(self) -> Rows {
        match self {
            Self::Insert => Rows::Several { most: MAX_INSERT_ROWS },
            Self::Put | Self::Update | Self::UpdateNamingTenant => Rows::One,
        }
    }
}

/// How many rows a body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rows {
    /// One object, and no array: PostgREST takes the first of an array.
    One,
    /// One object, or an array of so many.
    Several { most: usize },
}

/// How the arguments of a call are bound to the organization.
#[derive(Debug, Clone)]
pub struct ArgumentsRule {
    function: Arc<Function>,
    org: OrgId,
    source: BodySource,
}

impl ArgumentsRule {
    /// # Errors
    /// If the source is CSV, which would be an array of argument lists.
    pub(super) fn new(
        function: Arc<Function>,
        org: OrgId,
        source: BodySource,
    ) -> Result<Self, RestRefusal> {
        match source {
            BodySource::Json | BodySource::Form => Ok(Self { function, org, source }),
            BodySource::Csv => Err(RestRefusal::ContentTypeUnsupported),
        }
    }

    fn rewrite(&self, body: &[u8]) -> Result<Vec<u8>, RestRefusal> {
        let text = text(body)?;
        let mut writer = Writer::new(Members::of_arguments(self), text.len());
        match self.source {
            // PostgREST reads an empty body as a call without arguments.
            BodySource::Json if text.is_empty() => json::rows("{}", &mut writer, Rows::One)?,
            BodySource::Json => json::rows(text, &mut writer, Rows::One)?,
            BodySource::Form => form::row(text, &mut writer)?,
            BodySource::Csv => return Err(RestRefusal::ContentTypeUnsupported),
        }
        Ok(writer.finish())
    }
}

/// The organization's id in its canonical spelling.
fn canonical(org: OrgId) -> String {
    let mut buffer = Uuid::encode_buffer();
    let text: &str = org.as_uuid().as_hyphenated().encode_lower(&mut buffer);
    text.to_owned()
}

/// Bodies are UTF-8, without a byte order mark, which parsers read differently.
fn text(body: &[u8]) -> Result<&str, RestRefusal> {
    let text = std::str::from_utf8(body).map_err(|_| RestRefusal::BodyMalformed("not utf-8"))?;
    match text.starts_with('\u{FEFF}') {
        true => Err(RestRefusal::BodyMalformed("a byte order mark")),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests;
