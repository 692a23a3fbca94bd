//! One journey to Redis and back: what is asked for requests that wait together, and what becomes of
//! them.
//!
//! Where the buckets of a request are in one slot, the script charges all of them or none. Where they
//! are in several, each part is *held*: taken as a lease for just this request, so that it goes on
//! to occupy its bucket. If every part was granted, the request is admitted and the leases are closed as
//! spent; if one was not, they are closed as unspent, and everything is back. A closing that is lost leaves
//! a lease that ends by itself: fewer are admitted, never more. Imports `domain`.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::sync::oneshot;

use crate::domain::charge::{BucketCharge, Charge, ChargeAnswer};
use crate::domain::clock::{Clock, Now};
use crate::stores::cluster::slots::{Slot, tags};

use super::bucket::{Bucket, balances, capacity, price, refusal, wait};
use super::keys::key;
use super::leases::{Epoch, Leases, Terms, Told};
use super::link::Link;
use super::links::{Call, Links, Reply};
use super::memory::MemoryStore;
use super::parts::{Part, Parts, demands};
use super::penalty::{self, ToldPenalty};
use super::stats::{Counters, count};

/// Buckets in one closing.
const MOST_RETURNED: usize = 64;

/// What all journeys need.
#[derive(Debug)]
pub(super) struct Flights {
    pub(super) links: Links,
    pub(super) leases: Leases,
    pub(super) epoch: Epoch,
    pub(super) prefix: Arc<str>,
    /// Where a failover is to mint nothing.
    pub(super) markers: Option<Markers>,
    pub(super) deadline: Duration,
    pub(super) clock: Arc<dyn Clock>,
}

/// Requests for the same buckets, which are asked for at once.
pub(super) struct Group {
    pub(super) charge: Charge,
    pub(super) parts: Parts,
    pub(super) again: bool,
    pub(super) waiting: Vec<Waiting>,
}

pub(super) type Waiting = oneshot::Sender<ChargeAnswer>;

/// What is left to do after a journey.
#[derive(Default)]
pub(super) struct Landed {
    /// Closings of what was held.
    pub(super) calls: Vec<Call>,
    /// Who has to be asked for once more, bucket by bucket.
    pub(super) again: Vec<(Charge, Waiting)>,
}

/// The keys that say since when a server is the primary: of a cluster, one in each slot.
#[derive(Debug)]
pub(super) enum Markers {
    Server(String),
    Cluster { prefix: String, tags: Vec<u32> },
}

/// What the script said to one part.
struct Said {
    granted: usize,
    at: u64,
    told: SmallVec<[Told; 5]>,
}

impl Group {
    pub(super) fn is(&self, charge: &Charge, again: bool) -> bool {
        self.again == again && self.charge == *charge
    }
}

impl Markers {
    pub(super) fn new(prefix: &str, cluster: bool) -> Self {
        let prefix = format!("{prefix}:primary");
        match cluster {
            false => Self::Server(prefix),
            true => Self::Cluster { prefix, tags: tags() },
        }
    }

    fn key(&self, slot: Slot) -> String {
        match self {
            Self::Server(key) => key.clone(),
            Self::Cluster { prefix, tags } => {
                let tag = tags.get(slot.index()).copied().unwrap_or_default();
                format!("{prefix}{{{tag}}}")
            }
        }
    }
}

