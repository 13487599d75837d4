//! How an event gets into the log: accepted, made safe, and then said so.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant as Moment;

use super::{
    super::{
        batch::Batch,
        inbox::{Publish, Reply, not_in_room, revoked},
    },
    State,
    held::Retry,
    now,
};
use crate::{
    Accepted, Code, DeliveryClass, Refusal,
    hub::{ConnectionId, Outbox},
    log::{Head, Record, owner},
    observe::{EventOrigin, Source},
    store::{Append, StoredEvent},
    wire::{Id, frame},
};

/// Events that were accepted and aren't safe yet: nobody is told of them before they are.
#[derive(Debug)]
pub(in super::super) struct Pending {
    pub(super) drafts: Vec<Draft>,
    /// Where the log ends with them.
    pub(super) end: Head,
    /// The same as the store keeps them, where there is one; all of them, where others are told of them too.
    pub(super) events: Vec<StoredEvent>,
    /// Which of the drafts came under which key, for those that come twice at once.
    keys: HashMap<Key, usize>,
    pub(super) again: Vec<(usize, Source, Reply)>,
    /// Retries of events in the log: their senders are answered once the store has shown that it still has that log.
    repeated: Vec<Repeated>,
    bytes: usize,
}

/// A retry of an event that was accepted before.
#[derive(Debug)]
struct Repeated {
    seen: Accepted,
    origin: EventOrigin,
    reply: Reply,
}

/// An event for some connections alone.
#[derive(Debug)]
pub(crate) struct Whisper {
    pub(crate) event_id: Id,
    /// Unix milliseconds.
    pub(crate) timestamp: u64,
    pub(crate) to: Vec<ConnectionId>,
}

/// The sender, or whose the key is, and the key that makes a retry harmless.
type Key = (Arc<str>, Box<str>);

#[derive(Debug)]
pub(super) struct Draft {
    pub(super) record: Arc<Record>,
    pub(super) key: Option<Key>,
    pub(super) origin: EventOrigin,
    pub(super) reply: Reply,
    /// In a room whose events wait while the log can't be written.
    pub(super) retry: Option<Box<Retry>>,
}

/// How long nobody asks the store again after it failed.
const PAUSE: Duration = Duration::from_millis(500);

impl State {
    /// Takes an event; yields how many bytes wait to be delivered.
    pub(in super::super) fn accept(&mut self, publish: Publish) -> usize {
        let is_out = |id| !self.members.has(id) && !self.expects(id);
        if self.put_out && publish.connection().is_some_and(|outbox| is_out(outbox.id())) {
            self.turn_down(publish.origin.source, publish.reply, not_in_room());
            return self.waiting();
        }
        let until = self.room.options.wait.map(|wait| Moment::now() + wait);
        self.accept_until(publish, until)
    }

