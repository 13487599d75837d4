//! What a room instance holds: its log, who is in it, and what is about to be delivered.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, Weak, atomic::Ordering},
    time::SystemTime,
};

use serde_json::value::RawValue;

use super::{
    Instance, Listener, Outbox, RoomDecl,
    batch::Batch,
    inbox::{Publish, Reply},
    instance::Info,
    outbox::Cut,
};
use crate::{
    Accepted, Code, DeliveryClass, Position, Refusal,
    log::{Id, Log, Page, Record, Resume},
    wire::{EventSet, frame, stream_position},
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
    /// Members first come first served; the order means nothing.
    readers: Vec<Reading>,
    places: HashMap<ConnectionId, usize>,
    /// Connections of each user, in the order that they are listed in.
    users: BTreeMap<Arc<str>, usize>,
    listeners: usize,
    pending: Option<Batch>,
    pending_bytes: usize,
    /// Who was sent an `ok` that isn't written yet.
    answered: Vec<Arc<Outbox>>,
}

/// One reader of the room.
#[derive(Debug)]
struct Reading {
    connection: ConnectionId,
    reader: Reader,
    /// The member's user; a listener in server code has none.
    user: Option<Arc<str>>,
    /// Which of a stream's rooms this is.
    slot: u8,
    wanted: EventSet,
    /// Where a replay has got to; meanwhile nothing is delivered live.
    replaying: Option<u64>,
}

/// What reads.
#[derive(Debug, Clone)]
pub(crate) enum Reader {
    Connection(Arc<Outbox>),
    Listener(Arc<Listener>),
}

