//! How pushes fare.

use std::sync::atomic::{AtomicU64, Ordering};

use super::chain::Ended;

/// How pushes through one provider have fared in this process: of [`Server::pushes`](crate::Server::pushes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PushCounts {
    /// Taken by the provider.
    pub delivered: u64,
    /// Not needed: somebody came back in time, or a newer event took its place.
    pub cancelled: u64,
    /// Given up: too many tries, or no longer worth being shown.
    pub expired: u64,
    /// Tries that failed and were made again.
    pub retried: u64,
    /// Not taken by the provider, now or later.
    pub rejected: u64,
    /// Not allowed any more by the application, for users who may no longer have the room's notifications.
    pub withdrawn: u64,
    /// Devices that are no more, and were forgotten.
    pub forgotten: u64,
    /// Devices that get nothing for a day, since their provider calls their token bad.
    pub suspended: u64,
}

impl PushCounts {
    pub(super) fn named(&self) -> [(&'static str, u64); 8] {
        [
            ("delivered", self.delivered),
            ("cancelled", self.cancelled),
            ("expired", self.expired),
            ("retried", self.retried),
            ("rejected", self.rejected),
            ("withdrawn", self.withdrawn),
            ("forgotten", self.forgotten),
            ("suspended", self.suspended),
        ]
    }
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    delivered: AtomicU64,
    cancelled: AtomicU64,
    expired: AtomicU64,
    retried: AtomicU64,
    rejected: AtomicU64,
    withdrawn: AtomicU64,
    forgotten: AtomicU64,
    suspended: AtomicU64,
}

impl Counts {
    pub(super) fn count(&self, ended: &Ended) {
        let counter = match ended {
            Ended::Delivered => &self.delivered,
            Ended::Cancelled => &self.cancelled,
            Ended::Expired => &self.expired,
            Ended::Again(_) | Ended::AllWait(_) => &self.retried,
            Ended::Rejected => &self.rejected,
            Ended::Withdrawn => &self.withdrawn,
            Ended::Forgotten => &self.forgotten,
            Ended::Suspended => &self.suspended,
            Ended::Nothing | Ended::Unread => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self) {
        self.count(&Ended::Rejected);
    }

    pub(super) fn read(&self) -> PushCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        PushCounts {
            delivered: read(&self.delivered),
            cancelled: read(&self.cancelled),
            expired: read(&self.expired),
            retried: read(&self.retried),
            rejected: read(&self.rejected),
            withdrawn: read(&self.withdrawn),
            forgotten: read(&self.forgotten),
            suspended: read(&self.suspended),
        }
    }
}