    /// Takes an event, which may wait until then if the log can't be written.
    pub(super) fn accept_until(&mut self, publish: Publish, until: Option<Moment>) -> usize {
        if publish.is_revoked() {
            self.turn_down(publish.origin.source, publish.reply, revoked());
            return self.waiting();
        }
        let class = self.room.events.get(usize::from(publish.event)).map(|kind| kind.class);
        let ephemeral = class == Some(DeliveryClass::Ephemeral);
        let until = until.filter(|_| !ephemeral);
        if let (Some(until), false, true) = (until, self.is_gone(), self.unsettled.is_some()) {
            self.hold(publish, until, None);
            return self.waiting();
        }
        if let Some(refusal) = self.takes_nothing(ephemeral) {
            self.turn_down(publish.origin.source, publish.reply, refusal);
            return self.waiting();
        }
        let Publish { event, data, conflated, from, server, meta, key, event_id, origin, by, reply } =
            publish;
        let key = key.map(|key| (Arc::clone(&from), key));
        if let Some((seen, (from, key))) =
            key.as_ref().and_then(|key| Some((self.log.keys.seen(&key.0, &key.1)?, key)))
        {
            self.log.keys.remember_for_newcomer(from, key, &seen);
            match seen.seq.is_some() && self.archive.is_some() {
                // The backplane looks the key up beside the log, for all nodes.
                true if self.is_shared() => {}
                true => {
                    let pending = self.pending.get_or_insert_with(|| Pending::after(self.log.end().clone()));
                    pending.repeated.push(Repeated { seen, origin, reply });
                    return pending.bytes;
                }
                false => {
                    self.reply_repeated(Repeated { seen, origin, reply });
                    return self.waiting();
                }
            }
        }
        let pending = self.pending.get_or_insert_with(|| Pending::after(self.log.end().clone()));
        let owned = key.as_ref().map(|(from, key)| (owner(from, key), key.clone()));
        if let Some(first) = owned.as_ref().and_then(|key| pending.keys.get(key)) {
            pending.again.push((*first, origin.source, reply));
            return pending.bytes;
        }
        let seq = (!ephemeral).then(|| pending.end.newest.map_or(1, |(seq, _)| seq + 1));
        let event_id = event_id.unwrap_or_else(Id::fresh);
        // So that an event that is looked up by its time is found by its number.
        let timestamp = now().max(pending.end.timestamp);
        let head = frame::EventHead {
            room_id: &self.id,
            event: self.room.event_name(event),
            from: &from,
            timestamp,
            event_id: event_id.as_str(),
            seq,
            server,
            meta: meta.as_deref(),
        };
        let json = head.encode(&data);
        let digest = (self.room.options.audit && seq.is_some())
            .then(|| Box::new(crate::audit::link(pending.end.digest.as_deref(), &json)));
        let offset = pending.end.offset;
        pending.bytes += json.len();
        if let Some(seq) = seq {
            pending.end.newest = Some((seq, event_id));
            pending.end.timestamp = timestamp;
            pending.end.offset += u64::try_from(json.len()).unwrap_or(u64::MAX);
            pending.end.digest.clone_from(&digest);
        }
        let retry = until.filter(|_| self.archive.is_some()).map(|until| {
            let (data, meta, from) = (data.clone(), meta.clone(), Arc::clone(&from));
            Box::new(Retry { data, meta, conflated: conflated.clone(), from, server, by, until })
        });
        if self.archive.is_some() && (seq.is_some() || self.peers.is_some()) {
            pending.events.push(StoredEvent {
                seq: seq.unwrap_or(0),
                event_id,
                timestamp,
                event: self.room.event_name(event).into(),
                from,
                from_server: server,
                data: data.into(),
                meta: meta.map(Arc::from),
                conflation_key: conflated.as_deref().map(Arc::from),
                key: key.as_ref().map(|(_, key)| Arc::from(&**key)),
                offset,
                digest: digest.as_deref().copied(),
            });
        }
        let conflated = conflated.map(String::into_boxed_str);
        let record = Arc::new(Record { seq, event, event_id, timestamp, conflated, digest, json });
        if let Some(key) = owned {
            pending.keys.insert(key, pending.drafts.len());
        }
        pending.drafts.push(Draft { record, key, origin, reply, retry });
        pending.bytes
    }

    /// What was accepted and waits.
    pub(in super::super) fn take_pending(&mut self) -> Option<Pending> {
        self.pending.take()
    }

    /// What the store is to append of it.
    pub(in super::super) fn append_of(&self, pending: &mut Pending) -> Option<Append> {
        let events = std::mem::take(&mut pending.events);
        (!events.is_empty()).then(|| Append::new(Arc::clone(&self.id), Arc::clone(&self.stored_as), events))
    }

    /// What was accepted is safe: it goes into the log, and whoever sent it is told; yields what is to be delivered.
    pub(in super::super) fn settle(&mut self, pending: Pending) -> Batch {
        let Pending { drafts, again, repeated, .. } = pending;
        repeated.into_iter().for_each(|repeated| self.reply_repeated(repeated));
        let mut batch = self.batch();
        let mut said = Vec::new();
        for draft in drafts {
            let accepted = self.take(draft, &mut batch);
            if !again.is_empty() {
                said.push(accepted);
            }
        }
        self.reply_again(again, &said);
        self.note_trimming();
        batch
    }

