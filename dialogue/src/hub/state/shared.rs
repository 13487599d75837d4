//! What a room has in common with the same room at other instances.

#[cfg(feature = "push")]
use std::collections::HashSet;
use std::{collections::BTreeSet, sync::Arc};

use super::{
    super::{
        Link,
        archive::Saved,
        batch::Batch,
        members::Coming,
        peers::{Difference, Roster},
    },
    DELETED, State,
    accept::{Draft, Pending, unavailable},
    now,
};
use crate::{
    Accepted,
    audit::link,
    backplane::{self, DraftOutcome, Publication},
    log::Record,
    store::{StoredEvent, StoredKey},
    wire::Id,
};

impl State {
    /// What is to be put into the log of it.
    pub(in super::super) fn share_of(&self, pending: &mut Pending) -> Publication {
        let events = std::mem::take(&mut pending.events);
        let sizes = pending.drafts.iter().map(|draft| u32::try_from(draft.record.json.len()));
        let drafts = events.into_iter().zip(sizes);
        let drafts = drafts.map(|(event, size)| backplane::Draft::new(event, size.unwrap_or(u32::MAX)));
        let mut share = Publication::new(Arc::clone(&self.id), Arc::clone(&self.stored_as), drafts.collect());
        let (after, after_id) = self.log.head();
        (share.after, share.after_id, share.exact) = (after, Id::parse(after_id), self.room.options.audit);
        share
    }

    /// A log that is empty is called as whoever came first did.
    pub(in super::super) fn call_if_new(&mut self, epoch: &Arc<str>) {
        if self.log.head().0 == 0 && *epoch != self.stored_as {
            self.stored_as = Arc::clone(epoch);
            self.log.call(Arc::clone(epoch));
        }
    }

    /// What was shared goes into the log as it was numbered, and whoever sent it is told.
    pub(in super::super) fn settle_shared(
        &mut self,
        pending: Pending,
        kept: Vec<DraftOutcome>,
        batch: &mut Batch,
    ) {
        let Pending { drafts, again, .. } = pending;
        let mut said = Vec::with_capacity(drafts.len());
        for (draft, kept) in drafts.into_iter().zip(kept) {
            said.push(match kept {
                DraftOutcome::Duplicate(key) => self.reply_seen(draft, key),
                DraftOutcome::Published(event) => {
                    let record = self.numbered(draft.record, &event);
                    self.take(Draft { record, ..draft }, batch)
                }
            });
        }
        self.reply_again(again, &said);
        self.note_trimming();
    }

    /// What was shared is in the log, and will be read from there: whoever sent it is told. What is in no log is to be
    /// delivered.
    pub(in super::super) fn acknowledge(
        &mut self,
        pending: Pending,
        kept: Vec<DraftOutcome>,
        batch: &mut Batch,
    ) {
        let Pending { drafts, again, .. } = pending;
        let mut said = Vec::with_capacity(drafts.len());
        for (draft, kept) in drafts.into_iter().zip(kept) {
            said.push(match kept {
                DraftOutcome::Duplicate(key) => self.reply_seen(draft, key),
                DraftOutcome::Published(event) if event.seq == 0 => self.take(draft, batch),
                DraftOutcome::Published(event) => {
                    let accepted = accepted(&event);
                    self.room.meter.accepted(draft.record.event, draft.origin.source);
                    draft.origin.accepted(&accepted);
                    self.reply(draft.reply, Ok(accepted.clone()));
                    accepted
                }
            });
        }
        self.reply_again(again, &said);
    }

    /// Numbers what was accepted behind what others put there first.
    pub(in super::super) fn renumber(&mut self, mut pending: Pending, events: Vec<StoredEvent>) -> Pending {
        let mut end = self.log.end().clone();
        let mut drafts = Vec::with_capacity(pending.drafts.len());
        for (draft, mut event) in std::mem::take(&mut pending.drafts).into_iter().zip(events) {
            let mut record = draft.record;
            if event.seq > 0 {
                event.seq = end.newest.map_or(1, |(seq, _)| seq + 1);
                event.timestamp = event.timestamp.max(end.timestamp);
                event.offset = end.offset;
                let plain = self.room.record(&self.id, &event);
                let digest = Box::new(link(end.digest.as_deref(), &plain.json));
                event.digest = Some(*digest);
                end.newest = Some((event.seq, event.event_id));
                (end.timestamp, end.digest) = (event.timestamp, Some(digest.clone()));
                end.offset += plain.size();
                record = Arc::new(Record { digest: Some(digest), ..plain });
            }
            pending.events.push(event);
            drafts.push(Draft { record, ..draft });
        }
        (pending.drafts, pending.end) = (drafts, end);
        pending
    }

    /// Nothing of it was put into the log, as far as is known, or told to anybody.
    pub(in super::super) fn refuse_all(&mut self, pending: Pending) {
        let refusal = unavailable(&self.id);
        for draft in pending.drafts {
            self.hold_or_refuse(draft);
        }
        for (_, source, reply) in pending.again {
            self.turn_down(source, reply, refusal.clone());
        }
    }

