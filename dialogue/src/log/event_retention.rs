//! The retention of single kinds of event, below that of their room.

use std::collections::VecDeque;

use super::{Record, millis, to_u64};
use crate::{
    room::Retention,
    wire::{EventIndex, EventSet},
};

/// The kinds of event that declare a retention of their own.
///
/// Expired events of such a kind leave no gap: their numbers stay taken, and a replay skips them as if the client
/// weren't subscribed to them.
#[derive(Debug, Default)]
pub(super) struct EventRetention {
    kinds: Box<[Option<KindRetention>]>,
    /// The current time, in Unix milliseconds.
    pub(super) now: u64,
}

#[derive(Debug)]
struct KindRetention {
    retention: Retention,
    /// The numbers of the newest events, as many as are kept.
    newest: VecDeque<u64>,
}

impl EventRetention {
    pub(super) fn new(kinds: &[Option<Retention>]) -> Self {
        // Most rooms have none, and then skip the lookup.
        if kinds.iter().all(Option::is_none) {
            return EventRetention::default();
        }
        let kinds = kinds
            .iter()
            .map(|retention| retention.map(|retention| KindRetention { retention, newest: VecDeque::new() }));
        EventRetention { kinds: kinds.collect(), now: 0 }
    }

    /// Records a new event.
    pub(super) fn record(&mut self, event: EventIndex, seq: u64) {
        let kind = event.entry_of_mut(&mut self.kinds).and_then(Option::as_mut);
        if let Some(kind) = kind
            && let Some(most) = kind.retention.events
        {
            kind.newest.push_back(seq);
            if to_u64(kind.newest.len()) > most {
                kind.newest.pop_front();
            }
        }
    }

    /// Returns whether a record is still kept.
    pub(super) fn keeps(&self, record: &Record) -> bool {
        let Some(Some(kind)) = record.event.entry_of(&self.kinds) else { return true };
        let young =
            kind.retention.age.is_none_or(|age| record.timestamp.saturating_add(millis(age)) >= self.now);
        let full = kind.retention.events.is_some_and(|most| to_u64(kind.newest.len()) >= most);
        young && (!full || kind.newest.front().is_none_or(|first| record.seq >= Some(*first)))
    }

    /// Returns the oldest `seq` that is kept of the kinds in `filter`, if it is known for all of them.
    pub(super) fn first_seq_of(&self, filter: EventSet) -> Option<u64> {
        let full = |kind: &KindRetention| {
            let most = kind.retention.events?;
            kind.newest.front().copied().filter(|_| to_u64(kind.newest.len()) >= most)
        };
        let kinds = self.kinds.iter().enumerate();
        let wanted = kinds.filter(|(place, _)| filter.contains(EventIndex::at(*place)));
        let firsts = wanted.map(|(_, kind)| kind.as_ref().and_then(full)).collect::<Option<Vec<_>>>()?;
        firsts.into_iter().min()
    }

    pub(super) fn restore_seqs(&mut self, event: EventIndex, seqs: VecDeque<u64>) {
        if let Some(Some(kind)) = event.entry_of_mut(&mut self.kinds) {
            kind.newest = seqs;
        }
    }
}
