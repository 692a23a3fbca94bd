//! Metrics with bounded labels, resolved once: an array of counters or histograms, found by the
//! labels' indices. Counting is an addition to an atomic; no label is hashed on the way of a
//! request.

use std::marker::PhantomData;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

/// A label whose values are known in advance.
pub trait Label: Copy + Sized + 'static {
    /// The label's name in the exposition.
    const NAME: &'static str;
    /// All values, in the order of their indices.
    const ALL: &'static [Self];
    /// The place in `ALL`.
    fn index(self) -> usize;
    /// The value in the exposition.
    fn value(self) -> &'static str;
}

/// One label, or several side by side.
pub trait Labels: Copy + 'static {
    /// Their names.
    fn names() -> Vec<&'static str>;
    /// All combinations of values, in the order of their places.
    fn all() -> Vec<Vec<&'static str>>;
    /// The place of a combination.
    fn place(self) -> usize;
}

impl<A: Label> Labels for A {
    fn names() -> Vec<&'static str> {
        vec![A::NAME]
    }

    fn all() -> Vec<Vec<&'static str>> {
        A::ALL.iter().map(|a| vec![a.value()]).collect()
    }

    fn place(self) -> usize {
        self.index()
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME]
    }

    fn all() -> Vec<Vec<&'static str>> {
        A::ALL.iter().flat_map(|a| B::ALL.iter().map(|b| vec![a.value(), b.value()])).collect()
    }

    fn place(self) -> usize {
        self.0.index() * B::ALL.len() + self.1.index()
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME, C::NAME]
    }

    fn all() -> Vec<Vec<&'static str>> {
        let inner = <(B, C)>::all();
        A::ALL
            .iter()
            .flat_map(|a| inner.iter().map(|rest| [&[a.value()], rest.as_slice()].concat()))
            .collect()
    }

    fn place(self) -> usize {
        self.0.index() * B::ALL.len() * C::ALL.len() + (self.1, self.2).place()
    }
}

/// One counter for each combination of labels.
#[derive(Debug, Clone)]
pub struct Counters<L> {
    cells: Box<[IntCounter]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Counters<L> {
    /// Registers them all; each begins at zero.
    pub fn register(registry: &Registry, name: &str, help: &str) -> prometheus::Result<Self> {
        let family = IntCounterVec::new(Opts::new(name, help), &L::names())?;
        let cells = L::all()
            .iter()
            .map(|values| family.get_metric_with_label_values(values))
            .collect::<prometheus::Result<_>>()?;
        registry.register(Box::new(family))?;
        Ok(Self { cells, labels: PhantomData })
    }

    /// Adds one.
    pub fn inc(&self, labels: L) {
        self.add(labels, 1);
    }

    /// Adds some.
    pub fn add(&self, labels: L, by: u64) {
        if let Some(cell) = self.cells.get(labels.place()) {
            cell.inc_by(by);
        }
    }

    /// What was counted so far.
    pub fn get(&self, labels: L) -> u64 {
        self.cells.get(labels.place()).map_or(0, IntCounter::get)
    }
}

/// One histogram for each combination of labels.
#[derive(Debug, Clone)]
pub struct Histograms<L> {
    cells: Box<[Histogram]>,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Histograms<L> {
    /// Registers them all, with these upper bounds in seconds.
    pub fn register(
        registry: &Registry,
        name: &str,
        help: &str,
        bounds: &[f64],
    ) -> prometheus::Result<Self> {
        let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
        let family = HistogramVec::new(options, &L::names())?;
        let cells = L::all()
            .iter()
            .map(|values| family.get_metric_with_label_values(values))
            .collect::<prometheus::Result<_>>()?;
        registry.register(Box::new(family))?;
        Ok(Self { cells, labels: PhantomData })
    }

    /// Enters one duration.
    pub fn observe(&self, labels: L, took: std::time::Duration) {
        if let Some(cell) = self.cells.get(labels.place()) {
            cell.observe(took.as_secs_f64());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::{CacheLabel, CacheOutcome, MethodClass, StatusClass, UpstreamLabel};
    use super::*;

    #[test]
    fn every_combination_of_labels_has_a_place_of_its_own() {
        let mut places = Vec::new();
        for method in MethodClass::ALL {
            for upstream in UpstreamLabel::ALL {
                for status in StatusClass::ALL {
                    places.push((*method, *upstream, *status).place());
                }
            }
        }
        let expected: Vec<usize> = (0..places.len()).collect();
        assert_eq!(places, expected);
        assert_eq!(places.len(), <(MethodClass, UpstreamLabel, StatusClass)>::all().len());
    }

    #[test]
    fn what_is_counted_shows_under_its_own_labels() {
        let registry = Registry::new();
        let counters: Counters<(CacheLabel, CacheOutcome)> =
            Counters::register(&registry, "looks_total", "Looks.").unwrap();
        counters.inc((CacheLabel::Directory, CacheOutcome::Stale));
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        assert!(text.contains("looks_total{cache=\"directory\",outcome=\"stale\"} 1"), "{text}");
        assert!(text.contains("looks_total{cache=\"token\",outcome=\"hit\"} 0"), "{text}");
    }
}
