//! The `tracing` spans of a server. No field holds a payload or a token.
//!
//! Spans of single events have the level `debug`, since a span costs as much as some fifty deliveries.

use tracing::{Span, field::Empty};

use super::{Source, TraceParent};
use crate::store::StoredEvent;

/// The target of all spans, by which a subscriber can filter them apart from the library's log events.
const TARGET: &str = "dialogue::spans";

/// Returns the span of a WebSocket connection or an event stream, from its handshake to its end.
pub(crate) fn connection(source: Source, parent: Option<&TraceParent>) -> Span {
    let traceparent = parent.map(TraceParent::as_str);
    tracing::info_span!(
        target: TARGET, "connection", channel = source.label(), traceparent, client_id = Empty, user_id = Empty
    )
}

/// Returns the span of an event, from the receipt of its frame, request or call until it is in the log or refused. It
/// is a child of `parent`, or else of the current span.
pub(crate) fn trigger(
    parent: Option<&Span>,
    source: Source,
    room: &'static str,
    room_id: &str,
    event: &'static str,
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

/// Returns the span of a call to the store, which may serve many triggers.
pub(crate) fn store(operation: &'static str) -> Span {
    tracing::debug_span!(target: TARGET, "store", operation, failed = Empty)
}

/// Returns the span of a call to the backplane, which may serve many triggers.
pub(crate) fn backplane(operation: &'static str) -> Span {
    tracing::debug_span!(target: TARGET, "backplane", operation, failed = Empty)
}

/// Returns the span of an event of another node, from its receipt here until it is written to all local subscriptions.
pub(crate) fn delivery(room: &'static str, room_id: &str, event: &StoredEvent) -> Span {
    let (event_id, event, seq) = (event.event_id.as_str(), &*event.event, event.seq);
    tracing::debug_span!(target: TARGET, "delivery", room, room_id, event, event_id, seq)
}

/// Returns the span of an attempt to push an event to a device.
pub(crate) fn push(provider: &'static str, room_id: &str, event_id: &str) -> Span {
    tracing::info_span!(target: TARGET, "push", provider, room_id, event_id, delivered = Empty)
}
