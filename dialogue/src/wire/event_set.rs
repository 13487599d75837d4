//! Sets of a room's events: the filter of a subscription.

/// A set of a room's events, as bits by their index in its declaration. A room carries at most 128 events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EventSet(u128);

impl EventSet {
    pub(crate) const ALL: EventSet = EventSet(u128::MAX);
    pub(crate) const NONE: EventSet = EventSet(0);

    pub(crate) fn with(self, event: u8) -> Self {
        EventSet(self.0 | bit(event))
    }

    pub(crate) fn contains(self, event: u8) -> bool {
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

fn bit(event: u8) -> u128 {
    1u128.checked_shl(event.into()).unwrap_or(0)
}
