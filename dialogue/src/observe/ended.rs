//! Connections, while they last and how they end.

use std::sync::Arc;

use super::{Measures, Source};

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Closed,
    Lost,
    TooSlow,
    Silent,
    Removed,
    NoToken,
    Expired,
    TurnedAway,
    Hammers,
    Malformed,
    Draining,
}

impl Ended {
    pub(super) const ALL: [Ended; 11] = [
        Ended::Closed,
        Ended::Lost,
        Ended::TooSlow,
        Ended::Silent,
        Ended::Removed,
        Ended::NoToken,
        Ended::Expired,
        Ended::TurnedAway,
        Ended::Hammers,
        Ended::Malformed,
        Ended::Draining,
    ];

    /// For the application's hooks.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Ended::Closed => "the client closed",
            Ended::Lost => "the connection was lost",
            Ended::TooSlow => "reads too slowly",
            Ended::Silent => "no pong in time",
            Ended::Removed => "removed by the server",
            Ended::NoToken => "no valid token",
            Ended::Expired => "the token expired",
            Ended::TurnedAway => "turned away",
            Ended::Hammers => "kept exceeding limits",
            Ended::Malformed => "broke the protocol",
            Ended::Draining => "the instance is going down",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Ended::Closed => "closed",
            Ended::Lost => "lost",
            Ended::TooSlow => "too_slow",
            Ended::Silent => "silent",
            Ended::Removed => "removed",
            Ended::NoToken => "no_token",
            Ended::Expired => "expired",
            Ended::TurnedAway => "turned_away",
            Ended::Hammers => "limited",
            Ended::Malformed => "malformed",
            Ended::Draining => "draining",
        }
    }
}

/// Counts a connection for as long as it lives, if anybody measures.
#[derive(Debug)]
pub(crate) struct Connected {
    measures: Option<Arc<Measures>>,
    source: Source,
    ended: Ended,
}

impl Connected {
    /// Nothing is counted before it is [open](Self::open).
    pub(crate) fn new(source: Source) -> Self {
        Connected { measures: None, source, ended: Ended::Lost }
    }

    pub(crate) fn open(&mut self, measures: Option<&Arc<Measures>>) {
        self.measures = measures.cloned();
        self.measures.iter().for_each(|measures| measures.connected(self.source));
    }

    /// Why it is about to end; until somebody says so, it is lost.
    pub(crate) fn end(&mut self, ended: Ended) {
        self.ended = ended;
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.ended.reason()
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        if let Some(measures) = &self.measures {
            measures.disconnected(self.source, self.ended);
        }
    }
}
