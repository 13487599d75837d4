//! The log of a room instance: an append-only sequence of numbered events with retention, the position arithmetic of
//! resume, idempotency keys, and the group commit into a store.
//!
//! [`Log`] has no async, no clock and no channel; its owner passes the time. [`Journal`] is the asynchronous part.

use crate::wire::EventIndex;
mod audit_log;
mod commit_queue;
pub(crate) mod epoch;
mod event_retention;
mod health;
mod idempotency;
mod journal;
mod latest_keys;
mod record;
mod retention_bounds;
#[cfg(test)]
mod tests;

use std::{collections::VecDeque, sync::Arc};

use event_retention::EventRetention;
pub(crate) use idempotency::{IdempotencyKeys, KEY_RETENTION_MS, owner};
pub(crate) use journal::{Journal, NotAppended};
use latest_keys::LatestKeys;
pub(crate) use record::Record;
pub(crate) use retention_bounds::RetentionBounds;

use crate::{
    room::Retention,
    store::{Order, Query},
    wire::{EventSet, Id, Position},
};

/// The log of one room instance: all of it in memory, or its newest events where a store has the others.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: Arc<str>,
    retention: Retention,
    /// The retention of kinds of event that declare a smaller one.
    event_retention: EventRetention,
    /// The newest events.
    records: VecDeque<Arc<Record>>,
    /// Bytes of these events.
    bytes: u64,
    /// Set if a store has the events before those in memory, down to `first`.
    backed_by_store: bool,
    /// The `seq` of the oldest retained event.
    first: u64,
    /// The end of the log, which outlives the newest event's record.
    end: LogEnd,
    latest_keys: LatestKeys,
    pub(crate) keys: IdempotencyKeys,
}

/// The end of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogEnd {
    /// The newest event's `seq`; 0 in a log that never had an event.
    pub(crate) seq: u64,
    /// The newest event's id; `None` in such a log.
    pub(crate) event_id: Option<Id>,
    /// The newest event's time, in Unix milliseconds.
    pub(crate) timestamp: u64,
    /// The byte offset of the end: the bytes of all events that the log ever had.
    pub(crate) offset: u64,
    /// The hash chain up to the end, where the room is audited.
    pub(crate) digest: Option<Box<[u8; 32]>>,
}

/// The newest event of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogHead<'a> {
    /// Its `seq`; 0 in a log that never had an event.
    pub(crate) seq: u64,
    /// Its id; empty in such a log.
    pub(crate) event_id: &'a str,
}

/// The records that a [`Query`] selects.
#[derive(Debug, Default)]
pub(crate) struct RecordPage {
    pub(crate) records: Vec<Arc<Record>>,
    /// The `seq` from which the next page goes on; `None` at the end.
    pub(crate) next: Option<u64>,
}

/// The result of resuming from a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumeDecision {
    /// The client gave no position.
    Fresh,
    /// All events after the position are retained.
    Complete { after: u64 },
    /// Events after the position are no longer retained, or the log is another one.
    Lost,
    /// The id of the event at the position has to be read from the store first.
    Unknown,
}

/// The result of reading from the store the id of the event at a client's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum StoredId {
    /// The store was not read.
    #[default]
    NotRead,
    /// The store has no event at the position.
    Missing,
    Found(Id),
}

/// The result of reading the log after a position.
#[derive(Debug)]
pub(crate) enum LogSlice {
    /// Events in memory, and the `seq` to go on after.
    InMemory(LogPage, u64),
    /// The next events are in the store only.
    Stored,
    /// Some of the events are no longer retained.
    Trimmed,
}

/// A page of a log.
#[derive(Debug, Default)]
pub(crate) struct LogPage {
    pub(crate) records: Vec<Arc<Record>>,
    /// If there may be more in the direction of reading: the `seq` to go on after, or before.
    pub(crate) next: Option<u64>,
    /// Of a page that is read backwards: the `seq` before which the rest of it is in the store.
    pub(crate) rest: Option<u64>,
}

