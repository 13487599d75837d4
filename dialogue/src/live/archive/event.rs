//! Conversion of a stored event into the record that subscriptions read.

use crate::{live::RoomSpec, log::Record, store::StoredEvent, wire::EventIndex};

impl RoomSpec {
    /// Encodes a stored event. A kind that the room doesn't declare becomes [`EventIndex::UNDECLARED`], to which no
    /// subscription can be.
    pub(in crate::live) fn record(&self, room_id: &str, stored: &StoredEvent) -> Record {
        let data = std::str::from_utf8(&stored.data);
        let event = self.event(&stored.event).filter(|_| data.is_ok());
        Record {
            seq: (stored.seq > 0).then_some(stored.seq),
            event: event.unwrap_or(EventIndex::UNDECLARED),
            event_id: stored.event_id,
            timestamp: stored.timestamp,
            conflated: stored.conflation_key.as_deref().map(Box::from),
            digest: stored.digest.map(Box::new),
            json: stored.frame(room_id, data.unwrap_or("null")).to_json().into(),
        }
    }
}
