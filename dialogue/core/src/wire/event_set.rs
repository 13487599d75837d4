//! Sets of a room's events: the filter of a subscription.

use super::EventIndex;

/// A set of a room's events, as bits by their indices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventSet(u128);

impl EventSet {
    pub const ALL: EventSet = EventSet(u128::MAX);
    pub const NONE: EventSet = EventSet(0);

    pub fn with(self, event: EventIndex) -> Self {
        EventSet(self.0 | bit(event))
    }

    pub fn contains(self, event: EventIndex) -> bool {
        self.0 & bit(event) != 0
    }

    pub fn union(self, other: Self) -> Self {
        EventSet(self.0 | other.0)
    }

    pub fn without(self, other: Self) -> Self {
        EventSet(self.0 & !other.0)
    }

    /// Returns whether the set contains all of `other`.
    pub fn covers(self, other: Self) -> bool {
        other.0 & !self.0 == 0
    }

    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

fn bit(event: EventIndex) -> u128 {
    1u128.checked_shl(event.bit()).unwrap_or(0)
}
