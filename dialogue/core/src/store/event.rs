//! [`StoredEvent`], the form of an event that servers hand to a store and read back.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use crate::wire::{Id, frame};

/// One event of a room's log, with everything that a server needs to send it to clients again. The room and the epoch
/// are those of the log.
///
/// A store may keep it as the bytes that [`encode`](Self::encode) returns, with columns beside them for the fields that
/// it looks events up by: `seq`, `event`, `timestamp`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// The event's number in the log, from 1.
    pub seq: u64,
    /// The event's id.
    pub event_id: Id,
    /// The time at which the event was accepted, in Unix milliseconds; never less than that of the event before.
    pub timestamp: u64,
    /// The event's name on the wire.
    pub event: Cow<'static, str>,
    /// The id of the user that sent the event.
    pub from: Arc<str>,
    /// `true` if server code or the backend with a server key triggered the event, `false` if a client did.
    pub from_server: bool,
    /// The payload, as JSON.
    pub data: Bytes,
    /// The sender's metadata, as JSON.
    pub meta: Option<Arc<str>>,
    /// The conflation key of an event of class `latest`: a newer event of the same name and key supersedes it.
    pub conflation_key: Option<Arc<str>>,
    /// The idempotency key, by which a retry is recognised, in the form that includes its
    /// [`KeyScope`](super::KeyScope).
    pub key: Option<Arc<str>>,
    /// The total size of all events before it in the log, trimmed ones included, as they are encoded for clients, in
    /// bytes.
    pub offset: u64,
    /// The digest of the audit hash chain up to and including this event; only in rooms that are audited.
    pub digest: Option<[u8; 32]>,
}

impl StoredEvent {
    /// Creates an event of a user, without meta, keys and digest, at offset 0.
    pub fn new(
        seq: u64,
        event_id: Id,
        timestamp: u64,
        event: impl Into<Cow<'static, str>>,
        from: Arc<str>,
        data: Bytes,
    ) -> Self {
        StoredEvent {
            seq,
            event_id,
            timestamp,
            event: event.into(),
            from,
            from_server: false,
            data,
            meta: None,
            conflation_key: None,
            key: None,
            offset: 0,
            digest: None,
        }
    }

    /// Returns the `event` frame around `data`, the payload as text.
    #[doc(hidden)]
    pub fn frame<'a>(&'a self, room_id: &'a str, data: &'a str) -> frame::Event<'a> {
        frame::Event {
            room_id: room_id.into(),
            event: (&*self.event).into(),
            data: data.into(),
            from: (&*self.from).into(),
            timestamp: self.timestamp,
            event_id: self.event_id.as_str().into(),
            seq: (self.seq > 0).then_some(self.seq),
            server: self.from_server,
            meta: self.meta.as_deref().map(Into::into),
        }
    }
}