impl Flights {
    /// Asks for each group, with a call for each of its parts.
    pub(super) async fn fly(
        &self,
        groups: Vec<Group>,
        share: &MemoryStore,
        counters: &Counters,
    ) -> Landed {
        let sent = self.clock.now();
        let mut calls = Vec::with_capacity(groups.len());
        let mut debts: Vec<SmallVec<[u64; 5]>> = Vec::with_capacity(groups.len());
        for group in &groups {
            let owed = share.owed(&group.charge, sent);
            let terms = self.leases.terms(&group.charge, sent, self.deadline);
            for part in &group.parts {
                let of = |index: &usize| {
                    let bucket = group.charge.buckets.get(*index)?;
                    Some((bucket, *terms.get(*index)?, *owed.get(*index)?))
                };
                let buckets: SmallVec<[Asked<'_>; 5]> =
                    part.buckets.iter().filter_map(of).collect();
                calls.push(self.call(part.slot, group.requests(), &buckets, sent));
            }
            debts.push(owed);
        }
        let mut replies = self.links.deliver(&calls, Some(counters)).await.into_iter();
        let now = self.clock.now();
        let mut landed = Landed::default();
        for (group, owed) in groups.into_iter().zip(debts) {
            let replies: SmallVec<[Reply; 1]> = replies.by_ref().take(group.parts.len()).collect();
            let scattered = replies.iter().any(|reply| matches!(reply, Reply::Scattered));
            let read = |(part, reply)| match reply {
                Reply::Said(values, link) => {
                    Said::read((&group.charge, part), &values, &link, sent, now, counters)
                }
                Reply::Scattered | Reply::Away => None,
            };
            let said: SmallVec<[Option<Said>; 1]> =
                group.parts.iter().zip(replies).map(read).collect();
            for (part, _) in group.parts.iter().zip(&said).filter(|(_, said)| said.is_some()) {
                share.paid(&group.charge, &part.owed(&owed));
            }
            let verdict = match group.is_held() {
                false => Verdict::of(&group, &said),
                true => self.settle(&group, &said, sent, &mut landed.calls),
            };
            match verdict {
                Some(verdict) => self.answer(group, &verdict, sent, now),
                None if scattered && !group.again => {
                    let Group { charge, waiting, .. } = group;
                    let again = waiting.into_iter().map(|waiting| (charge.clone(), waiting));
                    landed.again.extend(again);
                }
                // Dropped without an answer: the store is away.
                None => {}
            }
        }
        landed
    }

    /// Sends closings. What becomes of them is nobody's business: nothing is sent again, and nothing
    /// of what they close is spent any more.
    pub(super) async fn send_returns(&self, calls: Vec<Call>) {
        self.links.deliver(&calls, None).await;
    }

    /// Closings of leases, a call for each slot.
    pub(super) fn returns(&self, due: &[(BucketCharge, Terms)]) -> Vec<Call> {
        let sent = self.clock.now();
        let mut slots: Vec<(Slot, Vec<Asked<'_>>)> = Vec::new();
        for (bucket, terms) in due {
            let slot = self.links.slot(|| key(&self.prefix, bucket));
            let apart = self.links.is_scattered(slot);
            let room = |(other, asked): &&mut (Slot, Vec<Asked<'_>>)| {
                *other == slot && !apart && asked.len() < MOST_RETURNED
            };
            match slots.iter_mut().find(room) {
                Some((_, asked)) => asked.push((bucket, *terms, 0)),
                None => slots.push((slot, vec![(bucket, *terms, 0)])),
            }
        }
        slots.iter().map(|(slot, asked)| self.call(*slot, 0, asked, sent)).collect()
    }

    fn call(&self, slot: Slot, requests: i64, buckets: &[Asked<'_>], sent: Now) -> Call {
        let mut command = self.links.command();
        command.arg(buckets.len() + usize::from(self.markers.is_some()));
        for (bucket, _, _) in buckets {
            command.arg(key(&self.prefix, bucket));
        }
        command.arg(self.markers.as_ref().map(|markers| markers.key(slot)));
        command.arg(self.links.latest(slot, sent)).arg(self.epoch.0).arg(requests);
        for (bucket, terms, debt) in buckets {
            command
                .arg(price(bucket))
                .arg(capacity(&bucket.rate))
                .arg(u64::from(bucket.rate.tokens.get()) * 1_000)
                .arg(bucket.rate.period_millis.get())
                // More than it holds cannot be taken from it.
                .arg((*debt).min(capacity(&bucket.rate)))
                .arg(terms.want)
                .arg(terms.epoch)
                .arg(terms.closed)
                .arg(terms.back)
                .arg(terms.closed_before)
                .arg(terms.back_before);
        }
        let terms = buckets.iter().map(|(bucket, terms, _)| (*bucket, *terms));
        command.arg(penalty::argument(terms));
        Call { slot, command }
    }

    /// Says who of a group is admitted, where each part was held, and closes what was.
    fn settle(
        &self,
        group: &Group,
        said: &[Option<Said>],
        sent: Now,
        calls: &mut Vec<Call>,
    ) -> Option<Verdict> {
        // Read after everything is known, as where a lease is spent: one that has ended by then
        // admits nobody.
        let in_time = self.epoch.is_spent_at(sent, self.clock.now());
        let mut verdict = Verdict::of(group, said).filter(|_| in_time);
        let admitted = verdict.as_ref().map(|verdict| verdict.admitted);
        let demands = demands(&group.charge);
        for (part, said) in group.parts.iter().zip(said) {
            let Some(said) = said else { continue };
            let mut asked: SmallVec<[Asked<'_>; 5]> = SmallVec::new();
            for (index, told) in part.buckets.iter().zip(&said.told) {
                let bucket = group.charge.buckets.get(*index);
                let (Some(bucket), Some(demand)) = (bucket, demands.get(*index)) else { continue };
                let times = |requests: usize| {
                    demand.saturating_mul(u64::try_from(requests).unwrap_or(u64::MAX))
                };
                let (closed, back) = match admitted {
                    Some(admitted) => {
                        let held = times(said.granted).min(told.lease);
                        (held, held.saturating_sub(times(admitted)))
                    }
                    // Nobody is admitted, and nobody needs what was leased besides. Where it has
                    // ended in Redis, too, its epoch says so there.
                    None => (told.lease, told.lease),
                };
                if closed > 0 {
                    let epoch = told.epoch;
                    asked.push((bucket, Terms { epoch, closed, back, ..Terms::default() }, 0));
                }
                // What is left, once that is done.
                let told = verdict.as_mut().and_then(|verdict| verdict.told.get_mut(*index));
                if let Some(told) = told {
                    told.lease = told.lease.saturating_sub(closed);
                    told.left = told.left.saturating_add(back);
                    told.room = told.room.saturating_add(closed);
                }
            }
            if !asked.is_empty() {
                calls.push(self.call(part.slot, 0, &asked, sent));
            }
        }
        verdict
    }

    /// Answers those who wait, and takes note of what Redis said.
    fn answer(&self, group: Group, verdict: &Verdict, sent: Now, now: Now) {
        let Verdict { admitted, at, told } = verdict;
        let level = |(bucket, told): (&BucketCharge, &Told)| Bucket {
            micros: told.left.saturating_add(told.lease),
            debt: told.debt,
            at: *at,
            rate: bucket.rate,
        };
        let levels: SmallVec<[Bucket; 5]> =
            group.charge.buckets.iter().zip(told).map(level).collect();
        let mut refused =
            (*admitted < group.waiting.len()).then(|| refused(&group.charge, &levels, told));
        let wait = match &refused {
            Some(ChargeAnswer::Refused { bucket, retry_after, .. }) => {
                Some((*bucket, *retry_after))
            }
            _ => None,
        };
        let least = self.leases.told(&group.charge, told, wait, sent, now);
        if let Some(ChargeAnswer::Refused { retry_after, .. }) = &mut refused {
            *retry_after = least.max(*retry_after);
        }
        let granted = || ChargeAnswer::Granted { balances: balances(&levels) };
        let answers = std::iter::repeat_with(granted).take(*admitted);
        let answers = answers.chain(std::iter::repeat(refused).flatten());
        for (waiting, answer) in group.waiting.into_iter().zip(answers) {
            // Who stopped waiting has been charged.
            let _ = waiting.send(answer);
        }
    }
}

/// A bucket, what is said of it besides its price, and what is owed to it.
type Asked<'b> = (&'b BucketCharge, Terms, u64);

/// How many of a group are admitted, and what Redis says of each bucket of its charge.
struct Verdict {
    admitted: usize,
    at: u64,
    told: SmallVec<[Told; 5]>,
}

impl Verdict {
    /// Nothing, unless every part was answered.
    fn of(group: &Group, said: &[Option<Said>]) -> Option<Self> {
        let penalty = ToldPenalty::default();
        let none = Told { left: 0, debt: 0, lease: 0, epoch: 0, room: 0, lapse: 0, penalty };
        let told = SmallVec::from_elem(none, group.charge.buckets.len());
        let mut verdict = Self { admitted: group.waiting.len(), at: 0, told };
        for (part, said) in group.parts.iter().zip(said) {
            let said = said.as_ref()?;
            verdict.admitted = verdict.admitted.min(said.granted);
            verdict.at = verdict.at.max(said.at);
            for (index, told) in part.buckets.iter().zip(&said.told) {
                *verdict.told.get_mut(*index)? = *told;
            }
        }
        Some(verdict)
    }
}

impl Group {
    /// Whether what is granted has to wait for another part.
    fn is_held(&self) -> bool {
        self.parts.len() > 1
    }

    /// How many are asked for, as the script wants it: below zero they are held.
    fn requests(&self) -> i64 {
        let count = i64::try_from(self.waiting.len()).unwrap_or(i64::MAX);
        if self.is_held() { -count } else { count }
    }
}

impl Part {
    /// What is owed to its buckets, and nothing to the others.
    fn owed(&self, owed: &[u64]) -> SmallVec<[u64; 5]> {
        let own =
            |(index, owed): (usize, &u64)| if self.buckets.contains(&index) { *owed } else { 0 };
        owed.iter().enumerate().map(own).collect()
    }
}

impl Said {
    /// What the script answered. Nothing if that is not an answer to the call.
    fn read(
        asked: (&Charge, &Part),
        reply: &[i64],
        link: &Link,
        sent: Now,
        now: Now,
        counters: &Counters,
    ) -> Option<Self> {
        let said = Self::of(asked, reply);
        match &said {
            Some(said) => link.answered(said.at, sent, now),
            None => {
                count(&counters.failed);
                link.failed(None);
            }
        }
        said
    }

    fn of((charge, part): (&Charge, &Part), reply: &[i64]) -> Option<Self> {
        let [granted, server_micros, rest @ ..] = reply else { return None };
        let (buckets, penalties) = rest.split_at_checked(5 * part.buckets.len())?;
        let (buckets, _) = buckets.as_chunks::<5>();
        let mut told: SmallVec<[Told; 5]> = SmallVec::new();
        for bucket in buckets {
            let [left, lease, epoch, room, lapse] = bucket.map(|n| u64::try_from(n).ok());
            let [held, ..] = bucket;
            let debt = if *held < 0 { held.unsigned_abs() } else { 0 };
            told.push(Told {
                left: if debt > 0 { 0 } else { left? },
                debt,
                lease: lease?,
                epoch: epoch?,
                room: room?,
                lapse: lapse?,
                penalty: ToldPenalty::default(),
            });
        }
        let asked = part.buckets.iter().filter_map(|index| charge.buckets.get(*index));
        penalty::answer(penalties, asked, |index, said| {
            if let Some(told) = told.get_mut(index) {
                told.penalty = said;
            }
        })?;
        let granted = usize::try_from(*granted).ok()?;
        Some(Self { granted, at: u64::try_from(*server_micros).ok()?, told })
    }
}

/// The refusal of a charge that the buckets have too little for. One that is mostly leased does not
/// fill until the leases have ended, whatever its rate.
fn refused(charge: &Charge, levels: &[Bucket], told: &[Told]) -> ChargeAnswer {
    let short: SmallVec<[u64; 5]> = charge
        .buckets
        .iter()
        .zip(levels)
        .map(|(bucket, level)| level.lacks(price(bucket)))
        .collect();
    let mut answer = refusal(levels, &short);
    let ChargeAnswer::Refused { bucket: named, retry_after, .. } = &mut answer else {
        return answer;
    };
    for (index, ((bucket, told), lack)) in charge.buckets.iter().zip(told).zip(&short).enumerate() {
        if *lack > 0 && told.room < price(bucket) {
            let lapse = Duration::from_micros(told.lapse);
            let wait = lapse.saturating_add(wait(*lack, &bucket.rate));
            if wait > *retry_after {
                (*named, *retry_after) = (index, wait);
            }
        }
    }
    for (index, told) in told.iter().enumerate().filter(|(_, told)| told.penalty.blocked > 0) {
        penalty::hold(&mut answer, index, told.penalty.blocked, told.penalty.level);
    }
    answer
}
