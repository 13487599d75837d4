//! What a stream's address asks for.

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    Position, Refusal,
    hub::RoomDecl,
    session::{check_event_count, invalid},
    wire::EventSet,
};

/// The rooms, events and positions of a request for a stream.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) rooms: Vec<String>,
    since: Vec<(String, Position)>,
    events: Vec<String>,
}

/// Rooms of one stream.
const MOST_ROOMS: usize = 16;

impl Query {
    pub(super) fn parse(query: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut this = Query { rooms: Vec::new(), since: Vec::new(), events: Vec::new() };
        let mut since = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "room" if this.rooms.len() > MOST_ROOMS || this.rooms.iter().any(|room| *room == value) => {}
                "room" => this.rooms.push(value.into()),
                "event" => this.events.push(value.into()),
                "since" => since = Some(value.into_owned()),
                _ => {}
            }
        }
        if this.rooms.is_empty() {
            return Err(invalid("`room` is missing: `/events?room=chat`"));
        }
        if this.rooms.len() > MOST_ROOMS {
            return Err(invalid(format!("`room`: a stream is of at most {MOST_ROOMS} rooms")));
        }
        // A browser that reconnects opens the same address: what it saw last is newer than what the address says. There it
        // may show what another server made, or a proxy cut; it can't mend that, and is told that it lost its place.
        let last = headers.get("last-event-id").filter(|last| !last.is_empty());
        let mut unnamed = false;
        for part in last.into_iter().flat_map(|last| last.as_bytes().split(|byte| *byte == b';')) {
            match std::str::from_utf8(part).map(named) {
                Ok(Some((room_id, position))) => this.left(room_id, position.unwrap_or_default()),
                _ => unnamed = true,
            }
        }
        if unnamed {
            this.rooms.clone().into_iter().for_each(|room_id| this.left(room_id, Position::default()));
        }
        for part in since.iter().flat_map(|since| since.split(';')).filter(|_| since.as_deref() != Some("")) {
            match named(part) {
                Some((room_id, Some(position))) => this.left(room_id, position),
                _ => {
                    return Err(invalid(
                        "`since` is positions such as `chat=EPOCH.SEQ.EVENTID`, separated by `;`",
                    ));
                }
            }
        }
        Ok(this)
    }

    /// Notes where the client left a room, unless a newer position of it is known.
    fn left(&mut self, room_id: String, position: Position) {
        if self.rooms.contains(&room_id) && self.since(&room_id).is_none() {
            self.since.push((room_id, position));
        }
    }

    /// Where the client left a room.
    pub(super) fn since(&self, room_id: &str) -> Option<&Position> {
        self.since.iter().find(|(room, _)| room == room_id).map(|(_, position)| position)
    }

    /// The events of each room, of at most `most` names; `None` is the room's default.
    pub(super) fn wanted(
        &self,
        rooms: &[&Arc<RoomDecl>],
        most: usize,
    ) -> Result<Vec<Option<EventSet>>, Refusal> {
        check_event_count(self.events.len(), most)?;
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

fn carries(room: &RoomDecl, event: &str) -> bool {
    event == "*" || room.event(event).is_some()
}

/// Reads `chat=k2f9.42.EVENTID`: a room, and its position if that is well-formed; `None` if no room is named.
fn named(text: &str) -> Option<(String, Option<Position>)> {
    let (room_id, at) = text.split_once('=')?;
    let room_id = percent_encoding::percent_decode_str(room_id).decode_utf8().ok()?;
    Some((room_id.into_owned(), position(at)))
}

/// Reads `k2f9.42.EVENTID`.
fn position(text: &str) -> Option<Position> {
    let (epoch, rest) = text.split_once('.')?;
    let (seq, event_id) = rest.split_once('.')?;
    // A number may have a sign for `parse`.
    let seq = Some(seq).filter(|seq| seq.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()?;
    let position = Position { epoch: epoch.to_owned(), seq, event_id: event_id.to_owned() };
    position.is_well_formed().then_some(position)
}

#[cfg(test)]
mod tests;
