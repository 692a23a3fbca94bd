//! What a comparison of a catalogue with a database finds, and how it is shown.

use std::fmt;

use serde_json::json;

use crate::domain::catalog::Catalog;
use crate::domain::source::Source;

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) rule: Rule,
    pub(super) message: String,
    pub(super) hint: String,
    pub(super) source: Source,
}

impl Finding {
    /// Whether the catalogue relies on what the database does not have.
    pub(super) fn is_error(&self) -> bool {
        self.rule.is_error()
    }
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    TableMissing,
    KindDiffers,
    ColumnMissing,
    ColumnDiffers,
    KeyMissing,
    ForeignKeyDiffers,
    FunctionMissing,
    FunctionDiffers,
    OwnersRights,
    NullableTenant,
    NullableParent,
    UniqueWithoutTenant,
    CrossingForeignKey,
    IndexMissing,
    RowSecurityOff,
    ShadowUnprotected,
    ColumnUnlisted,
}

impl Rule {
    fn as_str(self) -> &'static str {
        match self {
            Self::TableMissing => "table_missing",
            Self::KindDiffers => "kind_differs",
            Self::ColumnMissing => "column_missing",
            Self::ColumnDiffers => "column_differs",
            Self::KeyMissing => "key_missing",
            Self::ForeignKeyDiffers => "foreign_key_differs",
            Self::FunctionMissing => "function_missing",
            Self::FunctionDiffers => "function_differs",
            Self::OwnersRights => "owners_rights",
            Self::NullableTenant => "nullable_tenant",
            Self::NullableParent => "nullable_parent",
            Self::UniqueWithoutTenant => "unique_without_tenant",
            Self::CrossingForeignKey => "crossing_foreign_key",
            Self::IndexMissing => "index_missing",
            Self::RowSecurityOff => "row_security_off",
            Self::ShadowUnprotected => "shadow_unprotected",
            Self::ColumnUnlisted => "column_unlisted",
        }
    }

    fn is_error(self) -> bool {
        match self {
            Self::TableMissing
            | Self::KindDiffers
            | Self::ColumnMissing
            | Self::ColumnDiffers
            | Self::KeyMissing
            | Self::ForeignKeyDiffers
            | Self::FunctionMissing
            | Self::FunctionDiffers
            | Self::ShadowUnprotected => true,
            Self::OwnersRights
            | Self::NullableTenant
            | Self::NullableParent
            | Self::UniqueWithoutTenant
            | Self::CrossingForeignKey
            | Self::IndexMissing
            | Self::RowSecurityOff
            | Self::ColumnUnlisted => false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.is_error() { "error" } else { "warning" };
        writeln!(f, "{severity}[{}]: {}", self.rule.as_str(), self.message)?;
        writeln!(f, "  --> {}:{}", self.source, self.source.column)?;
        write!(f, "  = hint: {}", self.hint)
    }
}

/// For people.
pub(super) fn text(findings: &[Finding], catalog: &Catalog) -> String {
    let mut out: String = findings.iter().map(|finding| format!("{finding}\n\n")).collect();
    let errors = findings.iter().filter(|finding| finding.is_error()).count();
    let warnings = findings.len() - errors;
    out.push_str(&format!(
        "{} tables and views, {} foreign keys, {} functions: {errors} errors, {warnings} \
         warnings\n",
        catalog.tables.len(),
        catalog.foreign_keys.len(),
        catalog.functions.len(),
    ));
    out
}

/// For programs.
pub(super) fn json_text(findings: &[Finding]) -> String {
    let list: Vec<serde_json::Value> = findings
        .iter()
        .map(|finding| {
            json!({
                "severity": if finding.is_error() { "error" } else { "warning" },
                "rule": finding.rule.as_str(),
                "message": finding.message,
                "hint": finding.hint,
                "at": {
                    "file": finding.source.file.as_ref(),
                    "line": finding.source.line,
                    "column": finding.source.column,
                },
            })
        })
        .collect();
    let ok = !findings.iter().any(Finding::is_error);
    format!("{}\n", json!({ "ok": ok, "findings": list }))
}
