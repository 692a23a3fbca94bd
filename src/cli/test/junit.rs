//! JUnit XML, as CI servers read it: a suite for each file, a case for each case.
//!
//! The format has no standard of its own; what stands here is the part on which the Ant task that
//! began it, Jenkins' schema and GitLab agree: `testsuites/testsuite/testcase/failure|error`.

use std::fmt::Write;

use super::{Report, Tried};

/// All reports.
pub(super) fn text(reports: &[Report]) -> String {
    let (mut tests, mut failures, mut errors) = (0, 0, 0);
    let mut suites = String::new();
    for report in reports {
        let file = escaped(&report.file.display().to_string());
        match &report.results {
            Ok(tried) => {
                let failed = tried.iter().filter(|one| one.mismatch.is_some()).count();
                tests += tried.len();
                failures += failed;
                let _ = writeln!(
                    suites,
                    r#"  <testsuite name="{file}" tests="{}" failures="{failed}" errors="0" skipped="0">"#,
                    tried.len()
                );
                tried.iter().for_each(|one| case(&mut suites, &file, one));
                suites.push_str("  </testsuite>\n");
            }
            Err(problems) => {
                tests += 1;
                errors += 1;
                let _ = writeln!(
                    suites,
                    "  <testsuite name=\"{file}\" tests=\"1\" failures=\"0\" errors=\"1\" skipped=\"0\">\n    \
                     <testcase name=\"the file\" classname=\"{file}\" file=\"{file}\">\n      \
                     <error message=\"the file has errors\" type=\"config\">{}</error>\n    </testcase>\n  </testsuite>",
                    escaped(&problems.to_string())
                );
            }
        }
    }
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tollgate test\" tests=\"{tests}\" \
         failures=\"{failures}\" errors=\"{errors}\">\n{suites}</testsuites>\n"
    )
}

fn case(out: &mut String, file: &str, Tried { case, mismatch, .. }: &Tried) {
    let (name, line) = (escaped(&case.name), case.source.line);
    let head =
        format!(r#"    <testcase name="{name}" classname="{file}" file="{file}" line="{line}""#);
    let Some(mismatch) = mismatch else {
        let _ = writeln!(out, "{head}/>");
        return;
    };
    let first = mismatch.differences.first().map(ToString::to_string).unwrap_or_default();
    let all = super::report::details(mismatch, super::report::Paint::Plain);
    let _ = writeln!(
        out,
        "{head}>\n      <failure message=\"{}\" type=\"difference\">{}</failure>\n    </testcase>",
        escaped(&first),
        escaped(&format!("{}\n{all}", case.source))
    );
}

/// Text for XML 1.0: what is markup is written as entities, what no XML may have is left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            // In an attribute a plain line break would be read as a space.
            '\n' => out.push_str("&#10;"),
            '\t' => out.push_str("&#9;"),
            '\r' => out.push_str("&#13;"),
            // XML 1.0 section 2.2.
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_become_markup_or_break_a_document() {
        let text = escaped("a < b && c > \"d\" 'e'\n\u{0}\u{1b}[31m");
        assert_eq!(
            text,
            "a &lt; b &amp;&amp; c &gt; &quot;d&quot; &apos;e&apos;&#10;\u{fffd}\u{fffd}[31m"
        );
    }
}
