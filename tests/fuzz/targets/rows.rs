//! Rows of JSON, read member by member, so that a key that stands twice is seen twice.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::catalog::ORG;

/// One row: names, and values in their exact text.
pub(super) type Row = Vec<(String, String)>;

/// The rows of a body that is sent; `None` where it is no JSON of rows.
pub(super) fn members(body: &[u8]) -> Option<Vec<Row>> {
    let rows = match body.iter().find(|byte| !byte.is_ascii_whitespace())? {
        b'[' => serde_json::from_slice::<Vec<Members>>(body).ok()?,
        _ => vec![serde_json::from_slice::<Members>(body).ok()?],
    };
    Some(rows.into_iter().map(|row| row.0).collect())
}

/// The rows that are sent: each names the tenant as often as it has to, and no name twice.
pub(super) fn checked(out: &[u8], tenant: &str, always: bool) -> Vec<Row> {
    let rows = members(out);
    let rows = rows.unwrap_or_else(|| panic!("no rows: {}", String::from_utf8_lossy(out)));
    for row in &rows {
        let stated: Vec<&str> = row
            .iter()
            .filter(|(name, _)| name == tenant)
            .map(|(_, value)| value.as_str())
            .collect();
        let own = format!("\"{ORG}\"");
        assert!(stated == [own] || (stated.is_empty() && !always), "{row:?}");
        let mut names: Vec<&String> = row.iter().map(|(name, _)| name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), row.len(), "{row:?}");
    }
    rows
}

struct Members(Row);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Each)
    }
}

struct Each;

impl<'de> Visitor<'de> for Each {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Row::new();
        while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
            members.push((name, value.get().to_owned()));
        }
        Ok(Members(members))
    }
}
