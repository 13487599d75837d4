//! What a room instance holds: its log, who is in it, and what is about to be delivered.

mod accept;
mod chain;
mod held;
mod join;
mod replay;
mod shared;

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::Ordering,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use serde_json::value::RawValue;
use tokio::time::Instant as Moment;

pub(in crate::hub) use accept::Pending;
pub(crate) use accept::{Whisper, unavailable};
pub(crate) use join::{Join, NotJoined};

use held::Held;

use super::{
    Instance, Link, Listener, Outbox, RoomDecl,
    archive::{Archive, Found, Saved, StateLock, Trimming},
    batch::Batch,
    inbox::Delivered,
    members::{Members, Reader, Reading, Turnout},
    moving::{Move, Moving, send_left},
    outbox::Cut,
    peers::{Message, Peers, Roster},
    presence::{self, Presence},
};
use crate::{
    Accepted, Position, Refusal,
    log::{Log, Page, Record},
    store::Query,
    wire::{EventSet, frame},
};

/// How long it may take until all nodes have said again who is in a room, after a store that was emptied.
const SAID_AGAIN: Duration = Duration::from_secs(4);

/// Why people leave a room that is deleted.
pub(crate) const DELETED: &str = "the room was deleted";

/// One socket or stream, or a listener in server code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionId(pub(crate) u64);

/// See [`Instance`]. Only one task at a time has it.
#[derive(Debug)]
pub(crate) struct State {
    instance: Weak<Instance>,
    room: Arc<RoomDecl>,
    id: Arc<str>,
    archive: Option<Arc<Archive>>,
    /// The other instances, where there may be any.
    peers: Option<Arc<Peers>>,
    /// Who is in it there.
    roster: Option<Box<Roster>>,
    /// Whether the store knows of the room, if there is one.
    known: bool,
    deleted: bool,
    /// The log turned out to be another: whoever needs the room makes a new instance.
    over: bool,
    /// Until when nobody asks the store how an append ended that failed.
    unsettled: Option<Moment>,
    log: Log,
    /// What the store calls the log.
    stored_as: Arc<str>,
    /// The number of the event with which the store is to be trimmed again.
    trim_at: u64,
    members: Members,
    /// Set once the server has put a connection out: events that it sent before may still be on their way.
    put_out: bool,
    /// Members of a lost instance of the room that are on the way into this one.
    expected: HashMap<ConnectionId, Arc<Link>>,
    /// In a room that declares it.
    presence: Option<Presence>,
    /// The room's own state, where it declares one.
    saved: Saved,
    pending: Option<Pending>,
    held: Held,
    /// Who was sent an `ok` that isn't written yet.
    answered: Vec<Arc<Outbox>>,
    /// Who waits for the pending batch to be delivered: of which event, and what to tell.
    undelivered: Vec<(u8, Accepted, Delivered)>,
}

impl State {
    /// The room as it was `found` in the store, or as it is when nothing was; a new log is called `epoch`.
    pub(super) fn new(
        instance: Weak<Instance>,
        room: Arc<RoomDecl>,
        id: Arc<str>,
        archive: Option<Arc<Archive>>,
        epoch: Arc<str>,
        found: Found,
    ) -> Self {
        let presence = room.options.presence.map(Presence::new);
        let Found { info, log, state: saved, members } = found;
        let stored_as = log.as_ref().map_or_else(|| Arc::clone(&epoch), |log| Arc::clone(&log.stored_as));
        let log = log.map(|log| log.restore(&room, &id));
        let log = log.unwrap_or_else(|| {
            let log = Log::new(epoch, room.options.retention, &room.own_retention());
            if archive.is_some() { log.stored() } else { log }
        });
        let peers = archive.as_ref().and_then(|archive| archive.peers.clone());
        let mut state = State {
            instance,
            peers,
            roster: None,
            known: info.is_some() || !room.keyed,
            deleted: false,
            over: false,
            unsettled: None,
            // The first event after a start finds what was left.
            trim_at: log.next_seq(),
            stored_as,
            log,
            room,
            id,
            archive,
            members: Members::default(),
            put_out: false,
            expected: HashMap::new(),
            presence,
            saved: saved.unwrap_or_default(),
            pending: None,
            held: Held::default(),
            answered: Vec::new(),
            undelivered: Vec::new(),
        };
        if let Some(peers) = state.peers.clone() {
            // They are in it already: nobody is told that they come.
            for (user, connections) in state.roster.get_or_insert_default().replace(members, &peers.counted())
            {
                state.members.change_elsewhere(&user, connections);
            }
        }
        state
    }

