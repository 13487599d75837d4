//! One room's order: an append-only log of numbered events, and where a reader of it stands.
//!
//! Knows nothing of channels, members or time passing: whoever owns a [`Log`] says what time it is.

mod chain;
pub(crate) mod epoch;
mod health;
mod journal;
mod keys;
mod newest;
mod own;
mod queue;
mod record;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

pub(crate) use journal::{Journal, NotAppended};
pub(crate) use keys::{KEPT_MS, Keys, owner};
use newest::Newest;
use own::Own;
pub(crate) use record::Record;

use crate::{
    Position, Retention,
    store::{Order, Query},
    wire::{EventSet, Id},
};

/// The log of one room instance: all of it in memory, or the newest events, where a store has the others.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: Arc<str>,
    retention: Retention,
    /// What is kept of single kinds of event, where that is less.
    own: Own,
    /// The newest events.
    records: VecDeque<Arc<Record>>,
    /// Bytes of those.
    bytes: u64,
    /// Whether a store has events that are older than those, down to `first`.
    stored: bool,
    /// The number of the oldest event held.
    first: u64,
    /// The newest event, which outlives its own record.
    head: Head,
    newest: Newest,
    pub(crate) keys: Keys,
}

/// Where a log ends.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// The newest event; none in a log that never had one.
    pub(crate) newest: Option<(u64, Id)>,
    /// Its time.
    pub(crate) timestamp: u64,
    /// Bytes of all events that there ever were.
    pub(crate) offset: u64,
    /// The hash chain so far, where the room is audited.
    pub(crate) digest: Option<Box<[u8; 32]>>,
}

/// How a reader comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resume {
    /// It named no position.
    Fresh,
    /// Everything after its position is held.
    Complete { after: u64 },
    /// The log no longer holds it all, or never did.
    Lost,
    /// The store has to be asked for the event at its position.
    Unknown,
}

/// What there is after a position.
#[derive(Debug)]
pub(crate) enum Stretch {
    /// Some events, and the number that reading goes on after.
    Here(Page, u64),
    /// The store has it.
    Stored,
    /// Some of it is no longer held.
    Gone,
}

/// A stretch of a log.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<Arc<Record>>,
    /// If there may be more in the direction of reading: the number that reading goes on after, or before.
    pub(crate) next: Option<u64>,
    /// Of a page that is read backwards: the rest of it is in the store, before this number.
    pub(crate) rest: Option<u64>,
}

/// How many records a page looks at, of which its reader may want none: what a request costs the room at most.
const SCAN: usize = 10_000;
/// Bytes of a page that is read backwards, unless its first record alone is larger: a reply has to fit into what may
/// wait for a connection.
pub(crate) const PAGE: u64 = 256 << 10;
/// Events that stay in memory where a store has them too: who was away for a moment reads nothing else.
pub(crate) const TAIL: usize = 1_000;
/// Bytes of those.
pub(crate) const TAIL_BYTES: u64 = 256 << 10;

impl Log {
    /// An empty log; `own` is what is kept of each kind of event, where the declaration says so.
    pub(crate) fn new(epoch: Arc<str>, retention: Retention, own: &[Option<Retention>]) -> Self {
        Log {
            epoch,
            retention,
            own: Own::new(own),
            records: VecDeque::new(),
            bytes: 0,
            stored: false,
            first: 1,
            head: Head::default(),
            newest: Newest::default(),
            keys: Keys::default(),
        }
    }

    /// Older events than those in memory are in the store.
    pub(crate) fn stored(mut self) -> Self {
        self.stored = true;
        self
    }

    /// A log that the store has: it begins with number `first` and ends at `head`, and these are its newest events, oldest
    /// first.
    pub(crate) fn restore(&mut self, first: u64, head: Head, tail: Vec<Arc<Record>>) {
        (self.first, self.head) = (first, head);
        for record in tail {
            self.push(record);
        }
    }

    pub(crate) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// It is called so from now on.
    pub(crate) fn call(&mut self, epoch: Arc<str>) {
        self.epoch = epoch;
    }

    /// The number and the id of the newest event; 0 and empty in an empty log.
    pub(crate) fn head(&self) -> (u64, &str) {
        self.head.newest.as_ref().map_or((0, ""), |(seq, id)| (*seq, id.as_str()))
    }

    /// Where it ends, in full.
    pub(crate) fn end(&self) -> &Head {
        &self.head
    }

    /// The number that the next event gets.
    pub(crate) fn next_seq(&self) -> u64 {
        self.head().0 + 1
    }

