//! Events that are held while the log can't be written, in a room that declares it (`wait = …`).

use std::time::{Duration, Instant};

use super::{
    RoomCore, RoomEffect, RoomTimer,
    held_events::HeldEvent,
    pending::{HeldDraft, PendingEvent},
    request::{NewEvent, PublishRequest, not_in_room, unavailable},
    stored::accepted,
};
use crate::{
    live::ConnectionId,
    store::StoredEvent,
    wire::{EventIndex, Id},
};

impl RoomCore {
    /// Holds an event until `until`, or refuses it if too many are held or the instance is closed.
    pub(super) fn hold(&mut self, publish: PublishRequest, until: Duration, event_id: Option<Id>) {
        if self.is_closed() || !self.held.has_space_for(&publish) || until <= self.time.monotonic {
            return self.refuse(publish.origin.source, publish.reply, unavailable(&self.id));
        }
        if self.held.is_empty() {
            self.schedule_expiry(until);
        }
        self.held.push(HeldEvent { publish, until, event_id });
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
    pub(super) fn take_held(&mut self, stored: &StoredEvent) -> Option<(EventIndex, Option<Instant>)> {
        let publish = self.held.take(stored.event_id)?;
        let (accepted, event, at) = (accepted(stored), publish.event.index, publish.origin.received_at);
        self.room.meter.accepted(event, publish.origin.source);
        publish.origin.accepted(&accepted);
        self.reply(publish.reply, Ok(accepted));
        Some((event, at))
    }

    /// Accepts the held events again, before any new ones.
    pub(super) fn resubmit_held(&mut self) {
        for HeldEvent { publish, until, .. } in self.held.take_all() {
            self.accept_until(publish, Some(until));
        }
    }

    /// Refuses the held events of a connection that the server removed, except those that the store may have.
    pub(super) fn refuse_held_from(&mut self, connection: ConnectionId) {
        for HeldEvent { publish, .. } in self.held.take_from(connection) {
            self.refuse(publish.origin.source, publish.reply, not_in_room());
        }
    }

    /// Refuses the held events whose time has run out.
    pub(super) fn refuse_expired(&mut self) {
        for HeldEvent { publish, .. } in self.held.take_expired(self.time.monotonic) {
            self.refuse(publish.origin.source, publish.reply, unavailable(&self.id));
        }
        if let Some(until) = self.held.first_expiry() {
            self.schedule_expiry(until);
        }
    }

    fn schedule_expiry(&mut self, until: Duration) {
        let wait = until.saturating_sub(self.time.monotonic);
        self.effects.push(RoomEffect::StartTimer(wait, RoomTimer::HeldExpiry));
    }

    /// Refuses all held events: the instance closes.
    pub(in crate::live) fn refuse_all_held(&mut self) {
        for HeldEvent { publish, .. } in self.held.take_all() {
            self.refuse(publish.origin.source, publish.reply, unavailable(&self.id));
        }
    }
}
