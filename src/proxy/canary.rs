//! The canary: before a node is ready, an organization that does not exist asks for rows of every
//! table, and must get none.
//!
//! It asks as live traffic does: confined by the same code, with a minted token, over the pool's
//! addresses. At start and after each reload, until it holds; then it rests. It proves that the
//! filters which the gateway injects reach the rows of this database; it does not prove more (see
//! docs/OPERATIONS.md).

mod ask;
mod plan;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::domain::ids::OrgId;
use crate::policy::upstream::{CanaryPolicy, Upstream};

use super::gateway::{Gateway, Generation};

/// Tries the isolation, and knows what came of it.
#[derive(Debug, Default)]
pub struct Canary {
    reloaded: Notify,
    found: Mutex<Option<Found>>,
}

#[derive(Debug)]
struct Found {
    version: Arc<str>,
    verdict: Verdict,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody's organization got nothing, or nobody wants to know.
    Held,
    /// It was not tried under the policy in force.
    Pending,
    /// Something came back, or no answer.
    Failed(String),
}

impl Canary {
    /// One that has not tried anything.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Another policy is in force.
    pub fn again(&self) {
        self.reloaded.notify_one();
    }

    /// What is known of the policy in force.
    pub fn verdict(&self, gateway: &Gateway) -> Verdict {
        let current = gateway.current();
        if wanted(&current).next().is_none() {
            return Verdict::Held;
        }
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        match &*found {
            Some(found) if found.version == current.snapshot.version.0 => found.verdict.clone(),
            Some(_) | None => Verdict::Pending,
        }
    }

    /// Tries, for as long as it is polled.
    pub async fn keep(self: Arc<Self>, gateway: Arc<Gateway>) {
        let mut asker = None;
        let mut said = Verdict::Pending;
        loop {
            let generation = gateway.current();
            let mut verdict = Verdict::Held;
            let mut retry = None;
            for (upstream, policy) in wanted(&generation) {
                if asker.is_none() {
                    asker = ask::Asker::new(Arc::clone(&gateway.clock)).await;
                }
                let Some(asker) = &asker else { return };
                if let Err(why) = try_one(asker, &generation, upstream, policy).await {
                    verdict = Verdict::Failed(format!("upstream `{}`: {why}", upstream.name));
                    retry = Some(retry.map_or(policy.retry, |other| policy.retry.min(other)));
                }
            }
            if let Verdict::Failed(why) = &verdict
                && said != verdict
            {
                tracing::error!("isolation does not hold yet: {why}");
            }
            said = verdict.clone();
            let version = Arc::clone(&generation.snapshot.version.0);
            *self.found.lock().unwrap_or_else(PoisonError::into_inner) =
                Some(Found { version, verdict });
            drop(generation);
            match retry {
                None => self.reloaded.notified().await,
                Some(retry) => {
                    let _ = tokio::time::timeout(retry, self.reloaded.notified()).await;
                }
            }
        }
    }
}

fn wanted(generation: &Generation) -> impl Iterator<Item = (&Arc<Upstream>, &CanaryPolicy)> {
    let upstreams = generation.snapshot.upstreams.iter();
    upstreams.filter_map(|upstream| Some((upstream, upstream.canary.as_ref()?)))
}

async fn try_one(
    asker: &ask::Asker,
    generation: &Generation,
    upstream: &Arc<Upstream>,
    policy: &CanaryPolicy,
) -> Result<(), String> {
    // Nobody has it: directories give out ids of their own.
    let nobody = OrgId::new(uuid::Uuid::new_v4());
    let catalog = &generation.snapshot.catalog;
    let questions = plan::questions(catalog);
    let (mut answered, mut closed) = (0_u32, 0_u32);
    for question in &questions {
        let asked = asker.ask(generation, upstream, policy, question, nobody);
        match asked.await.map_err(|why| format!("{question}: {why}"))? {
            ask::Answer::Nothing => answered += 1,
            ask::Answer::Closed => closed += 1,
        }
    }
    tracing::info!(
        upstream.name = %upstream.name,
        answered,
        closed,
        "isolation: nobody's organization got nothing"
    );
    Ok(())
}