    /// Takes the event that was made for [`next_seq`](Self::next_seq), and trims what no longer fits.
    pub(crate) fn append(&mut self, record: Arc<Record>) {
        let Some(seq) = record.seq else { return };
        debug_assert_eq!(seq, self.next_seq());
        self.head.newest = Some((seq, record.event_id));
        self.head.offset += record.size();
        self.head.timestamp = record.timestamp;
        if record.digest.is_some() {
            self.head.digest.clone_from(&record.digest);
        }
        let now = record.timestamp;
        self.push(record);
        self.trim(now);
    }

    fn push(&mut self, record: Arc<Record>) {
        let Some(seq) = record.seq else { return };
        self.bytes += record.size();
        if let Some(key) = &record.conflated {
            self.newest.note(record.event, key, seq);
        }
        self.own.note(record.event, seq);
        self.records.push_back(record);
    }

    /// Drops what the retention no longer keeps at `now`, in Unix milliseconds, and what the store alone may have.
    pub(crate) fn trim(&mut self, now: u64) {
        let (events, bytes) = self.retention.bounds();
        let oldest = self.retention.age.map(|age| now.saturating_sub(millis(age)));
        self.own.now = now;
        self.first = self.first.max(self.next_seq().saturating_sub(events));
        while let Some(first) = self.records.front() {
            let seq = first.seq.unwrap_or(0);
            // What is older is in the store: what is to go of that, whoever reads it finds out.
            let alone = seq > self.first;
            let keeps = alone
                || (seq == self.first
                    && self.bytes <= bytes
                    && oldest.is_none_or(|oldest| first.timestamp >= oldest));
            let stays = !self.stored || (self.records.len() <= TAIL && self.bytes <= TAIL_BYTES);
            if keeps && stays {
                break;
            }
            let Some(gone) = self.records.pop_front() else { break };
            self.bytes -= gone.size();
            if keeps {
                continue;
            }
            self.first = self.first.max(seq + 1);
            if let Some(key) = &gone.conflated {
                self.newest.forget(gone.event, key, seq);
            }
        }
        if self.stored {
            self.newest.bound(self.tail());
        }
    }

    /// The store's part of the log begins with number `first` now.
    pub(crate) fn trimmed(&mut self, first: u64) {
        self.first = self.first.max(first.min(self.next_seq()));
    }

    /// What of the retention is to be looked up in the store, since memory doesn't know it.
    pub(crate) fn unsure(&self) -> bool {
        let bounded = self.retention.age.is_some() || self.retention.bounds().1 < u64::MAX;
        self.stored && bounded && self.first < self.tail()
    }

    /// What a reader that last saw `since` can be given; `seen` is the id of the event there, if the store was asked.
    pub(crate) fn resume(&self, since: Option<&Position>, seen: Option<Option<Id>>) -> Resume {
        let Some(since) = since else { return Resume::Fresh };
        let held = since.epoch == *self.epoch && since.seq <= self.head().0 && since.seq + 1 >= self.first;
        if !held {
            return Resume::Lost;
        }
        let here = self.id_at(since.seq).map(|id| id == since.event_id);
        let same = match (here, seen) {
            _ if since.event_id.is_empty() => true,
            (Some(same), _) => same,
            (None, Some(seen)) => seen.is_some_and(|id| id.as_str() == since.event_id),
            (None, None) if self.stored && since.seq >= self.first && since.seq < self.tail() => {
                return Resume::Unknown;
            }
            // Before the first event held, nothing is known of it.
            (None, None) => true,
        };
        if same { Resume::Complete { after: since.seq } } else { Resume::Lost }
    }

