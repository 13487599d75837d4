//! The events of a room that are accepted and not yet durable.

use std::{sync::Arc, time::Duration};

use super::request::NewEvent;
use crate::{
    audit::link,
    collections::HashMap,
    live::{Outbox, RoomSpec, delivery::PublishReply},
    log::{LogEnd, Record},
    observe::{EventOrigin, Source},
    store::StoredEvent,
    wire::{Accepted, Id},
};

/// Events that are accepted and not yet durable: neither their senders nor any subscriber sees them before they are.
#[derive(Debug)]
pub(in crate::live) struct PendingAppend {
    pub(super) drafts: Vec<PendingEvent>,
    /// The log's end with these events.
    pub(super) end: LogEnd,
    /// The events as the store keeps them, where there is one: the durable ones, and in a cluster also the ephemeral
    /// ones, which are published to the other nodes.
    pub(super) events: Vec<StoredEvent>,
    /// The index of the draft with each idempotency key, for a key that occurs twice in a batch.
    pub(super) keys: HashMap<OwnedKey, usize>,
    /// Retries of events in this batch.
    pub(super) batch_duplicates: Vec<BatchDuplicate>,
    /// Retries of events that are in the log already: they are acknowledged once the store has shown that it still has
    /// that log.
    pub(super) duplicates: Vec<LoggedDuplicate>,
    pub(super) bytes: usize,
}

/// A retry of an event that is in the same batch.
#[derive(Debug)]
pub(super) struct BatchDuplicate {
    /// The index of the original among the batch's drafts.
    pub(super) original: usize,
    pub(super) source: Source,
    pub(super) reply: PublishReply,
}

/// A retry of an event that was accepted in an earlier batch.
#[derive(Debug)]
pub(super) struct LoggedDuplicate {
    pub(super) seen: Accepted,
    pub(super) origin: EventOrigin,
    pub(super) reply: PublishReply,
}

/// The owner of an idempotency key ([`owner`](crate::log::owner)), and the key.
pub(super) type OwnedKey = (Arc<str>, Box<str>);

#[derive(Debug)]
pub(super) struct PendingEvent {
    pub(super) record: Arc<Record>,
    pub(super) key: Option<OwnedKey>,
    pub(super) origin: EventOrigin,
    pub(super) reply: PublishReply,
    /// In a room whose events wait while the log can't be written: the event as it came.
    pub(super) retry: Option<Box<HeldDraft>>,
}

/// An event to accept again if the log can't be written.
#[derive(Debug)]
pub(super) struct HeldDraft {
    pub(super) event: NewEvent,
    pub(super) sender_outbox: Option<Arc<Outbox>>,
    pub(super) until: Duration,
}

impl PendingAppend {
    pub(in crate::live) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Returns whether the batch has retries of events that are in the log.
    pub(in crate::live) fn repeats(&self) -> bool {
        !self.duplicates.is_empty()
    }

    /// Splits the batch after its first `first` events.
    pub(in crate::live) fn split(mut self, first: usize) -> (Self, Self) {
        let mut rest = PendingAppend::after(self.end.clone());
        rest.drafts = self.drafts.split_off(first.min(self.drafts.len()));
        for duplicate in std::mem::take(&mut self.batch_duplicates) {
            match duplicate.original.checked_sub(first) {
                Some(original) => rest.batch_duplicates.push(BatchDuplicate { original, ..duplicate }),
                None => self.batch_duplicates.push(duplicate),
            }
        }
        (self, rest)
    }

    /// Gives an event its number, id and time, and encodes it; returns its record, which the caller adds to the batch.
    pub(super) fn number(
        &mut self,
        room: &RoomSpec,
        room_id: &str,
        event: &mut NewEvent,
        is_ephemeral: bool,
        now: u64,
    ) -> Arc<Record> {
        let seq = (!is_ephemeral).then(|| self.end.seq + 1);
        let event_id = event.event_id.unwrap_or_else(Id::fresh);
        // Times never decrease along the log, so that an event is found by its time with a binary search.
        let timestamp = now.max(self.end.timestamp);
        let json = event.encode(room, room_id, event_id, timestamp, seq);
        let digest =
            (room.options.audit && seq.is_some()).then(|| Box::new(link(self.end.digest.as_deref(), &json)));
        self.bytes += json.len();
        if let Some(seq) = seq {
            (self.end.seq, self.end.event_id) = (seq, Some(event_id));
            self.end.timestamp = timestamp;
            self.end.offset += u64::try_from(json.len()).unwrap_or(u64::MAX);
            self.end.digest.clone_from(&digest);
        }
        let conflated = event.conflation_key.take().map(String::into_boxed_str);
        Arc::new(Record { seq, event: event.index, event_id, timestamp, conflated, digest, json })
    }

    pub(super) fn after(end: LogEnd) -> Self {
        PendingAppend {
            drafts: Vec::new(),
            end,
            events: Vec::new(),
            keys: HashMap::default(),
            batch_duplicates: Vec::new(),
            duplicates: Vec::new(),
            bytes: 0,
        }
    }
}
