//! The bounds on a log that follow from its retention.

use crate::room::Retention;

/// The maximum of events and of bytes that a log keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RetentionBounds {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl From<&Retention> for RetentionBounds {
    fn from(retention: &Retention) -> Self {
        let (events, bytes) = match (retention.events, retention.bytes, retention.age) {
            _ if retention.forever => (u64::MAX, u64::MAX),
            (None, None, None) => (1_000, 1 << 20),
            (None, None, Some(_)) => (100_000, 64 << 20),
            (events, bytes, _) => (events.unwrap_or(u64::MAX), bytes.unwrap_or(u64::MAX)),
        };
        RetentionBounds { events, bytes }
    }
}
