//! The targets under libFuzzer; `make fuzz` names one in `TOLLGATE_FUZZ`.

#![no_main]

mod targets;

use std::sync::LazyLock;

use targets::{TARGETS, Target};

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("TOLLGATE_FUZZ").expect("TOLLGATE_FUZZ names a target");
    TARGETS.iter().find(|target| target.name == name).expect("TOLLGATE_FUZZ names a known target")
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    (TARGET.run)(data);
});
