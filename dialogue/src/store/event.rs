//! One event, as a store keeps it.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use crate::wire::Id;

/// One event, as a store keeps it: whole, and no more than what can't be told from elsewhere.
///
/// A store may keep it as the bytes that [`encode`](Self::encode) makes, with columns beside them for what it looks
/// events up by: `seq`, `event`, `timestamp`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredEvent {
    /// Its number in the log, from 1.
    pub seq: u64,
    /// Its id.
    pub event_id: Id,
    /// Unix milliseconds; never less than that of the event before.
    pub timestamp: u64,
    /// The event's name on the wire.
    pub event: Cow<'static, str>,
    /// The user that sent it.
    pub from: Arc<str>,
    /// Whether the server triggered it.
    pub server: bool,
    /// The payload, as JSON.
    pub data: Bytes,
    /// What the sender put beside it, as JSON.
    pub meta: Option<Arc<str>>,
    /// Of an event of class `latest`: what newer ones take its place by.
    pub conflated: Option<Arc<str>>,
    /// The key that makes a retry of it harmless, in a form that says whose it is ([`KeyScope`](super::KeyScope)).
    pub key: Option<Arc<str>>,
    /// Bytes of all events of the log before it, trimmed ones included, as they are encoded for clients.
    pub offset: u64,
    /// In a room that is audited: the hash chain up to and with this event.
    pub digest: Option<[u8; 32]>,
}
