//! Requests whose buckets are in two slots of a cluster, in the small and whole: both parts are held
//! as leases, then closed as spent or as given back. Calls, answers and closings are lost or late,
//! nodes give up, and the primaries' epochs begin at different times. As in `limits_model`, a second
//! bucket for each slot, which only admissions are taken out of, must never lack one.

use std::collections::{HashSet, VecDeque};

/// Ticks of an epoch.
const EPOCH: u8 = 2;

/// What the nodes and the script do. The others are there to show that the search finds what is
/// wrong.
#[derive(Debug, Clone, Copy)]
struct Rules {
    burst: u8,
    /// What is held goes on to occupy the bucket. Otherwise it is merely taken, and put back.
    occupies: bool,
    /// Nobody is admitted once what is held may have ended.
    in_time: bool,
    /// Somebody is admitted only if both parts were granted.
    both: bool,
}

const RULES: Rules = Rules { burst: 1, occupies: true, in_time: true, both: true };

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Bucket {
    tokens: u8,
    leased: u8,
    before: u8,
    /// Ticks of the epoch that have passed.
    phase: u8,
    /// What would be left if every admission had come out of one bucket at once.
    exact: u8,
}

/// What became of one part of a request; `age` counts the borders of epochs since it was held.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Part {
    #[default]
    None,
    Sent,
    /// Executed; the answer is on its way.
    Answered {
        granted: bool,
        age: u8,
    },
    Known {
        granted: bool,
        age: u8,
    },
    Lost,
}

