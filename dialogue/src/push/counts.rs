//! Counters of the pushes through one provider, by outcome.

use std::sync::atomic::{AtomicU64, Ordering};

use super::attempt::AttemptOutcome;

/// The numbers of pushes through one provider by their outcome, since the process started: see
/// [`Server::pushes`](crate::Server::pushes).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PushCounts {
    /// Pushes that the provider took.
    pub delivered: u64,
    /// Pushes that were not needed: the user connected in time, or a newer event replaced the notification.
    pub cancelled: u64,
    /// Pushes that were given up: after 12 attempts, because the notification's TTL ended, or because too many waited
    /// for another attempt.
    pub expired: u64,
    /// Attempts that failed and were scheduled again.
    pub retried: u64,
    /// Pushes that the provider rejected for good.
    pub rejected: u64,
    /// Pushes that [`Hooks::before_push`](crate::Hooks::before_push) refused. The device gets no more of the room's
    /// notifications.
    pub withdrawn: u64,
    /// Devices that no longer exist, and whose registrations were removed.
    pub forgotten: u64,
    /// Devices that get nothing for a day, since their provider called their token invalid.
    pub suspended: u64,
}

impl PushCounts {
    pub(super) fn by_outcome(&self) -> [(&'static str, u64); 8] {
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
pub(super) struct PushCounters {
    delivered: AtomicU64,
    cancelled: AtomicU64,
    expired: AtomicU64,
    retried: AtomicU64,
    rejected: AtomicU64,
    withdrawn: AtomicU64,
    forgotten: AtomicU64,
    suspended: AtomicU64,
}

impl PushCounters {
    pub(super) fn count(&self, outcome: &AttemptOutcome) {
        let counter = match outcome {
            AttemptOutcome::Delivered => &self.delivered,
            AttemptOutcome::Cancelled => &self.cancelled,
            AttemptOutcome::Expired => &self.expired,
            AttemptOutcome::Retry(_) | AttemptOutcome::Throttled(_) => &self.retried,
            AttemptOutcome::Rejected => &self.rejected,
            AttemptOutcome::Withdrawn => &self.withdrawn,
            AttemptOutcome::Forgotten => &self.forgotten,
            AttemptOutcome::Suspended => &self.suspended,
            AttemptOutcome::Skipped | AttemptOutcome::StoreUnavailable => return,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_rejected(&self) {
        self.count(&AttemptOutcome::Rejected);
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
