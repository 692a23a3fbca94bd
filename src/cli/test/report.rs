//! What came of tests, as text for people and as JSON for programs.

use std::fmt::Write;
use std::io::IsTerminal;

use serde_json::{Value, json};

use super::super::text_diff::Line;
use super::coverage::Coverage;
use super::diff;
use super::verdict::Mismatch;
use super::{Report, Tried};

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Colours,
}

#[derive(Clone, Copy)]
enum Colour {
    Red,
    Green,
    Bold,
}

impl Paint {
    /// Colours for terminals, unless `NO_COLOR` says otherwise (<https://no-color.org>).
    pub(super) fn of_output(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let unwanted = environment("NO_COLOR").is_some_and(|value| !value.is_empty())
            || environment("TERM").as_deref() == Some("dumb");
        match std::io::stdout().is_terminal() && !unwanted {
            true => Self::Colours,
            false => Self::Plain,
        }
    }

    fn paint(self, colour: Colour, text: &str) -> String {
        let code = match (self, colour) {
            (Self::Plain, _) => return text.to_owned(),
            (Self::Colours, Colour::Red) => 31,
            (Self::Colours, Colour::Green) => 32,
            (Self::Colours, Colour::Bold) => 1,
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// What differs, for each case that fails, and one line for each file.
pub(super) fn text(reports: &[Report], paint: Paint) -> String {
    let mut out = String::new();
    for Report { file, results, .. } in reports {
        let file = file.display();
        let tried = match results {
            Ok(tried) => tried,
            Err(problems) => {
                let _ =
                    writeln!(out, "{problems}\n{file}: {}", paint.paint(Colour::Red, "not run"));
                continue;
            }
        };
        let mut failed = 0;
        for Tried { case, mismatch, .. } in tried {
            let Some(mismatch) = mismatch else { continue };
            failed += 1;
            let name = paint.paint(Colour::Bold, &case.name);
            let _ = writeln!(out, "{}: {name}", case.source);
            out.push_str(&details(mismatch, paint));
        }
        let passed = tried.len() - failed;
        let failed = match failed {
            0 => String::new(),
            failed => format!(", {}", paint.paint(Colour::Red, &format!("{failed} FAILED"))),
        };
        let _ = writeln!(out, "{file}: {passed} passed{failed}");
    }
    out
}

/// What differs in one case.
pub(super) fn details(mismatch: &Mismatch, paint: Paint) -> String {
    let mut out = String::new();
    for difference in &mismatch.differences {
        let what = &difference.what;
        match diff::lines(difference).filter(|_| !what.is_empty()) {
            Some(lines) => {
                let _ = writeln!(out, "    {what} (- expected, + got)");
                for line in lines {
                    let line = match line {
                        Line::Both(text) => format!("  {text}"),
                        Line::Expected(text) => paint.paint(Colour::Red, &format!("- {text}")),
                        Line::Actual(text) => paint.paint(Colour::Green, &format!("+ {text}")),
                    };
                    let _ = writeln!(out, "      {line}");
                }
            }
            None => {
                let expected = paint.paint(Colour::Red, &difference.expected);
                let actual = paint.paint(Colour::Green, &difference.actual);
                let (expected, actual) = match what.is_empty() {
                    true => (expected, actual),
                    false => (format!("`{expected}`"), format!("`{actual}`")),
                };
                let lead = if what.is_empty() { String::new() } else { format!("{what}: ") };
                let _ = writeln!(out, "    {lead}expected {expected}, got {actual}");
            }
        }
    }
    if let Some(by) = &mismatch.by {
        let _ = writeln!(out, "    decided by {by}");
    }
    out
}

/// Every case, for programs.
pub(super) fn json_text(reports: &[Report], coverage: Option<&Coverage>) -> String {
    let ok = reports.iter().all(Report::is_fine);
    let files: Vec<Value> = reports.iter().map(file_object).collect();
    let mut report = json!({ "ok": ok, "files": files });
    if let (Some(coverage), Some(report)) = (coverage, report.as_object_mut()) {
        report.insert("coverage".into(), coverage.object());
    }
    format!("{report}\n")
}

fn file_object(report: &Report) -> Value {
    let file = report.file.display().to_string();
    match &report.results {
        Err(problems) => json!({ "file": file, "ok": false, "problems": problems.to_string() }),
        Ok(tried) => {
            let cases: Vec<Value> = tried.iter().map(case_object).collect();
            json!({ "file": file, "ok": report.is_fine(), "cases": cases })
        }
    }
}

fn case_object(Tried { case, outcome, mismatch }: &Tried) -> Value {
    let differences = mismatch.as_ref().map(|mismatch| {
        let each = mismatch.differences.iter();
        each.map(|one| json!({ "what": one.what, "expected": one.expected, "actual": one.actual }))
            .collect::<Vec<_>>()
    });
    json!({
        "name": &*case.name,
        "at": case.source.to_string(),
        "ok": mismatch.is_none(),
        "verdict": outcome.ended.word(),
        "role": outcome.role.as_deref(),
        "permission": outcome.permission.as_deref(),
        "decided_by": outcome.decided_by.as_ref().map(ToString::to_string),
        "difference": mismatch.as_ref().map(ToString::to_string),
        "differences": differences,
    })
}

#[cfg(test)]
mod tests {
    use super::super::verdict::Difference;
    use super::*;

    #[test]
    fn colours_mark_both_sides_and_nothing_else() {
        let difference = |what: &str, expected: &str, actual: &str| Difference {
            what: what.into(),
            expected: expected.into(),
            actual: actual.into(),
        };
        let mismatch = Mismatch {
            differences: vec![
                difference("", "sent on", "403"),
                difference("the target", "/a?b=1", "/a?b=2"),
            ],
            by: None,
        };
        let plain = details(&mismatch, Paint::Plain);
        assert!(!plain.contains('\u{1b}'), "{plain}");
        let coloured = details(&mismatch, Paint::Colours);
        assert!(
            coloured.contains("expected \u{1b}[31msent on\u{1b}[0m, got \u{1b}[32m403\u{1b}[0m")
        );
        assert!(
            coloured.contains("      \u{1b}[31m- ?b=1\u{1b}[0m\n      \u{1b}[32m+ ?b=2\u{1b}[0m\n")
        );
        let bare: String =
            coloured.replace("\u{1b}[31m", "").replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
        assert_eq!(bare, plain);
    }
}
