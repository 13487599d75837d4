//! The path of an event into the log: accepted (numbered and encoded), appended to the store, committed, and then
//! acknowledged (group commit).

use std::{sync::Arc, time::Duration};

use super::{
    super::delivery::{Batch, PublishOutcome, PublishReply},
    Lifecycle, RoomCore, RoomEffect, RoomTime, RoomTimer,
    pending::{BatchDuplicate, HeldDraft, LoggedDuplicate, PendingAppend, PendingEvent},
    request::{PublishRequest, TargetedEvent, not_in_room, revoked, unavailable},
    stored::accepted,
};
use crate::{
    Code, Refusal,
    event::DeliveryClass,
    log::{Record, owner},
    observe::Source,
    store::{Append, StoredEvent},
    wire::{Accepted, EventIndex},
};

/// The interval between two reads of the store's head while the outcome of an append is unknown.
const PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Whether an event can be accepted.
enum Readiness {
    Accepts,
    /// The log can't be written now, and the event waits for that until this time.
    Holds(Duration),
    Refuses(Refusal),
}

impl RoomCore {
    /// Accepts an event into the pending batch, or refuses or holds it; returns the batch's size in bytes.
    pub(in crate::live) fn accept(&mut self, publish: PublishRequest) -> usize {
        let is_out = |id| !self.members.has(id) && !self.is_expecting(id);
        if self.has_removed && publish.connection().is_some_and(|outbox| is_out(outbox.id())) {
            self.refuse(publish.origin.source, publish.reply, not_in_room());
            return self.pending_bytes();
        }
        let until = self.room.options.wait.map(|wait| self.time.monotonic + wait);
        self.accept_until(publish, until)
    }

    /// Accepts an event. If the log can't be written, the event is held until `until`, where that is given.
    pub(super) fn accept_until(&mut self, publish: PublishRequest, until: Option<Duration>) -> usize {
        let class = self.room.kind(publish.event.index).map(|kind| kind.class);
        let is_ephemeral = class == Some(DeliveryClass::Ephemeral);
        let until = until.filter(|_| !is_ephemeral);
        match self.readiness(&publish, is_ephemeral, until) {
            Readiness::Accepts => {}
            Readiness::Holds(until) => {
                self.hold(publish, until, None);
                return self.pending_bytes();
            }
            Readiness::Refuses(refusal) => {
                self.refuse(publish.origin.source, publish.reply, refusal);
                return self.pending_bytes();
            }
        }
        let PublishRequest { event: mut new, origin, sender_outbox, reply } = publish;
        let retry = until
            .filter(|_| self.is_stored)
            .map(|until| Box::new(HeldDraft { event: new.clone(), sender_outbox, until }));
        let key = new.key.take().map(|key| (Arc::clone(&new.from), key));
        if let Some((from, key)) = &key
            && let Some(seen) = self.find_logged(from, key)
        {
            return self.accept_logged_duplicate(LoggedDuplicate { seen, origin, reply });
        }
        let pending = self.pending.get_or_insert_with(|| PendingAppend::after(self.log.end().clone()));
        let owned = key.as_ref().map(|(from, key)| (owner(from, key), key.clone()));
        if let Some(first) = owned.as_ref().and_then(|key| pending.keys.get(key)) {
            let source = origin.source;
            pending.batch_duplicates.push(BatchDuplicate { original: *first, source, reply });
            return pending.bytes;
        }
        let offset = pending.end.offset;
        let record = pending.number(&self.room, &self.id, &mut new, is_ephemeral, self.time.unix_ms);
        if self.is_stored && (record.seq.is_some() || self.is_clustered) {
            let key = key.as_ref().map(|(_, key)| &**key);
            pending.events.push(new.into_stored(&self.room, &record, key, offset));
        }
        if let Some(key) = owned {
            pending.keys.insert(key, pending.drafts.len());
        }
        pending.drafts.push(PendingEvent { record, key, origin, reply, retry });
        pending.bytes
    }

    /// Returns whether an event can be accepted now, and if not, whether it is held.
    fn readiness(&self, publish: &PublishRequest, is_ephemeral: bool, until: Option<Duration>) -> Readiness {
        if publish.is_revoked() {
            return Readiness::Refuses(revoked());
        }
        if self.is_deleted() {
            let message = format!("room `{}` was deleted", self.id);
            return Readiness::Refuses(Refusal::new(Code::RoomNotFound, message));
        }
        if self.is_closed() {
            return Readiness::Refuses(unavailable(&self.id));
        }
        match until {
            Some(until) if self.is_uncertain() => Readiness::Holds(until),
            None if self.is_uncertain() && !is_ephemeral => Readiness::Refuses(unavailable(&self.id)),
            _ => Readiness::Accepts,
        }
    }