/// Records that a page scans, of which the subscription may want none: the bound on a request's cost to the room.
const MAX_SCANNED_RECORDS: usize = 10_000;
/// Bytes of a page that is read backwards, unless its first record alone is larger: a reply has to fit into a
/// connection's outbox.
pub(crate) const PAGE_BYTES: u64 = 256 << 10;
/// Events that stay in memory although a store has them: a client that was away for a moment needs no others.
pub(crate) const TAIL_EVENTS: usize = 1_000;
/// Bytes of these events.
pub(crate) const TAIL_BYTES: u64 = 256 << 10;

impl Log {
    /// Creates an empty log; `of_events` is the retention of each kind of event that declares one.
    pub(crate) fn new(epoch: Arc<str>, retention: Retention, of_events: &[Option<Retention>]) -> Self {
        Log {
            epoch,
            retention,
            event_retention: EventRetention::new(of_events),
            records: VecDeque::new(),
            bytes: 0,
            backed_by_store: false,
            first: 1,
            end: LogEnd::default(),
            latest_keys: LatestKeys::default(),
            keys: IdempotencyKeys::default(),
        }
    }

    /// Marks the log as continued in a store: events older than those in memory are there.
    pub(crate) fn backed_by_store(mut self) -> Self {
        self.backed_by_store = true;
        self
    }

    /// Sets the range of a log that is in the store: it begins with `first` and ends at `end`, and `tail` are its
    /// newest events, oldest first.
    pub(crate) fn restore(&mut self, first: u64, end: LogEnd, tail: Vec<Arc<Record>>) {
        (self.first, self.end) = (first, end);
        for record in tail {
            self.push(record);
        }
    }

    pub(crate) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// Changes the epoch.
    pub(crate) fn set_epoch(&mut self, epoch: Arc<str>) {
        self.epoch = epoch;
    }

