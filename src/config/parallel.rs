//! Work that is done side by side: files that are parsed, conditions that are compiled. What comes out
//! stands in the order of what went in.
//!
//! May import nothing of other rooms.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A reload is to leave room for those who serve.
const MOST_THREADS: usize = 4;

/// What `work` makes of each of them.
pub(super) fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
    let next = AtomicUsize::new(0);
    // Whoever is free takes the next: some are much larger than others.
    let share = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut all = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(items.len()))
            // Where there is no further thread, those that there are do all of it.
            .filter_map(|_| thread::Builder::new().spawn_scoped(scope, share).ok())
            .collect();
        let mut all = share();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, done)| done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_out_stands_in_the_order_of_what_went_in() {
        for length in [0, 1, 3, 1_000] {
            let items: Vec<usize> = (0..length).collect();
            assert_eq!(
                each(&items, |item| item * 2),
                (0..length).map(|i| i * 2).collect::<Vec<_>>()
            );
        }
    }
}
