//! The events of a room that are accepted and not yet durable.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::request::NewEvent;
use crate::{
    live::{Outbox, delivery::PublishReply},
    log::{LogEnd, Record},
    observe::{EventOrigin, Source},
    store::StoredEvent,
    wire::Accepted,
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

    pub(super) fn after(end: LogEnd) -> Self {
        PendingAppend {
            drafts: Vec::new(),
            end,
            events: Vec::new(),
            keys: HashMap::new(),
            batch_duplicates: Vec::new(),
            duplicates: Vec::new(),
            bytes: 0,
        }
    }
}
