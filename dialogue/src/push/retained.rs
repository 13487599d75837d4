//! The memory of events that only retries still hold: apart from that of events which are new, so that no device that
//! can't be reached keeps a new event from being pushed.
//!
//! Providers with one service share one part. The services that users name have another, of which each has at most as
//! much as is free: one that is never reached leaves half to others, and two a third.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

#[derive(Debug)]
pub(super) struct Retained {
    /// Units that there are for providers with one service, and for origins.
    most: (usize, usize),
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    of_providers: usize,
    of_origins: usize,
    /// By the origin whose chain was the first to wait.
    by: HashMap<Arc<str>, usize>,
}

/// An event's share, which is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Share {
    retained: Arc<Retained>,
    origin: Option<Arc<str>>,
    units: usize,
}

impl Retained {
    pub(super) fn new(of_providers: usize, of_origins: usize) -> Arc<Self> {
        Arc::new(Retained { most: (of_providers, of_origins), state: Mutex::default() })
    }

    /// Takes `units` for an event that a device at `origin` holds, or one of a provider with one service; `None` if too
    /// much is taken.
    pub(super) fn take(self: &Arc<Self>, origin: Option<&Arc<str>>, units: usize) -> Option<Share> {
        let mut state = self.state.lock();
        self.fits(&state, origin, units).then(|| self.put(&mut state, origin, units))
    }

    /// The same for an event that had its share in another process and waits until it fits: one that is greater than
    /// all that there may be has what is empty.
    pub(super) fn take_over(self: &Arc<Self>, origin: Option<&Arc<str>>, units: usize) -> Option<Share> {
        let mut state = self.state.lock();
        let is_empty = origin.map_or(state.of_providers, |_| state.of_origins) == 0;
        (is_empty || self.fits(&state, origin, units)).then(|| self.put(&mut state, origin, units))
    }

    fn fits(&self, state: &State, origin: Option<&Arc<str>>, units: usize) -> bool {
        let Some(origin) = origin else { return state.of_providers + units <= self.most.0 };
        let held = state.by.get(origin).copied().unwrap_or_default();
        held + units <= self.most.1.saturating_sub(state.of_origins + units)
    }

    fn put(self: &Arc<Self>, state: &mut State, origin: Option<&Arc<str>>, units: usize) -> Share {
        match origin {
            None => state.of_providers += units,
            Some(origin) => {
                state.of_origins += units;
                *state.by.entry(Arc::clone(origin)).or_default() += units;
            }
        }
        Share { retained: Arc::clone(self), origin: origin.cloned(), units }
    }
}

impl Share {
    /// Returns whether this is of the part that services have which users name.
    pub(super) fn is_of_origin(&self) -> bool {
        self.origin.is_some()
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut state = self.retained.state.lock();
        let Some(origin) = &self.origin else {
            state.of_providers = state.of_providers.saturating_sub(self.units);
            return;
        };
        state.of_origins = state.of_origins.saturating_sub(self.units);
        if let Some(held) = state.by.get_mut(origin) {
            *held = held.saturating_sub(self.units);
            if *held == 0 {
                state.by.remove(origin);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(retained: &Arc<Retained>, origin: Option<&Arc<str>>) -> Vec<Share> {
        std::iter::from_fn(|| retained.take(origin, 1)).collect()
    }

    #[test]
    fn one_origin_leaves_half_to_others_and_two_a_third() {
        let retained = Retained::new(0, 120);
        let [a, b, c] = ["a", "b", "c"].map(Arc::<str>::from);
        let of_a = fill(&retained, Some(&a));
        let (of_b, of_c) = (fill(&retained, Some(&b)), fill(&retained, Some(&c)));
        assert_eq!((of_a.len(), of_b.len(), of_c.len()), (60, 30, 15));
        drop((of_a, of_b));
        assert_eq!(fill(&retained, Some(&c)).len(), 45);
        drop(of_c);
        assert!(retained.state.lock().by.is_empty());
    }

    #[test]
    fn a_provider_with_one_service_has_all_of_its_part() {
        let retained = Retained::new(120, 40);
        let of_origin = fill(&retained, Some(&"a".into()));
        let of_provider = fill(&retained, None);
        assert_eq!((of_origin.len(), of_provider.len()), (20, 120));
        drop(of_provider);
        assert_eq!(fill(&retained, None).len(), 120);
    }

    #[test]
    fn what_another_process_left_leaves_space_to_others() {
        let retained = Retained::new(120, 120);
        let [a, b] = ["a", "b"].map(Arc::<str>::from);
        let own = [fill(&retained, Some(&a)), fill(&retained, None)];
        assert_eq!(own.each_ref().map(Vec::len), [60, 120]);
        assert!(retained.take_over(Some(&a), 1).is_none() && retained.take_over(None, 1).is_none());
        assert_eq!(fill(&retained, Some(&b)).len(), 30);
    }

    #[test]
    fn what_another_process_left_is_taken_over_once_there_is_space() {
        let retained = Retained::new(120, 40);
        let a: Arc<str> = "a".into();
        let first = [retained.take_over(None, 100), retained.take_over(Some(&a), 15)];
        assert!(first.iter().all(Option::is_some));
        assert!(retained.take_over(None, 100).is_none() && retained.take_over(Some(&a), 10).is_none());
        drop(first);
        assert!(retained.take_over(None, 200).is_some() && retained.take_over(Some(&a), 30).is_some());
    }
}