    /// An event goes into the log, and whoever sent it is told.
    pub(super) fn take(&mut self, draft: Draft, batch: &mut Batch) -> Accepted {
        let Draft { record, key, origin, reply, .. } = draft;
        let accepted = Accepted {
            seq: record.seq,
            event_id: record.event_id.as_str().to_owned(),
            timestamp: record.timestamp,
            duplicate: false,
        };
        let event = record.event;
        self.room.meter.accepted(event, origin.source);
        origin.accepted(&accepted);
        batch.came(event, origin.received_at);
        batch.push(Arc::clone(&record));
        self.log.append(record);
        if let Some((from, key)) = key {
            self.log.keys.remember(&from, &key, accepted.clone());
        }
        match reply {
            Reply::Delivered(waiting) => self.undelivered.push((event, accepted.clone(), waiting)),
            reply => self.reply(reply, Ok(accepted.clone())),
        }
        accepted
    }

    fn reply_repeated(&mut self, repeated: Repeated) {
        let Repeated { seen, origin, reply } = repeated;
        self.room.meter.duplicate(origin.source);
        origin.accepted(&seen);
        self.reply(reply, Ok(seen));
    }

    /// Those whose events came twice at once are told what came of the first.
    pub(super) fn reply_again(&mut self, again: Vec<(usize, Source, Reply)>, said: &[Accepted]) {
        for (first, source, reply) in again {
            self.room.meter.duplicate(source);
            let seen = said.get(first).map(|accepted| Accepted { duplicate: true, ..accepted.clone() });
            self.reply(reply, seen.ok_or_else(|| Refusal::new(Code::Internal, "internal error")));
        }
    }

    /// The store failed to take it: whoever sent it is told, and what was never meant to be kept is delivered still.
    pub(in super::super) fn refuse(&mut self, pending: Pending) -> Option<Pending> {
        let refusal = unavailable(&self.id);
        let mut left = Pending::after(self.log.end().clone());
        for draft in pending.drafts {
            if draft.record.seq.is_none() {
                left.drafts.push(draft);
            } else {
                self.hold_or_refuse(draft);
            }
        }
        // Whether what came twice is ephemeral is no longer known; a retry finds out.
        for (_, source, reply) in pending.again {
            self.turn_down(source, reply, refusal.clone());
        }
        for Repeated { origin, reply, .. } in pending.repeated {
            self.turn_down(origin.source, reply, refusal.clone());
        }
        (!left.drafts.is_empty()).then_some(left)
    }

    /// An append failed, and may have been done: the log takes nothing until the store has told where it ends.
    pub(in super::super) fn unsettle(&mut self) {
        let now = Moment::now();
        self.give_up(now);
        self.unsettled = Some(now + PAUSE);
        if let Some(instance) = self.instance.upgrade() {
            // Its turn is what asks.
            instance.cast_after(PAUSE, |_| ());
        }
    }

    /// Whether the store is to be asked where the log ends.
    pub(in super::super) fn is_to_be_settled(&self) -> bool {
        self.unsettled.is_some_and(|until| Moment::now() >= until)
    }

