//! The memory of events that only retries still hold. It is apart from that of new events, so that no unreachable
//! device keeps a new event from being pushed.
//!
//! Providers with one service share one budget. The services that users name (push origins) share another, of which
//! each has at most as much as is free: one that never answers leaves half to the others, and two leave a third.

use std::sync::Arc;

use crate::collections::HashMap;
use parking_lot::Mutex;

/// The two budgets, in [units](super::memory::UNIT_BYTES).
#[derive(Debug)]
pub(super) struct RetryBudget {
    max_provider_units: usize,
    max_origin_units: usize,
    usage: Mutex<BudgetUsage>,
}

#[derive(Debug, Default)]
struct BudgetUsage {
    provider_units: usize,
    origin_units: usize,
    /// The units of each origin. An event counts for the origin whose job was the first to wait.
    by_origin: HashMap<Arc<str>, usize>,
}

/// An event's part of a budget. It is free again when this is dropped.
#[derive(Debug)]
pub(super) struct RetryReservation {
    budget: Arc<RetryBudget>,
    origin: Option<Arc<str>>,
    units: usize,
}

impl RetryBudget {
    pub(super) fn new(max_provider_units: usize, max_origin_units: usize) -> Arc<Self> {
        Arc::new(RetryBudget { max_provider_units, max_origin_units, usage: Mutex::default() })
    }

    /// Reserves `units` for an event that a device at `origin` waits for, or a device of a provider with one service;
    /// `None` if the budget is used up.
    pub(super) fn reserve(
        self: &Arc<Self>,
        origin: Option<&Arc<str>>,
        units: usize,
    ) -> Option<RetryReservation> {
        let mut usage = self.usage.lock();
        self.fits(&usage, origin, units).then(|| self.add(&mut usage, origin, units))
    }

    /// Reserves `units` for an event that is taken over from another process, where it had a reservation. An event that
    /// is bigger than the whole budget gets it while it is empty, since it would wait for ever otherwise.
    pub(super) fn reserve_resumed(
        self: &Arc<Self>,
        origin: Option<&Arc<str>>,
        units: usize,
    ) -> Option<RetryReservation> {
        let mut usage = self.usage.lock();
        let is_empty = origin.map_or(usage.provider_units, |_| usage.origin_units) == 0;
        (is_empty || self.fits(&usage, origin, units)).then(|| self.add(&mut usage, origin, units))
    }

    fn fits(&self, usage: &BudgetUsage, origin: Option<&Arc<str>>, units: usize) -> bool {
        let Some(origin) = origin else { return usage.provider_units + units <= self.max_provider_units };
        let held = usage.by_origin.get(origin).copied().unwrap_or_default();
        held + units <= self.max_origin_units.saturating_sub(usage.origin_units + units)
    }

    fn add(
        self: &Arc<Self>,
        usage: &mut BudgetUsage,
        origin: Option<&Arc<str>>,
        units: usize,
    ) -> RetryReservation {
        match origin {
            None => usage.provider_units += units,
            Some(origin) => {
                usage.origin_units += units;
                *usage.by_origin.entry(Arc::clone(origin)).or_default() += units;
            }
        }
        RetryReservation { budget: Arc::clone(self), origin: origin.cloned(), units }
    }
}

impl RetryReservation {
    /// Returns whether this is of the budget of push origins.
    pub(super) fn is_of_origin(&self) -> bool {
        self.origin.is_some()
    }
}

impl Drop for RetryReservation {
    fn drop(&mut self) {
        let mut usage = self.budget.usage.lock();
        let Some(origin) = &self.origin else {
            usage.provider_units = usage.provider_units.saturating_sub(self.units);
            return;
        };
        usage.origin_units = usage.origin_units.saturating_sub(self.units);
        if let Some(held) = usage.by_origin.get_mut(origin) {
            *held = held.saturating_sub(self.units);
            if *held == 0 {
                usage.by_origin.remove(origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(budget: &Arc<RetryBudget>, origin: Option<&Arc<str>>) -> Vec<RetryReservation> {
        std::iter::from_fn(|| budget.reserve(origin, 1)).collect()
    }

    #[test]
    fn one_origin_leaves_half_to_others_and_two_leave_a_third() {
        let budget = RetryBudget::new(0, 120);
        let [a, b, c] = ["a", "b", "c"].map(Arc::<str>::from);
        let of_a = fill(&budget, Some(&a));
        let (of_b, of_c) = (fill(&budget, Some(&b)), fill(&budget, Some(&c)));
        assert_eq!((of_a.len(), of_b.len(), of_c.len()), (60, 30, 15));
        drop((of_a, of_b));
        assert_eq!(fill(&budget, Some(&c)).len(), 45);
        drop(of_c);
        assert!(budget.usage.lock().by_origin.is_empty());
    }

    #[test]
    fn a_provider_with_one_service_may_use_its_whole_budget() {
        let budget = RetryBudget::new(120, 40);
        let of_origin = fill(&budget, Some(&"a".into()));
        let of_provider = fill(&budget, None);
        assert_eq!((of_origin.len(), of_provider.len()), (20, 120));
        drop(of_provider);
        assert_eq!(fill(&budget, None).len(), 120);
    }

    #[test]
    fn a_resumed_event_leaves_space_to_others() {
        let budget = RetryBudget::new(120, 120);
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        let own = [fill(&budget, Some(&a)), fill(&budget, None)];
        assert_eq!(own.each_ref().map(Vec::len), [60, 120]);
        assert!(budget.reserve_resumed(Some(&a), 1).is_none() && budget.reserve_resumed(None, 1).is_none());
        assert_eq!(fill(&budget, Some(&b)).len(), 30);
    }

    #[test]
    fn a_resumed_event_is_admitted_once_there_is_space() {
        let budget = RetryBudget::new(120, 40);
        let a: Arc<str> = "a".into();
        let first = [budget.reserve_resumed(None, 100), budget.reserve_resumed(Some(&a), 15)];
        assert!(first.iter().all(Option::is_some));
        assert!(
            budget.reserve_resumed(None, 100).is_none() && budget.reserve_resumed(Some(&a), 10).is_none()
        );
        drop(first);
        assert!(
            budget.reserve_resumed(None, 200).is_some() && budget.reserve_resumed(Some(&a), 30).is_some()
        );
    }
}
