//! What rules have done to a request, carried in its proofs from the first of them to the charge.
//! A request that no rule has changed carries nothing.

use std::num::NonZeroU32;
use std::sync::Arc;

use crate::domain::charge::Rate;
use crate::policy::limits::Limit;
use crate::policy::rules::{Actions, ChargeRule, FieldEdits};
use crate::policy::upstream::Upstream;

/// The changes.
#[derive(Debug, Clone, Default)]
pub struct Changes(Option<Box<Made>>);

#[derive(Debug, Clone, Default)]
struct Made {
    tags: Vec<Arc<str>>,
    fields: FieldEdits,
    cost: u32,
    /// Limits besides those of the route, each once.
    limits: Vec<Arc<Limit>>,
    /// Limits of the route that are not charged.
    spared: Vec<Arc<str>>,
    upstream: Option<Arc<Upstream>>,
}

impl Changes {
    pub(super) fn tags(&self) -> &[Arc<str>] {
        self.0.as_ref().map_or(&[], |made| made.tags.as_slice())
    }

    /// Fields of the request to the upstream.
    pub(in crate::pipeline) fn fields(&self) -> Option<&FieldEdits> {
        self.0.as_ref().map(|made| &made.fields).filter(|fields| !fields.is_empty())
    }

    /// The upstream that was chosen in place of the route's.
    pub(super) fn upstream(&self) -> Option<&Arc<Upstream>> {
        self.0.as_ref()?.upstream.as_ref()
    }

    /// What is charged of the limits of the route, and besides.
    pub(in crate::pipeline) fn limits<'l>(
        &'l self,
        of_route: &'l [Arc<Limit>],
    ) -> impl Iterator<Item = &'l Arc<Limit>> {
        let made = self.0.as_deref();
        let kept = of_route
            .iter()
            .filter(move |limit| made.is_none_or(|made| !made.spared.contains(&limit.name)));
        let further = made.map_or(&[][..], |made| made.limits.as_slice()).iter();
        kept.chain(further.filter(move |limit| {
            let listed = of_route.iter().any(|other| other.name == limit.name);
            !listed || made.is_some_and(|made| made.spared.contains(&limit.name))
        }))
    }

    /// What a request costs that costs so much by itself: no more than the bucket can hold, so that
    /// a rule makes a request dear and never impossible.
    pub(in crate::pipeline) fn costing(&self, cost: NonZeroU32, rate: Rate) -> NonZeroU32 {
        match &self.0 {
            None => cost,
            Some(made) => cost.saturating_add(made.cost).min(rate.burst.max(cost)),
        }
    }

    /// Does what a rule says, but for the choice of an upstream.
    pub(super) fn apply(&mut self, actions: &Actions) {
        let Actions { tags, fields, cost, charge, .. } = actions;
        if tags.is_empty() && fields.is_empty() && *cost == 0 && charge.is_none() {
            return;
        }
        let made = self.0.get_or_insert_default();
        for tag in tags {
            if !made.tags.contains(tag) {
                made.tags.push(Arc::clone(tag));
            }
        }
        merge(&mut made.fields, fields);
        made.cost = made.cost.saturating_add(*cost);
        if let Some(ChargeRule { to, instead_of }) = charge {
            for limit in to {
                made.spared.retain(|name| *name != limit.name);
                if !made.limits.iter().any(|other| other.name == limit.name) {
                    made.limits.push(Arc::clone(limit));
                }
            }
            for name in instead_of {
                made.limits.retain(|limit| limit.name != *name);
                if !made.spared.contains(name) {
                    made.spared.push(Arc::clone(name));
                }
            }
        }
    }

    /// Sends the request to another upstream.
    pub(super) fn divert(&mut self, to: &Arc<Upstream>) {
        self.0.get_or_insert_default().upstream = Some(Arc::clone(to));
    }
}

/// Lays edits over others: of one field, the later counts.
pub(super) fn merge(fields: &mut FieldEdits, later: &FieldEdits) {
    for (name, value) in &later.set {
        fields.remove.retain(|other| other != name);
        fields.set.retain(|(other, _)| other != name);
        fields.set.push((name.clone(), value.clone()));
    }
    for name in &later.remove {
        fields.set.retain(|(other, _)| other != name);
        if !fields.remove.contains(name) {
            fields.remove.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn of_two_edits_of_a_field_the_later_counts() {
        let name = HeaderName::from_static("x-a");
        let set = FieldEdits {
            set: vec![(name.clone(), HeaderValue::from_static("1"))],
            remove: Vec::new(),
        };
        let removed = FieldEdits { set: Vec::new(), remove: vec![name] };
        let mut fields = FieldEdits::default();
        merge(&mut fields, &set);
        merge(&mut fields, &removed);
        assert_eq!(fields, removed);
        merge(&mut fields, &set);
        assert_eq!(fields, set);
    }

    #[test]
    fn a_rule_makes_a_request_dear_and_never_impossible() {
        let number = |n| NonZeroU32::new(n).unwrap();
        let rate = Rate { tokens: number(10), period_millis: number(1_000), burst: number(20) };
        let mut changes = Changes::default();
        assert_eq!(changes.costing(number(3), rate), number(3));
        changes.apply(&Actions { cost: 4, ..Actions::default() });
        assert_eq!(changes.costing(number(3), rate), number(7));
        changes.apply(&Actions { cost: u32::MAX, ..Actions::default() });
        assert_eq!(changes.costing(number(3), rate), number(20));
    }
}
