//! Lets few requests be worked on at a time, in the order in which they came.
//!
//! With many busy connections Pingora takes every request one small step further per turn of its
//! run queue, and by the next step the request's memory has left the processor's caches. Working
//! on few at a time keeps them there; bench/README.md has the figures. A slow upstream must hold
//! nobody back, so that the places only count while the processor is the bottleneck: as long as
//! the turns of the run queue are short, whoever waits is let in.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A turn of the run queue that is shorter than this leaves the processor time for more requests.
const SHORT_TURN: Duration = Duration::from_micros(100);

/// Requests let in beyond the places after a short turn.
const BEYOND_PER_TURN: usize = 8;

/// A number of places, and a queue before them.
///
/// Meant for one thread's runtime: it is that run queue whose turns are measured.
pub(crate) struct Gate {
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    inside: usize,
    waiting: VecDeque<oneshot::Sender<Pass>>,
    keeper_runs: bool,
}

/// A place inside, given up when dropped.
pub(crate) struct Pass(Option<Arc<Gate>>);

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(gate) = self.0.take() {
            let mut state = gate.state();
            state.inside -= 1;
            while state.inside < gate.places && gate.admit(&mut state) {}
        }
    }
}

impl Gate {
    pub(crate) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, state: Mutex::default() })
    }

    /// Waits for a place.
    ///
    /// Who waits leaves with the connection, and the number of those bounds the queue.
    pub(crate) async fn enter(self: &Arc<Self>) -> Option<Pass> {
        let turn = {
            let mut state = self.state();
            if state.waiting.is_empty() && state.inside < self.places {
                state.inside += 1;
                return Some(Pass(Some(Arc::clone(self))));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            if !state.keeper_runs {
                state.keeper_runs = true;
                tokio::spawn(Arc::clone(self).keep());
            }
            receiver
        };
        // The sender is only dropped with the gate.
        turn.await.ok()
    }

    /// Watches the run queue while anybody waits, and lets them in while it is short.
    async fn keep(self: Arc<Self>) {
        loop {
            let began = Instant::now();
            tokio::task::yield_now().await;
            let mut state = self.state();
            if began.elapsed() < SHORT_TURN {
                for _ in 0..BEYOND_PER_TURN {
                    self.admit(&mut state);
                }
            }
            if state.waiting.is_empty() {
                state.keeper_runs = false;
                return;
            }
        }
    }

    /// Lets the next one in; `false` if nobody waits.
    fn admit(self: &Arc<Self>, state: &mut State) -> bool {
        while let Some(next) = state.waiting.pop_front() {
            match next.send(Pass(Some(Arc::clone(self)))) {
                Ok(()) => {
                    state.inside += 1;
                    return true;
                }
                // That connection has gone. Its pass must not lock the state a second time.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
        false
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is complete before anything can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
