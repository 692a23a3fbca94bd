//! What a limit allows in a window of time, while its numbers change.

use std::time::Duration;

/// What is leased at a change of numbers is spent under the old ones for so long, and what had
/// begun is charged under them.
const LINGER: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) per_second: u32,
    pub(super) burst: u32,
}

impl Numbers {
    /// What comes back in so much time.
    pub(super) fn back_in(self, time: Duration) -> f64 {
        f64::from(self.per_second) * time.as_secs_f64()
    }

    /// How long an empty bucket takes to be full.
    pub(super) fn fill_millis(self) -> u64 {
        1_000 * u64::from(self.burst) / u64::from(self.per_second)
    }
}

/// A request that got through to the upstream: times since the load began.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Admission {
    pub(crate) sent: Duration,
    pub(crate) arrived: Duration,
}

/// Which numbers nodes went by: from when one can have known them to when all had others; and what
/// nobody could have made use of.
#[derive(Debug)]
pub(super) struct Timeline(Vec<(Duration, Duration, Numbers)>, f64);

/// The window that comes closest to its burst, or goes beyond it by most.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worst {
    /// Admitted in it, less what came back in it.
    pub(super) drawn: f64,
    pub(super) burst: u32,
    pub(super) from: Duration,
    pub(super) until: Duration,
}

impl Timeline {
    pub(super) fn new(from: Duration, numbers: Numbers) -> Self {
        Self(vec![(from, Duration::MAX, numbers)], 0.0)
    }

    pub(super) fn current(&self) -> Numbers {
        self.0.last().expect("some numbers").2
    }

    pub(super) fn begins(&mut self, at: Duration, numbers: Numbers) {
        self.0.push((at, Duration::MAX, numbers));
    }

    /// Nobody asked for so long: what came back beyond a full bucket was there for nobody.
    pub(super) fn rested(&mut self, rest: Duration) {
        let Numbers { per_second, burst } = self.current();
        let back = f64::from(per_second) * rest.as_secs_f64();
        self.1 += (back - f64::from(burst)).max(0.0);
    }

    /// For so long nothing came back.
    pub(super) fn lost(&mut self, time: Duration) {
        self.1 += f64::from(self.current().per_second) * time.as_secs_f64();
    }

    /// All nodes go by the newest numbers.
    pub(super) fn settled(&mut self, at: Duration) {
        let newest = self.0.len() - 1;
        for (_, until, _) in &mut self.0[..newest] {
            *until = (*until).min(at);
        }
    }

    pub(super) fn ends(&mut self, at: Duration) {
        for (_, until, _) in &mut self.0 {
            *until = (*until).min(at);
        }
    }

    /// What a full bucket and the lowest of the numbers give from the first moment to the last.
    pub(super) fn attainable(&self) -> f64 {
        let (last, burst) = (self.last(), f64::from(self.0[0].2.burst));
        burst + self.refilled(last, Duration::ZERO, u32::min) - self.1
    }

    /// The worst window there is. It may begin when any request was sent and end when any arrived.
    pub(super) fn worst(&self, admissions: &[Admission]) -> Worst {
        let mut sorted: Vec<(Admission, f64, f64)> = admissions
            .iter()
            .map(|one| {
                let refilled = |at| self.refilled(at, LINGER, u32::max);
                (*one, refilled(one.sent), refilled(one.arrived))
            })
            .collect();
        // By arrival, so that growing a window adds requests in this order.
        sorted.sort_by_key(|(one, _, _)| one.arrived);
        let mut worst =
            Worst { drawn: 0.0, burst: u32::MAX, from: Duration::ZERO, until: Duration::ZERO };
        for (first, before, _) in &sorted {
            let (from, mut count) = (first.sent, 0_u32);
            for (last, _, after) in sorted.iter().filter(|(one, _, _)| one.sent >= from) {
                count += 1;
                let drawn = f64::from(count) - (after - before);
                if drawn > worst.drawn - f64::from(worst.burst) {
                    let until = last.arrived;
                    let burst = self.burst(from, until);
                    if drawn - f64::from(burst) > worst.drawn - f64::from(worst.burst) {
                        worst = Worst { drawn, burst, from, until };
                    }
                }
            }
        }
        worst
    }

    /// The largest burst that any node can have gone by in a window.
    fn burst(&self, from: Duration, until: Duration) -> u32 {
        let within = self
            .0
            .iter()
            .filter(|(begin, end, _)| *begin <= until && end.saturating_add(LINGER) >= from);
        within.map(|(_, _, numbers)| numbers.burst).max().expect("some numbers")
    }

    fn last(&self) -> Duration {
        self.0.iter().map(|(_, until, _)| *until).max().expect("some numbers")
    }

    /// Tokens that came back up to a moment, at one of the rates that held or lingered.
    fn refilled(&self, at: Duration, linger: Duration, of: fn(u32, u32) -> u32) -> f64 {
        let held: Vec<(Duration, Duration, u32)> = self
            .0
            .iter()
            .map(|(begin, end, numbers)| (*begin, end.saturating_add(linger), numbers.per_second))
            .collect();
        let mut borders: Vec<Duration> =
            held.iter().flat_map(|(begin, end, _)| [*begin, *end]).collect();
        borders.push(at);
        borders.retain(|border| *border <= at);
        borders.sort_unstable();
        let piece = |pair: &[Duration]| {
            let held = held.iter().filter(|(begin, end, _)| *begin <= pair[0] && *end >= pair[1]);
            let rate = held.map(|(_, _, rate)| *rate).reduce(of).unwrap_or(0);
            f64::from(rate) * (pair[1] - pair[0]).as_secs_f64()
        };
        borders.windows(2).map(piece).sum()
    }
}

#[test]
fn a_request_too_many_is_found_in_whatever_window_it_is() {
    let at = Duration::from_millis;
    let numbers = Numbers { per_second: 10, burst: 3 };
    let mut timeline = Timeline::new(at(0), numbers);
    timeline.ends(at(10_000));
    let one = |sent, arrived| Admission { sent: at(sent), arrived: at(arrived) };
    // Three at once, and one for every tenth of a second.
    let mut kept = vec![one(5_000, 5_001), one(5_000, 5_002), one(4_999, 5_001)];
    kept.extend((1..=5).map(|n| one(5_000 + n * 100, 5_003 + n * 100)));
    let worst = timeline.worst(&kept);
    assert!(worst.drawn <= 3.0 && worst.drawn > 2.9, "{worst:?}");
    // One that was on its way for long may have been let through before.
    kept.push(one(4_000, 5_300));
    assert!(timeline.worst(&kept).drawn <= 3.0);
    kept.push(one(5_290, 5_300));
    let worst = timeline.worst(&kept);
    assert!(worst.drawn > 3.0, "{worst:?}");

    // A higher burst counts from when it can be known to when it has lingered.
    let mut timeline = Timeline::new(at(0), numbers);
    timeline.begins(at(5_000), Numbers { per_second: 10, burst: 4 });
    timeline.settled(at(5_100));
    timeline.ends(at(10_000));
    let worst = timeline.worst(&kept);
    assert!(worst.drawn <= 4.0 && worst.burst == 4, "{worst:?}");
    assert_eq!(timeline.attainable().round(), 103.0);
}
