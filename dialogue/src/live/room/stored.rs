//! A room as the store has it, and the room in memory that is built from that.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use crate::{
    cluster::backplane::Member,
    live::{RoomSpec, room_spec::RoomInstanceInfo},
    log::{Log, LogEnd, Record},
    store::{StoredEvent, StoredKey},
    wire::{Accepted, EventIndex},
};

/// The parts of a room in the store.
#[derive(Default)]
pub(crate) struct StoredRoom {
    pub(crate) info: Option<RoomInstanceInfo>,
    pub(crate) log: Option<StoredLog>,
    pub(crate) state: Option<SavedState>,
    /// The members at other nodes, including nodes that may have left.
    pub(crate) members: Vec<Member>,
    /// Set if the room isn't in the store, and the record of recent deletions names it.
    pub(crate) follows_deletion: bool,
}

/// The saved state of a room.
#[derive(Debug, Clone, Default)]
pub(crate) struct SavedState {
    /// The number of times that it was saved.
    pub(crate) version: u64,
    /// The state as JSON.
    pub(crate) json: Bytes,
}

/// The end of a stored log, from which the log in memory starts.
pub(crate) struct StoredLog {
    /// The log's epoch.
    pub(in crate::live) epoch: Arc<str>,
    /// The epoch under which the store has the log, which an override may replace.
    pub(crate) store_epoch: Arc<str>,
    pub(in crate::live) first: u64,
    pub(in crate::live) last: StoredEvent,
    /// The newest events, newest first.
    pub(in crate::live) tail: Vec<StoredEvent>,
    pub(in crate::live) keys: Vec<StoredKey>,
    /// For each kind of event with a bound on its number: the numbers of the newest ones, newest first.
    pub(in crate::live) counted: Vec<(EventIndex, Vec<u64>)>,
}

impl StoredLog {
    /// Builds the log in memory.
    pub(crate) fn restore(self, room: &RoomSpec, room_id: &str) -> Log {
        let StoredLog { epoch, first, last, tail, keys, counted, store_epoch: _ } = self;
        let mut log = Log::new(epoch, room.options.retention, &room.own_retention()).backed_by_store();
        let record = |stored: &StoredEvent| Arc::new(room.record(room_id, stored));
        let size = record(&last).size();
        let end = LogEnd {
            seq: last.seq,
            event_id: Some(last.event_id),
            timestamp: last.timestamp,
            offset: last.offset + size,
            digest: last.digest.map(Box::new),
        };
        let tail = tail.iter().map(record).collect::<VecDeque<_>>();
        log.restore(first, end, tail.into_iter().rev().collect());
        for (event, seqs) in counted {
            log.restore_seqs(event, seqs.into_iter().rev().collect());
        }
        for StoredKey { from, key, seq, event_id, timestamp, .. } in keys {
            log.keys.remember(&from, &key, Accepted::new(Some(seq), event_id.as_str(), timestamp));
        }
        log
    }
}

impl RoomSpec {
    /// Encodes a stored event. A kind that the room doesn't declare becomes [`EventIndex::UNDECLARED`], to which no
    /// subscription can be.
    pub(in crate::live) fn record(&self, room_id: &str, stored: &StoredEvent) -> Record {
        let data = std::str::from_utf8(&stored.data);
        let event = self.event(&stored.event).filter(|_| data.is_ok());
        Record {
            seq: (stored.seq > 0).then_some(stored.seq),
            event: event.unwrap_or(EventIndex::UNDECLARED),
            event_id: stored.event_id,
            timestamp: stored.timestamp,
            conflated: stored.conflation_key.as_deref().map(Box::from),
            digest: stored.digest.map(Box::new),
            json: stored.frame(room_id, data.unwrap_or("null")).to_json().into(),
        }
    }
}

/// Returns the acknowledgement of a stored event.
pub(super) fn accepted(event: &StoredEvent) -> Accepted {
    Accepted::new(Some(event.seq), event.event_id.as_str(), event.timestamp)
}
