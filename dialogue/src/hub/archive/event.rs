//! An event, from its room into the store and back.

use crate::{hub::RoomDecl, log::Record, store::StoredEvent, wire::frame::EventHead};

impl RoomDecl {
    /// The event as readers get it; `None` if the room no longer declares its kind.
    pub(in crate::hub) fn record(&self, room_id: &str, stored: &StoredEvent) -> Option<Record> {
        let event = self.event(&stored.event)?;
        let head = EventHead {
            room_id,
            event: self.event_name(event),
            from: &stored.from,
            timestamp: stored.timestamp,
            event_id: stored.event_id.as_str(),
            seq: Some(stored.seq),
            server: stored.server,
            meta: stored.meta.as_deref(),
        };
        Some(Record {
            seq: Some(stored.seq),
            event,
            event_id: stored.event_id,
            timestamp: stored.timestamp,
            conflated: stored.conflated.as_deref().map(Box::from),
            digest: stored.digest.map(Box::new),
            json: head.encode(std::str::from_utf8(&stored.data).ok()?),
        })
    }
}
