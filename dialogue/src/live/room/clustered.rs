//! The part of a room's state that other nodes change too: a log with several writers, the roster of remote members,
//! and saved state.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    RoomCore, RoomTime, SavedState,
    pending::{BatchDuplicate, PendingAppend, PendingEvent},
    request::unavailable,
    stored::accepted,
};
use crate::{
    audit::link,
    cluster::{
        RosterChange,
        backplane::{self, DraftOutcome, Publication},
    },
    collections::HashSet,
    live::delivery::Batch,
    log::{LogHead, Record},
    store::{StoredEvent, StoredKey},
    wire::{Accepted, Id, frame::PresenceChange},
};

impl RoomCore {
    /// Takes the pending events as a publication to the backplane, which numbers and appends them for all nodes.
    pub(in crate::live) fn take_publication(&self, pending: &mut PendingAppend) -> Publication {
        let events = std::mem::take(&mut pending.events);
        let sizes = pending.drafts.iter().map(|draft| u32::try_from(draft.record.json.len()));
        let drafts = events.into_iter().zip(sizes);
        let drafts = drafts.map(|(event, size)| backplane::Draft::new(event, size.unwrap_or(u32::MAX)));
        let mut share =
            Publication::new(Arc::clone(&self.id), Arc::clone(&self.store_epoch), drafts.collect());
        let LogHead { seq: after, event_id: after_id } = self.log.head();
        (share.after, share.after_id, share.exact) = (after, Id::parse(after_id), self.room.options.audit);
        share
    }

    /// Adopts the epoch of an empty log from the node that appended first.
    pub(in crate::live) fn set_epoch_if_empty(&mut self, epoch: &Arc<str>) {
        if self.log.head().seq == 0 && *epoch != self.store_epoch {
            self.store_epoch = Arc::clone(epoch);
            self.log.set_epoch(Arc::clone(epoch));
        }
    }

    /// Commits published events with the numbers that the backplane gave them, and acknowledges them.
    pub(in crate::live) fn commit_published(
        &mut self,
        pending: PendingAppend,
        draft_outcomes: Vec<DraftOutcome>,
        batch: &mut Batch,
    ) {
        let PendingAppend { drafts, batch_duplicates, .. } = pending;
        let mut outcomes = Vec::with_capacity(drafts.len());
        for (draft, draft_outcome) in drafts.into_iter().zip(draft_outcomes) {
            outcomes.push(match draft_outcome {
                DraftOutcome::Duplicate(key) => self.reply_duplicate(draft, key),
                DraftOutcome::Published(event) => {
                    let record = self.numbered(draft.record, &event);
                    self.commit_one(PendingEvent { record, ..draft }, batch)
                }
            });
        }
        self.reply_to_duplicates(batch_duplicates, &outcomes);
        self.request_trim_if_due();
    }

    /// Acknowledges published events without adding them to the log, into which they are read later; those that are in
    /// no log go into `batch`.
    pub(in crate::live) fn acknowledge(
        &mut self,
        pending: PendingAppend,
        draft_outcomes: Vec<DraftOutcome>,
        batch: &mut Batch,
    ) {
        let PendingAppend { drafts, batch_duplicates, .. } = pending;
        let mut outcomes = Vec::with_capacity(drafts.len());
        for (draft, draft_outcome) in drafts.into_iter().zip(draft_outcomes) {
            outcomes.push(match draft_outcome {
                DraftOutcome::Duplicate(key) => self.reply_duplicate(draft, key),
                DraftOutcome::Published(event) if event.seq == 0 => self.commit_one(draft, batch),
                DraftOutcome::Published(event) => {
                    let accepted = accepted(&event);
                    self.room.meter.accepted(draft.record.event, draft.origin.source);
                    draft.origin.accepted(&accepted);
                    self.reply(draft.reply, Ok(accepted.clone()));
                    accepted
                }
            });
        }
        self.reply_to_duplicates(batch_duplicates, &outcomes);
    }

    /// Renumbers pending events behind those that other nodes appended first, and links them anew into the hash chain.
    pub(in crate::live) fn renumber(
        &mut self,
        mut pending: PendingAppend,
        events: Vec<StoredEvent>,
    ) -> PendingAppend {
        let mut end = self.log.end().clone();
        let mut drafts = Vec::with_capacity(pending.drafts.len());
        for (draft, mut event) in std::mem::take(&mut pending.drafts).into_iter().zip(events) {
            let mut record = draft.record;
            if event.seq > 0 {
                event.seq = end.seq + 1;
                event.timestamp = event.timestamp.max(end.timestamp);
                event.offset = end.offset;
                let plain = self.room.record(&self.id, &event);
                let digest = Box::new(link(end.digest.as_deref(), &plain.json));
                event.digest = Some(*digest);
                (end.seq, end.event_id) = (event.seq, Some(event.event_id));
                (end.timestamp, end.digest) = (event.timestamp, Some(digest.clone()));
                end.offset += plain.size();
                record = Arc::new(Record { digest: Some(digest), ..plain });
            }
            pending.events.push(event);
            drafts.push(PendingEvent { record, ..draft });
        }
        (pending.drafts, pending.end) = (drafts, end);
        pending
    }

    /// Refuses or holds pending events that were not published, as far as is known.
    pub(in crate::live) fn refuse_all(&mut self, pending: PendingAppend, time: RoomTime) {
        self.time = time;
        let refusal = unavailable(&self.id);
        for draft in pending.drafts {
            self.hold_or_refuse(draft);
        }
        for BatchDuplicate { source, reply, .. } in pending.batch_duplicates {
            self.refuse(source, reply, refusal.clone());
        }
    }