    /// Delivers a batch to some readers; yields where to go on.
    pub(super) fn deliver(&mut self, batch: &Batch, from: usize, most: usize) -> Option<usize> {
        let (readers, next) = self.members.stretch(from, most);
        for reading in readers {
            if reading.replaying.is_none() && reading.wanted.meets(batch.kinds()) {
                batch.hand(reading.wanted);
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

    /// Has a listener of server code read along from now on.
    pub(crate) fn listen(&mut self, listener: Arc<Listener>, wanted: EventSet) {
        if self.is_gone() {
            // Its queue closes with it, and its task listens anew.
            return;
        }
        self.members.add(Reading { reader: Reader::Listener(listener), slot: 0, wanted, replaying: None });
    }

    /// The connection is out; yields whether it was in.
    pub(crate) fn leave(&mut self, connection: ConnectionId) -> bool {
        let Some((gone, turnout)) = self.members.remove(connection) else { return false };
        if let Reader::Member(outbox, link) = &gone.reader {
            if let Some(peers) = &self.peers {
                peers.went(&self.id, &link.user_id);
            }
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
        let was_in = self.let_go(link);
        if was_in {
            self.refuse_events_of(link.id());
            send_left(link, &self.id, reason);
        }
        was_in
    }

    /// Refuses what a connection sent before the server put it out.
    pub(crate) fn refuse_events_of(&mut self, connection: ConnectionId) {
        self.put_out = true;
        self.turn_down_held_of(connection);
    }

    /// Lets a connection go that is in, or on the way in from a lost instance of the room; returns whether it was
    /// either.
    pub(super) fn let_go(&mut self, link: &Link) -> bool {
        if self.leave(link.id()) {
            return true;
        }
        let ended = self.instance.upgrade().is_some_and(|instance| instance.end_move(link));
        if ended {
            self.never_came(&link.user_id);
        }
        ended
    }

    /// A page of the log, newest first; the rest of it may be in the store.
    pub(crate) fn page(&mut self, before: Option<u64>, wanted: EventSet, limit: usize) -> Page {
        self.log.trim(now());
        self.log.before(before, wanted, limit)
    }

    /// What of a log that is all in memory `query` asks for, and where to go on.
    pub(super) fn select(&mut self, query: &Query) -> (Vec<Arc<Record>>, Option<u64>) {
        self.log.trim(now());
        self.log.select(query, |event| self.room.event_name(event))
    }

    /// Which of these events the room still keeps.
    pub(super) fn kept(&mut self, mut records: Vec<Arc<Record>>, wanted: EventSet) -> Vec<Arc<Record>> {
        self.log.trim(now());
        let first = self.log.first_seq();
        records.retain(|record| record.seq >= Some(first) && self.log.is_for(record, wanted));
        records
    }

    /// The number of the oldest event that may be held of those that are `wanted`.
    pub(super) fn first_of(&mut self, wanted: EventSet) -> u64 {
        self.log.trim(now());
        self.log.first_of(wanted)
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

    /// Ends the room for everybody in it, in the store first; yields whom, unless it has ended.
    ///
    /// # Errors
    ///
    /// The store can't do it now: the room goes on.
    pub(crate) async fn delete(&mut self, reason: &str) -> Result<Option<Vec<Arc<Link>>>, Refusal> {
        if self.is_gone() {
            return if self.deleted { Ok(None) } else { Err(unavailable(&self.id)) };
        }
        let registry = self.instance.upgrade().and_then(|instance| instance.registry.upgrade());
        if let Some(registry) = registry {
            // Before it is gone: a client that comes back at once is not to make it again.
            registry.note_deletion(&self.id).await.map_err(|error| {
                tracing::debug!(room_id = &*self.id, %error, "the deletion of a room can't be noted");
                unavailable(&self.id)
            })?;
        }
        if let (Some(archive), Some(instance)) = (self.archive.clone(), self.instance.upgrade()) {
            let forgetting = async {
                instance.renew_epoch_of(&self.stored_as).await?;
                archive.forget(&self.id, &instance.info(), self.known && self.room.keyed).await
            };
            if let Err(error) = forgetting.await {
                if archive.journal.may_tell() {
                    tracing::error!(room_id = &*self.id, %error, "a room can't be deleted");
                }
                // Its log may be gone all the same.
                self.unsettle();
                return Err(unavailable(&self.id));
            }
        }
        self.tell_peers(Message::Deleted);
        Ok(Some(self.end(reason)))
    }

    /// Ends the room for everybody in it; yields whom.
    pub(super) fn end(&mut self, reason: &str) -> Vec<Arc<Link>> {
        self.deleted = true;
        self.give_up_all();
        // Before a listener's queue closes: its task looks.
        if let Some(instance) = self.instance.upgrade() {
            instance.delete();
        }
        let left = frame::Left { room_id: &self.id, reason: Some(reason) };
        let left = frame::Frame::new("left", None, left).encode();
        let mut gone = Vec::new();
        for reading in self.members.drain() {
            // A listener's queue closes with it.
            if let Reader::Member(outbox, link) = reading.reader {
                if let Some(peers) = &self.peers {
                    peers.went(&self.id, &link.user_id);
                }
                outbox.send("left", &left);
                gone.push(link);
            }
        }
        // It ends for those who are on the way in, too.
        if let Some(instance) = self.instance.upgrade() {
            for link in std::mem::take(&mut self.expected).into_values() {
                if instance.end_move(&link) {
                    link.outbox.send("left", &left);
                    gone.push(link);
                }
            }
        }
        self.tell_size();
        // Before anybody is told: who then makes the room again doesn't find this one.
        if let Some(instance) = self.instance.upgrade() {
            instance.retire();
        }
        gone
    }

    /// Tells the same room at other instances.
    pub(super) fn tell_peers(&self, message: Message) {
        if let Some(peers) = &self.peers {
            peers.tell_if_possible(&self.id, message);
        }
    }

    /// The room's own state.
    pub(crate) fn saved(&self) -> Saved {
        self.saved.clone()
    }

    /// Whether it has a state of its own that isn't the default.
    pub(super) fn has_state(&self) -> bool {
        self.saved.version > 0
    }

    /// Changes the room's own state, and saves it first.
    ///
    /// # Errors
    ///
    /// What `change` is refused with, or `UNAVAILABLE`: it stays as it was.
    pub(crate) async fn save<T>(
        &mut self,
        lock: Option<StateLock>,
        change: impl FnOnce(&Saved) -> Result<(Vec<u8>, T), Refusal>,
    ) -> Result<T, Refusal> {
        if self.is_gone() {
            return Err(unavailable(&self.id));
        }
        let (Some(archive), Some(instance)) = (self.archive.clone(), self.instance.upgrade()) else {
            let (json, changed) = change(&self.saved)?;
            self.saved = Saved { version: self.saved.version + 1, json: json.into() };
            return Ok(changed);
        };
        let failed = |_| unavailable(&self.id);
        if lock.is_some() {
            // At other instances, others were at it.
            self.saved = archive.state(&self.id).await.map_err(failed)?.unwrap_or_default();
        }
        let (json, changed) = change(&self.saved)?;
        let saved = Saved { version: self.saved.version + 1, json: json.into() };
        if !self.known {
            archive.remember(&self.id, &instance.info()).await.map_err(failed)?;
            self.known = true;
        }
        archive.save_state(&self.id, &self.saved, &saved).await.map_err(failed)?;
        self.saved = saved;
        if lock.is_some() {
            self.tell_peers(Message::Saved);
        }
        Ok(changed)
    }

    /// Whether it is no more: there may be a new one.
    pub(super) fn is_gone(&self) -> bool {
        self.deleted || self.over
    }

    /// Whether the store knows of the room, or there is none.
    pub(super) fn is_known(&self) -> bool {
        self.known || self.archive.is_none()
    }

    /// The store knows of the room now.
    pub(super) fn known(&mut self) {
        self.known = true;
    }

    /// The store has lost what it knew of the room.
    pub(super) fn unknown(&mut self) {
        self.known = false;
    }

    /// Whether it was there before anybody asked for it.
    pub(super) fn has_been(&self) -> bool {
        self.known || self.log.head().0 > 0
    }

    #[cfg(any(test, feature = "push"))]
    pub(crate) fn epoch(&self) -> &str {
        self.log.epoch()
    }

    /// What the store calls the log.
    pub(super) fn stored_as(&self) -> &Arc<str> {
        &self.stored_as
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Whether nothing would be missed if it left memory: its log may be.
    pub(super) fn is_idle(&self) -> bool {
        self.members.is_empty()
            && self.expected.is_empty()
            && self.pending.is_none()
            && self.unsettled.is_none()
            && self.presence.as_ref().is_none_or(Presence::is_quiet)
    }

    /// Whether nobody needs the instance: it was deleted, or made by a join and left without a trace.
    pub(super) fn is_over(&self) -> bool {
        let instance = self.instance.upgrade();
        let wanted = instance
            .is_some_and(|instance| instance.info().created || instance.coming.load(Ordering::Relaxed) > 0);
        let kept = wanted || !self.room.keyed || self.saved.version > 0 || !self.expected.is_empty();
        self.deleted || self.over || (!kept && self.members.is_empty() && self.log.head().0 == 0)
    }

    /// Whether a new instance in its place must not pass for it.
    pub(super) fn has_past(&self) -> bool {
        self.archive.is_none() && (self.deleted || self.log.head().0 > 0)
    }

    /// The log is lost, or is another; returns the members, who are to go on in the instance that takes this one's
    /// place.
    pub(super) fn give_way(&mut self) -> Move {
        self.over = true;
        self.give_up_all();
        self.expected = HashMap::new();
        let shown = self.presence.as_ref().map(|presence| presence.shown(&self.members));
        let (head, event_id) = self.log.head();
        let position = |seq, event_id: &str| Position {
            epoch: self.log.epoch().to_string(),
            seq,
            event_id: event_id.to_owned(),
        };
        let head = position(head, event_id);
        let mut moving = Vec::new();
        for reading in self.members.drain() {
            // A listener's queue closes with it, and its task listens anew.
            let Reader::Member(outbox, link) = reading.reader else { continue };
            if let (Some(_), Some(instance)) = (reading.replaying, self.instance.upgrade()) {
                outbox.replayed(&instance, false);
            }
            let since = reading.replaying.map_or_else(|| head.clone(), |seq| position(seq, ""));
            if self.instance.upgrade().is_some_and(|instance| link.set_off(&instance)) {
                moving.push(Moving { link, slot: reading.slot, wanted: reading.wanted, since });
            } else if let Some(peers) = &self.peers {
                // Its connection is closed.
                peers.went(&self.id, &link.user_id);
            }
        }
        self.tell_size();
        Move { members: moving, shown: shown.map(Arc::new) }
    }

    /// Notes the members of a lost instance that are about to come in, and the users that its members were `shown`;
    /// returns whether they may come.
    ///
    /// A move is no coming and no going: users of both instances are not announced. Those who came or went while there
    /// was no instance are.
    pub(super) fn expect(&mut self, mut links: Vec<Arc<Link>>, shown: Option<&BTreeSet<Arc<str>>>) -> bool {
        if self.is_gone() {
            return false;
        }
        // Some may have been taken out since they set off: nothing else would end their being expected.
        links.retain(|link| link.is_moving(&self.id));
        let coming: BTreeSet<_> = links.iter().map(|link| Arc::clone(&link.user_id)).collect();
        self.expected.extend(links.into_iter().map(|link| (link.id(), link)));
        let (Some(presence), Some(shown)) = (&mut self.presence, shown) else { return true };
        if !presence.take_over(shown) {
            return true;
        }
        let absent = |user: &&Arc<str>| !self.members.has_user(user);
        let (moving, gone): (Vec<_>, Vec<_>) =
            shown.iter().filter(absent).cloned().partition(|user| coming.contains(user));
        moving.iter().for_each(|user| presence.hold(user));
        // Those of other nodes may be missing only until these say again who is in.
        let grace = if self.peers.is_some() { presence.grace.max(SAID_AGAIN) } else { presence.grace };
        gone.iter().for_each(|user| self.user_went_for(user, grace));
        for user in self.members.user_ids().filter(|user| !shown.contains(user)).collect::<Vec<_>>() {
            self.user_came(&user);
        }
        true
    }

    /// A member that was on the way in doesn't come.
    pub(super) fn never_came(&mut self, user: &Arc<str>) {
        if !self.presence.as_ref().is_some_and(|presence| presence.holds(user)) {
            return;
        }
        if !self.expected.values().any(|link| link.user_id == *user && link.is_moving(&self.id)) {
            self.user_went(user);
        }
    }

    /// Forgets the members that were expected and are in, or don't come.
    pub(super) fn expect_no_more(&mut self) {
        self.expected.retain(|_, link| link.is_moving(&self.id));
    }

    /// The instance failed: its readers are cut, so that they come back to a new one.
    pub(super) fn abandon(&mut self) {
        self.over = true;
        self.give_up_all();
        self.expected = HashMap::new();
        for reading in self.members.drain() {
            if let Reader::Member(outbox, link) = reading.reader {
                if let Some(peers) = &self.peers {
                    peers.went(&self.id, &link.user_id);
                }
                outbox.cut(Cut::Closed);
            }
        }
        self.tell_size();
    }

    /// Returns whether a connection is on the way into this instance.
    fn expects(&self, connection: ConnectionId) -> bool {
        self.expected.get(&connection).is_some_and(|link| link.is_moving(&self.id))
    }

    /// Tells the members who came and went.
    pub(crate) fn tell_presence(&mut self) {
        if let Some(presence) = &mut self.presence {
            presence.tell(&self.id, &self.members);
        }
    }

    /// What is to be trimmed in the store.
    pub(super) fn trimming(&mut self) -> Trimming {
        self.log.trim(now());
        let head = self.log.head().0;
        self.trim_at = self.log.next_seq() + (head - self.log.first_seq().min(head)).clamp(64, 8_192) / 8;
        Trimming {
            room_id: Arc::clone(&self.id),
            epoch: Arc::clone(&self.stored_as),
            retention: self.room.options.retention,
            first: self.log.first_seq(),
            head,
            end: self.log.end().offset,
            unsure: self.log.unsure(),
        }
    }

    /// Drops from memory what has grown too old.
    pub(super) fn grow_old(&mut self) {
        self.log.trim(now());
    }

    /// The store was trimmed.
    pub(super) fn trimmed(&mut self, first: u64) {
        self.log.trimmed(first);
    }

    /// Has the store trimmed, now and then.
    fn note_trimming(&mut self) {
        if self.archive.is_some()
            && self.log.next_seq() > self.trim_at
            && let Some(instance) = self.instance.upgrade()
        {
            self.trim_at = u64::MAX;
            instance.trim_soon();
        }
    }

    /// An empty batch of its events.
    fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.room), Arc::clone(&self.id), Arc::clone(self.log.epoch()))
    }

    /// A user's first connection is in.
    fn user_came(&mut self, user: &Arc<str>) {
        if self.presence.as_mut().is_some_and(|presence| presence.came(user)) {
            self.tell_presence_soon();
        }
    }

    /// A user's last connection is out.
    fn user_went(&mut self, user: &Arc<str>) {
        if let Some(grace) = self.presence.as_ref().map(|presence| presence.grace) {
            self.user_went_for(user, grace);
        }
    }

    fn user_went_for(&mut self, user: &Arc<str>, grace: Duration) {
        let (Some(presence), Some(instance)) = (&mut self.presence, self.instance.upgrade()) else { return };
        let departure = presence.went(user);
        let user = Arc::clone(user);
        instance.cast_after(grace, move |state| {
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

    fn tell_size(&self) {
        if let Some(instance) = self.instance.upgrade() {
            instance.tell_size(self.members.size(), self.members.elsewhere());
        }
    }
}

/// A page of a room's log as the `history` frame.
pub(crate) fn history(room_id: &str, page: &Page, id: Option<&RawValue>) -> Vec<u8> {
    // The records hold what we encoded as JSON.
    let events = page.records.iter().filter_map(|record| serde_json::from_slice(&record.json).ok()).collect();
    frame::Frame::new(
        "history",
        id,
        frame::History { room_id, events, more: page.next.is_some(), next: page.next },
    )
    .encode()
}

/// Unix milliseconds.
pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