    /// Whether nobody knows where the log ends.
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled.is_some()
    }

    /// The store told: all that it has is in the log.
    pub(in super::super) fn settled(&mut self) {
        self.unsettled = None;
        self.release();
    }

    /// Takes what the store has beyond the log: an append that failed was done after all, or others put it there. Yields what
    /// is to be delivered.
    pub(in super::super) fn adopt(&mut self, events: &[StoredEvent]) -> Batch {
        let mut batch = self.batch();
        events.iter().for_each(|stored| self.adopt_one(stored, &mut batch));
        self.note_trimming();
        batch
    }

    /// Takes the event if it is the next.
    pub(super) fn adopt_one(&mut self, stored: &StoredEvent, batch: &mut Batch) {
        if stored.seq != self.log.next_seq() {
            return;
        }
        if let Some((event, at)) = self.found(stored) {
            batch.came(event, at);
        }
        let record = Arc::new(self.room.record(&self.id, stored));
        if record.is_declared() {
            batch.push(Arc::clone(&record));
        }
        self.log.append(record);
        if let Some(key) = &stored.key {
            self.log.keys.remember(&stored.from, key, super::shared::accepted(stored));
        }
    }

    /// Hands an event to some members alone, past the log; yields to how many.
    pub(crate) fn whisper(&mut self, publish: Publish, whisper: &Whisper) -> usize {
        let Publish { event, data, from, server, meta, origin, .. } = publish;
        let Whisper { event_id, timestamp, to } = whisper;
        let (event_id, timestamp) = (*event_id, *timestamp);
        let head = frame::EventHead {
            room_id: &self.id,
            event: self.room.event_name(event),
            from: &from,
            timestamp,
            event_id: event_id.as_str(),
            seq: None,
            server,
            meta: meta.as_deref(),
        };
        let json = head.encode(&data);
        let mut batch = self.batch();
        let (seq, conflated, digest) = (None, None, None);
        batch.push(Arc::new(Record { seq, event, event_id, timestamp, conflated, digest, json }));
        batch.came(event, origin.received_at);
        let mut readers = 0;
        for connection in to {
            if let Some(reading) = self.members.get_mut(*connection)
                && reading.wanted.contains(event)
            {
                batch.hand(reading.wanted);
                reading.deliver(&batch);
                readers += 1;
            }
        }
        batch.delivered();
        readers
    }

    /// Why no event can be taken now.
    fn takes_nothing(&self, ephemeral: bool) -> Option<Refusal> {
        if self.deleted {
            return Some(Refusal::new(Code::RoomNotFound, format!("room `{}` was deleted", self.id)));
        }
        (self.over || (self.unsettled.is_some() && !ephemeral)).then(|| unavailable(&self.id))
    }

    fn waiting(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes)
    }

    pub(super) fn turn_down(&mut self, source: Source, reply: Reply, refusal: Refusal) {
        let answered = reply.turn_down(&self.room.meter, source, refusal);
        self.answered(answered);
    }

    pub(super) fn reply(&mut self, reply: Reply, outcome: Result<Accepted, Refusal>) {
        let answered = reply.give(outcome);
        self.answered(answered);
    }

    /// A frame waits in that outbox.
    fn answered(&mut self, outbox: Option<Arc<Outbox>>) {
        if let Some(outbox) = outbox
            && self.answered.last().is_none_or(|last| !Arc::ptr_eq(last, &outbox))
        {
            self.answered.push(outbox);
        }
    }
}

impl Whisper {
    /// An event of now.
    pub(crate) fn new(to: Vec<ConnectionId>) -> Self {
        Whisper { event_id: Id::fresh(), timestamp: now(), to }
    }

    /// What its sender is told.
    pub(crate) fn accepted(&self) -> Accepted {
        let (event_id, timestamp) = (self.event_id.as_str().to_owned(), self.timestamp);
        Accepted { seq: None, event_id, timestamp, duplicate: false }
    }
}

impl Pending {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.drafts.is_empty()
    }

    /// Returns whether any of it is a retry of what was accepted before.
    pub(in super::super) fn repeats(&self) -> bool {
        !self.repeated.is_empty()
    }

    /// The first so many of it, and the rest.
    pub(in super::super) fn split(mut self, first: usize) -> (Self, Self) {
        let mut rest = Pending::after(self.end.clone());
        rest.drafts = self.drafts.split_off(first.min(self.drafts.len()));
        for (of, source, reply) in std::mem::take(&mut self.again) {
            match of.checked_sub(first) {
                Some(of) => rest.again.push((of, source, reply)),
                None => self.again.push((of, source, reply)),
            }
        }
        (self, rest)
    }

    pub(super) fn after(end: Head) -> Self {
        Pending {
            drafts: Vec::new(),
            end,
            events: Vec::new(),
            keys: HashMap::new(),
            again: Vec::new(),
            repeated: Vec::new(),
            bytes: 0,
        }
    }
}

/// The store can't take it now.
pub(crate) fn unavailable(room_id: &str) -> Refusal {
    Refusal::new(Code::Unavailable, format!("the log of room `{room_id}` can't be reached now; try again"))
}
