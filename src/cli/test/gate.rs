//! The tests that a configuration has to pass before it comes into force.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use crate::config::settings::TestRun;
use crate::config::suite;
use crate::config::{Environment, Files, Loaded};
use crate::domain::clock::Clock;
use crate::domain::zone::Zone;

use super::report::{Paint, details};
use super::verdict::mismatch;
use super::world::World;

/// So many cases are told of; more of them help nobody.
const MOST_TOLD: usize = 10;

/// Runs the tests that the configuration names on the configuration itself, which was read from
/// those files. Says how many cases passed.
///
/// # Errors
/// Which cases fail, why, and where they are written.
pub(in crate::cli) fn passed(
    loaded: &Loaded,
    files: &dyn Files,
    path: &Path,
    clock: &dyn Clock,
    environment: Environment<'_>,
) -> Result<usize, String> {
    let Some(tests) = loaded.settings.tests.as_ref() else { return Ok(0) };
    match tests.run {
        TestRun::BeforePublish => {}
        TestRun::Never => return Ok(0),
    }
    let began = clock.now();
    let (mut passed, mut failed, mut told) = (0, 0, String::new());
    for file in &tests.files {
        let suite = suite::load_about(files, file, path, environment);
        let suite = suite.map_err(|problems| format!("{problems}\n{}: not run", file.display()))?;
        let metering = suite.loaded.settings.metering.as_ref();
        let zone = metering.map_or_else(Zone::utc, |metering| metering.zone.clone());
        let world = World::new(suite.loaded.snapshot, &suite.directory, zone);
        for case in &suite.cases {
            if clock.now().since(began) > tests.within {
                return Err(late(tests.within, file, passed));
            }
            let outcome = world.decide(case);
            let Some(mismatch) = mismatch(case, &outcome, &world) else {
                passed += 1;
                continue;
            };
            failed += 1;
            if failed <= MOST_TOLD {
                let details = details(&mismatch, Paint::Plain);
                let _ = write!(told, "{}: {}\n{details}", case.source, case.name);
            }
        }
    }
    if failed == 0 {
        return Ok(passed);
    }
    let _ = write!(told, "{passed} passed, {failed} FAILED");
    Err(told)
}

fn late(within: Duration, file: &Path, passed: usize) -> String {
    let (seconds, file) = (within.as_secs_f64(), file.display());
    format!("{file}: the tests take longer than {seconds} s (`tests.within`); {passed} had passed")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::config;
    use crate::domain::clock::Now;

    /// Goes on by so much each time that it is looked at.
    #[derive(Debug)]
    struct Steps(AtomicU64, u64);

    impl Clock for Steps {
        fn now(&self) -> Now {
            Now { unix_micros: 0, mono_nanos: self.0.fetch_add(self.1, Ordering::Relaxed) }
        }
    }

    fn outcome(step_millis: u64) -> Result<usize, String> {
        let demo = config::embedded();
        let gateway = demo.read(Path::new("demo/gateway.yaml")).unwrap();
        let files = demo
            .with("demo/gateway.yaml", gateway + "\ntests: { files: [a.test.yaml], within: 1s }\n")
            .with(
                "demo/a.test.yaml",
                "config: gateway.yaml\ncases:\n  - { name: one, as: nobody, request: GET /nowhere, \
                 expect: route_not_found }\n  - { name: two, as: nobody, request: GET /nowhere, expect: route_not_found }\n",
            );
        let path = Path::new("demo/gateway.yaml");
        let environment = |name: &str| {
            let value = match name {
                "TOLLGATE_DEMO_UPSTREAM" => "127.0.0.1:1",
                "TOLLGATE_DEMO_SECRET" => "a-secret-of-this-test-of-thirty-two-bytes",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let loaded = config::load_from(&files, path, &environment).unwrap();
        let clock = Steps(AtomicU64::new(0), step_millis * 1_000_000);
        passed(&loaded, &files, path, &clock, &environment)
    }

    #[test]
    fn tests_that_take_too_long_have_not_passed() {
        assert_eq!(outcome(400), Ok(2));
        let late = outcome(600).unwrap_err();
        assert!(late.contains("longer than 1 s") && late.contains("1 had passed"), "{late}");
    }
}
