//! Coming in.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    super::{
        ConnectionId, Link,
        members::{Reader, Reading, Turnout},
    },
    State,
    accept::unavailable,
    now,
};
use crate::{
    Code, Position, Refusal,
    log::Resume,
    observe::ResumeOutcome,
    wire::{EventSet, Id, frame, stream_position},
};

/// A member's wish to be in.
#[derive(Debug, Clone)]
pub(crate) struct Join {
    pub(crate) link: Arc<Link>,
    pub(crate) slot: u8,
    pub(crate) wanted: Option<EventSet>,
    pub(crate) since: Option<Position>,
    /// The id of the event at `since`, if the store was asked and has one.
    pub(crate) seen: Option<Option<Id>>,
    /// Whether the room has looked for what it missed since the wish was said.
    pub(crate) looked: bool,
    /// It comes from an instance whose place this one took: it has its place, and its user was here.
    pub(crate) moved: bool,
    /// Of the request, as JSON.
    pub(crate) id: Option<Box<RawValue>>,
}

/// Why a join came to nothing.
#[derive(Debug)]
pub(crate) enum NotJoined {
    Refused(Refusal),
    /// The instance is no more; there may be a new one.
    Gone,
    /// Whether it can resume, the store alone knows: it is to be asked first, in this epoch.
    AskStore(Arc<str>),
    /// It may come from another instance, which has heard more than this one: what was missed is to be looked for
    /// first.
    Behind,
}

impl State {
    /// Lets somebody in, and says so before anything else of the room reaches them; yields whether they are new.
    pub(crate) fn join(&mut self, join: Join) -> Result<bool, NotJoined> {
        if self.deleted || self.over {
            return Err(NotJoined::Gone);
        }
        let connection = join.link.id();
        let new = !self.members.has(connection);
        let capacity = self.instance.upgrade().and_then(|instance| instance.max_size());
        // Over several instances, it has its place already.
        if new
            && !join.moved
            && self.peers.is_none()
            && let Some(capacity) = capacity
        {
            let size = self.size_with_expected();
            if size >= usize::try_from(capacity).unwrap_or(usize::MAX) {
                return Err(NotJoined::Refused(self.full(size)));
            }
        }
        self.log.trim(now());
        let resume = self.log.resume(join.since.as_ref(), join.seen);
        if resume == Resume::Unknown {
            return Err(NotJoined::AskStore(Arc::clone(self.log.epoch())));
        }
        if resume == Resume::Lost && self.is_shared() {
            if !join.looked {
                return Err(NotJoined::Behind);
            }
            if self.is_unsettled() {
                return Err(NotJoined::Refused(unavailable(&self.id)));
            }
        }
        if join.moved && !self.instance.upgrade().is_some_and(|instance| join.link.arrive(&instance)) {
            // It was taken out on the way.
            return Err(NotJoined::Gone);
        }
        if join.moved {
            self.expected.remove(&connection);
        }
        if new {
            self.enter(&join);
        }
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
        if late {
            self.room.meter.resumed(resume.told());
        }
        self.say_joined(&join, resume, behind);
        if late && self.room.options.sync > 0 && !matches!(resume, Resume::Complete { .. }) {
            let limit = usize::try_from(self.room.options.sync).unwrap_or(usize::MAX);
            let mut page = self.log.before(None, wanted, limit);
            page.records.reverse();
            join.link.outbox.send_page("history", &super::history(&self.id, &page, None));
        }
        if behind.is_some()
            && let Some(instance) = self.instance.upgrade()
        {
            join.link.outbox.replay(&instance);
        }
        Ok(new)
    }

    /// How many connections are in, with those on the way from a lost instance of the room, which keep their places.
    fn size_with_expected(&self) -> usize {
        let expected = self.expected.values().filter(|link| link.is_moving(&self.id)).count();
        self.members.size() + self.members.elsewhere() + expected
    }

    /// Why nobody else can come in.
    pub(crate) fn full(&self, size: usize) -> Refusal {
        let message = format!("room `{}` is full: it holds {size} connections", self.id);
        Refusal::new(Code::RoomFull, message)
    }

    /// Whether a connection would be new, in a room that holds so many; `None` if it isn't, or it holds any number.
    pub(crate) fn needs_place(&self, connection: ConnectionId) -> Option<u32> {
        let capacity = self.instance.upgrade().and_then(|instance| instance.max_size());
        capacity.filter(|_| !self.is_gone() && !self.members.has(connection))
    }

    fn enter(&mut self, join: &Join) {
        let turnout = self.members.add(Reading {
            reader: Reader::Member(Arc::clone(&join.link.outbox), Arc::clone(&join.link)),
            slot: join.slot,
            wanted: self.room.default_events(),
            replaying: None,
        });
        if let Some(peers) = &self.peers {
            peers.came(&self.id, &join.link.user_id);
        }
        // Of a member that moved, the others were not sent that its user went.
        if turnout == Turnout::User {
            self.user_came(&join.link.user_id);
        }
        self.tell_size();
    }

    /// Says to a member that it is in, and where.
    fn say_joined(&self, join: &Join, resume: Resume, behind: Option<u64>) {
        let (head, event_id) = self.log.head();
        let instance = self.instance.upgrade();
        let joined = frame::Joined {
            room_id: &self.id,
            name: &instance.map_or_else(|| self.room.name.to_owned(), |instance| instance.name()),
            epoch: self.log.epoch(),
            seq: head,
            event_id,
            resume: resume.told().name(),
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
}

impl Resume {
    fn told(self) -> ResumeOutcome {
        match self {
            Resume::Fresh => ResumeOutcome::Fresh,
            Resume::Complete { .. } => ResumeOutcome::Complete,
            Resume::Lost | Resume::Unknown => ResumeOutcome::Lost,
        }
    }
}