    /// Takes what others put into the log; yields what is to be delivered, or nothing if something before it was missed, or it
    /// is another log.
    pub(in super::super) fn hear(&mut self, told: &backplane::FeedEvents) -> Option<Batch> {
        if self.is_gone() {
            return Some(self.batch());
        }
        let mut kept = told.events.iter().filter(|event| event.seq > 0).peekable();
        if let Some(first) = kept.peek() {
            if first.seq == 1 {
                self.call_if_new(&told.epoch);
            }
            if told.epoch != self.stored_as || first.seq > self.log.next_seq() {
                return None;
            }
            let same = |event: &StoredEvent| {
                self.log.id_at(event.seq).is_none_or(|id| id == event.event_id.as_str())
            };
            let (head, newest) = self.log.head();
            // A failover may have taken the newest event, and another has its number since.
            if told.after == head && told.after_id.is_some_and(|id| id.as_str() != newest) {
                return None;
            }
            if !kept.clone().filter(|event| event.seq <= head).all(same) {
                return None;
            }
        }
        if told.events.iter().all(|event| event.seq > 0) {
            return Some(self.adopt(&told.events));
        }
        // In the order in which they were told.
        let mut batch = self.batch();
        for event in &told.events {
            match event.seq {
                0 => self.put_told(event, &mut batch),
                _ => self.adopt_one(event, &mut batch),
            }
        }
        Some(batch)
    }

    /// Of what others told, that which is in no log.
    pub(in super::super) fn told_only(&self, told: &backplane::FeedEvents) -> Batch {
        let mut batch = self.batch();
        for event in told.events.iter().filter(|event| event.seq == 0) {
            self.put_told(event, &mut batch);
        }
        batch
    }

    /// It was deleted at another instance: ends it if the store can't say so, since it was never known there.
    pub(in super::super) fn end_if_unknown(&mut self) -> Option<Vec<Arc<Link>>> {
        (!self.known && !self.is_gone()).then(|| self.end(DELETED))
    }

    /// Connections that are in it at other instances.
    pub(in super::super) fn elsewhere(&self) -> usize {
        self.members.elsewhere()
    }

    /// Whether other instances write to its log too.
    pub(in super::super) fn is_shared(&self) -> bool {
        self.peers.is_some()
    }

    pub(in super::super) fn is_audited(&self) -> bool {
        self.room.options.audit
    }

    /// Other users are in it elsewhere: the members are told.
    pub(in super::super) fn change_roster(&mut self, change: impl FnOnce(&mut Roster) -> Vec<Difference>) {
        if self.is_gone() {
            return;
        }
        for (user, difference) in change(self.roster.get_or_insert_default()) {
            match self.members.change_elsewhere(&user, difference) {
                Some(Coming::Came) => self.user_came(&user),
                Some(Coming::Went) => self.user_went(&user),
                None => {}
            }
        }
        self.tell_size();
    }

    /// Whether it makes a difference that those are there, and nobody else.
    pub(in super::super) fn is_affected(&self, there: &BTreeSet<Id>) -> bool {
        self.roster.as_ref().is_some_and(|roster| roster.is_affected(there))
    }

    /// The peers at which a user is in the room.
    pub(crate) fn peers_of(&self, user: &str) -> BTreeSet<Id> {
        self.roster.as_ref().map(|roster| roster.peers_of(user)).unwrap_or_default()
    }

    /// The users that are in the room at other instances. The same set is the same users as before.
    #[cfg(feature = "push")]
    pub(crate) fn users_elsewhere(&mut self) -> Arc<HashSet<Arc<str>>> {
        self.members.users_elsewhere()
    }

    /// The room's own state, as others saved it.
    pub(in super::super) fn reload(&mut self, saved: Option<Saved>) {
        if let Some(saved) = saved.filter(|saved| saved.version > self.saved.version) {
            self.saved = saved;
        }
    }

    /// The log is called otherwise, since another instance found that it gives numbers again; what is here is what there is.
    pub(in super::super) fn rename(&mut self, name: Option<Arc<str>>) {
        if let Some(name) = name.filter(|name| name != self.log.epoch()) {
            self.log.call(name);
        }
    }

    fn put_told(&self, event: &StoredEvent, batch: &mut Batch) {
        let record = self.room.record(&self.id, event);
        if record.is_declared() {
            batch.push(Arc::new(record));
        }
    }

    /// The record of an event, as it was numbered.
    fn numbered(&self, record: Arc<Record>, event: &StoredEvent) -> Arc<Record> {
        let same = event.seq == 0 || (record.seq, record.timestamp) == (Some(event.seq), event.timestamp);
        if same { record } else { Arc::new(self.room.record(&self.id, event)) }
    }

    fn reply_seen(&mut self, draft: Draft, key: StoredKey) -> Accepted {
        let event_id = key.event_id.as_str().to_owned();
        let accepted = Accepted { seq: Some(key.seq), event_id, timestamp: key.timestamp, duplicate: false };
        self.log.keys.remember(&key.from, &key.key, Accepted { timestamp: now(), ..accepted.clone() });
        if let Some((from, own)) = &draft.key {
            self.log.keys.remember_for_newcomer(from, own, &accepted);
        }
        let duplicate = Accepted { duplicate: true, ..accepted.clone() };
        self.room.meter.duplicate(draft.origin.source);
        draft.origin.accepted(&duplicate);
        self.reply(draft.reply, Ok(duplicate));
        accepted
    }
}

pub(super) fn accepted(event: &StoredEvent) -> Accepted {
    let event_id = event.event_id.as_str().to_owned();
    Accepted { seq: Some(event.seq), event_id, timestamp: event.timestamp, duplicate: false }
}
