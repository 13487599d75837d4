//! The core's handling of received frames.

use std::{borrow::Cow, time::Duration};

use super::{
    Action, ConnectionPhase, Core, InsertOutcome, JoinState, Loss, Probe, Reply, RoomEntry,
    request_queue::{Pending, RetryClass},
};
use crate::{
    client::{
        error::{Error, ErrorKind},
        frame::read_event,
        incoming::Interruption,
        request::Request,
        status::Identity,
    },
    event::Unreadable,
    wire::{
        Accepted, Code, Refusal,
        frame::{self, ServerFrame, ServerFrameHeader},
        request::{Subscribe, Unsubscribe},
    },
};

/// Maximum delay that a draining server can ask for before the client reconnects.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(60);

impl Core {
    /// Handles a text frame. An unreadable or unknown frame is ignored, since a newer server may send it.
    pub(crate) fn text(&mut self, now: Duration, text: &str) {
        self.received(now);
        let read = self.read(now, text);
        if let Err(error) = read {
            tracing::debug!(%error, "ignored an unreadable frame");
        }
        self.flush(now);
    }

    fn read(&mut self, now: Duration, text: &str) -> serde_json::Result<()> {
        let head: ServerFrameHeader<'_> = serde_json::from_str(text)?;
        let id = head.number();
        match head.kind.as_ref() {
            frame::Event::TYPE => self.event(now, read_event(text)),
            frame::Done::TYPE => self.on_response(id, text, ok),
            frame::Connected::TYPE => self.connected(now, serde_json::from_str(text)?),
            frame::Joined::TYPE => self.joined(id, serde_json::from_str(text)?),
            frame::History::TYPE if id.is_some() => {
                self.on_response(id, text, |_, text| serde_json::from_str(text).map(Reply::History));
            }
            frame::History::TYPE => {
                let frame: frame::History<'static> = serde_json::from_str(text)?;
                if let Some(entry) = self.joined_room(&frame.room_id) {
                    entry.membership.history(frame);
                }
            }
            frame::Members::TYPE => {
                self.on_response(id, text, |_, text| serde_json::from_str(text).map(Reply::Members))
            }
            frame::Presence::TYPE => {
                let frame: frame::Presence<'static> = serde_json::from_str(text)?;
                if let Some(entry) = self.joined_room(&frame.room_id) {
                    entry.membership.presence(frame);
                }
            }
            frame::Skipped::TYPE => {
                let frame: frame::Skipped<'static> = serde_json::from_str(text)?;
                if let Some(entry) = self.joined_room(&frame.room_id) {
                    entry.membership.buffer.skip(frame.count);
                }
            }
            frame::Left::TYPE if id.is_some() => self.on_response(id, text, ok),
            frame::Left::TYPE => self.left(serde_json::from_str(text)?),
            frame::Reconnect::TYPE => {
                let frame::Reconnect { after_ms } = serde_json::from_str(text)?;
                if let ConnectionPhase::Online { reconnect_at, .. } = &mut self.connection {
                    let after = Duration::from_millis(after_ms).min(MAX_RECONNECT_DELAY);
                    *reconnect_at = Some(now.saturating_add(after));
                }
            }
            frame::Error::TYPE => {
                let error: frame::Error<'static> = serde_json::from_str(text)?;
                let refusal = Refusal::from(error);
                match id {
                    Some(id) => self.refused(now, id, refusal),
                    None => tracing::debug!(code = ?refusal.code, "the server sent an error"),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn connected(&mut self, now: Duration, frame: frame::Connected<'static>) {
        if !matches!(self.connection, ConnectionPhase::Opening { .. }) {
            return;
        }
        let frame::Connected { client_id, user_id, schema, anonymous_token, .. } = frame;
        if let Some(token) = anonymous_token {
            self.anonymous = Some(token.into_owned().into());
        }
        let [client_id, user_id] = [client_id, user_id].map(Cow::into_owned);
        self.online(now, Identity { client_id, user_id, schema: schema.map(Cow::into_owned) });
    }

    fn joined(&mut self, id: Option<u64>, frame: frame::Joined<'static>) {
        let Some((room, entry)) = self.rooms.get_key_value(&*frame.room_id) else { return };
        let room = room.clone();
        let since = match &entry.join_state {
            JoinState::Requested { id: sent_id, since, .. } if id == Some(*sent_id) => since.clone(),
            // An unsolicited `joined`: the server joined the client anew, for example after the log's epoch changed.
            JoinState::Joined if id.is_none() => entry.membership.since().cloned(),
            _ => return,
        };
        let Some(entry) = self.rooms.get_mut(&room) else { return };
        let first = entry.first.take();
        entry.join_state = JoinState::Joined;
        entry.member = true;
        entry.refused = None;
        entry.retries.reset();
        let joined = entry.membership.joined(frame, since, first.is_some());
        if let Some((ticket, _)) = first {
            self.resolve(ticket, Ok(Reply::Joined(joined)));
        }
    }

    fn event(&mut self, now: Duration, event_frame: Result<frame::Event<'static>, Box<Unreadable>>) {
        let room_id = match &event_frame {
            Ok(event_frame) => &*event_frame.room_id,
            Err(unreadable) => &*unreadable.room_id,
        };
        let Some(entry) = self.joined_room(room_id) else {
            if let Err(unreadable) = event_frame {
                tracing::debug!(%unreadable, "ignored an unreadable event of a room that is not joined");
            }
            return;
        };
        if entry.membership.event(now, event_frame) == InsertOutcome::Conflict {
            entry.join_state = JoinState::NotJoined;
        }
    }

    fn left(&mut self, frame: frame::Left<'static>) {
        // A `left` that arrives between a join and its response belongs to the previous membership.
        if let Some(RoomEntry { join_state: JoinState::Joined, .. }) = self.rooms.get(&*frame.room_id)
            && let Some(entry) = self.forget(&frame.room_id, "the server removed this client from the room")
        {
            entry.membership.buffer.end(Interruption::Left { reason: frame.reason.map(Cow::into_owned) });
        }
    }

    /// Returns the room if it is joined. Events between a join and its response belong to the previous membership.
    fn joined_room(&mut self, room: &str) -> Option<&mut RoomEntry> {
        self.rooms.get_mut(room).filter(|entry| matches!(entry.join_state, JoinState::Joined))
    }

    fn on_response(
        &mut self,
        id: Option<u64>,
        text: &str,
        read: impl FnOnce(&Pending, &str) -> serde_json::Result<Reply>,
    ) {
        let Some(pending) = id.and_then(|id| self.requests.take(id)) else { return };
        let response = read(&pending, text)
            .map_err(|error| Error::caused(ErrorKind::Decode, "read the server's response", error));
        if response.is_ok() {
            self.resubscribe(&pending);
        }
        self.resolve(pending.ticket, response);
    }

    /// Keeps the changed filter for later joins.
    fn resubscribe(&mut self, pending: &Pending) {
        let (events, more) = match &pending.request {
            Request::Subscribe(Subscribe { events, .. }) => (events, true),
            Request::Unsubscribe(Unsubscribe { events, .. }) => (events, false),
            _ => return,
        };
        let entry = pending.room.as_ref().and_then(|room| self.rooms.get_mut(room));
        if let Some(RoomEntry { events: wanted, default, .. }) = entry {
            let wanted = wanted.get_or_insert_with(|| default.clone());
            for event in events {
                if more {
                    wanted.insert(String::from(&**event));
                } else {
                    wanted.remove(&**event);
                }
            }
        }
    }

    fn refused(&mut self, now: Duration, id: u64, refusal: Refusal) {
        if matches!(self.connection, ConnectionPhase::Opening { probe: Probe::Sent(sent_id), .. } if sent_id == id)
        {
            if refusal.code == Code::Unauthenticated {
                self.actions.push_back(Action::Disconnect);
                self.lost(now, Loss::TokenRequired(refusal));
            }
            return;
        }
        if let Some(pending) = self.requests.find(id) {
            let again = pending.class != RetryClass::Ephemeral && is_transient(refusal.code);
            let at = now.saturating_add(self.retry_delay(&refusal));
            if again && at < self.requests.find(id).map_or(at, |pending| pending.deadline) {
                self.requests.hold(id, at);
            } else if let Some(pending) = self.requests.take(id) {
                self.resolve(pending.ticket, Err(Error::refused(refusal)));
            }
            return;
        }
        let has_id =
            |state: &JoinState| matches!(state, JoinState::Requested { id: sent_id, .. } if *sent_id == id);
        let room =
            self.rooms.iter().find(|(_, entry)| has_id(&entry.join_state)).map(|(room, _)| room.clone());
        if let Some(room) = room {
            self.join_refused(now, &room, refusal);
        }
    }

    fn join_refused(&mut self, now: Duration, room: &str, refusal: Refusal) {
        let Some(entry) = self.rooms.get_mut(room) else { return };
        let since = *entry.refused.get_or_insert(now);
        let returning = entry.first.is_none();
        // The server may count the lost connection until it notices the loss, and a refusal during a restart may be
        // transient.
        let again = is_transient(refusal.code)
            || (returning
                && matches!(refusal.code, Code::RoomFull | Code::TooMany | Code::Internal)
                && now.saturating_sub(since) < self.config.deadline);
        if again {
            let pause = entry.retries.next(&mut self.rng);
            let at = now.saturating_add(refusal.retry_after.unwrap_or_default().max(pause));
            let in_time = entry.first.is_none_or(|(_, until)| at < until);
            if in_time {
                entry.join_state = JoinState::RetryAt(at);
                return;
            }
        }
        let error = Error::refused(refusal);
        if let Some((ticket, _)) = entry.first.take() {
            self.resolve(ticket, Err(error.clone()));
        }
        if let Some(entry) = self.forget(room, "the server refused the rejoin") {
            entry.membership.buffer.end(Interruption::Ended(error));
        }
    }

    /// Returns the delay before a retry after a transient refusal: the server's `retryAfterMs`, or the minimum backoff,
    /// with jitter.
    fn retry_delay(&mut self, refusal: &Refusal) -> Duration {
        let least = self.config.backoff.0.max(Duration::from_millis(1));
        let jitter = least.mul_f64(self.rng.f64());
        refusal.retry_after.unwrap_or(least).saturating_add(jitter)
    }
}

/// Returns true if the same request may be accepted later.
fn is_transient(code: Code) -> bool {
    matches!(code, Code::RateLimited | Code::Unavailable)
}

fn ok(pending: &Pending, text: &str) -> serde_json::Result<Reply> {
    match &pending.request {
        Request::Trigger(_) => serde_json::from_str::<Accepted>(text).map(Reply::Accepted),
        _ => serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| Reply::Done),
    }
}
