//! The events that a room holds while the log can't be written, in the order of their acceptance.

use std::{collections::VecDeque, mem, time::Duration};

use super::request::PublishRequest;
use crate::{live::ConnectionId, wire::Id};

/// The held events, in the order of their acceptance.
#[derive(Debug, Default)]
pub(super) struct HeldEvents {
    events: VecDeque<HeldEvent>,
    bytes: usize,
}

/// An event that waits until the log can be written.
#[derive(Debug)]
pub(super) struct HeldEvent {
    pub(super) publish: PublishRequest,
    /// The time at which it is refused.
    pub(super) until: Duration,
    /// The event's id if an append of it may have succeeded.
    pub(super) event_id: Option<Id>,
}

/// Bounds on the held events of a room instance, and on the bytes of their payloads.
const MAX_HELD_EVENTS: usize = 10_000;
const MAX_HELD_BYTES: usize = 4 << 20;

impl HeldEvents {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Returns whether one more event may be held.
    pub(super) fn has_space_for(&self, publish: &PublishRequest) -> bool {
        self.events.len() < MAX_HELD_EVENTS && self.bytes + publish.event.data.len() <= MAX_HELD_BYTES
    }

    pub(super) fn push(&mut self, event: HeldEvent) {
        self.bytes += event.publish.event.data.len();
        self.events.push_back(event);
    }

    /// Returns the time at which the first event is refused.
    pub(super) fn first_expiry(&self) -> Option<Duration> {
        self.events.front().map(|first| first.until)
    }

    /// Takes the event with this id, of those whose append may have succeeded.
    pub(super) fn take(&mut self, event_id: Id) -> Option<PublishRequest> {
        // Events of a failed append come before those that were never tried.
        let mut tried = self.events.iter().take_while(|event| event.event_id.is_some());
        let place = tried.position(|event| event.event_id == Some(event_id))?;
        let HeldEvent { publish, .. } = self.events.remove(place)?;
        self.bytes -= publish.event.data.len();
        Some(publish)
    }

    /// Takes the events of a connection, except those that the store may have.
    pub(super) fn take_from(&mut self, connection: ConnectionId) -> VecDeque<HeldEvent> {
        self.take_if(|event| {
            event.event_id.is_none()
                && event.publish.connection().is_some_and(|outbox| outbox.id() == connection)
        })
    }

    /// Takes the events whose time has run out.
    pub(super) fn take_expired(&mut self, now: Duration) -> VecDeque<HeldEvent> {
        self.take_if(|event| event.until <= now)
    }

    /// Takes all events.
    pub(super) fn take_all(&mut self) -> VecDeque<HeldEvent> {
        mem::take(self).events
    }

    fn take_if(&mut self, is_taken: impl Fn(&HeldEvent) -> bool) -> VecDeque<HeldEvent> {
        let (taken, left): (VecDeque<_>, _) = self.take_all().into_iter().partition(is_taken);
        self.events = left;
        self.bytes = self.events.iter().map(|event| event.publish.event.data.len()).sum();
        taken
    }
}
