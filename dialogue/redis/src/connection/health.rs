//! The health of one server, as its connections observe it. Each change is one line in the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The health of a server for one kind of operations: writes, or subscriptions.
#[derive(Debug)]
pub(crate) struct ServerHealth {
    /// The server's name in the log.
    name: String,
    /// The operations that it may refuse, as they are named in the log.
    operations: &'static str,
    outage: Mutex<Option<Outage>>,
}

#[derive(Debug)]
struct Outage {
    kind: OutageKind,
    reason: String,
    since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum OutageKind {
    Unreachable,
    /// The server refuses the operations, with an error of this code.
    Refusing(String),
}

impl ServerHealth {
    /// Returns the health of a server that counts as healthy until an operation fails.
    pub(crate) fn new(name: impl Into<String>, operations: &'static str) -> Self {
        ServerHealth { name: name.into(), operations, outage: Mutex::new(None) }
    }

    pub(crate) fn mark_unreachable(&self, reason: &str) {
        self.begin_outage(OutageKind::Unreachable, reason);
    }

    /// Ends an outage of the kind `Unreachable`. An outage of the kind `Refusing` goes on until an operation succeeds.
    pub(crate) fn mark_reachable(&self) {
        self.end_outage(|kind| *kind == OutageKind::Unreachable, "is reachable again");
    }

    pub(crate) fn mark_refusing(&self, code: &str, reason: &str) {
        self.begin_outage(OutageKind::Refusing(code.to_owned()), reason);
    }

    /// Ends any outage, since an operation has succeeded.
    pub(crate) fn mark_accepting(&self) {
        self.end_outage(|_| true, &format!("takes {} again", self.operations));
    }

    /// Returns a description of the current outage, or `None` if the server is healthy.
    pub(crate) fn unavailable_reason(&self) -> Option<String> {
        let outage = self.outage.lock();
        let outage = outage.as_ref()?;
        Some(format!("{} {}", self.name, self.describe(&outage.kind, &outage.reason)))
    }

    fn begin_outage(&self, kind: OutageKind, reason: &str) {
        let line = {
            let mut outage = self.outage.lock();
            if outage.as_ref().is_some_and(|outage| outage.kind == kind) {
                return;
            }
            let since = outage.as_ref().map_or_else(Instant::now, |outage| outage.since);
            let line = self.describe(&kind, reason);
            *outage = Some(Outage { kind, reason: reason.to_owned(), since });
            line
        };
        tracing::warn!("{} {line}", self.name);
    }

    fn describe(&self, kind: &OutageKind, reason: &str) -> String {
        match kind {
            OutageKind::Unreachable => format!("is unreachable: {reason}"),
            OutageKind::Refusing(_) => format!("refuses {}: {reason}", self.operations),
        }
    }

    fn end_outage(&self, ends: impl FnOnce(&OutageKind) -> bool, event: &str) {
        let ended = {
            let mut outage = self.outage.lock();
            match &*outage {
                Some(current) if ends(&current.kind) => outage.take(),
                _ => None,
            }
        };
        if let Some(ended) = ended {
            tracing::info!("{} {event} after {:.1?}", self.name, tenths(ended.since.elapsed()));
        }
    }
}

fn tenths(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis() / 100 * 100).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_healthy_until_it_fails_and_again_once_it_works() {
        let health = ServerHealth::new("Redis at h:1", "writes");
        assert_eq!(health.unavailable_reason(), None);
        health.mark_unreachable("refused");
        assert_eq!(health.unavailable_reason().as_deref(), Some("Redis at h:1 is unreachable: refused"));
        health.mark_reachable();
        assert_eq!(health.unavailable_reason(), None);
    }

    #[test]
    fn a_reachable_server_may_still_refuse_writes() {
        let health = ServerHealth::new("Redis at h:1", "writes");
        health.mark_refusing("OOM", "full");
        health.mark_reachable();
        assert_eq!(health.unavailable_reason().as_deref(), Some("Redis at h:1 refuses writes: full"));
        health.mark_accepting();
        assert_eq!(health.unavailable_reason(), None);
    }
}
