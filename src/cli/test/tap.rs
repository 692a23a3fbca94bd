//! TAP version 14 (<https://testanything.org/tap-version-14-specification.html>): one test point for
//! each case, with what differs as a YAML diagnostic.

use std::fmt::Write;

use serde_json::json;

use super::{Report, Tried};

/// All reports.
pub(super) fn text(reports: &[Report]) -> String {
    let count = |report: &Report| report.results.as_ref().map_or(1, Vec::len);
    let planned: usize = reports.iter().map(count).sum();
    let mut out = format!("TAP version 14\n1..{planned}\n");
    let mut number = 0;
    for report in reports {
        match &report.results {
            Ok(tried) => {
                for one in tried {
                    number += 1;
                    point(&mut out, number, one);
                }
            }
            Err(problems) => {
                number += 1;
                let file = report.file.display().to_string();
                let _ = writeln!(out, "not ok {number} - {}", described(&file));
                block(&mut out, &[("problems", problems.to_string())]);
            }
        }
    }
    out
}

fn point(out: &mut String, number: usize, Tried { case, mismatch, .. }: &Tried) {
    let ok = if mismatch.is_some() { "not ok" } else { "ok" };
    let name = described(&format!("{}: {}", case.source, case.name));
    let _ = writeln!(out, "{ok} {number} - {name}");
    let Some(mismatch) = mismatch else { return };
    let mut fields = vec![("at", case.source.to_string()), ("message", mismatch.to_string())];
    if let Some(by) = &mismatch.by {
        fields.push(("decided_by", by.to_string()));
    }
    block(out, &fields);
}

/// A YAML diagnostic. JSON texts are YAML, and end on the line that they begin on.
fn block(out: &mut String, fields: &[(&str, String)]) {
    out.push_str("  ---\n");
    for (key, value) in fields {
        let _ = writeln!(out, "  {key}: {}", json!(value));
    }
    out.push_str("  ...\n");
}

/// A description: `#` would begin a directive, and `\` is what escapes it.
fn described(text: &str) -> String {
    text.replace('\\', "\\\\").replace('#', "\\#").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_a_directive() {
        assert_eq!(described("a # TODO \\ b\nc"), "a \\# TODO \\\\ b c");
    }
}
