//! Kinds of event of which a room keeps less than it retains.

use std::collections::VecDeque;

use super::{Record, millis, to_u64};
use crate::{Retention, wire::EventSet};

/// What an event's own declaration keeps of it.
///
/// Such events leave no hole behind: their numbers stay taken, and readers that come back get what is left, as though they
/// weren't subscribed to the others.
#[derive(Debug, Default)]
pub(super) struct Own {
    kinds: Box<[Option<Kind>]>,
    /// In Unix milliseconds.
    pub(super) now: u64,
}

#[derive(Debug)]
struct Kind {
    retention: Retention,
    /// The numbers of the newest, as many as are kept.
    newest: VecDeque<u64>,
}

impl Own {
    pub(super) fn new(kinds: &[Option<Retention>]) -> Self {
        // Most rooms have none: then there is nothing to be looked up.
        if kinds.iter().all(Option::is_none) {
            return Own::default();
        }
        let kinds = kinds
            .iter()
            .map(|retention| retention.map(|retention| Kind { retention, newest: VecDeque::new() }));
        Own { kinds: kinds.collect(), now: 0 }
    }

    /// An event came.
    pub(super) fn note(&mut self, event: u8, seq: u64) {
        let kind = self.kinds.get_mut(usize::from(event)).and_then(Option::as_mut);
        if let Some(kind) = kind
            && let Some(most) = kind.retention.events
        {
            kind.newest.push_back(seq);
            if to_u64(kind.newest.len()) > most {
                kind.newest.pop_front();
            }
        }
    }

    /// Whether it is still kept.
    pub(super) fn keeps(&self, record: &Record) -> bool {
        let Some(Some(kind)) = self.kinds.get(usize::from(record.event)) else { return true };
        let young =
            kind.retention.age.is_none_or(|age| record.timestamp.saturating_add(millis(age)) >= self.now);
        let full = kind.retention.events.is_some_and(|most| to_u64(kind.newest.len()) >= most);
        young && (!full || kind.newest.front().is_none_or(|first| record.seq >= Some(*first)))
    }

    /// The number of the oldest event that is kept of some kinds, if that is known of all of them.
    pub(super) fn first_of(&self, wanted: EventSet) -> Option<u64> {
        let full = |kind: &Kind| {
            let most = kind.retention.events?;
            kind.newest.front().copied().filter(|_| to_u64(kind.newest.len()) >= most)
        };
        let kinds = self.kinds.iter().enumerate();
        let wanted =
            kinds.filter(|(event, _)| u8::try_from(*event).is_ok_and(|event| wanted.contains(event)));
        let firsts = wanted.map(|(_, kind)| kind.as_ref().and_then(full)).collect::<Option<Vec<_>>>()?;
        firsts.into_iter().min()
    }

    pub(super) fn recall(&mut self, event: u8, seqs: VecDeque<u64>) {
        if let Some(Some(kind)) = self.kinds.get_mut(usize::from(event)) {
            kind.newest = seqs;
        }
    }
}
