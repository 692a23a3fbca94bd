//! `tollgate test`: what policies decide, held against what test files expect of them.
//!
//! The engine is `world`: a snapshot, a directory and a clock that each case sets, around the core
//! that live requests go through. `verdict` compares, `files` finds test files, `report`, `junit` and
//! `tap` print, `coverage` counts.

mod coverage;
mod diff;
mod files;
pub(super) mod gate;
mod junit;
mod known;
mod outcome;
mod report;
mod tap;
mod verdict;
mod world;
mod would;

use std::path::{Path, PathBuf};

use crate::config::problem::Problems;
use crate::config::suite::{self, Case, Suite};
use crate::domain::zone::Zone;

use super::again::{self, Round};
use super::arguments::{Test, TestFormat};
use super::{Done, Failure, environment};
use coverage::Coverage;
use outcome::Outcome;
use report::Paint;
use verdict::Mismatch;
use world::World;

/// What came of one test file.
struct Report {
    file: PathBuf,
    results: Result<Vec<Tried>, Problems>,
    /// What it was made of.
    involved: Vec<PathBuf>,
}

/// What came of one case.
struct Tried {
    case: Case,
    outcome: Outcome,
    mismatch: Option<Mismatch>,
}

impl Report {
    fn is_fine(&self) -> bool {
        self.results.as_ref().is_ok_and(|tried| tried.iter().all(|one| one.mismatch.is_none()))
    }
}

pub(super) fn run(arguments: &Test) -> Result<Done, Failure> {
    if !arguments.watch {
        return once(arguments)?.tell();
    }
    again::again_and_again(|| {
        once(arguments).unwrap_or_else(|failure| Round {
            text: String::new(),
            complaint: failure.to_string(),
            done: Done::FoundErrors,
            involved: arguments.files.clone(),
        })
    })
}

/// Runs everything.
fn once(arguments: &Test) -> Result<Round, Failure> {
    let files = files::found(&arguments.files)?;
    let wanted = arguments.filter.as_deref().unwrap_or_default();
    let counted = arguments.coverage || arguments.min_coverage.is_some();
    let mut coverage = counted.then(Coverage::default);
    let reports = files.into_iter().map(|file| report(file, wanted, coverage.as_mut()));
    let mut reports: Vec<Report> = reports.collect();
    let involved = involved(arguments, &reports);
    if !wanted.is_empty() {
        reports.retain(|report| !report.results.as_ref().is_ok_and(Vec::is_empty));
        if reports.is_empty() {
            return Err(Failure::usage(format!("no case has `{wanted}` in its name")));
        }
    }
    let (text, mut complaint) = shown(arguments, &reports, coverage.as_ref());
    let too_little = too_little(arguments, coverage.as_ref());
    let fine = reports.iter().all(Report::is_fine) && too_little.is_none();
    complaint.push_str(&too_little.unwrap_or_default());
    let done = if fine { Done::Well } else { Done::FoundErrors };
    Ok(Round { text, complaint, done, involved })
}

/// What a change of could change what came of it.
fn involved(arguments: &Test, reports: &[Report]) -> Vec<PathBuf> {
    let mut out: Vec<PathBuf> =
        reports.iter().flat_map(|report| report.involved.iter().cloned()).collect();
    // Where a test file may be added.
    out.extend(arguments.files.iter().cloned());
    out.extend(reports.iter().flat_map(|report| again::and_beside(&report.file)));
    out.sort();
    out.dedup();
    out
}

fn report(file: PathBuf, wanted: &str, coverage: Option<&mut Coverage>) -> Report {
    match suite::load(&file, &environment) {
        Ok(suite) => {
            let involved = suite.loaded.files.clone();
            Report { file, results: Ok(tried(suite, wanted, coverage)), involved }
        }
        Err(problems) => {
            let named = problems.0.iter().map(|problem| Path::new(&*problem.place.file));
            let involved = named.flat_map(again::and_beside).collect();
            Report { file, results: Err(problems), involved }
        }
    }
}

fn tried(suite: Suite, wanted: &str, mut coverage: Option<&mut Coverage>) -> Vec<Tried> {
    let metering = suite.loaded.settings.metering.as_ref();
    let zone = metering.map_or_else(Zone::utc, |metering| metering.zone.clone());
    let world = World::new(suite.loaded.snapshot, &suite.directory, zone);
    if let Some(coverage) = &mut coverage {
        coverage.add(&world.snapshot);
    }
    let cases = suite.cases.into_iter().filter(|case| case.name.contains(wanted));
    let one = |case: Case| {
        let outcome = match &mut coverage {
            None => world.decide(&case),
            Some(coverage) => {
                let (outcome, trace) = world.explained(&case);
                coverage.reached(&world.snapshot, &outcome, &trace);
                outcome
            }
        };
        let mismatch = verdict::mismatch(&case, &outcome, &world);
        Tried { case, outcome, mismatch }
    };
    cases.map(one).collect()
}

/// What goes to standard output, and what beside it.
fn shown(arguments: &Test, reports: &[Report], coverage: Option<&Coverage>) -> (String, String) {
    let format = if arguments.json { TestFormat::Json } else { arguments.format };
    let covered = coverage.map(Coverage::text).unwrap_or_default();
    match format {
        TestFormat::Text => {
            (report::text(reports, Paint::of_output(&environment)) + &covered, String::new())
        }
        TestFormat::Json => (report::json_text(reports, coverage), String::new()),
        // It has no place for it that all who read it agree on.
        TestFormat::Junit => (junit::text(reports), covered),
        TestFormat::Tap => {
            let comments = covered.lines().map(|line| format!("# {line}\n"));
            (tap::text(reports) + &comments.collect::<String>(), String::new())
        }
    }
}

/// Whether less is reached than is asked for.
fn too_little(arguments: &Test, coverage: Option<&Coverage>) -> Option<String> {
    let (least, is) = (arguments.min_coverage?, coverage?.percent());
    (is < least).then(|| format!("coverage is {is}%, and {least}% is asked for"))
}
