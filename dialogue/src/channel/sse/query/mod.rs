//! The query string of a request for an event stream, and its `Last-Event-ID`.

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    Refusal,
    live::RoomSpec,
    session::{check_event_count, invalid},
    wire::{EventSet, Position},
};

/// The rooms, event names and positions of a request for an event stream.
#[derive(Debug)]
pub(super) struct StreamQuery {
    pub(super) rooms: Vec<String>,
    /// The positions from which rooms resume, each room at most once.
    since: Vec<(String, Position)>,
    events: Vec<String>,
}

/// The maximum number of rooms of one stream.
const MAX_ROOMS: usize = 16;

impl StreamQuery {
    pub(super) fn parse(query: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut this = StreamQuery { rooms: Vec::new(), since: Vec::new(), events: Vec::new() };
        let mut since = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "room" if this.rooms.len() > MAX_ROOMS || this.rooms.iter().any(|room| *room == value) => {}
                "room" => this.rooms.push(value.into()),
                "event" => this.events.push(value.into()),
                "since" => since = Some(value.into_owned()),
                _ => {}
            }
        }
        if this.rooms.is_empty() {
            return Err(invalid("`room` is missing: `/events?room=chat`"));
        }
        if this.rooms.len() > MAX_ROOMS {
            return Err(invalid(format!("`room`: a stream has at most {MAX_ROOMS} rooms")));
        }
        // A browser reconnects to the same URL, so `Last-Event-ID` is newer than `since` and takes precedence. The
        // browser can't correct an id of another server, or one that a proxy truncated: its rooms get a position that
        // no log has, and the client gets `lost`.
        let last = headers.get("last-event-id").filter(|last| !last.is_empty());
        let mut has_invalid_part = false;
        for part in last.into_iter().flat_map(|last| last.as_bytes().split(|byte| *byte == b';')) {
            match std::str::from_utf8(part).map(parse_room_position) {
                Ok(Some((room_id, position))) => this.resume_at(room_id, position.unwrap_or_default()),
                _ => has_invalid_part = true,
            }
        }
        if has_invalid_part {
            this.rooms.clone().into_iter().for_each(|room_id| this.resume_at(room_id, Position::default()));
        }
        for part in since.iter().flat_map(|since| since.split(';')).filter(|_| since.as_deref() != Some("")) {
            match parse_room_position(part) {
                Some((room_id, Some(position))) => this.resume_at(room_id, position),
                _ => {
                    return Err(invalid(
                        "`since` is positions such as `chat=EPOCH.SEQ.EVENTID`, separated by `;`",
                    ));
                }
            }
        }
        Ok(this)
    }

    /// Sets the position from which a room of the stream resumes, unless it is set already.
    fn resume_at(&mut self, room_id: String, position: Position) {
        if self.rooms.contains(&room_id) && self.since(&room_id).is_none() {
            self.since.push((room_id, position));
        }
    }

    /// Returns the position from which a room resumes.
    pub(super) fn since(&self, room_id: &str) -> Option<&Position> {
        self.since.iter().find(|(room, _)| room == room_id).map(|(_, position)| position)
    }

    /// Returns the requested events of each of `rooms`; `None` stands for the room's default.
    ///
    /// # Errors
    ///
    /// There are more than `max_names` names, or none of the rooms carries one of them.
    pub(super) fn events_by_room(
        &self,
        rooms: &[&Arc<RoomSpec>],
        max_names: usize,
    ) -> Result<Vec<Option<EventSet>>, Refusal> {
        check_event_count(self.events.len(), max_names)?;
        if self.events.is_empty() {
            return Ok(rooms.iter().map(|_| None).collect());
        }
        if let (Some(event), [first, ..]) =
            (self.events.iter().find(|event| !rooms.iter().any(|room| carries(room, event))), rooms)
        {
            return Err(first.not_carried(event));
        }
        let wanted = rooms.iter().map(|room| {
            let carried = self.events.iter().map(String::as_str).filter(|event| carries(room, event));
            room.events_named(carried).map(Some)
        });
        wanted.collect()
    }
}

fn carries(room: &RoomSpec, event: &str) -> bool {
    event == "*" || room.event(event).is_some()
}

/// Parses `chat=k2f9.42.EVENTID`: a room id, and its position if that is well-formed. Returns `None` without a room id.
fn parse_room_position(text: &str) -> Option<(String, Option<Position>)> {
    let (room_id, at) = text.split_once('=')?;
    let room_id = percent_encoding::percent_decode_str(room_id).decode_utf8().ok()?;
    Some((room_id.into_owned(), parse_position(at)))
}

/// Parses `k2f9.42.EVENTID`.
fn parse_position(text: &str) -> Option<Position> {
    let (epoch, rest) = text.split_once('.')?;
    let (seq, event_id) = rest.split_once('.')?;
    // Digits only: `parse` would accept a sign.
    let seq = Some(seq).filter(|seq| seq.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let position = Position { epoch: epoch.to_owned(), seq, event_id: event_id.to_owned() };
    position.is_well_formed().then_some(position)
}

#[cfg(test)]
mod tests;
