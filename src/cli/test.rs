//! `tollgate test`: what policies decide, held against what test files expect of them.
//!
//! The engine is `world`: a snapshot, a directory and a clock that each case sets, around the core
//! that live requests go through. `verdict` compares, `files` finds test files.

mod files;
mod known;
mod outcome;
mod verdict;
mod world;

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::config::problem::Problems;
use crate::config::suite::{self, Case};
use crate::domain::zone::Zone;

use super::arguments::Test;
use super::{Done, Failure, environment, print};
use outcome::Outcome;
use verdict::Mismatch;
use world::World;

/// What came of one test file.
struct Report {
    file: PathBuf,
    results: Result<Vec<Tried>, Problems>,
}

/// What came of one case.
struct Tried {
    case: Case,
    outcome: Outcome,
    difference: Option<Mismatch>,
}

pub(super) fn run(arguments: &Test) -> Result<Done, Failure> {
    let files = files::found(&arguments.files)?;
    let reports: Vec<Report> = files.into_iter().map(report).collect();
    print(&if arguments.json { json_text(&reports) } else { text(&reports) })?;
    let fine = reports.iter().all(Report::is_fine);
    Ok(if fine { Done::Well } else { Done::FoundErrors })
}

fn report(file: PathBuf) -> Report {
    let results = suite::load(&file, &environment).map(|suite| {
        let metering = suite.loaded.settings.metering.as_ref();
        let zone = metering.map_or_else(Zone::utc, |metering| metering.zone.clone());
        let world = World::new(suite.loaded.snapshot, &suite.directory, zone);
        suite.cases.into_iter().map(|case| tried(&world, case)).collect()
    });
    Report { file, results }
}

fn tried(world: &World, case: Case) -> Tried {
    let outcome = world.decide(&case);
    let difference = verdict::mismatch(&case, &outcome, world);
    Tried { case, outcome, difference }
}

impl Report {
    fn is_fine(&self) -> bool {
        self.results.as_ref().is_ok_and(|tried| tried.iter().all(|one| one.difference.is_none()))
    }
}

/// One line for each case that fails, one for each file.
fn text(reports: &[Report]) -> String {
    let mut out = String::new();
    for Report { file, results } in reports {
        let file = file.display();
        let tried = match results {
            Ok(tried) => tried,
            Err(problems) => {
                out.push_str(&format!("{problems}\n{file}: not run\n"));
                continue;
            }
        };
        let mut failed = 0;
        for Tried { case, difference, .. } in tried {
            let Some(difference) = difference else { continue };
            failed += 1;
            out.push_str(&format!("{}: {}: {difference}\n", case.source, case.name));
        }
        let passed = tried.len() - failed;
        let failed = if failed == 0 { String::new() } else { format!(", {failed} FAILED") };
        out.push_str(&format!("{file}: {passed} passed{failed}\n"));
    }
    out
}

fn json_text(reports: &[Report]) -> String {
    let ok = reports.iter().all(Report::is_fine);
    let files: Vec<Value> = reports.iter().map(file_object).collect();
    format!("{}\n", json!({ "ok": ok, "files": files }))
}

fn file_object(report: &Report) -> Value {
    let file = shown(&report.file);
    match &report.results {
        Err(problems) => json!({ "file": file, "ok": false, "problems": problems.to_string() }),
        Ok(tried) => {
            let cases: Vec<Value> = tried.iter().map(case_object).collect();
            json!({ "file": file, "ok": report.is_fine(), "cases": cases })
        }
    }
}

fn case_object(Tried { case, outcome, difference }: &Tried) -> Value {
    json!({
        "name": &*case.name,
        "at": case.source.to_string(),
        "ok": difference.is_none(),
        "verdict": outcome.ended.word(),
        "role": outcome.role.as_deref(),
        "permission": outcome.permission.as_deref(),
        "decided_by": outcome.decided_by.as_ref().map(ToString::to_string),
        "difference": difference.as_ref().map(ToString::to_string),
    })
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
