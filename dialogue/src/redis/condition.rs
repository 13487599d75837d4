//! What is known of one server; each change is one line in the log.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Whether a server can be reached, and takes what it is there for.
#[derive(Debug)]
pub(super) struct Condition {
    /// As it stands in the log.
    name: String,
    /// What it may refuse.
    what: &'static str,
    trouble: Mutex<Option<Trouble>>,
}

#[derive(Debug)]
struct Trouble {
    kind: Kind,
    why: String,
    since: Instant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Unreachable,
    /// It refuses, with this code.
    Refuses(String),
}

impl Condition {
    /// Nothing is known yet.
    pub(super) fn new(name: impl Into<String>, what: &'static str) -> Self {
        Condition { name: name.into(), what, trouble: Mutex::new(None) }
    }

    pub(super) fn unreachable(&self, why: &str) {
        self.enter(Kind::Unreachable, why);
    }

    /// It answers; whether it takes what it is sent will show.
    pub(super) fn reached(&self) {
        self.leave(|kind| *kind == Kind::Unreachable, "is reachable again");
    }

    /// It refused something.
    pub(super) fn refuses(&self, code: &str, why: &str) {
        self.enter(Kind::Refuses(code.to_owned()), why);
    }

    /// It took something.
    pub(super) fn accepts(&self) {
        self.leave(|_| true, &format!("takes {} again", self.what));
    }

    /// What is wrong with it.
    pub(super) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|trouble| format!("{} {}", self.name, self.says(&trouble.kind, &trouble.why)))
    }

    fn enter(&self, kind: Kind, why: &str) {
        let line = {
            let mut trouble = self.trouble.lock();
            if trouble.as_ref().is_some_and(|trouble| trouble.kind == kind) {
                return;
            }
            let since = trouble.as_ref().map_or_else(Instant::now, |trouble| trouble.since);
            let line = self.says(&kind, why);
            *trouble = Some(Trouble { kind, why: why.to_owned(), since });
            line
        };
        tracing::warn!("{} {line}", self.name);
    }

    fn says(&self, kind: &Kind, why: &str) -> String {
        match kind {
            Kind::Unreachable => format!("is unreachable: {why}"),
            Kind::Refuses(_) => format!("refuses {}: {why}", self.what),
        }
    }

    fn leave(&self, ends: impl FnOnce(&Kind) -> bool, what: &str) {
        let ended = {
            let mut trouble = self.trouble.lock();
            match &*trouble {
                Some(now) if ends(&now.kind) => trouble.take(),
                _ => None,
            }
        };
        if let Some(ended) = ended {
            tracing::info!("{} {what} after {:.1?}", self.name, tenths(ended.since.elapsed()));
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
    fn a_server_is_well_until_it_fails_and_again_once_it_works() {
        let condition = Condition::new("Redis at h:1", "writes");
        assert_eq!(condition.trouble(), None);
        condition.unreachable("refused");
        assert_eq!(condition.trouble().as_deref(), Some("Redis at h:1 is unreachable: refused"));
        condition.reached();
        assert_eq!(condition.trouble(), None);
    }

    #[test]
    fn that_it_answers_does_not_mean_that_it_takes_writes() {
        let condition = Condition::new("Redis at h:1", "writes");
        condition.refuses("OOM", "full");
        condition.reached();
        assert_eq!(condition.trouble().as_deref(), Some("Redis at h:1 refuses writes: full"));
        condition.accepts();
        assert_eq!(condition.trouble(), None);
    }
}