    /// Adds events that other nodes published to the log, and returns the batch to deliver. Returns `None` if an
    /// earlier event is missing, or the log is another one: then the store's head has to be read.
    pub(in crate::live) fn receive_events(&mut self, feed: &backplane::FeedEvents) -> Option<Batch> {
        if self.is_closed() {
            return Some(self.new_batch());
        }
        let mut durable = feed.events.iter().filter(|event| event.seq > 0).peekable();
        if let Some(first) = durable.peek() {
            if first.seq == 1 {
                self.set_epoch_if_empty(&feed.epoch);
            }
            if feed.epoch != self.store_epoch || first.seq > self.log.next_seq() {
                return None;
            }
            let same = |event: &StoredEvent| {
                self.log.id_at(event.seq).is_none_or(|id| id == event.event_id.as_str())
            };
            let LogHead { seq: head, event_id: newest } = self.log.head();
            // A failover of the store may have lost the newest event and given its number to another.
            if feed.after == head && feed.after_id.is_some_and(|id| id.as_str() != newest) {
                return None;
            }
            if !durable.clone().filter(|event| event.seq <= head).all(same) {
                return None;
            }
        }
        if feed.events.iter().all(|event| event.seq > 0) {
            return Some(self.append_stored(&feed.events));
        }
        // In the order in which they were published.
        let mut batch = self.new_batch();
        for event in &feed.events {
            match event.seq {
                0 => self.push_unlogged(event, &mut batch),
                _ => self.append_stored_event(event, &mut batch),
            }
        }
        Some(batch)
    }

    /// Returns a batch of the events that are in no log.
    pub(in crate::live) fn unlogged_events(&self, feed: &backplane::FeedEvents) -> Batch {
        let mut batch = self.new_batch();
        for event in feed.events.iter().filter(|event| event.seq == 0) {
            self.push_unlogged(event, &mut batch);
        }
        batch
    }

    /// Returns whether the catalog never had the room, so that reading it can't show the room's deletion.
    pub(in crate::live) fn is_unlisted(&self) -> bool {
        !self.in_catalog && !self.is_closed()
    }

    /// Returns the number of connections at other nodes.
    pub(in crate::live) fn remote_size(&self) -> usize {
        self.members.remote_size()
    }

    /// Returns whether other nodes write to the log, too.
    pub(in crate::live) fn is_clustered(&self) -> bool {
        self.is_clustered
    }

    pub(in crate::live) fn is_audited(&self) -> bool {
        self.room.options.audit
    }

    /// Changes the roster of remote members, and announces the users who came or went by that.
    pub(in crate::live) fn change_roster(&mut self, change: RosterChange) {
        if self.is_closed() {
            return;
        }
        for (user, difference) in self.roster.get_or_insert_default().apply(change) {
            match self.members.change_remote(&user, difference) {
                Some(PresenceChange::Joined) => self.user_joined(&user),
                Some(PresenceChange::Left) => self.user_left(&user),
                None => {}
            }
        }
        self.update_size();
    }

    /// Returns whether the roster depends on which nodes are `nodes`.
    pub(in crate::live) fn is_roster_affected(&self, nodes: &BTreeSet<Id>) -> bool {
        self.roster.as_ref().is_some_and(|roster| roster.is_roster_affected(nodes))
    }

    /// Returns the nodes at which a user is in the room.
    pub(crate) fn nodes_of_user(&self, user: &str) -> BTreeSet<Id> {
        self.roster.as_ref().map(|roster| roster.nodes_of(user)).unwrap_or_default()
    }

    /// Returns the users who are in the room at other nodes. The set is shared until it changes.
    pub(crate) fn remote_users(&mut self) -> Arc<HashSet<Arc<str>>> {
        self.members.remote_users()
    }

    /// Adopts the saved state if it is newer: another node changed it.
    pub(in crate::live) fn reload(&mut self, saved: Option<SavedState>) {
        if let Some(saved) = saved.filter(|saved| saved.version > self.saved_state.version) {
            self.saved_state = saved;
        }
    }

    /// Renames the log's epoch to the override that another node stored, after it found numbers that were given twice.
    /// The events stay.
    pub(in crate::live) fn set_epoch(&mut self, name: Option<Arc<str>>) {
        if let Some(name) = name.filter(|name| name != self.log.epoch()) {
            self.log.set_epoch(name);
        }
    }

    fn push_unlogged(&self, event: &StoredEvent, batch: &mut Batch) {
        let record = self.room.record(&self.id, event);
        if record.is_declared() {
            batch.push(Arc::new(record));
        }
    }

    /// Returns the record of an event, encoded again if the backplane gave it another number or time.
    fn numbered(&self, record: Arc<Record>, event: &StoredEvent) -> Arc<Record> {
        let same = event.seq == 0 || (record.seq, record.timestamp) == (Some(event.seq), event.timestamp);
        if same { record } else { Arc::new(self.room.record(&self.id, event)) }
    }

    fn reply_duplicate(&mut self, draft: PendingEvent, key: StoredKey) -> Accepted {
        let accepted = Accepted::new(Some(key.seq), key.event_id.as_str(), key.timestamp);
        let mut remembered = accepted.clone();
        remembered.timestamp = self.time.unix_ms;
        self.log.keys.remember(&key.from, &key.key, remembered);
        if let Some((from, own)) = &draft.key {
            self.log.keys.remember_for_newcomer(from, own, &accepted);
        }
        let duplicate = accepted.to_duplicate();
        self.room.meter.duplicate(draft.origin.source);
        draft.origin.accepted(&duplicate);
        self.reply(draft.reply, Ok(duplicate));
        accepted
    }
}
