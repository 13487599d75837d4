//! Requests to publish events.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    Code, Refusal,
    live::{
        Outbox, RoomSpec,
        delivery::{ConnectionId, PublishReply},
    },
    log::Record,
    observe::{EventOrigin, Meter},
    store::StoredEvent,
    wire::{Accepted, EventIndex, Id, frame},
};

/// A request to publish an event, after it passed ingest.
#[derive(Debug)]
pub(crate) struct PublishRequest {
    pub(crate) event: NewEvent,
    pub(crate) origin: EventOrigin,
    /// The outbox of the connection that sent it, where the [reply](Self::reply) doesn't name it.
    pub(crate) sender_outbox: Option<Arc<Outbox>>,
    pub(crate) reply: PublishReply,
}

/// An event that its room has not numbered yet.
#[derive(Debug, Clone)]
pub(crate) struct NewEvent {
    /// The index of the event among those of the room.
    pub(crate) index: EventIndex,
    /// The payload as JSON.
    pub(crate) data: String,
    /// The key of a `latest` event: a newer event with the same key replaces this one.
    pub(crate) conflation_key: Option<String>,
    pub(crate) from: Arc<str>,
    pub(crate) server: bool,
    /// The sender's metadata, as JSON.
    pub(crate) meta: Option<Box<str>>,
    /// The idempotency key of the sender's request, in its scope.
    pub(crate) key: Option<Box<str>>,
    /// The event's id, where it is known before the event is accepted.
    pub(crate) event_id: Option<Id>,
}

/// An event for the connections of one user only, in no log.
#[derive(Debug)]
pub(crate) struct TargetedEvent {
    pub(crate) event_id: Id,
    /// Unix milliseconds.
    pub(crate) timestamp: u64,
    /// The user's connections at this node.
    pub(crate) to: Vec<ConnectionId>,
}

impl NewEvent {
    /// Encodes the event as the frame that all its recipients get.
    pub(super) fn encode(
        &self,
        room: &RoomSpec,
        room_id: &str,
        event_id: Id,
        timestamp: u64,
        seq: Option<u64>,
    ) -> Bytes {
        let frame = frame::Event {
            room_id: room_id.into(),
            event: room.event_name(self.index).into(),
            data: (&*self.data).into(),
            from: (&*self.from).into(),
            timestamp,
            event_id: event_id.as_str().into(),
            seq,
            server: self.server,
            meta: self.meta.as_deref().map(Into::into),
        };
        frame.to_json().into()
    }

    /// Returns the event as the store keeps it, once it is numbered: `key` is its idempotency key,
    /// and `offset` the size of the log before it.
    pub(super) fn into_stored(
        self,
        room: &RoomSpec,
        record: &Record,
        key: Option<&str>,
        offset: u64,
    ) -> StoredEvent {
        let (seq, name) = (record.seq.unwrap_or(0), room.event_name(self.index));
        let mut stored =
            StoredEvent::new(seq, record.event_id, record.timestamp, name, self.from, self.data.into());
        stored.from_server = self.server;
        stored.meta = self.meta.map(Arc::from);
        stored.conflation_key = record.conflated.as_deref().map(Arc::from);
        stored.key = key.map(Arc::from);
        stored.offset = offset;
        stored.digest = record.digest.as_deref().copied();
        stored
    }
}

impl TargetedEvent {
    /// Returns the acknowledgement for the sender.
    pub(crate) fn accepted(&self) -> Accepted {
        Accepted::new(None, self.event_id.as_str(), self.timestamp)
    }
}

impl PublishRequest {
    /// Returns whether the event may no longer be accepted: while it waited, the application removed its connection, or
    /// the token expired.
    pub(super) fn is_revoked(&self) -> bool {
        self.connection().is_some_and(|outbox| outbox.is_revoked())
    }

    /// The outbox of the connection that sent the event, if one did.
    pub(super) fn connection(&self) -> Option<&Arc<Outbox>> {
        match &self.reply {
            PublishReply::Frame(outbox, _) => Some(outbox),
            _ => self.sender_outbox.as_ref(),
        }
    }

    /// Refuses an event that didn't reach its room.
    pub(in crate::live) fn refuse(self, meter: &Meter, refusal: Refusal) {
        if self.reply.is_uncounted() {
            meter.refused_later(self.origin.source, &refusal);
        }
        self.reply.send_now(Err(refusal));
    }
}

/// Returns the refusal of a request about a room that its connection isn't in.
pub(crate) fn not_in_room() -> Refusal {
    Refusal::new(Code::NotInRoom, "join the room first")
}

/// Returns the refusal of an event whose connection was removed or whose token expired before the event was accepted.
pub(crate) fn revoked() -> Refusal {
    Refusal::new(Code::Unauthenticated, "the connection ended before the event was accepted")
}

/// Returns the refusal of a request while the room's log can't be reached.
pub(crate) fn unavailable(room_id: &str) -> Refusal {
    Refusal::new(Code::Unavailable, format!("the log of room `{room_id}` can't be reached now; try again"))
}

/// Returns the refusal of a request that a busy room can't accept.
pub(crate) fn busy(room_id: &str) -> Refusal {
    Refusal::new(Code::Unavailable, format!("room `{room_id}` can't keep up; try again"))
}
