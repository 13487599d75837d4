//! Sets of a room's events: the filter of a subscription.

use super::EventIndex;

/// A set of a room's events, as bits by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventSet(u128);

impl EventSet {
    pub(crate) const ALL: EventSet = EventSet(u128::MAX);
    pub(crate) const NONE: EventSet = EventSet(0);

    pub(crate) fn with(self, event: EventIndex) -> Self {
        EventSet(self.0 | bit(event))
    }

    pub(crate) fn contains(self, event: EventIndex) -> bool {
        self.0 & bit(event) != 0
    }

    pub(crate) fn union(self, other: Self) -> Self {
        EventSet(self.0 | other.0)
    }

    pub(crate) fn without(self, other: Self) -> Self {
        EventSet(self.0 & !other.0)
    }

    /// Returns whether the set contains all of `other`.
    pub(crate) fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub(crate) fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

fn bit(event: EventIndex) -> u128 {
    1u128.checked_shl(event.bit()).unwrap_or(0)
}
