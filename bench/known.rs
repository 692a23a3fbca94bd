//! What it costs to know a caller again: to find a token that was verified before, and to see that
//! its session still counts among many that were taken back.
//!
//! The callers are twenty thousand, in no order that a processor could guess: their tokens are more
//! than fit into its caches, as they are on a node with many users.

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use criterion::{BatchSize, Criterion};
use http::{HeaderMap, header};
use tollgate::domain::clock::{Clock, Now};
use tollgate::domain::principal::VerifiedToken;
use tollgate::domain::session::{Cutoff, Mark, Marks, Noted, Revocation, Use};
use tollgate::pipeline::{Trace, decide};
use tollgate::policy::Snapshot;
use tollgate::policy::known::Known;
use tollgate::stores::node::{Facts, NodeKnowledge};
use tollgate::stores::sessions::Sessions;

use crate::arrival;

/// As many tokens as fit into the memory for them, with room to spare.
const CALLERS: usize = 20_000;
/// Prime to the number of callers: from one to the next, all of them come once.
const STRIDE: usize = 7_919;
/// Look-ups between two readings of the clock.
const BATCH: u64 = 256;
/// As many as are kept unless something else is configured, and forty times as many.
const REVOKED: [u32; 2] = [250_000, 10_000_000];

/// Measures both. `heads` are those of a thousand callers with real tokens.
pub(crate) fn measure(
    criterion: &mut Criterion,
    snapshot: &Snapshot,
    node: &NodeKnowledge,
    clock: &Arc<dyn Clock>,
    heads: &[HeaderMap],
) -> Result<()> {
    let now = clock.now();
    let facts = Facts::new(node, now);
    let mut template = None;
    for headers in heads {
        let _ = decide(&arrival(headers), snapshot, &facts, &mut Trace::new(), now);
        let text = bearer(headers).context("a request without a token")?;
        template = facts.remembered(text).map(|token| (text, token));
    }
    let (text, token) = template.context("no token was verified before")?;
    let callers: Vec<(String, Arc<VerifiedToken>)> =
        (0..CALLERS).map(|number| caller(number, text, &token)).collect();
    for (text, token) in &callers {
        facts.remember(text, token);
    }
    tokens(criterion, &facts, heads, &callers)?;
    sessions(criterion, clock, &callers)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// A caller like another: the same claims, another user, session and signature.
fn caller(number: usize, text: &str, like: &VerifiedToken) -> (String, Arc<VerifiedToken>) {
    let kept = text.len().saturating_sub(20);
    let text = format!("{}{number:020}", text.get(..kept).unwrap_or(text));
    let (user, session) = (format!("user-{number}").parse().ok(), format!("session-{number}"));
    let token = VerifiedToken {
        issuer: like.issuer,
        marks: Marks::new(user.as_ref(), Some(&session), &text),
        noted: Noted::default(),
        subject: user,
        role: like.role.clone(),
        session_id: Some(session.into()),
        expires_at: like.expires_at,
        not_before: like.not_before,
        issued_at: like.issued_at,
        second_factor: like.second_factor,
        factor_at: like.factor_at,
        signed_in_at: like.signed_in_at,
        organizations: like.organizations.clone(),
        vouched: like.vouched.clone(),
    };
    (text, Arc::new(token))
}

/// In an order that visits all and that nothing predicts.
fn mixed<T>(all: &[T]) -> impl Iterator<Item = &T> {
    (0_usize..).filter_map(move |step| all.get(step.wrapping_mul(STRIDE) % all.len()))
}

/// From the text of a token to what it says.
fn tokens(
    criterion: &mut Criterion,
    facts: &Facts<'_>,
    heads: &[HeaderMap],
    callers: &[(String, Arc<VerifiedToken>)],
) -> Result<()> {
    let few: Vec<&str> = heads.iter().filter_map(bearer).collect();
    let many: Vec<&str> = callers.iter().map(|(text, _)| text.as_str()).collect();
    if many.iter().any(|text| facts.remembered(text).is_none()) {
        bail!("the memory has no room for {CALLERS} tokens");
    }
    let mut group = criterion.benchmark_group("tokens");
    for (name, texts) in [("found, of 1,000", &few), ("found, of 20,000", &many)] {
        let mut turn = mixed(texts);
        group.bench_function(name, |bencher| {
            // A token was just read from its connection when it is looked up.
            bencher.iter_batched_ref(
                || turn.next().map(|text| (*text).to_owned()),
                |text| text.as_deref().and_then(|text| facts.remembered(text)),
                BatchSize::NumIterations(BATCH),
            );
        });
    }
    group.finish();
    Ok(())
}

/// Whether a token was revoked, and when its session was last used.
fn sessions(
    criterion: &mut Criterion,
    clock: &Arc<dyn Clock>,
    callers: &[(String, Arc<VerifiedToken>)],
) -> Result<()> {
    let now = clock.now();
    let mut group = criterion.benchmark_group("sessions");
    let none = store(1, 0, clock)?;
    let mut turn = mixed(callers);
    group.bench_function("standing, nothing revoked", |bencher| {
        bencher.iter(|| turn.next().map(|(_, token)| none.standing(black_box(token), now)));
    });
    for (name, revoked) in
        ["standing, 250,000 revoked", "standing, 10,000,000 revoked"].into_iter().zip(REVOKED)
    {
        let full = store(revoked, revoked, clock)?;
        let mut turn = mixed(callers);
        group.bench_function(name, |bencher| {
            bencher.iter(|| turn.next().map(|(_, token)| full.standing(black_box(token), now)));
        });
    }
    let used = store(REVOKED.into_iter().min().unwrap_or(1), 0, clock)?;
    note(&used, callers, now);
    let mut turn = mixed(callers);
    group.bench_function("last use, of 20,000", |bencher| {
        bencher.iter(|| turn.next().map(|(_, token)| used.last_use(black_box(token), now)));
    });
    group.finish();
    Ok(())
}

fn store(room: u32, revoked: u32, clock: &Arc<dyn Clock>) -> Result<Sessions> {
    let room = NonZeroU32::new(room).context("room for none")?;
    let store = Sessions::in_memory(room, Duration::from_secs(3600), Arc::clone(clock));
    let at = clock.now().unix_secs();
    for number in 0..revoked {
        let mark = Mark::session(&number.to_string());
        store.revoke(Revocation { mark, cutoff: Cutoff::ALWAYS, at, until: at + 3600 });
    }
    Ok(store)
}

fn note(store: &Sessions, callers: &[(String, Arc<VerifiedToken>)], now: Now) {
    for (_, token) in callers {
        let (Some(user), Some(session)) = (&token.subject, &token.session_id) else { continue };
        store.used(Use {
            user: user.clone(),
            session: Arc::clone(session),
            began: token.began(),
            organization: None,
            device: "bench".into(),
            address: [127, 0, 0, 1].into(),
            at: now.unix_secs(),
        });
    }
}
