//! What a client makes of the frames that it gets, and the promises that it holds them against.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    application::DELETED_ROOM,
    client::{Client, Draft, Pending},
    frame::{Frame, Members, Position},
};

/// The accepted events that a client remembers to send them again.
const MAX_ACCEPTED: usize = 8;

impl Client {
    pub(super) fn receive(&mut self, frame: &Frame<'_>) {
        self.world.truth.lock().note(|| format!("{} < {}", self.user, frame.json));
        let asked = match frame.id {
            None => None,
            Some(id) => match self.pending.remove(&id) {
                Some((_, asked)) => Some(asked),
                None => return self.violated(&format!("gets a second answer to {id}"), frame),
            },
        };
        match &*frame.kind {
            "ok" => self.accepted(frame, asked),
            "error" => self.refused(frame, asked),
            "joined" => self.joined(frame, asked),
            "event" => self.event(frame),
            "members" | "presence" => self.members(frame),
            "left" => {
                if frame.id.is_none() && frame.room() == Some(DELETED_ROOM) {
                    self.world.truth.lock().counts.told_deleted += 1;
                }
                if let Some(view) = frame.room().and_then(|room| self.rooms.get_mut(room)) {
                    view.is_joined = false;
                }
            }
            _ => {}
        }
    }

    fn violated(&self, what: &str, frame: &Frame<'_>) {
        self.world.truth.lock().violated(format!("{} {what}: {}", self.user, frame.json));
    }

    fn accepted(&mut self, frame: &Frame<'_>, asked: Option<Pending>) {
        let Some(Pending::Trigger(draft)) = asked else { return };
        let event = (frame.seq.unwrap_or_default(), frame.event_id());
        self.world.truth.lock().accepted(draft.room, &draft.text, event, frame.duplicate);
        if !frame.duplicate {
            self.keeps_order(draft.room, frame);
        }
        let draft = Draft { is_repeated: true, ..draft };
        if self.rng.u32(..4) == 0 {
            self.accepted.push_back(draft);
            self.accepted.drain(..self.accepted.len().saturating_sub(MAX_ACCEPTED));
        }
    }

    fn refused(&mut self, frame: &Frame<'_>, asked: Option<Pending>) {
        self.world.truth.lock().counts.refused += 1;
        let code = frame.code.as_deref().unwrap_or_default();
        match asked {
            Some(Pending::Trigger(mut draft)) => {
                let is_deleted = code == "ROOM_NOT_FOUND" && draft.room == DELETED_ROOM;
                if !is_deleted && !matches!(code, "UNAVAILABLE" | "NOT_IN_ROOM") {
                    self.violated(&format!("is refused {}", draft.text), frame);
                }
                draft.is_repeated = true;
                draft.not_before = Instant::now() + Duration::from_millis(self.rng.u64(100..1_000));
                self.unsent.push_back(draft);
            }
            // The position is in an instance that was deleted.
            Some(Pending::Join { room: DELETED_ROOM, since: Some(_) }) if code == "ROOM_NOT_FOUND" => {
                if let Some(view) = self.rooms.get_mut(DELETED_ROOM) {
                    (view.position, view.earlier) = (None, None);
                }
            }
            Some(Pending::Join { .. }) if code == "UNAVAILABLE" => {}
            Some(Pending::Join { .. }) => self.violated("can't join", frame),
            Some(Pending::Members) => self.must_list = true,
            Some(Pending::Leave { .. }) | None => {}
        }
    }

