//! What a room instance holds: its log, who is in it, and what is about to be delivered.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::SystemTime,
};

use serde_json::value::RawValue;

use super::{
    Instance, Link, Listener, Outbox, RoomDecl,
    batch::Batch,
    inbox::{Delivered, Publish, Reply},
    instance::Info,
    members::{Members, Reader, Reading, Turnout},
    outbox::Cut,
    presence::{self, Presence},
};
use crate::{
    Accepted, Code, DeliveryClass, Position, Refusal,
    log::{Log, Page, Record, Resume},
    wire::{EventSet, Id, frame, stream_position},
};

/// One socket or stream, or a listener in server code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// See [`Instance`]. Only one task at a time has it.
#[derive(Debug)]
pub(crate) struct State {
    instance: Weak<Instance>,
    room: Arc<RoomDecl>,
    id: Arc<str>,
    name: String,
    /// Whether somebody made it on purpose: then it stays though nobody is in it.
    created: bool,
    deleted: bool,
    log: Log,
    members: Members,
    /// In a room that declares it.
    presence: Option<Presence>,
    pending: Option<Batch>,
    pending_bytes: usize,
    /// Who was sent an `ok` that isn't written yet.
    answered: Vec<Arc<Outbox>>,
    /// Who waits for the pending batch to be delivered: of which event, and what to tell.
    undelivered: Vec<(u8, Accepted, Delivered)>,
}

/// A member's wish to be in.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) link: Arc<Link>,
    pub(crate) slot: u8,
    pub(crate) wanted: Option<EventSet>,
    pub(crate) since: Option<Position>,
    /// Of the request, as JSON.
    pub(crate) id: Option<Box<RawValue>>,
}

/// Why a join came to nothing.
#[derive(Debug)]
pub(crate) enum NotJoined {
    Refused(Refusal),
    /// The instance is no more; there may be a new one.
    Gone,
}

/// Bytes of one page of a replay.
const PAGE: u64 = 64 << 10;

impl State {
    pub(super) fn new(
        instance: Weak<Instance>,
        room: Arc<RoomDecl>,
        id: Arc<str>,
        epoch: Arc<str>,
        info: &Info,
    ) -> Self {
        let presence = room.options.presence.map(Presence::new);
        let name = info.name.clone().or_else(|| room.options.title.map(str::to_owned));
        State {
            instance,
            name: name.unwrap_or_else(|| room.name.to_owned()),
            created: info.created || !room.keyed,
            deleted: false,
            log: Log::new(epoch, room.options.retention),
            room,
            id,
            members: Members::default(),
            presence,
            pending: None,
            pending_bytes: 0,
            answered: Vec::new(),
            undelivered: Vec::new(),
        }
    }

    /// Takes an event into the log; yields how many bytes wait to be delivered.
    pub(super) fn accept(&mut self, publish: Publish) -> usize {
        let Publish { event, data, conflated, from, server, meta, key, reply } = publish;
        if self.deleted {
            self.reply(
                reply,
                Err(Refusal::new(Code::RoomNotFound, format!("room `{}` was deleted", self.id))),
            );
            return self.pending_bytes;
        }
        if let Some(seen) = key.as_ref().and_then(|key| self.log.keys.seen(&from, key)) {
            self.reply(reply, Ok(seen));
            return self.pending_bytes;
        }
        let class =
            self.room.events.get(usize::from(event)).map_or(DeliveryClass::Durable, |kind| kind.class);
        let seq = (class != DeliveryClass::Ephemeral).then(|| self.log.next_seq());
        let (event_id, timestamp) = (Id::fresh(), now());
        let json = self.encode(event, &data, &from, server, meta.as_deref(), seq, event_id, timestamp);
        let conflated = conflated.map(String::into_boxed_str);
        let record = Arc::new(Record { seq, event, event_id, timestamp, conflated, json });
        self.pending_bytes += record.json.len();
        self.pending
            .get_or_insert_with(|| {
                Batch::new(Arc::clone(&self.room), Arc::clone(&self.id), Arc::clone(self.log.epoch()))
            })
            .push(Arc::clone(&record));
        self.log.append(record);
        let accepted = Accepted { seq, event_id: event_id.as_str().to_owned(), timestamp, duplicate: false };
        if let Some(key) = &key {
            self.log.keys.remember(&from, key, accepted.clone());
        }
        match reply {
            Reply::Delivered(waiting) => self.undelivered.push((event, accepted, waiting)),
            reply => self.reply(reply, Ok(accepted)),
        }
        self.pending_bytes
    }