/// A member's wish to be in.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) user: Arc<str>,
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
        let name = info.name.clone().or_else(|| room.options.title.map(str::to_owned));
        State {
            instance,
            name: name.unwrap_or_else(|| room.name.to_owned()),
            created: info.created_by.is_some() || !room.keyed,
            deleted: false,
            log: Log::new(epoch, room.options.retention),
            room,
            id,
            readers: Vec::new(),
            places: HashMap::new(),
            users: BTreeMap::new(),
            listeners: 0,
            pending: None,
            pending_bytes: 0,
            answered: Vec::new(),
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
        self.reply(reply, Ok(accepted));
        self.pending_bytes
    }

    /// What is to be delivered now.
    pub(super) fn take_batch(&mut self) -> Option<Batch> {
        self.pending_bytes = 0;
        self.pending.take()
    }

    /// Delivers a batch to some readers; yields where to go on.
    pub(super) fn deliver(&mut self, batch: &Batch, from: usize, most: usize) -> Option<usize> {
        let to = (from + most).min(self.readers.len());
        for reading in self.readers.get_mut(from..to).unwrap_or_default() {
            if reading.replaying.is_none() && reading.wanted.meets(batch.kinds()) {
                reading.deliver(batch);
            }
        }
        (to < self.readers.len()).then_some(to)
    }

    /// Writes the `ok`s that went with no event.
    pub(super) fn answer(&mut self) {
        self.answered.drain(..).for_each(|outbox| outbox.nudge());
    }

    /// Lets somebody in, and says so before anything else of the room reaches them.
    pub(crate) fn join(&mut self, join: Join) -> Result<(), NotJoined> {
        if self.deleted {
            return Err(NotJoined::Gone);
        }
        let connection = join.outbox.id();
        let present = self.places.get(&connection).copied();
        let capacity = self.instance.upgrade().and_then(|instance| instance.max_size());
        let size = self.readers.len() - self.listeners;
        if present.is_none()
            && capacity.is_some_and(|capacity| size >= usize::try_from(capacity).unwrap_or(usize::MAX))
        {
            let message = format!("room `{}` is full: it holds {size} connections", self.id);
            return Err(NotJoined::Refused(Refusal::new(Code::RoomFull, message)));
        }
        let place = present.unwrap_or_else(|| self.enter(&join));
        self.log.trim(now());
        let resume = self.log.resume(join.since.as_ref());
        let Some(reading) = self.readers.get_mut(place) else { return Err(NotJoined::Gone) };
        if let Some(wanted) = join.wanted {
            reading.wanted = wanted;
        }
        let wanted = reading.wanted;
        let (head, event_id) = self.log.head();
        let behind = match resume {
            Resume::Complete { after } if after < head => Some(after),
            _ => None,
        };
        if present.is_none() || join.since.is_some() {
            reading.replaying = behind;
        }
        let (seq, stream_id) = match (resume, &join.since) {
            (Resume::Complete { after }, Some(since)) => (after, since.event_id.as_str()),
            _ => (head, event_id),
        };
        let joined = frame::Joined {
            room_id: &self.id,
            name: &self.name,
            epoch: self.log.epoch(),
            seq: head,
            event_id,
            resume: resume.name(),
            replay: behind.map_or(0, |after| head - after),
            members: self.users.len(),
        };
        let position = stream_position(&self.id, self.log.epoch(), seq, stream_id);
        let json = frame::Frame::new("joined", join.id.as_deref(), joined).encode();
        join.outbox.send_at("joined", &json, join.slot, position);
        // Joining again is no late coming: its reader has what came before.
        let late = present.is_none() || join.since.is_some();
        if late && self.room.options.sync > 0 && !matches!(resume, Resume::Complete { .. }) {
            let limit = usize::try_from(self.room.options.sync).unwrap_or(usize::MAX);
            let mut page = self.log.before(None, wanted, limit);
            page.records.reverse();
            join.outbox.send("history", &self.history(&page, None));
        }
        if behind.is_some()
            && let Some(instance) = self.instance.upgrade()
        {
            join.outbox.replay(&instance);
        }
        Ok(())
    }

    /// Has a listener of server code read along from now on.
    pub(crate) fn listen(&mut self, listener: Arc<Listener>, wanted: EventSet) {
        self.listeners += 1;
        self.add(Reading {
            connection: listener.id(),
            reader: Reader::Listener(listener),
            user: None,
            slot: 0,
            wanted,
            replaying: None,
        });
    }

    /// The connection is out, if it was in.
    pub(crate) fn leave(&mut self, connection: ConnectionId) {
        let Some(place) = self.places.remove(&connection) else { return };
        let gone = self.readers.swap_remove(place);
        if let Some(moved) = self.readers.get(place) {
            self.places.insert(moved.connection, place);
        }
        match gone.user {
            Some(user) => {
                if let Some(connections) = self.users.get_mut(&user) {
                    *connections -= 1;
                    if *connections == 0 {
                        self.users.remove(&user);
                    }
                }
            }
            None => self.listeners -= 1,
        }
        self.tell_size();
    }

    /// Changes what a member is subscribed to; yields whether it is one.
    pub(crate) fn subscribe(
        &mut self,
        connection: ConnectionId,
        change: impl FnOnce(EventSet) -> EventSet,
    ) -> bool {
        let reading = self.places.get(&connection).and_then(|place| self.readers.get_mut(*place));
        reading.map(|reading| reading.wanted = change(reading.wanted)).is_some()
    }

    /// Sends a reader the next page of its replay; at the end of the log it goes on live.
    pub(crate) fn replay_page(&mut self, connection: ConnectionId) {
        let Some(reading) = self.places.get(&connection).and_then(|place| self.readers.get_mut(*place))
        else {
            return;
        };
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
            (Reader::Connection(outbox), Some(instance)) => outbox.replayed(&instance, page.more),
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
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut listed = self.users.range::<str, _>((from, Bound::Unbounded));
        let members = listed
            .by_ref()
            .take(limit)
            .map(|(user, connections)| frame::Member { user_id: user.to_string(), connections: *connections })
            .collect();
        let body = frame::Members {
            room_id: &self.id,
            members,
            size: self.users.len(),
            more: listed.next().is_some(),
        };
        frame::Frame::new("members", id, body).encode()
    }

    /// Ends the room for everybody in it.
    pub(crate) fn delete(&mut self, reason: &str) {
        self.deleted = true;
        let left = frame::Left { room_id: &self.id, reason: Some(reason) };
        let left = frame::Frame::new("left", None, left).encode();
        for reading in self.readers.drain(..) {
            match reading.reader {
                Reader::Connection(outbox) => outbox.send("left", &left),
                // Its queue closes with it.
                Reader::Listener(_) => {}
            }
        }
        self.places.clear();
        self.users.clear();
        self.listeners = 0;
        self.tell_size();
        // Before anybody is told: who then makes the room again doesn't find this one.
        if let Some(instance) = self.instance.upgrade() {
            instance.retire();
        }
    }

    /// Whether nobody needs the instance: it was deleted, or made by a join and left without a trace.
    pub(super) fn is_over(&self) -> bool {
        self.deleted || (!self.created && self.readers.is_empty() && self.log.head().0 == 0)
    }

    /// Whether a new instance in its place must not pass for it.
    pub(super) fn has_past(&self) -> bool {
        self.deleted || self.log.head().0 > 0
    }

    /// The log is lost: readers are cut, so that they come back and are told.
    pub(super) fn abandon(&mut self) {
        self.readers.drain(..).for_each(|reading| reading.reader.cut(Cut::Closed));
        self.places.clear();
        self.tell_size();
    }

    fn enter(&mut self, join: &Join) -> usize {
        *self.users.entry(Arc::clone(&join.user)).or_default() += 1;
        self.add(Reading {
            connection: join.outbox.id(),
            reader: Reader::Connection(Arc::clone(&join.outbox)),
            user: Some(Arc::clone(&join.user)),
            slot: join.slot,
            wanted: self.room.default_events(),
            replaying: None,
        })
    }

    fn add(&mut self, reading: Reading) -> usize {
        let place = self.readers.len();
        self.places.insert(reading.connection, place);
        self.readers.push(reading);
        self.tell_size();
        place
    }

    fn tell_size(&self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.size.store(self.readers.len() - self.listeners, Ordering::Relaxed);
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
            Reply::Wait(waiting) => {
                // Whoever asked may be gone.
                let _ = waiting.send(outcome);
            }
            Reply::Frame(outbox, id) => {
                match outcome {
                    Ok(accepted) => outbox.queue("ok", &frame::accepted(&id, &accepted)),
                    Err(refusal) => {
                        let id = serde_json::from_str(&id).ok();
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

impl Reading {
    fn deliver(&mut self, batch: &Batch) {
        match &self.reader {
            Reader::Connection(outbox) => outbox.deliver(self.slot, batch, self.wanted),
            Reader::Listener(listener) => {
                if let Some(behind) = listener.deliver(batch, self.wanted) {
                    self.replaying = Some(behind);
                }
            }
        }
    }
}

impl Reading {
    fn deliver_page(&mut self, batch: &Batch) {
        match &self.reader {
            Reader::Connection(outbox) => outbox.deliver_page(self.slot, batch, self.wanted),
            Reader::Listener(_) => self.deliver(batch),
        }
    }

    /// A connection comes back and is told that it lost something; server code can only be told in the log.
    fn fell_out(&mut self, room_id: &str) {
        if let Reader::Listener(_) = self.reader {
            tracing::warn!(room_id, "a handler was slower than the room's retention and missed events");
            self.replaying = None;
        }
        self.reader.cut(Cut::TooSlow);
    }
}

impl Reader {
    fn cut(&self, cut: Cut) {
        match self {
            Reader::Connection(outbox) => outbox.cut(cut),
            Reader::Listener(_) => {}
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
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
