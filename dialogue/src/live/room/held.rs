//! Events that are held while the log can't be written, in a room that declares it (`wait = …`).

use std::{collections::VecDeque, mem, time::Duration};

use super::{
    RoomCore, RoomEffect, RoomTimer,
    pending::{HeldDraft, PendingEvent},
    request::{NewEvent, PublishRequest, not_in_room, unavailable},
    stored::accepted,
};
use crate::{
    live::ConnectionId,
    store::StoredEvent,
    wire::{EventIndex, Id},
};

/// The held events, in the order of their acceptance.
#[derive(Debug, Default)]
pub(super) struct HeldEvents {
    events: VecDeque<HeldEvent>,
    bytes: usize,
}

#[derive(Debug)]
struct HeldEvent {
    publish: PublishRequest,
    until: Duration,
    /// The event's id if an append of it may have succeeded.
    event_id: Option<Id>,
}

/// Bounds on the held events of a room instance, and on the bytes of their payloads.
const MAX_HELD_EVENTS: usize = 10_000;
const MAX_HELD_BYTES: usize = 4 << 20;

impl RoomCore {
    /// Holds an event until `until`, or refuses it if too many are held or the instance is closed.
    pub(super) fn hold(&mut self, publish: PublishRequest, until: Duration, event_id: Option<Id>) {
        let bytes = publish.event.data.len();
        if self.is_closed()
            || self.held.events.len() >= MAX_HELD_EVENTS
            || self.held.bytes + bytes > MAX_HELD_BYTES
            || until <= self.time.monotonic
        {
            return self.refuse(publish.origin.source, publish.reply, unavailable(&self.id));
        }
        if self.held.events.is_empty() {
            self.schedule_expiry(until);
        }
        self.held.bytes += bytes;
        self.held.events.push_back(HeldEvent { publish, until, event_id });
        if !self.is_uncertain() {
            // Schedules the probe of the store, after which held events are accepted again.
            self.probe_later();
        }
    }

    /// Holds an event whose append failed or has an unknown outcome, or refuses it where the room doesn't hold events.
    pub(super) fn hold_or_refuse(&mut self, draft: PendingEvent) {
        let PendingEvent { record, origin, reply, retry, .. } = draft;
        match retry {
            Some(retry) => {
                let HeldDraft { event, sender_outbox, until } = *retry;
                let event_id = Some(record.event_id);
                let event = NewEvent { event_id, ..event };
                self.hold(PublishRequest { event, origin, sender_outbox, reply }, until, event_id);
            }
            None => self.refuse(origin.source, reply, unavailable(&self.id)),
        }
    }

    /// Acknowledges a held event that turned out to be in the log. Returns its kind and the time at which it came in;
    /// `None` if it was not held here.
    pub(super) fn take_held(
        &mut self,
        stored: &StoredEvent,
    ) -> Option<(EventIndex, Option<std::time::Instant>)> {
        // Events of a failed append come before those that were never tried.
        let mut tried = self.held.events.iter().take_while(|events| events.event_id.is_some());
        let place = tried.position(|events| events.event_id == Some(stored.event_id))?;
        let HeldEvent { publish, .. } = self.held.events.remove(place)?;
        self.held.bytes -= publish.event.data.len();
        let (accepted, event, at) = (accepted(stored), publish.event.index, publish.origin.received_at);
        self.room.meter.accepted(event, publish.origin.source);
        publish.origin.accepted(&accepted);
        self.reply(publish.reply, Ok(accepted));
        Some((event, at))
    }

    /// Accepts the held events again, before any new ones.
    pub(super) fn resubmit_held(&mut self) {
        for HeldEvent { publish, until, .. } in mem::take(&mut self.held).events {
            self.accept_until(publish, Some(until));
        }
    }

    /// Refuses the held events of a connection that the server removed, except those that the store may have.
    pub(super) fn refuse_held_from(&mut self, connection: ConnectionId) {
        let counts_for = |events: &HeldEvent| {
            events.event_id.is_none()
                && events.publish.connection().is_some_and(|outbox| outbox.id() == connection)
        };
        let (refused, left) = mem::take(&mut self.held.events).into_iter().partition(counts_for);
        self.held.events = left;
        let refused: VecDeque<HeldEvent> = refused;
        for HeldEvent { publish, .. } in refused {
            self.held.bytes -= publish.event.data.len();
            self.refuse(publish.origin.source, publish.reply, not_in_room());
        }
    }

    /// Refuses the held events whose time has run out.
    pub(super) fn refuse_expired(&mut self) {
        let now = self.time.monotonic;
        let (late, left) =
            mem::take(&mut self.held).events.into_iter().partition(|events| events.until <= now);
        self.held.events = left;
        self.held.bytes = self.held.events.iter().map(|events| events.publish.event.data.len()).sum();
        let late: VecDeque<HeldEvent> = late;
        for events in late {
            self.refuse(events.publish.origin.source, events.publish.reply, unavailable(&self.id));
        }
        if let Some(until) = self.held.events.front().map(|next| next.until) {
            self.schedule_expiry(until);
        }
    }

    fn schedule_expiry(&mut self, until: Duration) {
        let wait = until.saturating_sub(self.time.monotonic);
        self.effects.push(RoomEffect::StartTimer(wait, RoomTimer::HeldExpiry));
    }

    /// Refuses all held events: the instance closes.
    pub(in crate::live) fn refuse_all_held(&mut self) {
        for events in mem::take(&mut self.held).events {
            self.refuse(events.publish.origin.source, events.publish.reply, unavailable(&self.id));
        }
    }
}