    /// Hands an event to some members alone, past the log; yields to how many.
    pub(crate) fn whisper(&mut self, publish: Publish, to: &[ConnectionId]) -> (Accepted, usize) {
        let Publish { event, data, from, server, meta, .. } = publish;
        let (event_id, timestamp) = (Id::fresh(), now());
        let json = self.encode(event, &data, &from, server, meta.as_deref(), None, event_id, timestamp);
        let mut batch =
            Batch::new(Arc::clone(&self.room), Arc::clone(&self.id), Arc::clone(self.log.epoch()));
        batch.push(Arc::new(Record { seq: None, event, event_id, timestamp, conflated: None, json }));
        let mut readers = 0;
        for connection in to {
            if let Some(reading) = self.members.get_mut(*connection)
                && reading.wanted.contains(event)
            {
                reading.deliver(&batch);
                readers += 1;
            }
        }
        let event_id = event_id.as_str().to_owned();
        (Accepted { seq: None, event_id, timestamp, duplicate: false }, readers)
    }

    /// What is to be delivered now.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        self.pending_bytes = 0;
        self.pending.take()
    }

    /// Delivers a batch to some readers; yields where to go on.
    pub(super) fn deliver(&mut self, batch: &Batch, from: usize, most: usize) -> Option<usize> {
        let (readers, next) = self.members.stretch(from, most);
        for reading in readers {
            if reading.replaying.is_none() && reading.wanted.meets(batch.kinds()) {
                reading.deliver(batch);
            }
        }
        next
    }

    /// Writes the `ok`s that went with no event, and tells who waited for a delivery.
    pub(super) fn answer(&mut self) {
        self.answered.drain(..).for_each(|outbox| outbox.nudge());
        for (event, accepted, waiting) in self.undelivered.drain(..) {
            let readers = self.members.iter().filter(|reading| reading.wanted.contains(event)).count();
            // Whoever asked may be gone.
            let _ = waiting.send(Ok((accepted, readers)));
        }
    }

    /// Lets somebody in, and says so before anything else of the room reaches them; yields whether they are new.
    pub(crate) fn join(&mut self, join: Join) -> Result<bool, NotJoined> {
        if self.deleted {
            return Err(NotJoined::Gone);
        }
        let connection = join.link.id();
        let new = !self.members.has(connection);
        let size = self.members.size();
        let capacity = self.instance.upgrade().and_then(|instance| instance.max_size());
        if new && capacity.is_some_and(|capacity| size >= usize::try_from(capacity).unwrap_or(usize::MAX)) {
            let message = format!("room `{}` is full: it holds {size} connections", self.id);
            return Err(NotJoined::Refused(Refusal::new(Code::RoomFull, message)));
        }
        if new {
            self.enter(&join);
        }
        self.log.trim(now());
        let resume = self.log.resume(join.since.as_ref());
        let Some(reading) = self.members.get_mut(connection) else { return Err(NotJoined::Gone) };
        if let Some(wanted) = join.wanted {
            reading.wanted = wanted;
        }
        let wanted = reading.wanted;
        let (head, _) = self.log.head();
        let behind = match resume {
            Resume::Complete { after } if after < head => Some(after),
            _ => None,
        };
        // Joining again is no late coming: its reader has what came before.
        let late = new || join.since.is_some();
        if late {
            let before = std::mem::replace(&mut reading.replaying, behind);
            if let (Some(_), None, Some(instance)) = (before, behind, self.instance.upgrade()) {
                join.link.outbox.replayed(&instance, false);
            }
        }
        self.say_joined(&join, resume, behind);
        if late && self.room.options.sync > 0 && !matches!(resume, Resume::Complete { .. }) {
            let limit = usize::try_from(self.room.options.sync).unwrap_or(usize::MAX);
            let mut page = self.log.before(None, wanted, limit);
            page.records.reverse();
            join.link.outbox.send_page("history", &self.history(&page, None));
        }
        if behind.is_some()
            && let Some(instance) = self.instance.upgrade()
        {
            join.link.outbox.replay(&instance);
        }
        Ok(new)
    }

    /// Has a listener of server code read along from now on.
    pub(crate) fn listen(&mut self, listener: Arc<Listener>, wanted: EventSet) {
        self.members.add(Reading { reader: Reader::Listener(listener), slot: 0, wanted, replaying: None });
    }

    /// The connection is out; yields whether it was in.
    pub(crate) fn leave(&mut self, connection: ConnectionId) -> bool {
        let Some((gone, turnout)) = self.members.remove(connection) else { return false };
        if let Reader::Member(outbox, link) = &gone.reader {
            if let (Some(_), Some(instance)) = (gone.replaying, self.instance.upgrade()) {
                outbox.replayed(&instance, false);
            }
            if turnout == Turnout::User {
                self.user_went(&link.user_id);
            }
        }
        self.tell_size();
        true
    }

    /// The server puts a connection out, and says why; yields whether it was in.
    pub(crate) fn remove(&mut self, link: &Link, reason: &str) -> bool {
        let was_in = self.leave(link.id());
        if was_in {
            let left = frame::Left { room_id: &self.id, reason: Some(reason) };
            link.outbox.send("left", &frame::Frame::new("left", None, left).encode());
        }
        was_in
    }

    /// Changes what a member is subscribed to; yields whether it is one.
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        change: impl FnOnce(EventSet) -> EventSet,
    ) -> bool {
        self.members.get_mut(connection).map(|reading| reading.wanted = change(reading.wanted)).is_some()
    }

    /// Sends a reader the next page of its replay; at the end of the log it goes on live.
    pub(crate) fn replay_page(&mut self, connection: ConnectionId) {
        let Some(reading) = self.members.get_mut(connection) else { return };
        let Some(after) = reading.replaying else { return };
        let Some((page, cursor)) = self.log.after(after, reading.wanted, PAGE) else {
            // The log was trimmed past its reader.
            return reading.fell_out(&self.id);
        };
        reading.replaying = page.more.then_some(cursor);
        if !page.records.is_empty() {
            let mut batch =
                Batch::new(Arc::clone(&self.room), Arc::clone(&self.id), Arc::clone(self.log.epoch()));
            page.records.into_iter().for_each(|record| batch.push(record));
            reading.deliver_page(&batch);
        }
        match (&reading.reader, self.instance.upgrade()) {
            (Reader::Member(outbox, _), Some(instance)) => outbox.replayed(&instance, page.more),
            // Until its queue is full; then it asks by itself.
            (Reader::Listener(listener), Some(instance)) if page.more && !listener.is_behind() => {
                instance.replay_more(connection);
            }
            _ => {}
        }
    }

    /// A page of the log, as the `history` frame.
    pub(crate) fn page(
        &mut self,
        before: Option<u64>,
        wanted: EventSet,
        limit: usize,
        id: Option<&RawValue>,
    ) -> Vec<u8> {
        self.log.trim(now());
        self.history(&self.log.before(before, wanted, limit), id)
    }

    /// Who is in it, as the `members` frame.
    pub(crate) fn members(&self, after: Option<&str>, limit: usize, id: Option<&RawValue>) -> Vec<u8> {
        let (members, more) = self.members.list(after, limit);
        let body = frame::Members { room_id: &self.id, members, size: self.members.users(), more };
        frame::Frame::new("members", id, body).encode()
    }

    /// The users who are in it.
    pub(crate) fn user_ids(&self) -> Vec<String> {
        self.members.list(None, usize::MAX).0.into_iter().map(|member| member.user_id).collect()
    }

    /// Ends the room for everybody in it; yields whom, unless it has ended.
    pub(crate) fn delete(&mut self, reason: &str) -> Option<Vec<Arc<Link>>> {
        if std::mem::replace(&mut self.deleted, true) {
            return None;
        }
        let left = frame::Left { room_id: &self.id, reason: Some(reason) };
        let left = frame::Frame::new("left", None, left).encode();
        let mut gone = Vec::new();
        for reading in self.members.drain() {
            // A listener's queue closes with it.
            if let Reader::Member(outbox, link) = reading.reader {
                outbox.send("left", &left);
                gone.push(link);
            }
        }
        self.tell_size();
        // Before anybody is told: who then makes the room again doesn't find this one.
        if let Some(instance) = self.instance.upgrade() {
            instance.retire();
        }
        Some(gone)
    }

    #[cfg(any(test, feature = "push"))]
    pub(crate) fn epoch(&self) -> &str {
        self.log.epoch()
    }

    /// Whether nothing but its log would be lost with it.
    pub(super) fn is_idle(&self) -> bool {
        !self.created && self.members.is_empty()
    }

    /// Whether nobody needs the instance: it was deleted, or made by a join and left without a trace.
    pub(super) fn is_over(&self) -> bool {
        self.deleted || (!self.created && self.members.is_empty() && self.log.head().0 == 0)
    }

    /// Whether a new instance in its place must not pass for it.
    pub(super) fn has_past(&self) -> bool {
        self.deleted || self.log.head().0 > 0
    }

    /// The log is lost: readers are cut, so that they come back and are told.
    pub(super) fn abandon(&mut self) {
        for reading in self.members.drain() {
            if let Reader::Member(outbox, _) = reading.reader {
                outbox.cut(Cut::Closed);
            }
        }
        self.tell_size();
    }

    /// Tells the members who came and went.
    pub(crate) fn tell_presence(&mut self) {
        if let Some(presence) = &mut self.presence {
            presence.tell(&self.id, &self.members);
        }
    }

    fn enter(&mut self, join: &Join) {
        let turnout = self.members.add(Reading {
            reader: Reader::Member(Arc::clone(&join.link.outbox), Arc::clone(&join.link)),
            slot: join.slot,
            wanted: self.room.default_events(),
            replaying: None,
        });
        let user = &join.link.user_id;
        if turnout == Turnout::User && self.presence.as_mut().is_some_and(|presence| presence.came(user)) {
            self.tell_presence_soon();
        }
        self.tell_size();
    }

    /// A user's last connection is out.
    fn user_went(&mut self, user: &Arc<str>) {
        let (Some(presence), Some(instance)) = (&mut self.presence, self.instance.upgrade()) else { return };
        let departure = presence.went(user);
        let user = Arc::clone(user);
        instance.cast_after(presence.grace, move |state| {
            if state.presence.as_mut().is_some_and(|presence| presence.gone(&user, departure)) {
                state.tell_presence_soon();
            }
        });
    }

    fn tell_presence_soon(&mut self) {
        let (Some(presence), Some(instance)) = (&mut self.presence, self.instance.upgrade()) else { return };
        if !std::mem::replace(&mut presence.waiting, true) {
            instance.cast_after(presence::GATHER, State::tell_presence);
        }
    }

    /// Says to a member that it is in, and where.
    fn say_joined(&self, join: &Join, resume: Resume, behind: Option<u64>) {
        let (head, event_id) = self.log.head();
        let joined = frame::Joined {
            room_id: &self.id,
            name: &self.name,
            epoch: self.log.epoch(),
            seq: head,
            event_id,
            resume: resume.name(),
            replay: behind.map_or(0, |after| head - after),
            members: self.members.users(),
        };
        let (seq, event_id) = match (resume, &join.since) {
            (Resume::Complete { after }, Some(since)) => (after, since.event_id.as_str()),
            _ => (head, event_id),
        };
        let position = stream_position(&self.id, self.log.epoch(), seq, event_id);
        let json = frame::Frame::new("joined", join.id.as_deref(), joined).encode();
        join.link.outbox.send_at("joined", &json, join.slot, position);
    }

    #[expect(clippy::too_many_arguments, reason = "they are the frame's fields")]
    fn encode(
        &self,
        event: u8,
        data: &str,
        from: &str,
        server: bool,
        meta: Option<&str>,
        seq: Option<u64>,
        event_id: Id,
        timestamp: u64,
    ) -> bytes::Bytes {
        let (room_id, event, event_id) = (&*self.id, self.room.event_name(event), event_id.as_str());
        frame::EventHead { room_id, event, from, timestamp, event_id, seq, server, meta }.encode(data)
    }

    fn tell_size(&self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.size.store(self.members.size(), Ordering::Relaxed);
            if self.members.is_empty() {
                instance.emptied.store(now(), Ordering::Relaxed);
            }
        }
    }

    fn history(&self, page: &Page, id: Option<&RawValue>) -> Vec<u8> {
        // The records hold what we encoded as JSON.
        let events =
            page.records.iter().filter_map(|record| serde_json::from_slice(&record.json).ok()).collect();
        frame::Frame::new("history", id, frame::History { room_id: &self.id, events, more: page.more })
            .encode()
    }

    fn reply(&mut self, reply: Reply, outcome: Result<Accepted, Refusal>) {
        match reply {
            Reply::None => {}
            Reply::Delivered(waiting) => {
                // What is no event, but was one before, has nobody to be delivered to.
                let _ = waiting.send(outcome.map(|accepted| (accepted, 0)));
            }
            Reply::Wait(waiting) => {
                // Whoever asked may be gone.
                let _ = waiting.send(outcome);
            }
            Reply::Frame(outbox, id) => {
                match (outcome, &id) {
                    (Ok(accepted), Some(id)) => outbox.queue("ok", &frame::accepted(id, &accepted)),
                    (Ok(_), None) => return,
                    (Err(refusal), id) => {
                        let id = id.as_deref().and_then(|id| serde_json::from_str(id).ok());
                        outbox.queue(
                            "error",
                            &frame::Frame::new("error", id, frame::Error::from(&refusal)).encode(),
                        );
                    }
                }
                if self.answered.last().is_none_or(|last| !Arc::ptr_eq(last, &outbox)) {
                    self.answered.push(outbox);
                }
            }
        }
    }
}

impl Resume {
    fn name(self) -> &'static str {
        match self {
            Resume::Fresh => "fresh",
            Resume::Complete { .. } => "complete",
            Resume::Lost => "lost",
        }
    }
}

/// Unix milliseconds.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