    /// Returns the acknowledgement of an event that the log has, by its idempotency key. `None` also if only the
    /// backplane can tell: it checks the key together with the append, for all nodes.
    fn find_logged(&mut self, from: &Arc<str>, key: &str) -> Option<Accepted> {
        let seen = self.log.keys.find(from, key)?;
        self.log.keys.remember_for_newcomer(from, key, &seen);
        (!(self.is_clustered && self.is_stored && seen.seq.is_some())).then_some(seen)
    }

    /// Acknowledges a retry of an event that the log has; with a store, once that has shown that it still has the log.
    fn accept_logged_duplicate(&mut self, duplicate: LoggedDuplicate) -> usize {
        if duplicate.seen.seq.is_some() && self.is_stored {
            let pending = self.pending.get_or_insert_with(|| PendingAppend::after(self.log.end().clone()));
            pending.duplicates.push(duplicate);
            return pending.bytes;
        }
        self.reply_repeated(duplicate);
        self.pending_bytes()
    }

    /// Takes the pending batch.
    pub(in crate::live) fn take_pending(&mut self) -> Option<PendingAppend> {
        self.pending.take()
    }

    /// Takes the store's part of a pending batch; `None` if there is nothing to append.
    pub(in crate::live) fn take_append(&self, pending: &mut PendingAppend) -> Option<Append> {
        let events = std::mem::take(&mut pending.events);
        (!events.is_empty()).then(|| Append::new(Arc::clone(&self.id), Arc::clone(&self.store_epoch), events))
    }

    /// Commits events that are durable: adds them to the log and acknowledges them. Returns the batch to deliver.
    pub(in crate::live) fn commit(&mut self, pending: PendingAppend) -> Batch {
        let PendingAppend { drafts, batch_duplicates, duplicates, .. } = pending;
        duplicates.into_iter().for_each(|duplicates| self.reply_repeated(duplicates));
        let mut batch = self.new_batch();
        let mut outcomes = Vec::new();
        for draft in drafts {
            let accepted = self.commit_one(draft, &mut batch);
            if !batch_duplicates.is_empty() {
                outcomes.push(accepted);
            }
        }
        self.reply_to_duplicates(batch_duplicates, &outcomes);
        self.request_trim_if_due();
        batch
    }

    /// Adds an event to the log and acknowledges it.
    pub(super) fn commit_one(&mut self, draft: PendingEvent, batch: &mut Batch) -> Accepted {
        let PendingEvent { record, key, origin, reply, .. } = draft;
        let accepted = Accepted::new(record.seq, record.event_id.as_str(), record.timestamp);
        let event = record.event;
        self.room.meter.accepted(event, origin.source);
        origin.accepted(&accepted);
        batch.note_origin(event, origin.received_at);
        batch.push(Arc::clone(&record));
        self.log.append(record);
        if let Some((from, key)) = key {
            self.log.keys.remember(&from, &key, accepted.clone());
        }
        let recipients = match &reply {
            PublishReply::Delivered(_) => self.recipients_of(event),
            _ => 0,
        };
        self.send_reply(reply, Ok((accepted.clone(), recipients)));
        accepted
    }

    fn reply_repeated(&mut self, duplicates: LoggedDuplicate) {
        let LoggedDuplicate { seen, origin, reply } = duplicates;
        self.room.meter.duplicate(origin.source);
        origin.accepted(&seen);
        self.reply(reply, Ok(seen));
    }

    /// Acknowledges retries that were in the same batch as their original, with the original's outcome.
    pub(super) fn reply_to_duplicates(
        &mut self,
        batch_duplicates: Vec<BatchDuplicate>,
        outcomes: &[Accepted],
    ) {
        for BatchDuplicate { original, source, reply } in batch_duplicates {
            self.room.meter.duplicate(source);
            let seen = outcomes.get(original).map(Accepted::to_duplicate);
            self.reply(reply, seen.ok_or_else(|| Refusal::new(Code::Internal, "internal error")));
        }
    }

    /// Refuses or holds the durable events of a batch that the store failed to append. Returns the ephemeral ones,
    /// which are still to be delivered.
    pub(in crate::live) fn refuse_pending(&mut self, pending: PendingAppend) -> Option<PendingAppend> {
        let refusal = unavailable(&self.id);
        let mut left = PendingAppend::after(self.log.end().clone());
        for draft in pending.drafts {
            if draft.record.seq.is_none() {
                left.drafts.push(draft);
            } else {
                self.hold_or_refuse(draft);
            }
        }
        // The class of an event that came twice is no longer known; a retry finds out.
        for BatchDuplicate { source, reply, .. } in pending.batch_duplicates {
            self.refuse(source, reply, refusal.clone());
        }
        for LoggedDuplicate { origin, reply, .. } in pending.duplicates {
            self.refuse(origin.source, reply, refusal.clone());
        }
        (!left.drafts.is_empty()).then_some(left)
    }

