//! One room's order: an append-only log of numbered events, and where a reader of it stands.
//!
//! Knows nothing of channels, members or time passing: whoever owns a [`Log`] says what time it is.

mod keys;
mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

pub(crate) use keys::Keys;
pub(crate) use record::Record;

use crate::{
    Position, Retention,
    wire::{EventSet, Id},
};

/// The log of one room instance, in memory.
#[derive(Debug)]
pub(crate) struct Log {
    epoch: Arc<str>,
    retention: Retention,
    records: VecDeque<Arc<Record>>,
    bytes: u64,
    /// The newest event, which outlives its own record.
    head: Option<(u64, Id)>,
    /// The number of the newest event of each conflated key; bounded by the records held.
    newest: HashMap<(u8, Box<str>), u64>,
    pub(crate) keys: Keys,
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
}

/// A stretch of a log.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) records: Vec<Arc<Record>>,
    /// Whether there is more in the direction of reading.
    pub(crate) more: bool,
}

/// How many records a page may look at for one that its reader wants: what a request costs at most.
const SCAN: usize = 10_000;
/// Bytes of a page that is read backwards, unless its first record alone is larger: a reply has to fit into what may
/// wait for a connection.
const PAGE: u64 = 256 << 10;

impl Log {
    /// An empty log.
    pub(crate) fn new(epoch: Arc<str>, retention: Retention) -> Self {
        Log {
            epoch,
            retention,
            records: VecDeque::new(),
            bytes: 0,
            head: None,
            newest: HashMap::new(),
            keys: Keys::default(),
        }
    }

    pub(crate) fn epoch(&self) -> &Arc<str> {
        &self.epoch
    }

    /// The number and the id of the newest event; 0 and empty in an empty log.
    pub(crate) fn head(&self) -> (u64, &str) {
        self.head.as_ref().map_or((0, ""), |(seq, id)| (*seq, id.as_str()))
    }

    /// The number that the next event gets.
    pub(crate) fn next_seq(&self) -> u64 {
        self.head().0 + 1
    }

    /// Takes the event that was made for [`next_seq`](Self::next_seq), and trims what no longer fits.
    pub(crate) fn append(&mut self, record: Arc<Record>) {
        let Some(seq) = record.seq else { return };
        debug_assert_eq!(seq, self.next_seq());
        self.head = Some((seq, record.event_id));
        self.bytes += record.size();
        if let Some(key) = &record.conflated {
            self.newest.insert((record.event, key.clone()), seq);
        }
        let now = record.timestamp;
        self.records.push_back(record);
        self.trim(now);
    }

    /// Drops what the retention no longer keeps at `now`, in Unix milliseconds.
    pub(crate) fn trim(&mut self, now: u64) {
        let (events, bytes) = self.retention.bounds();
        let oldest = self.retention.age.map(|age| now.saturating_sub(millis(age)));
        while let Some(first) = self.records.front() {
            let keeps = to_u64(self.records.len()) <= events
                && self.bytes <= bytes
                && oldest.is_none_or(|oldest| first.timestamp >= oldest);
            if keeps {
                return;
            }
            let Some(gone) = self.records.pop_front() else { return };
            self.bytes -= gone.size();
            if let (Some(key), Some(seq)) = (&gone.conflated, gone.seq) {
                let key = (gone.event, key.clone());
                if self.newest.get(&key) == Some(&seq) {
                    self.newest.remove(&key);
                }
            }
        }
    }

    /// What a reader that last saw `since` can be given.
    pub(crate) fn resume(&self, since: Option<&Position>) -> Resume {
        let Some(since) = since else { return Resume::Fresh };
        let held = since.epoch == *self.epoch
            && since.seq <= self.head().0
            && since.seq + 1 >= self.first_seq()
            && (since.event_id.is_empty() || self.id_at(since.seq).is_none_or(|id| id == since.event_id));
        if held { Resume::Complete { after: since.seq } } else { Resume::Lost }
    }

    /// The number of the oldest event held, or of the next one where none is.
    pub(crate) fn first_seq(&self) -> u64 {
        self.next_seq() - to_u64(self.records.len())
    }

    /// The events after `seq`, oldest first, up to about `bytes` of them; of conflated ones the newest alone.
    /// `None` if some of them are no longer held.
    pub(crate) fn after(&self, seq: u64, wanted: EventSet, bytes: u64) -> Option<(Page, u64)> {
        let skip = (seq + 1).checked_sub(self.first_seq())?;
        let mut page = Page::default();
        let (mut cursor, mut size) = (seq, 0);
        for record in self.records.iter().skip(to_usize(skip)) {
            if size >= bytes {
                page.more = true;
                break;
            }
            cursor += 1;
            if wanted.contains(record.event) && self.is_newest(record) {
                size += record.size();
                page.records.push(Arc::clone(record));
            }
        }
        Some((page, cursor))
    }

    /// Up to `limit` events before `before`, newest first, and fewer where they are large.
    pub(crate) fn before(&self, before: Option<u64>, wanted: EventSet, limit: usize) -> Page {
        let end = before.map_or(self.next_seq(), |before| before.clamp(self.first_seq(), self.next_seq()));
        let held = to_usize(end - self.first_seq());
        let (mut page, mut size) = (Page::default(), 0);
        for (scanned, record) in self.records.iter().take(held).rev().enumerate() {
            let fits = !wanted.contains(record.event) || size + record.size() <= PAGE;
            // A page that found nothing goes on: its reader would have no number to ask further from.
            if page.records.len() == limit || ((scanned >= SCAN || !fits) && !page.records.is_empty()) {
                page.more = true;
                break;
            }
            if wanted.contains(record.event) {
                size += record.size();
                page.records.push(Arc::clone(record));
            }
        }
        page
    }

    /// The id of event `seq`, as long as that is known.
    fn id_at(&self, seq: u64) -> Option<&str> {
        match &self.head {
            Some((head, id)) if *head == seq => Some(id.as_str()),
            _ => Some(self.records.get(to_usize(seq.checked_sub(self.first_seq())?))?.event_id.as_str()),
        }
    }

    fn is_newest(&self, record: &Record) -> bool {
        match &record.conflated {
            // The key is cloned for the look-up of a tuple; replay is no hot path.
            Some(key) => self.newest.get(&(record.event, key.clone())).copied() == record.seq,
            None => true,
        }
    }
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
