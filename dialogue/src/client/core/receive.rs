//! The handling of the server's frames by the core.

use std::time::Duration;

use super::{
    Action, Core, Entry, Link, Loss, Probe, Reply, Step, Verdict,
    outbox::{Class, Pending},
};
use crate::{
    client::{
        error::{Error, ErrorKind},
        frame::{
            Arrival, Connected, ErrorFrame, Head, HistoryFrame, JoinedFrame, LeftFrame, MembersFrame,
            PresenceFrame, ReconnectFrame, Request, SkippedFrame,
        },
        incoming::Interruption,
        status::Identity,
    },
    delivery::Unreadable,
    wire::{Accepted, Code, Refusal},
};

/// A draining server may ask to wait so long at most.
const LONGEST_MOVE: Duration = Duration::from_secs(60);

impl Core {
    /// A text frame came. What can't be read is passed over: a newer server may say more than we understand.
    pub(crate) fn text(&mut self, now: Duration, text: &str) {
        self.heard(now);
        let read = self.read(now, text);
        if let Err(error) = read {
            tracing::debug!(%error, "a frame that can't be read");
        }
        self.flush(now);
    }

    fn read(&mut self, now: Duration, text: &str) -> serde_json::Result<()> {
        let head: Head<'_> = serde_json::from_str(text)?;
        let id = head.id();
        match head.kind.as_ref() {
            "event" => self.event(now, Arrival::read(text)),
            "ok" => self.answered(id, text, ok),
            "connected" => self.connected(now, serde_json::from_str(text)?),
            "joined" => self.joined(id, serde_json::from_str(text)?),
            "history" if id.is_some() => {
                self.answered(id, text, |_, text| serde_json::from_str(text).map(Reply::History));
            }
            "history" => {
                let frame: HistoryFrame = serde_json::from_str(text)?;
                if let Some(entry) = self.flowing(&frame.room_id) {
                    entry.membership.history(frame);
                }
            }
            "members" => self
                .answered(id, text, |_, text| serde_json::from_str::<MembersFrame>(text).map(Reply::Members)),
            "presence" => {
                let frame: PresenceFrame = serde_json::from_str(text)?;
                if let Some(entry) = self.flowing(&frame.room_id) {
                    entry.membership.presence(frame);
                }
            }
            "skipped" => {
                let frame: SkippedFrame = serde_json::from_str(text)?;
                if let Some(entry) = self.flowing(&frame.room_id) {
                    entry.membership.inbox.skip(frame.count);
                }
            }
            "left" if id.is_some() => self.answered(id, text, ok),
            "left" => self.left(serde_json::from_str(text)?),
            "reconnect" => {
                let ReconnectFrame { after_ms } = serde_json::from_str(text)?;
                if let Link::Online { move_at, .. } = &mut self.link {
                    let after = Duration::from_millis(after_ms).min(LONGEST_MOVE);
                    *move_at = Some(now.saturating_add(after));
                }
            }
            "error" => {
                let frame: ErrorFrame = serde_json::from_str(text)?;
                match id {
                    Some(id) => self.refused(now, id, frame.into()),
                    None => tracing::debug!(code = ?frame.code, "the server says"),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, now: Duration, frame: Connected) {
        if !matches!(self.link, Link::Opening { .. }) {
            return;
        }
        let Connected { client_id, user_id, schema, anonymous_token } = frame;
        if let Some(token) = anonymous_token {
            self.anonymous = Some(token.into());
        }
        self.online(now, Identity { client_id, user_id, schema });
    }

    fn joined(&mut self, id: Option<u64>, frame: JoinedFrame) {
        let Some((room, entry)) = self.rooms.get_key_value(frame.room_id.as_str()) else { return };
        let room = room.clone();
        let since = match &entry.step {
            Step::Asked { id: asked, since, .. } if id == Some(*asked) => since.clone(),
            // The server made us join anew, as after the log became another one.
            Step::In if id.is_none() => entry.membership.since().cloned(),
            _ => return,
        };
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        let first = entry.first.take();
        entry.step = Step::In;
        entry.member = true;
        entry.refused = None;
        entry.retries.reset();
        let joined = entry.membership.joined(frame, since, first.is_some());
        if let Some((ticket, _)) = first {
            self.resolve(ticket, Ok(Reply::Joined(joined)));
        }
    }

    fn event(&mut self, now: Duration, arrival: Result<Arrival, Box<Unreadable>>) {
        let room_id = match &arrival {
            Ok(arrival) => &arrival.room_id,
            Err(unreadable) => &unreadable.room_id,
        };
        let Some(entry) = self.flowing(room_id) else {
            if let Err(unreadable) = arrival {
                tracing::debug!(%unreadable, "an event of no room that the client is in");
            }
            return;
        };
        if entry.membership.event(now, arrival) == Verdict::Doubtful {
            entry.step = Step::Out;
        }
    }

    fn left(&mut self, frame: LeftFrame) {
        // Between our own join and its answer, an old membership's end is none of the new one's.
        if let Some(Entry { step: Step::In, .. }) = self.rooms.get(frame.room_id.as_str())
            && let Some(entry) = self.forget(&frame.room_id, "the server took the client out of the room")
        {
            entry.membership.inbox.end(Interruption::Left { reason: frame.reason });
        }
    }

    /// The room, if its events flow: between a join and its answer those of before are not for us.
    fn flowing(&mut self, room: &str) -> Option<&mut Entry> {
        self.rooms.get_mut(room).filter(|entry| matches!(entry.step, Step::In))
    }

    fn answered(
        &mut self,
        id: Option<u64>,
        text: &str,
        read: impl FnOnce(&Pending, &str) -> serde_json::Result<Reply>,
    ) {
        let Some(pending) = id.and_then(|id| self.outbox.take(id)) else { return };
        let answer = read(&pending, text)
            .map_err(|error| Error::caused(ErrorKind::Decode, "read the server's answer", error));
        if answer.is_ok() {
            self.resubscribe(&pending);
        }
        self.resolve(pending.ticket, answer);
    }

    /// A later join asks for the same events.
    fn resubscribe(&mut self, pending: &Pending) {
        let (events, more) = match &pending.request {
            Request::Subscribe { events, .. } => (events, true),
            Request::Unsubscribe { events, .. } => (events, false),
            _ => return,
        };
        let entry = pending.room.as_ref().and_then(|room| self.rooms.get_mut(room));
        if let Some(Entry { events: wanted, default, .. }) = entry {
            let wanted = wanted.get_or_insert_with(|| default.clone());
            for event in events {
                if more {
                    wanted.insert(event.clone());
                } else {
                    wanted.remove(event);
                }
            }
        }
    }

    fn refused(&mut self, now: Duration, id: u64, refusal: Refusal) {
        if matches!(self.link, Link::Opening { probe: Probe::Asked(asked), .. } if asked == id) {
            if refusal.code == Code::Unauthenticated {
                self.actions.push_back(Action::Shut);
                self.lost(now, Loss::Unidentified(refusal));
            }
            return;
        }
        if let Some(pending) = self.outbox.find(id) {
            let again = pending.class != Class::Ephemeral && passes(refusal.code);
            let at = now.saturating_add(self.pause(&refusal));
            if again && at < self.outbox.find(id).map_or(at, |pending| pending.deadline) {
                self.outbox.hold(id, at);
            } else if let Some(pending) = self.outbox.take(id) {
                self.resolve(pending.ticket, Err(Error::refused(refusal)));
            }
            return;
        }
        let asked = |entry: &Entry| matches!(entry.step, Step::Asked { id: asked, .. } if asked == id);
        let room = self.rooms.iter().find(|(_, entry)| asked(entry)).map(|(room, _)| room.clone());
        if let Some(room) = room {
            self.join_refused(now, &room, refusal);
        }
    }

    fn join_refused(&mut self, now: Duration, room: &str, refusal: Refusal) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        let since = *entry.refused.get_or_insert(now);
        let returning = entry.first.is_none();
        // The connection that was lost may count until the server notices, and what is refused in a restart may pass.
        let again = passes(refusal.code)
            || (returning
                && matches!(refusal.code, Code::RoomFull | Code::TooMany | Code::Internal)
                && now.saturating_sub(since) < self.config.deadline);
        if again {
            let pause = entry.retries.next(&mut self.rng);
            let at = now.saturating_add(refusal.retry_after.unwrap_or_default().max(pause));
            let in_time = entry.first.is_none_or(|(_, until)| at < until);
            if in_time {
                entry.step = Step::Held(at);
                return;
            }
        }
        let error = Error::refused(refusal);
        if let Some((ticket, _)) = entry.first.take() {
            self.resolve(ticket, Err(error.clone()));
        }
        if let Some(entry) = self.forget(room, "the server refused to let the client in again") {
            entry.membership.inbox.end(Interruption::Ended(error));
        }
    }

    /// Returns the delay before the retry of a temporarily refused request.
    fn pause(&mut self, refusal: &Refusal) -> Duration {
        let least = self.config.backoff.0.max(Duration::from_millis(1));
        let jitter = least.mul_f64(self.rng.f64());
        refusal.retry_after.unwrap_or(least).saturating_add(jitter)
    }
}

/// Returns whether a refusal is temporary, so that the same request may be accepted later.
fn passes(code: Code) -> bool {
    matches!(code, Code::RateLimited | Code::Unavailable)
}

fn ok(pending: &Pending, text: &str) -> serde_json::Result<Reply> {
    match &pending.request {
        Request::Trigger { .. } => serde_json::from_str::<Accepted>(text).map(Reply::Accepted),
        _ => serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| Reply::Done),
    }
}