    fn joined(&mut self, frame: &Frame<'_>, asked: Option<Pending>) {
        let resume = frame.resume.as_deref().unwrap_or_default();
        let (room, since, is_moved) = match (asked, frame.room()) {
            (Some(Pending::Join { room, since }), _) => (room, since, false),
            // The room lost its log, and its members moved to its next instance.
            (None, Some(room)) if matches!(resume, "lost" | "complete") => {
                (room, self.rooms[room].position.clone(), true)
            }
            _ => return self.violated("gets what nobody asked for", frame),
        };
        let (head, view) = (frame.position(), &self.rooms[room]);
        self.world.truth.lock().began(room, &head.epoch);
        self.world.truth.lock().counts.moved += usize::from(is_moved && room == DELETED_ROOM);
        let is_again = view.is_joined && since.is_none() && resume == "fresh";
        let replay = frame.replay.unwrap_or_default();
        // A second join replays nothing: the client has all up to the head, but for what a replay still sends.
        let is_same = |at: &Position| {
            at.epoch != head.epoch || at.seq + replay == head.seq && (replay > 0 || *at == head)
        };
        if is_again && !view.position.as_ref().is_some_and(is_same) {
            self.violated(&format!("joined again at {:?}", view.position), frame);
        }
        let position = match (resume, since) {
            ("complete", Some(since)) => {
                self.world.truth.lock().counts.complete += 1;
                if since.seq + replay != head.seq || !(is_moved || since.epoch == head.epoch) {
                    self.violated(&format!("resumes from {since:?}"), frame);
                }
                Position { epoch: head.epoch, ..since }
            }
            ("lost", since) => {
                self.world.truth.lock().told_lost(room, &self.user, since.as_ref(), &head);
                head
            }
            ("fresh", None) if replay == 0 => head,
            ("fresh", None) if is_again => return,
            (_, since) => return self.violated(&format!("joins with {since:?}"), frame),
        };
        if let Some(view) = self.rooms.get_mut(room) {
            (view.is_joined, view.position) = (true, Some(position));
            self.must_list |= room == "chat";
        }
    }

    /// Events of a connection are in the order in which it sent them.
    fn keeps_order(&mut self, room: &'static str, frame: &Frame<'_>) {
        let (Some(id), Some(seq)) = (frame.id, frame.seq) else { return };
        let newest = (id, seq, frame.event_id().to_owned(), Instant::now());
        if let Some((request, number, event_id, since)) = self.newest_ok.insert(room, newest)
            && (request < id) != (number < seq)
            && self.world.truth.lock().is_kept(room, &event_id, since)
        {
            self.violated(&format!("sent {number} by request {request} before"), frame);
        }
    }

    fn members(&mut self, frame: &Frame<'_>) {
        if let Members::List(members) = &frame.members {
            self.members = members.iter().map(|member| member.user_id.to_string()).collect();
        }
        let Some(user) = frame.user_id.as_deref() else { return };
        match frame.change.as_deref() {
            Some("joined") => drop(self.members.insert(user.to_owned())),
            Some("left") => drop(self.members.remove(user)),
            _ => self.violated("gets an unknown change", frame),
        }
    }

    /// An event without a number came, which is the next of a connection, and nothing more is known of it.
    fn ephemeral(&mut self, frame: &Frame<'_>) {
        let Some((sender, number)) = frame.text().split_once('/') else { return };
        let number = number.parse().unwrap_or_default();
        self.world.truth.lock().counts.ephemeral += 1;
        if let Some(before) = self.typed.insert(sender.to_owned(), number).filter(|before| *before >= number)
        {
            self.violated(&format!("gets this after {before}"), frame);
        }
    }

    /// The `ok` of an event comes before it.
    fn is_answered_before(&self, frame: &Frame<'_>) {
        let is_own = frame.from.as_deref() == Some(&self.user);
        let is_unanswered = |pending: &Pending| match pending {
            Pending::Trigger(draft) => !draft.is_repeated && draft.text == frame.text(),
            _ => false,
        };
        if is_own && self.pending.values().any(|(_, pending)| is_unanswered(pending)) {
            self.violated("gets this before its answer", frame);
        }
    }

    fn event(&mut self, frame: &Frame<'_>) {
        match frame.seq {
            Some(_) => self.is_answered_before(frame),
            None => self.ephemeral(frame),
        }
        let mut truth = self.world.truth.lock();
        let Some(room) = frame.room() else { return };
        let Some(view) = self.rooms.get_mut(room) else { return };
        let Some(position) = view.position.as_mut().filter(|_| view.is_joined) else {
            return truth.violated(format!("{} is in no {room}, and gets {}", self.user, frame.json));
        };
        let Some(seq) = frame.seq else { return };
        if seq != position.seq + 1 {
            truth.violated(format!("{} is at {position:?}, and gets {}", self.user, frame.json));
        }
        if truth.is_lost(room, &position.event_id) && !truth.is_lost(room, frame.event_id()) {
            let what = format!("{} goes on after the lost {position:?} by {}", self.user, frame.json);
            truth.violated(what);
        }
        position.seq = seq;
        position.event_id.clear();
        position.event_id.push_str(frame.event_id());
        if self.rng.u32(..60) == 0 {
            view.earlier = Some(position.clone());
        }
        truth.received(room, position, frame.text());
    }
}