    /// The number of the oldest event held, or of the next one where none is.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first
    }

    /// The number of the oldest event that may be held of those that are `wanted`.
    pub(crate) fn first_of(&self, wanted: EventSet) -> u64 {
        self.first.max(self.own.first_of(wanted).unwrap_or(0))
    }

    /// The number of the oldest event in memory, or of the next one where none is.
    pub(crate) fn tail(&self) -> u64 {
        self.next_seq() - to_u64(self.records.len())
    }

    /// The events after `seq`, oldest first, up to about `bytes` of them; of conflated ones the newest alone.
    pub(crate) fn after(&self, seq: u64, wanted: EventSet, bytes: u64) -> Stretch {
        if seq + 1 < self.first {
            return Stretch::Gone;
        }
        let Some(skip) = (seq + 1).checked_sub(self.tail()) else { return Stretch::Stored };
        let mut page = Page::default();
        let (mut cursor, mut size) = (seq, 0);
        for (scanned, record) in self.records.range(to_usize(skip).min(self.records.len())..).enumerate() {
            if size >= bytes || scanned >= SCAN {
                page.next = Some(cursor);
                break;
            }
            cursor += 1;
            if self.is_for(record, wanted) && self.is_newest(record) {
                size += record.size();
                page.records.push(Arc::clone(record));
            }
        }
        Stretch::Here(page, cursor)
    }

    /// Up to `limit` events before `before`, newest first; fewer where they are large, or rare among the others.
    pub(crate) fn before(&self, before: Option<u64>, wanted: EventSet, limit: usize) -> Page {
        let (tail, next) = (self.tail(), self.next_seq());
        let end = before.map_or(next, |before| before.clamp(tail, next));
        let (mut page, mut size) = (Page::default(), 0);
        let held = self.records.iter().take(to_usize(end - tail));
        for (scanned, record) in held.rev().enumerate() {
            let wants = self.is_for(record, wanted);
            let fits = !wants || page.records.is_empty() || size + record.size() <= PAGE;
            if page.records.len() == limit || scanned >= SCAN || !fits {
                page.next = record.seq.map(|seq| seq + 1);
                return page;
            }
            if wants {
                size += record.size();
                page.records.push(Arc::clone(record));
            }
        }
        if before.is_none_or(|before| before > self.first) && self.first < tail {
            page.next = Some(before.map_or(tail, |before| before.min(tail)));
            page.rest = page.next.filter(|_| page.records.len() < limit);
        }
        page
    }

    /// What of a log that is all in memory `query` asks for, and where to go on; `name` tells what events are called.
    pub(crate) fn select(
        &self,
        query: &Query,
        name: impl Fn(u8) -> &'static str,
    ) -> (Vec<Arc<Record>>, Option<u64>) {
        let wanted = |record: &Arc<Record>| {
            let seq = record.seq.unwrap_or(0);
            query.matches(seq, record.timestamp, name(record.event)) && self.own.keeps(record)
        };
        let held = self.records.len();
        let place = |seq: u64| to_usize(seq.saturating_sub(self.tail())).min(held);
        // Times never fall.
        let at = |time: u64| self.records.partition_point(|record| record.timestamp < time);
        let from = query.after.map_or(0, |after| place(after.saturating_add(1)));
        let from = from.max(query.since.map_or(0, at));
        let to = query.before.map_or(held, place).min(query.until.map_or(held, at));
        let looked_at = self.records.range(from.min(to)..to);
        match query.order {
            Order::OldestFirst => take(looked_at, wanted, query),
            Order::NewestFirst => take(looked_at.rev(), wanted, query),
        }
    }

    /// Whether a reader of `wanted` gets the event, as long as the room keeps it.
    pub(crate) fn is_for(&self, record: &Record, wanted: EventSet) -> bool {
        wanted.contains(record.event) && self.own.keeps(record)
    }

    /// Whether no newer event took its place.
    pub(crate) fn is_newest(&self, record: &Record) -> bool {
        match &record.conflated {
            Some(key) => self.newest.of(record.event, key).is_none_or(|newest| record.seq >= Some(newest)),
            None => true,
        }
    }

    /// The numbers of the newest events of a kind that is kept by their number, oldest first.
    pub(crate) fn recall(&mut self, event: u8, seqs: VecDeque<u64>) {
        self.own.recall(event, seqs);
    }

    /// The id of event `seq`, as long as that is known.
    pub(crate) fn id_at(&self, seq: u64) -> Option<&str> {
        match &self.head.newest {
            Some((head, id)) if *head == seq => Some(id.as_str()),
            _ => Some(self.records.get(to_usize(seq.checked_sub(self.tail())?))?.event_id.as_str()),
        }
    }
}

/// As many of the `records` that are `wanted` as `query` allows, and where to go on.
fn take<'a>(
    records: impl Iterator<Item = &'a Arc<Record>>,
    wanted: impl Fn(&Arc<Record>) -> bool,
    query: &Query,
) -> (Vec<Arc<Record>>, Option<u64>) {
    let (mut taken, mut size, mut last) = (Vec::new(), 0, None);
    for (scanned, record) in records.enumerate() {
        if scanned >= SCAN {
            return (taken, last);
        }
        if wanted(record) {
            if taken.len() >= query.limit || (size >= query.max_bytes && size > 0) {
                return (taken, last);
            }
            size += record.json.len();
            taken.push(Arc::clone(record));
        }
        last = record.seq;
    }
    (taken, None)
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn to_u64(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
