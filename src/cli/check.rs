//! `tollgate check`: everything that is wrong with configurations, at once.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::problem::{Place, Problem, Severity};
use crate::config::{self, Loaded};

use super::again::{self, Round};
use super::arguments::Check;
use super::{Done, Failure, environment};

/// What was found in one configuration.
struct Report<'a> {
    file: &'a Path,
    loaded: Option<Loaded>,
    problems: Vec<Problem>,
}

pub(super) fn run(arguments: &Check) -> Result<Done, Failure> {
    if arguments.watch {
        return again::again_and_again(|| once(arguments));
    }
    once(arguments).tell()
}

fn once(arguments: &Check) -> Round {
    let reports: Vec<Report<'_>> = arguments.config.iter().map(|file| look(file)).collect();
    let text = if arguments.json { json_text(&reports) } else { text(&reports) };
    let fine = reports.iter().all(|report| report.loaded.is_some());
    let done = if fine { Done::Well } else { Done::FoundErrors };
    Round { text, complaint: String::new(), done, involved: involved(arguments, &reports) }
}

/// The files that were read. Of those of a configuration with errors, the ones that are known.
fn involved(arguments: &Check, reports: &[Report<'_>]) -> Vec<PathBuf> {
    let mut out = arguments.config.clone();
    for report in reports {
        out.extend(report.loaded.iter().flat_map(|loaded| loaded.files.iter().cloned()));
        let places = report.problems.iter().map(|problem| Path::new(&*problem.place.file));
        // What a pattern looks into is beside what it found.
        out.extend(places.chain([report.file]).flat_map(again::and_beside));
    }
    out.sort();
    out.dedup();
    out
}

fn look(file: &Path) -> Report<'_> {
    match config::load(file, &environment) {
        Ok(loaded) => {
            let problems = loaded.warnings.clone();
            Report { file, loaded: Some(loaded), problems }
        }
        Err(problems) => Report { file, loaded: None, problems: problems.0 },
    }
}

fn text(reports: &[Report<'_>]) -> String {
    let mut out = String::new();
    for report in reports {
        for problem in &report.problems {
            out.push_str(&format!("{problem}\n"));
        }
        out.push_str(&format!("{}: {}\n", report.file.display(), summary(report)));
    }
    out
}

fn summary(report: &Report<'_>) -> String {
    let count = |severity| report.problems.iter().filter(|p| p.severity == severity).count();
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let mut parts = Vec::new();
    if let Some(loaded) = &report.loaded {
        let snapshot = &loaded.snapshot;
        parts.push(format!(
            "ok, {}, {}, {}",
            plural(snapshot.routes.iter().count(), "route"),
            plural(snapshot.roles.roles().count(), "role"),
            plural(snapshot.limits.len(), "limit"),
        ));
        let rules = snapshot.rules.all().len();
        if rules > 0 {
            parts.push(plural(rules, "rule"));
        }
    }
    if errors > 0 {
        parts.push(plural(errors, "error"));
    }
    if warnings > 0 {
        parts.push(plural(warnings, "warning"));
    }
    parts.join(", ")
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

fn json_text(reports: &[Report<'_>]) -> String {
    let configs: Vec<Value> = reports
        .iter()
        .map(|report| {
            let files: Vec<String> = report.loaded.as_ref().map_or_else(Vec::new, |loaded| {
                loaded.files.iter().map(|file| file.display().to_string()).collect()
            });
            json!({
                "config": report.file.display().to_string(),
                "ok": report.loaded.is_some(),
                "version": report.loaded.as_ref().map(|l| l.snapshot.version.to_string()),
                "files": files,
            })
        })
        .collect();
    let problems: Vec<Value> = reports.iter().flat_map(|r| &r.problems).map(problem).collect();
    let ok = reports.iter().all(|report| report.loaded.is_some());
    format!("{}\n", json!({ "ok": ok, "configs": configs, "problems": problems }))
}

fn problem(problem: &Problem) -> Value {
    let place = |place: &Place| {
        json!({
            "file": place.file.as_ref(),
            "line": place.line,
            "column": place.column,
            "text": place.text.as_ref(),
        })
    };
    json!({
        "severity": problem.severity.to_string(),
        "message": problem.message,
        "at": place(&problem.place),
        "related": problem.related.as_ref().map(|(at, label)| {
            json!({ "at": place(at), "label": label })
        }),
        "hint": problem.hint,
    })
}