    /// Notes that the outcome of an append is unknown: the log accepts no event until the store's head has been read.
    pub(in crate::live) fn mark_uncertain(&mut self, time: RoomTime) {
        self.time = time;
        self.probe_later();
    }

    /// Starts the timer of the next probe; until then, the log accepts no event.
    pub(super) fn probe_later(&mut self) {
        self.refuse_expired();
        if self.is_closed() {
            return;
        }
        self.lifecycle = Lifecycle::Uncertain { probe_at: self.time.monotonic + PROBE_INTERVAL };
        self.effects.push(RoomEffect::StartTimer(PROBE_INTERVAL, RoomTimer::Probe));
    }

    /// Returns whether it is time to read the store's head.
    pub(in crate::live) fn is_probe_due(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Uncertain { probe_at } if self.time.monotonic >= probe_at)
    }

    /// Returns whether the outcome of the last append is unknown.
    pub(super) fn is_uncertain(&self) -> bool {
        matches!(self.lifecycle, Lifecycle::Uncertain { .. })
    }

    /// Notes that the log is equal to the store's: held events are accepted again.
    pub(in crate::live) fn mark_certain(&mut self, time: RoomTime) {
        self.time = time;
        if self.is_uncertain() {
            self.lifecycle = Lifecycle::Live;
        }
        self.resubmit_held();
    }

    /// Adds events that the store has beyond the log: an append that seemed to fail, or events of other nodes. Returns
    /// the batch to deliver.
    pub(in crate::live) fn append_stored(&mut self, events: &[StoredEvent]) -> Batch {
        let mut batch = self.new_batch();
        events.iter().for_each(|stored| self.append_stored_event(stored, &mut batch));
        self.request_trim_if_due();
        batch
    }

    /// Adds the event if it has the next `seq`.
    pub(super) fn append_stored_event(&mut self, stored: &StoredEvent, batch: &mut Batch) {
        if stored.seq != self.log.next_seq() {
            return;
        }
        if let Some((event, at)) = self.take_held(stored) {
            batch.note_origin(event, at);
        }
        let record = Arc::new(self.room.record(&self.id, stored));
        if record.is_declared() {
            batch.push(Arc::clone(&record));
        }
        self.log.append(record);
        if let Some(key) = &stored.key {
            self.log.keys.remember(&stored.from, key, accepted(stored));
        }
    }

    /// Delivers an event to some members only, without the log; returns their number.
    pub(crate) fn deliver_targeted(&mut self, publish: PublishRequest, targeted: &TargetedEvent) -> usize {
        let PublishRequest { event: new, origin, .. } = publish;
        let TargetedEvent { event_id, timestamp, to } = targeted;
        let (event, event_id, timestamp) = (new.index, *event_id, *timestamp);
        let json = new.encode(&self.room, &self.id, event_id, timestamp, None);
        let mut batch = self.new_batch();
        let (seq, conflated, digest) = (None, None, None);
        batch.push(Arc::new(Record { seq, event, event_id, timestamp, conflated, digest, json }));
        batch.note_origin(event, origin.received_at);
        let mut subscriptions = 0;
        for connection in to {
            if let Some(subscription) = self.members.get_mut(*connection)
                && subscription.filter.contains(event)
            {
                batch.note_recipient(subscription.filter);
                subscription.deliver(&batch);
                subscriptions += 1;
            }
        }
        batch.delivered();
        subscriptions
    }

    fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes)
    }

    pub(super) fn refuse(&mut self, source: Source, reply: PublishReply, refusal: Refusal) {
        if reply.is_uncounted() {
            self.room.meter.refused_later(source, &refusal);
        }
        self.send_reply(reply.without_delivery(), Err(refusal));
    }

    pub(super) fn reply(&mut self, reply: PublishReply, outcome: Result<Accepted, Refusal>) {
        self.send_reply(reply.without_delivery(), outcome.map(|accepted| (accepted, 0)));
    }

    fn send_reply(&mut self, reply: PublishReply, outcome: PublishOutcome) {
        if !matches!(reply, PublishReply::None) {
            self.replies.push((reply, outcome));
        }
    }

    /// Returns the number of subscriptions that an event of this kind is handed to.
    fn recipients_of(&self, event: EventIndex) -> usize {
        self.members.iter().filter(|subscription| subscription.filter.contains(event)).count()
    }
}
