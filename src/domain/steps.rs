//! Counts the small things that a policy is compiled of, so that a test can say that twice as large a
//! policy takes twice as many of them: reading patterns of permissions, comparing routes, parsing.
//!
//! In tests only. Imports nothing of this crate.

use std::cell::Cell;

thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// One more, on this thread.
pub(crate) fn step() {
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

/// How many something takes, on this thread.
pub(crate) fn of(work: impl FnOnce()) -> u64 {
    let before = TAKEN.with(Cell::get);
    work();
    TAKEN.with(Cell::get) - before
}
