//! Stage 7, limit: what the request is charged, and what its answer means.
//!
//! Check and charge are one step in the store: all buckets or none. What happens while the store
//! is away is a line of each limit.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use crate::domain::address::customer;
use crate::domain::charge::{
    Balance, BucketCharge, Charge, ChargeAnswer, Due, Dues, Rate, Subject, WhenAway,
};
use crate::domain::known::Outage;
use crate::domain::login::AccountHash;
use crate::domain::refusal::Refusal;
use crate::policy::limits::{After, Limit, RateSource, Scope};
use crate::policy::mode::Mode;
use crate::policy::quotas::Quota;

use super::isolate::Isolated;
use super::shadow::ShadowLimit;
use super::trace::{Stage, Trace};
use super::upstream::Passed;

/// Proof of everything but the charge.
#[derive(Debug)]
pub struct Chargeable {
    isolated: Isolated,
    charge: Charge,
    /// What is charged once the answer is known.
    dues: Option<Box<Dues>>,
    /// What is charged by itself, once the request was admitted.
    shadow: Vec<ShadowLimit>,
    /// Whether its quotas were judged, or it has none.
    judged: bool,
}

/// What an answered charge comes to.
#[derive(Debug)]
pub enum Settled {
    /// The request may go on.
    Passed(Box<Passed>),
    /// The shared store is away, and some limits are to be enforced by this node's share: charge
    /// those here ([`Chargeable::charge`]) and settle again.
    ChargeHere(Box<Chargeable>),
}

/// The state of one limit after a request was charged, or refused, for the caller's information.
#[derive(Debug, Clone)]
pub struct LimitState {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Its numbers.
    pub rate: Rate,
    /// What is left.
    pub balance: Balance,
}

/// Works out the charge.
pub fn charge(isolated: Isolated, trace: &mut Trace) -> Chargeable {
    trace.enter(Stage::Limit);
    let mut charge = Charge::default();
    let mut dues: Option<Box<Dues>> = None;
    let mut shadow = Vec::new();
    for limit in isolated.limits() {
        if limit.scope == Scope::Account {
            trace.note(Some(&limit.source), || {
                format!("limit `{}`: charged once the body has named an account", limit.name)
            });
            continue;
        }
        let Some(subject) = subject(limit, trace) else {
            trace.note(Some(&limit.source), || {
                format!("limit `{}` does not apply: no {}", limit.name, limit.scope.as_str())
            });
            continue;
        };
        let cost = limit.cost.of(&isolated.shape);
        let rate = rate(limit, cost, trace);
        let cost = isolated.changes.costing(cost, rate);
        let tried = limit.mode == Mode::Shadow;
        if !tried {
            trace.cost = trace.cost.max(cost.get());
        }
        trace.note(Some(&limit.source), || {
            format!(
                "{}limit `{}`: takes {cost} of {rate}",
                if tried { "in shadow: " } else { "" },
                limit.name,
            )
        });
        let bucket = bucket(limit, subject, rate, cost);
        let due = due(limit, &bucket);
        if tried {
            shadow.push(ShadowLimit::new(limit, bucket, due));
            continue;
        }
        if let Some(due) = due {
            trace.note(Some(&limit.source), || {
                format!(
                    "limit `{}`: afterwards {} token(s) a second and {} a MiB",
                    limit.name, due.per_second, due.per_mebibyte
                )
            });
            dues.get_or_insert_with(|| Box::new(Dues { all: Vec::new(), here: false }))
                .all
                .push(due);
        }
        charge.buckets.push(bucket);
    }
    let judged = isolated.route.quotas.is_empty() || trace.organization.is_none();
    Chargeable { isolated, charge, dues, shadow, judged }
}

impl Chargeable {
    /// What is to be charged. Empty: nothing, and any store grants it.
    pub fn charge(&self) -> &Charge {
        &self.charge
    }

    /// The limits in shadow that it would be charged to.
    pub fn shadow(&self) -> &[ShadowLimit] {
        &self.shadow
    }

    /// The quotas of its route.
    pub fn quotas(&self) -> &[Arc<Quota>] {
        &self.isolated.route.quotas
    }

    /// Its quotas were judged.
    pub(super) fn judged(&mut self) {
        self.judged = true;
    }

