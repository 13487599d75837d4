//! What a stream's address asks for.

use std::sync::Arc;

use http::HeaderMap;

use crate::{
    Position, Refusal,
    hub::RoomDecl,
    session::{bounded_names, invalid},
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
        // A browser that reconnects opens the same address: what it saw last is newer than what the address says.
        let last = headers.get("last-event-id").map(|id| id.to_str().map(str::to_owned));
        let last = last.transpose().map_err(|_| invalid("`Last-Event-ID` is not text"))?;
        for positions in [last, since].into_iter().flatten().filter(|positions| !positions.is_empty()) {
            for position in positions.split(';') {
                let (room_id, position) = self::position(position).ok_or_else(|| {
                    invalid("`since` and `Last-Event-ID` are positions such as `chat=EPOCH.SEQ.EVENTID`, separated by `;`")
                })?;
                if this.rooms.contains(&room_id) && this.since(&room_id).is_none() {
                    this.since.push((room_id, position));
                }
            }
        }
        Ok(this)
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
        bounded_names(self.events.len(), most)?;
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

/// Reads `chat=k2f9.42.EVENTID`.
fn position(text: &str) -> Option<(String, Position)> {
    let (room_id, position) = text.split_once('=')?;
    let (epoch, rest) = position.split_once('.')?;
    let (seq, event_id) = rest.split_once('.')?;
    let position =
        Position { epoch: epoch.to_owned(), seq: seq.parse().ok()?, event_id: event_id.to_owned() };
    Some((percent_encoding::percent_decode_str(room_id).decode_utf8().ok()?.into_owned(), position))
}

#[cfg(test)]
mod tests;
