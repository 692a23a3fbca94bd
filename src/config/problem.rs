//! What is wrong with a configuration, and where: all of it at once, in a form that people and
//! editors read (`file:line:column`).
//!
//! The text is stable and has no colour. Values of secrets are masked in the lines that are
//! shown. May import `domain` and `policy`.

use std::fmt;
use std::sync::Arc;

/// Whether a problem keeps a configuration from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Error,
    /// It does not, but somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// A stretch of one line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the operator named it.
    pub file: Arc<str>,
    /// Line, from 1; 0 where the whole file is meant.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
    /// Characters that are meant.
    pub width: u32,
    /// The line itself, secrets masked.
    pub text: Arc<str>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it keeps the configuration from being used.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub place: Place,
    /// Another place that has to do with it, and what is there.
    pub related: Option<(Place, String)>,
    /// What to do.
    pub hint: Option<String>,
}

/// Everything that is wrong, in the order of files and lines. At least one of it is an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// How many are errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|problem| problem.severity == Severity::Error).count()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}")?;
        }
        let errors = self.errors();
        let warnings = self.0.len() - errors;
        let plural = |n: usize| if n == 1 { "" } else { "s" };
        write!(f, "{errors} error{}", plural(errors))?;
        if warnings > 0 {
            write!(f, ", {warnings} warning{}", plural(warnings))?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    /// As rustc writes it: the message, the place, the line with carets, then the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        let related = self.related.as_ref();
        let widest = self.place.line.max(related.map_or(0, |(place, _)| place.line));
        let gutter = widest.to_string().len();
        show(f, &self.place, "-->", '^', "", gutter)?;
        if let Some((place, label)) = related {
            show(f, place, ":::", '-', label, gutter)?;
        }
        if let Some(hint) = &self.hint {
            for (number, line) in hint.lines().enumerate() {
                let lead = if number == 0 { "= hint:" } else { "       " };
                writeln!(f, "{:gutter$} {lead} {line}", "")?;
            }
        }
        Ok(())
    }
}

fn show(
    f: &mut fmt::Formatter<'_>,
    place: &Place,
    arrow: &str,
    mark: char,
    label: &str,
    gutter: usize,
) -> fmt::Result {
    if place.line == 0 {
        return writeln!(f, "{:gutter$}{arrow} {}", "", place.file);
    }
    writeln!(f, "{:gutter$}{arrow} {}:{}:{}", "", place.file, place.line, place.column)?;
    // Long lines are cut around the place, so that the caret stays on the screen.
    let column = place.column.saturating_sub(1) as usize;
    let start = if column > 100 { column - 40 } else { 0 };
    let shown: String = place.text.chars().skip(start).take(140).collect();
    let room = shown.chars().count().saturating_sub(column - start);
    let marks = (place.width as usize).min(room).max(1);
    let marks: String = std::iter::repeat_n(mark, marks).collect();
    writeln!(f, "{:gutter$} |", "")?;
    writeln!(f, "{:>gutter$} | {shown}", place.line)?;
    let line = format!("{:gutter$} | {:pad$}{marks} {label}", "", "", pad = column - start);
    writeln!(f, "{}", line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: u32, column: u32, width: u32, text: &str) -> Place {
        Place { file: Arc::from("a.yaml"), line, column, width, text: Arc::from(text) }
    }

    #[test]
    fn a_problem_is_shown_with_its_line_and_what_to_do() {
        let problem = Problem {
            severity: Severity::Error,
            message: "duplicate role `x`".into(),
            place: place(12, 3, 1, "  x: {}"),
            related: Some((place(4, 3, 1, "  x: {}"), "first stated here".into())),
            hint: Some("rename one".into()),
        };
        let shown = Problems(vec![problem]).to_string();
        assert_eq!(
            shown,
            "error: duplicate role `x`\n  --> a.yaml:12:3\n   |\n12 |   x: {}\n   |   ^\n  ::: a.yaml:4:3\n   |\n 4 |   x: {}\n   |   - first stated here\n   = hint: rename one\n\n1 error"
        );
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let text = format!("{}x{}", "-".repeat(400), "-".repeat(400));
        let shown = Problem {
            severity: Severity::Warning,
            message: "m".into(),
            place: place(1, 401, 1, &text),
            related: None,
            hint: None,
        }
        .to_string();
        let caret = shown.lines().last().and_then(|line| line.find('^')).unwrap();
        assert_eq!(shown.lines().nth(3).and_then(|line| line.find('x')), Some(caret));
        assert!(shown.lines().all(|line| line.len() < 160));
    }
}
