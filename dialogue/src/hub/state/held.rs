//! Events that wait while the log can't be written, in a room that declares it.

use std::{collections::VecDeque, mem, sync::Arc};

use tokio::time::Instant;

use super::{
    ConnectionId, State,
    accept::{Draft, unavailable},
    shared::accepted,
};
use crate::{
    hub::{
        Outbox,
        inbox::{Publish, not_in_room},
    },
    store::StoredEvent,
    wire::Id,
};

/// In the order of their acceptance.
#[derive(Debug, Default)]
pub(super) struct Held {
    waiting: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    publish: Publish,
    until: Instant,
    /// It may be in the log already, as this.
    event_id: Option<Id>,
}

/// What is to be tried again if the log can't be written.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) data: String,
    pub(super) meta: Option<Box<str>>,
    pub(super) conflated: Option<String>,
    pub(super) from: Arc<str>,
    pub(super) server: bool,
    pub(super) by: Option<Arc<Outbox>>,
    pub(super) until: Instant,
}

/// Events of an instance that wait at most, and bytes of their payloads.
const EVENTS: usize = 10_000;
const BYTES: usize = 4 << 20;

impl State {
    /// Has an event wait, or refuses it if too many do.
    pub(super) fn hold(&mut self, publish: Publish, until: Instant, event_id: Option<Id>) {
        let bytes = publish.data.len();
        if self.held.waiting.len() >= EVENTS || self.held.bytes + bytes > BYTES || until <= Instant::now() {
            return self.turn_down(publish.origin.source, publish.reply, unavailable(&self.id));
        }
        if self.held.waiting.is_empty() {
            self.give_up_at(until);
        }
        self.held.bytes += bytes;
        self.held.waiting.push_back(Waiting { publish, until, event_id });
        if self.unsettled.is_none() {
            // Whether the store is there again is asked for then.
            self.unsettle();
        }
    }

    /// An event could not be written, or nobody knows: it waits, or whoever sent it is told.
    pub(super) fn hold_or_refuse(&mut self, draft: Draft) {
        let Draft { record, key, origin, reply, retry } = draft;
        match retry {
            Some(retry) => {
                let Retry { data, meta, conflated, from, server, by, until } = *retry;
                let key = key.map(|(_, key)| key);
                let event = record.event;
                let event_id = Some(record.event_id);
                let publish =
                    Publish { event, data, conflated, from, server, meta, key, event_id, origin, by, reply };
                self.hold(publish, until, Some(record.event_id));
            }
            None => self.turn_down(origin.source, reply, unavailable(&self.id)),
        }
    }

    /// An event turned out to be in the log; yields which of the room's it is, and when it came in, if it waited here.
    pub(super) fn found(&mut self, stored: &StoredEvent) -> Option<(u8, Option<std::time::Instant>)> {
        // Those that were tried come before those that weren't.
        let mut tried = self.held.waiting.iter().take_while(|waiting| waiting.event_id.is_some());
        let place = tried.position(|waiting| waiting.event_id == Some(stored.event_id))?;
        let Waiting { publish, .. } = self.held.waiting.remove(place)?;
        self.held.bytes -= publish.data.len();
        let (accepted, event, at) = (accepted(stored), publish.event, publish.origin.received_at);
        self.room.meter.accepted(event, publish.origin.source);
        publish.origin.accepted(&accepted);
        self.reply(publish.reply, Ok(accepted));
        Some((event, at))
    }

    /// The log can be written: those that waited are accepted anew, before any that come now.
    pub(super) fn release(&mut self) {
        for Waiting { publish, until, .. } in mem::take(&mut self.held).waiting {
            self.accept_until(publish, Some(until));
        }
    }

    /// Refuses the events of a connection that wait and that the store never saw: it was put out of the room.
    pub(super) fn turn_down_held_of(&mut self, connection: ConnectionId) {
        let is_of = |waiting: &Waiting| {
            waiting.event_id.is_none()
                && waiting.publish.connection().is_some_and(|outbox| outbox.id() == connection)
        };
        let (refused, left) = mem::take(&mut self.held.waiting).into_iter().partition(is_of);
        self.held.waiting = left;
        let refused: VecDeque<Waiting> = refused;
        for Waiting { publish, .. } in refused {
            self.held.bytes -= publish.data.len();
            self.turn_down(publish.origin.source, publish.reply, not_in_room());
        }
    }

    /// The log still can't be written: those that have waited long enough are refused.
    pub(super) fn give_up(&mut self, now: Instant) {
        let (late, left) =
            mem::take(&mut self.held).waiting.into_iter().partition(|waiting| waiting.until <= now);
        self.held.waiting = left;
        self.held.bytes = self.held.waiting.iter().map(|waiting| waiting.publish.data.len()).sum();
        let late: VecDeque<Waiting> = late;
        for waiting in late {
            self.turn_down(waiting.publish.origin.source, waiting.publish.reply, unavailable(&self.id));
        }
        if let Some(next) = self.held.waiting.front() {
            self.give_up_at(next.until);
        }
    }

    fn give_up_at(&self, until: Instant) {
        if let Some(instance) = self.instance.upgrade() {
            let wait = until.saturating_duration_since(Instant::now());
            instance.cast_after(wait, |state| {
                state.give_up(Instant::now());
                state.answer();
            });
        }
    }

    /// The room is no more.
    pub(super) fn give_up_all(&mut self) {
        for waiting in mem::take(&mut self.held).waiting {
            self.turn_down(waiting.publish.origin.source, waiting.publish.reply, unavailable(&self.id));
        }
        self.answer();
    }
}