    /// For tests of policies that state nobody's use: takes it to be within its quotas.
    pub fn unmetered(self) -> Self {
        Self { judged: true, ..self }
    }

    /// What the store's answer comes to. Takes the proof: a request is settled once.
    pub fn settle(self, answer: ChargeAnswer, trace: &mut Trace) -> Result<Settled, Refusal> {
        if !self.judged {
            return Err(Refusal::Internal("quotas that nobody judged"));
        }
        match answer {
            ChargeAnswer::Granted { balances } => {
                trace.limits = states(&self.charge, &balances);
                trace.enter(Stage::Upstream);
                Ok(Settled::Passed(Box::new(Passed::new(self.isolated, self.dues, self.shadow))))
            }
            ChargeAnswer::Refused { bucket, retry_after, penalty, balances } => {
                trace.limits = states(&self.charge, &balances);
                let Some(refused) = self.charge.buckets.get(bucket) else {
                    return Err(Refusal::Internal("a bucket refused that was not charged"));
                };
                trace.decided_by = self
                    .isolated
                    .limits()
                    .find(|limit| limit.name == refused.limit)
                    .map(|limit| limit.source.clone());
                Err(refusal(Arc::clone(&refused.limit), retry_after, penalty))
            }
            ChargeAnswer::Away(outage) => self.without_store(outage, trace),
        }
    }

    fn without_store(mut self, outage: Outage, trace: &mut Trace) -> Result<Settled, Refusal> {
        let away = |wanted: WhenAway| move |bucket: &&BucketCharge| bucket.when_away == wanted;
        if let Some(closed) = self.charge.buckets.iter().find(away(WhenAway::Closed)) {
            let mut limits = self.isolated.limits();
            let limit = limits.find(|limit| limit.name == closed.limit);
            trace.decided_by = limit.map(|limit| limit.source.clone());
            return Err(Refusal::Unavailable(outage));
        }
        let here: SmallVec<[BucketCharge; 5]> = self
            .charge
            .buckets
            .drain(..)
            .filter(|bucket| bucket.when_away == WhenAway::LocalShare)
            // Were this node's own store away too, the limit is closed: never a loop, never open.
            .map(|bucket| BucketCharge { when_away: WhenAway::Closed, ..bucket })
            .collect();
        if here.is_empty() {
            trace.enter(Stage::Upstream);
            return Ok(Settled::Passed(Box::new(Passed::new(self.isolated, None, self.shadow))));
        }
        self.charge = Charge { buckets: here };
        if let Some(dues) = &mut self.dues {
            dues.here = true;
            dues.all.retain(|due| due.bucket.when_away == WhenAway::LocalShare);
        }
        Ok(Settled::ChargeHere(Box::new(self)))
    }
}

/// What a request is charged once its body has named an account of an auth server. It was charged to all
/// of its other limits before.
pub fn of_account(passed: &mut Passed, account: AccountHash, trace: &Trace) -> Charge {
    let of = |limit: &&Arc<Limit>| limit.scope == Scope::Account;
    let limits: SmallVec<[Arc<Limit>; 2]> = passed.limits().filter(of).cloned().collect();
    let mut charge = Charge::default();
    for limit in limits {
        let cost = limit.cost.base;
        let rate = rate(&limit, cost, trace);
        let cost = passed.changes().costing(cost, rate);
        let bucket = bucket(&limit, Subject::Account(account), rate, cost);
        let due = due(&limit, &bucket);
        if limit.mode == Mode::Shadow {
            passed.tries(ShadowLimit::new(&limit, bucket, due));
            continue;
        }
        if let Some(due) = due {
            passed.owes(due);
        }
        charge.buckets.push(bucket);
    }
    charge
}