/// What is on its way to close a held token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Closing {
    age: u8,
    back: u8,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Node {
    /// Ticks since the calls were sent.
    ago: u8,
    parts: [Part; 2],
    closings: [Option<Closing>; 2],
    /// A call that the node has given up waiting for, and that may still be executed.
    late: [bool; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    buckets: [Bucket; 2],
    nodes: [Node; 2],
}

impl Bucket {
    fn room(&self, rules: Rules) -> u8 {
        rules.burst - if rules.occupies { self.leased + self.before } else { 0 }
    }

    fn hold(&mut self, rules: Rules) -> bool {
        let granted = self.tokens > 0;
        self.tokens -= u8::from(granted);
        if rules.occupies {
            self.leased += u8::from(granted);
        }
        granted
    }

    fn close(&mut self, Closing { age, back }: Closing, rules: Rules) {
        if rules.occupies {
            let held = match age {
                0 => &mut self.leased,
                1 => &mut self.before,
                _ => return,
            };
            let closed = (*held).min(1);
            *held -= closed;
            self.tokens += back.min(closed);
        } else {
            self.tokens += back;
        }
        self.tokens = self.tokens.min(self.room(rules));
    }
}

impl State {
    fn new(rules: Rules) -> Self {
        let full = rules.burst;
        let bucket = Bucket { tokens: full, leased: 0, before: 0, phase: 0, exact: full };
        // The second primary's epochs begin in the middle of the first one's.
        Self { buckets: [bucket, Bucket { phase: EPOCH / 2, ..bucket }], nodes: Default::default() }
    }

    fn tick(mut self, rules: Rules) -> Self {
        for (slot, bucket) in self.buckets.iter_mut().enumerate() {
            bucket.tokens = (bucket.tokens + 1).min(bucket.room(rules));
            bucket.exact = (bucket.exact + 1).min(rules.burst);
            bucket.phase += 1;
            if bucket.phase < EPOCH {
                continue;
            }
            (bucket.phase, bucket.before, bucket.leased) = (0, bucket.leased, 0);
            for node in &mut self.nodes {
                if let Part::Answered { age, .. } | Part::Known { age, .. } = &mut node.parts[slot]
                {
                    *age = (*age + 1).min(2);
                }
                if let Some(closing) = &mut node.closings[slot] {
                    closing.age = (closing.age + 1).min(2);
                }
            }
        }
        for node in &mut self.nodes {
            let waits = node.parts != <[Part; 2]>::default();
            node.ago = if waits { (node.ago + 1).min(EPOCH) } else { 0 };
        }
        self
    }

    /// The node has heard all that it will, and admits somebody or does not.
    fn decide(mut self, at: usize, rules: Rules) -> Result<Self, &'static str> {
        let node = &mut self.nodes[at];
        let granted = node.parts.map(|part| matches!(part, Part::Known { granted: true, .. }));
        let enough = if rules.both { granted == [true; 2] } else { granted != [false; 2] };
        let admits = enough && (!rules.in_time || node.ago < EPOCH);
        for slot in 0..2 {
            if let Part::Known { granted: true, age } = node.parts[slot] {
                node.closings[slot] = Some(Closing { age, back: u8::from(!admits) });
            }
            node.late[slot] |= node.parts[slot] == Part::Sent;
            if admits {
                let exact = &mut self.buckets[slot].exact;
                *exact = exact.checked_sub(1).ok_or("a window admits more than the limit")?;
            }
        }
        (node.parts, node.ago) = Default::default();
        Ok(self)
    }

    /// Whatever can happen next.
    fn next(self, rules: Rules, out: &mut Vec<Self>) -> Result<(), &'static str> {
        out.push(self.tick(rules));
        for at in 0..self.nodes.len() {
            let node = self.nodes[at];
            let mut with = |change: &dyn Fn(&mut Self)| {
                let mut changed = self;
                change(&mut changed);
                out.push(changed);
            };
            for slot in 0..2 {
                let part = |part: Part| move |s: &mut Self| s.nodes[at].parts[slot] = part;
                match node.parts[slot] {
                    Part::Sent => {
                        with(&part(Part::Lost));
                        with(&|s| {
                            let granted = s.buckets[slot].hold(rules);
                            s.nodes[at].parts[slot] = Part::Answered { granted, age: 0 };
                        });
                    }
                    Part::Answered { granted, age } => {
                        with(&part(Part::Lost));
                        with(&part(Part::Known { granted, age }));
                    }
                    Part::None | Part::Known { .. } | Part::Lost => {}
                }
                if let Some(closing) = node.closings[slot] {
                    with(&|s| s.nodes[at].closings[slot] = None);
                    with(&|s| {
                        s.nodes[at].closings[slot] = None;
                        s.buckets[slot].close(closing, rules);
                    });
                }
                if node.late[slot] {
                    with(&|s| s.nodes[at].late[slot] = false);
                    with(&|s| {
                        s.nodes[at].late[slot] = false;
                        s.buckets[slot].hold(rules);
                    });
                }
            }
            let idle = node.parts == <[Part; 2]>::default();
            // One closing and one late call for each slot is as much as is followed.
            let free = node.closings == [None; 2] && node.late == [false; 2];
            if idle && free {
                with(&|s| s.nodes[at].parts = [Part::Sent; 2]);
            } else if !idle {
                // Whenever it likes: it may have waited long enough.
                out.push(self.decide(at, rules)?);
                // It crashes. What is on its way to it is lost, what was sent is not.
                let mut crashed = self;
                let late = node.parts.map(|part| part == Part::Sent);
                crashed.nodes[at] = Node { late, ..Node::default() };
                out.push(crashed);
            }
        }
        Ok(())
    }

    fn check(&self, rules: Rules) -> Result<(), &'static str> {
        let holds = |bucket: &Bucket| bucket.tokens + bucket.leased + bucket.before;
        match self.buckets.iter().all(|bucket| holds(bucket) <= rules.burst) {
            true => Ok(()),
            false => Err("the bucket and what is held of it are more than the burst"),
        }
    }
}

/// How many states there are, or what is wrong in one of them.
fn explore(rules: Rules) -> Result<usize, &'static str> {
    let mut seen = HashSet::from([State::new(rules)]);
    let mut open = VecDeque::from([State::new(rules)]);
    let mut next = Vec::new();
    while let Some(state) = open.pop_front() {
        state.next(rules, &mut next)?;
        for mut state in next.drain(..) {
            state.check(rules)?;
            // Which node is which makes no difference.
            state.nodes.sort_unstable();
            if seen.insert(state) {
                open.push_back(state);
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn what_is_held_in_two_slots_is_never_admitted_twice() {
    let states = explore(RULES).unwrap();
    println!("{states} states of two nodes and two slots");
    assert!(states > 300_000);
}

#[test]
fn tokens_that_are_merely_taken_and_put_back_are_found_out() {
    assert!(explore(Rules { occupies: false, ..RULES }).is_err());
}

#[test]
fn an_admission_by_what_may_have_ended_is_found_out() {
    assert!(explore(Rules { in_time: false, ..RULES }).is_err());
}

#[test]
fn an_admission_with_one_part_is_found_out() {
    assert!(explore(Rules { both: false, ..RULES }).is_err());
}
