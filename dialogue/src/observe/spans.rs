//! The spans that a server makes. None shows a payload or a token.
//!
//! What there is for each event is at the level `debug`: a span costs as much as some fifty deliveries do.

use tracing::{Span, field::Empty};

use super::{Source, TraceParent};
use crate::store::StoredEvent;

/// By which a subscriber tells them from what the library logs.
const TARGET: &str = "dialogue::spans";

/// A socket or a stream, from its handshake to its end.
pub(crate) fn connection(source: Source, parent: Option<&TraceParent>) -> Span {
    let traceparent = parent.map(TraceParent::as_str);
    tracing::info_span!(
        target: TARGET, "connection", channel = source.label(), traceparent, client_id = Empty, user_id = Empty
    )
}

/// An event, from its frame, request or call until it is in the log, or refused. It belongs to `parent`, or to whatever
/// is current.
pub(crate) fn trigger(
    parent: Option<&Span>,
    source: Source,
    (room, room_id, event): (&'static str, &str, &'static str),
) -> Span {
    let channel = source.label();
    match parent {
        Some(parent) => tracing::debug_span!(
            target: TARGET, parent: parent, "trigger", room, room_id, event, channel, seq = Empty, outcome = Empty
        ),
        None => tracing::debug_span!(
            target: TARGET, "trigger", room, room_id, event, channel, seq = Empty, outcome = Empty
        ),
    }
}

/// A call of the store, which many triggers may share.
pub(crate) fn store(operation: &'static str) -> Span {
    tracing::debug_span!(target: TARGET, "store", operation, failed = Empty)
}

/// A call of the backplane, which many triggers may share.
pub(crate) fn backplane(operation: &'static str) -> Span {
    tracing::debug_span!(target: TARGET, "backplane", operation, failed = Empty)
}

/// An event that another instance put into a room, from when it is heard of until it is written to all readers.
pub(crate) fn heard(room: &'static str, room_id: &str, event: &StoredEvent) -> Span {
    let (event_id, event, seq) = (event.event_id.as_str(), &*event.event, event.seq);
    tracing::debug_span!(target: TARGET, "delivery", room, room_id, event, event_id, seq)
}

/// A try to tell a device of an event.
#[cfg(feature = "push")]
pub(crate) fn push(provider: &'static str, room_id: &str, event_id: &str) -> Span {
    tracing::info_span!(target: TARGET, "push", provider, room_id, event_id, delivered = Empty)
}