/// What the store's answer to that comes to: nothing, or what is to be charged to this node's share because
/// the store is away.
///
/// # Errors
/// If the request may not go on.
pub fn account_charged(
    passed: &Passed,
    mut charge: Charge,
    answer: ChargeAnswer,
    trace: &mut Trace,
) -> Result<Option<Charge>, Refusal> {
    let source = |name: &Arc<str>| {
        let limit = passed.limits().find(|limit| limit.name == *name);
        limit.map(|limit| limit.source.clone())
    };
    match answer {
        ChargeAnswer::Granted { balances } => {
            trace.limits.extend(states(&charge, &balances));
            Ok(None)
        }
        ChargeAnswer::Refused { bucket, retry_after, penalty, balances } => {
            trace.limits.extend(states(&charge, &balances));
            trace.enter(Stage::Limit);
            let Some(refused) = charge.buckets.get(bucket) else {
                return Err(Refusal::Internal("a bucket refused that was not charged"));
            };
            trace.decided_by = source(&refused.limit);
            Err(refusal(Arc::clone(&refused.limit), retry_after, penalty))
        }
        ChargeAnswer::Away(outage) => {
            let closed = charge.buckets.iter().find(|of| of.when_away == WhenAway::Closed);
            if let Some(closed) = closed {
                trace.enter(Stage::Limit);
                trace.decided_by = source(&closed.limit);
                return Err(Refusal::Unavailable(outage));
            }
            charge.buckets.retain(|bucket| bucket.when_away == WhenAway::LocalShare);
            // Were this node's own store away too, the limit is closed: never a loop, never open.
            charge.buckets.iter_mut().for_each(|bucket| bucket.when_away = WhenAway::Closed);
            Ok((!charge.buckets.is_empty()).then_some(charge))
        }
    }
}

fn bucket(limit: &Limit, subject: Subject, rate: Rate, cost: NonZeroU32) -> BucketCharge {
    BucketCharge {
        limit: Arc::clone(&limit.name),
        subject,
        rate,
        cost,
        when_away: limit.when_away,
        penalty: limit.penalty.clone(),
    }
}

/// What a bucket is charged once the answer is known, if the limit says so.
fn due(limit: &Limit, bucket: &BucketCharge) -> Option<Due> {
    let After { per_second, per_mebibyte, most } = limit.cost.after?;
    let (bucket, most) = (bucket.clone(), most.unwrap_or(bucket.rate.burst));
    let shadow = limit.mode == Mode::Shadow;
    Some(Due { bucket, per_second, per_mebibyte, most, shadow })
}

fn refusal(limit: Arc<str>, retry_after: Duration, penalty: u8) -> Refusal {
    match penalty {
        0 => Refusal::RateLimited { limit, retry_after },
        level => Refusal::Penalized { limit, level, retry_after },
    }
}

fn states(charge: &Charge, balances: &[Balance]) -> SmallVec<[LimitState; 5]> {
    let buckets = charge.buckets.iter().zip(balances);
    buckets
        .map(|(bucket, balance)| LimitState {
            limit: Arc::clone(&bucket.limit),
            rate: bucket.rate,
            balance: *balance,
        })
        .collect()
}

/// Whose bucket, if the limit applies to the request.
fn subject(limit: &Limit, trace: &Trace) -> Option<Subject> {
    let organization = trace.organization.as_ref().map(|organization| organization.id);
    match limit.scope {
        Scope::User => trace
            .principal
            .as_ref()
            .and_then(|principal| principal.user())
            .map(|user| Subject::User(user.clone(), organization)),
        Scope::Organization => organization.map(Subject::Organization),
        Scope::Key => {
            let machine = trace.principal.as_ref().and_then(|principal| principal.machine());
            let owner = machine.map(|key| key.organization);
            trace.api_key.clone().map(|key| Subject::Key(key, owner))
        }
        Scope::Route => {
            trace.route.as_ref().map(|route| Subject::Route(Arc::clone(&route.name), organization))
        }
        Scope::Address => trace.client.map(|client| Subject::Address(customer(client))),
        // Known once the body is there.
        Scope::Account => None,
    }
}

fn rate(limit: &Limit, cost: NonZeroU32, trace: &Trace) -> Rate {
    let own = trace.organization.as_ref().and_then(|of| of.limits.get(&limit.name));
    if let Some(own) = own {
        // The policy sees to it that what a request costs fits in; who states numbers for one
        // organization need not know.
        return Rate { burst: own.burst.max(cost), ..*own };
    }
    match &limit.rate {
        RateSource::Fixed(rate) => *rate,
        RateSource::ByPlan { rates, otherwise } => trace
            .organization
            .as_ref()
            .and_then(|organization| rates.get(&organization.plan))
            .copied()
            .unwrap_or(*otherwise),
    }
}
