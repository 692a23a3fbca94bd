//! An attempt to reach into another organization: what was tried, and no data.
//!
//! Made by the stage that refuses it, carried by the refusal into the audit log, the metrics and
//! the log. Imports no other room.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use uuid::Uuid;

/// What a request tried to reach, or to make, in another organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantEscape {
    /// Where the row or the call would have been.
    pub resource: Resource,
    /// The column or argument that named the other organization.
    pub name: Arc<str>,
    /// Where in the request it stood.
    pub place: Place,
    /// The organization that was named, where it was named by an id. What is no id is data, and is
    /// not kept.
    pub named: Option<Uuid>,
}

/// A table or a function of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// A table or view.
    Table(Arc<str>),
    /// A function.
    Function(Arc<str>),
}

/// A part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// The query string.
    Query,
    /// The body.
    Body,
}

impl Resource {
    /// `table` or `function`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Table(_) => "table",
            Self::Function(_) => "function",
        }
    }

    /// Its name in the catalogue.
    pub fn name(&self) -> &Arc<str> {
        match self {
            Self::Table(name) | Self::Function(name) => name,
        }
    }
}

impl Place {
    /// As logs write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Body => "body",
        }
    }
}

impl fmt::Display for TenantEscape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (place, name) = (self.place.as_str(), &self.name);
        let (kind, resource) = (self.resource.kind(), self.resource.name());
        write!(f, "the {place} names a tenant other than the caller's in `{name}` of {kind} ")?;
        match self.named {
            Some(id) => write!(f, "`{resource}`: {id}"),
            None => write!(f, "`{resource}`: no organization's id"),
        }
    }
}