    /// Returns the newest event.
    pub(crate) fn head(&self) -> LogHead<'_> {
        LogHead { seq: self.end.seq, event_id: self.end.event_id.as_ref().map_or("", Id::as_str) }
    }

    /// Returns the end of the log.
    pub(crate) fn end(&self) -> &LogEnd {
        &self.end
    }

    /// Returns the `seq` of the next event.
    pub(crate) fn next_seq(&self) -> u64 {
        self.end.seq + 1
    }

    /// Appends the event with [`next_seq`](Self::next_seq), and trims the log to its retention.
    pub(crate) fn append(&mut self, record: Arc<Record>) {
        let Some(seq) = record.seq else { return };
        debug_assert_eq!(seq, self.next_seq());
        (self.end.seq, self.end.event_id) = (seq, Some(record.event_id));
        self.end.offset += record.size();
        self.end.timestamp = record.timestamp;
        if record.digest.is_some() {
            self.end.digest.clone_from(&record.digest);
        }
        let now = record.timestamp;
        self.push(record);
        self.trim(now);
    }

    fn push(&mut self, record: Arc<Record>) {
        let Some(seq) = record.seq else { return };
        self.bytes += record.size();
        if let Some(key) = &record.conflated {
            self.latest_keys.record(record.event, key, seq);
        }
        self.event_retention.record(record.event, seq);
        self.records.push_back(record);
    }

    /// Drops the events that retention no longer keeps at `now`, in Unix milliseconds, and those that need to be in the
    /// store only.
    pub(crate) fn trim(&mut self, now: u64) {
        let RetentionBounds { events, bytes } = RetentionBounds::from(&self.retention);
        let oldest = self.retention.age.map(|age| now.saturating_sub(millis(age)));
        self.event_retention.now = now;
        self.first = self.first.max(self.next_seq().saturating_sub(events));
        while let Some(first) = self.records.front() {
            let seq = first.seq.unwrap_or(0);
            // Older events are in the store: a read of them finds out which are trimmed.
            let alone = seq > self.first;
            let keeps = alone
                || (seq == self.first
                    && self.bytes <= bytes
                    && oldest.is_none_or(|oldest| first.timestamp >= oldest));
            let stays =
                !self.backed_by_store || (self.records.len() <= TAIL_EVENTS && self.bytes <= TAIL_BYTES);
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
                self.latest_keys.forget(gone.event, key, seq);
            }
        }
        if self.backed_by_store {
            self.latest_keys.bound(self.first_in_memory());
        }
    }

    /// Notes that the store's part of the log begins with `first`.
    pub(crate) fn trimmed(&mut self, first: u64) {
        self.first = self.first.max(first.min(self.next_seq()));
    }

    /// Returns whether the store has to be read to apply the retention, since memory doesn't have the bytes or times of
    /// the events concerned.
    pub(crate) fn needs_store_lookup(&self) -> bool {
        let bounded = self.retention.age.is_some() || RetentionBounds::from(&self.retention).bytes < u64::MAX;
        self.backed_by_store && bounded && self.first < self.first_in_memory()
    }

    /// Returns how a client that last received `since` can resume; `stored_id` is the store's id of the event there, if
    /// it was read.
    pub(crate) fn resume(&self, since: Option<&Position>, stored_id: StoredId) -> ResumeDecision {
        let Some(since) = since else { return ResumeDecision::Fresh };
        let held = since.epoch == *self.epoch && since.seq <= self.end.seq && since.seq + 1 >= self.first;
        if !held {
            return ResumeDecision::Lost;
        }
        let here = self.id_at(since.seq).map(|id| id == since.event_id);
        let same = match (here, stored_id) {
            _ if since.event_id.is_empty() => true,
            (Some(same), _) => same,
            (None, StoredId::Found(id)) => id.as_str() == since.event_id,
            (None, StoredId::Missing) => false,
            (None, StoredId::NotRead)
                if self.backed_by_store && since.seq >= self.first && since.seq < self.first_in_memory() =>
            {
                return ResumeDecision::Unknown;
            }
            // Nothing is known of an event before the first retained one.
            (None, StoredId::NotRead) => true,
        };
        if same { ResumeDecision::Complete { after: since.seq } } else { ResumeDecision::Lost }
    }

    /// Returns the `seq` of the oldest retained event, or of the next event in an empty log.
    pub(crate) fn first_seq(&self) -> u64 {
        self.first
    }

    /// Returns the oldest `seq` that may be retained of the events in `filter`.
    pub(crate) fn first_seq_of(&self, filter: EventSet) -> u64 {
        self.first.max(self.event_retention.first_seq_of(filter).unwrap_or(0))
    }

    /// Returns the `seq` of the oldest event in memory, or of the next event if there is none.
    pub(crate) fn first_in_memory(&self) -> u64 {
        self.next_seq() - to_u64(self.records.len())
    }

    /// Returns the events after `seq`, oldest first, up to about `bytes` of them; of conflated ones only the newest of
    /// each key.
    pub(crate) fn after(&self, seq: u64, filter: EventSet, bytes: u64) -> LogSlice {
        if seq + 1 < self.first {
            return LogSlice::Trimmed;
        }
        let Some(skip) = (seq + 1).checked_sub(self.first_in_memory()) else { return LogSlice::Stored };
        let mut page = LogPage::default();
        let (mut cursor, mut size) = (seq, 0);
        for (scanned, record) in self.records.range(to_usize(skip).min(self.records.len())..).enumerate() {
            if size >= bytes || scanned >= MAX_SCANNED_RECORDS {
                page.next = Some(cursor);
                break;
            }
            cursor += 1;
            if self.matches(record, filter) && self.is_newest(record) {
                size += record.size();
                page.records.push(Arc::clone(record));
            }
        }
        LogSlice::InMemory(page, cursor)
    }

    /// Returns up to `limit` events before `before`, newest first; fewer where they are large, or rare among the
    /// others.
    pub(crate) fn before(&self, before: Option<u64>, filter: EventSet, limit: usize) -> LogPage {
        let (tail, next) = (self.first_in_memory(), self.next_seq());
        let end = before.map_or(next, |before| before.clamp(tail, next));
        let (mut page, mut size) = (LogPage::default(), 0);
        let held = self.records.iter().take(to_usize(end - tail));
        for (scanned, record) in held.rev().enumerate() {
            let wants = self.matches(record, filter);
            let fits = !wants || page.records.is_empty() || size + record.size() <= PAGE_BYTES;
            if page.records.len() == limit || scanned >= MAX_SCANNED_RECORDS || !fits {
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

    /// Returns the events that `query` selects from a log that is held in memory alone; `name` returns the name of an
    /// event.
    pub(crate) fn select(&self, query: &Query, name: impl Fn(EventIndex) -> &'static str) -> RecordPage {
        let filter = |record: &Arc<Record>| {
            let seq = record.seq.unwrap_or(0);
            query.matches(seq, record.timestamp, name(record.event)) && self.event_retention.keeps(record)
        };
        let held = self.records.len();
        let place = |seq: u64| to_usize(seq.saturating_sub(self.first_in_memory())).min(held);
        // Times never decrease.
        let at = |time: u64| self.records.partition_point(|record| record.timestamp < time);
        let from = query.after.map_or(0, |after| place(after.saturating_add(1)));
        let from = from.max(query.since.map_or(0, at));
        let to = query.before.map_or(held, place).min(query.until.map_or(held, at));
        let looked_at = self.records.range(from.min(to)..to);
        match query.order {
            Order::OldestFirst => collect_matching(looked_at, filter, query),
            Order::NewestFirst => collect_matching(looked_at.rev(), filter, query),
        }
    }

    /// Returns whether a subscription with `filter` gets the event, as far as its kind's retention keeps it.
    pub(crate) fn matches(&self, record: &Record, filter: EventSet) -> bool {
        filter.contains(record.event) && self.event_retention.keeps(record)
    }

    /// Returns whether no newer event of its key replaced it.
    pub(crate) fn is_newest(&self, record: &Record) -> bool {
        match &record.conflated {
            Some(key) => {
                self.latest_keys.latest_seq(record.event, key).is_none_or(|newest| record.seq >= Some(newest))
            }
            None => true,
        }
    }

    /// Restores the numbers of the newest events of a kind with a bound on their number, oldest first.
    pub(crate) fn restore_seqs(&mut self, event: EventIndex, seqs: VecDeque<u64>) {
        self.event_retention.restore_seqs(event, seqs);
    }

    /// Returns the id of event `seq`, if it is known.
    pub(crate) fn id_at(&self, seq: u64) -> Option<&str> {
        match &self.end.event_id {
            Some(id) if self.end.seq == seq => Some(id.as_str()),
            _ => {
                Some(self.records.get(to_usize(seq.checked_sub(self.first_in_memory())?))?.event_id.as_str())
            }
        }
    }
}

/// Returns the wanted records up to the bounds of `query`.
fn collect_matching<'a>(
    records: impl Iterator<Item = &'a Arc<Record>>,
    filter: impl Fn(&Arc<Record>) -> bool,
    query: &Query,
) -> RecordPage {
    let (mut taken, mut size, mut last) = (Vec::new(), 0, None);
    for (scanned, record) in records.enumerate() {
        if scanned >= MAX_SCANNED_RECORDS {
            return RecordPage { records: taken, next: last };
        }
        if filter(record) {
            if taken.len() >= query.limit || (size >= query.max_bytes && size > 0) {
                return RecordPage { records: taken, next: last };
            }
            size += record.json.len();
            taken.push(Arc::clone(record));
        }
        last = record.seq;
    }
    RecordPage { records: taken, next: None }
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
