//! The presence changes of a room: which users came and went, gathered and sent to the members.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::members::{EventSink, RoomMembers};
use crate::{
    collections::HashMap,
    wire::{
        Encoding,
        frame::{self, PresenceChange, ServerFrame},
    },
};

/// The presence changes of a room that declares presence.
///
/// A user whose last connection left is announced as gone after a grace period, so that reloading a page announces
/// nothing. Changes are gathered for a short time and sent together; a user who came and went within it is not
/// announced. A crowd that joins a crowd thus costs each member a frame for each newcomer, but one write.
#[derive(Debug)]
pub(super) struct PresenceTracker {
    pub(super) grace: Duration,
    /// Users whose last connection left, and the number of that departure.
    leaving: HashMap<Arc<str>, u64>,
    departures: u64,
    unsent: BTreeMap<Arc<str>, PresenceChange>,
    /// Set if a list of the members may have told a client of the unsent changes.
    is_listed: bool,
    /// Set while sending them is scheduled.
    pub(super) is_scheduled: bool,
    /// Set once the users that the members of a superseded instance were shown are accounted for.
    taken_over: bool,
}

/// The number that stands for no departure: of users who are kept present while they migrate.
const MIGRATING: u64 = 0;

impl PresenceTracker {
    pub(super) fn new(grace: Duration) -> Self {
        PresenceTracker {
            grace,
            leaving: HashMap::default(),
            departures: 0,
            unsent: BTreeMap::new(),
            is_listed: false,
            is_scheduled: false,
            taken_over: false,
        }
    }

    /// Notes a user's first connection; returns whether there is something to send.
    pub(super) fn user_joined(&mut self, user: &Arc<str>) -> bool {
        self.leaving.remove(user).is_none() && self.note(user, PresenceChange::Joined)
    }

    /// Notes that a user's last connection left; returns the departure's number, for
    /// [`grace_ended`](Self::grace_ended).
    pub(super) fn user_left(&mut self, user: &Arc<str>) -> u64 {
        self.departures += 1;
        self.leaving.insert(Arc::clone(user), self.departures);
        self.departures
    }

    /// Ends the grace period of a departure, if the user has not come back; returns whether there is something to send.
    pub(super) fn grace_ended(&mut self, user: &Arc<str>, departure: u64) -> bool {
        self.leaving.get(user) == Some(&departure) && {
            self.leaving.remove(user);
            self.note(user, PresenceChange::Left)
        }
    }

    /// Returns the users whom the room's members take for present, by the events that they were sent.
    pub(super) fn shown(&self, members: &RoomMembers) -> BTreeSet<Arc<str>> {
        let mut shown: BTreeSet<_> = members.user_ids().chain(self.leaving.keys().cloned()).collect();
        for (user, change) in &self.unsent {
            match *change {
                PresenceChange::Joined => _ = shown.remove(user),
                _ => _ = shown.insert(Arc::clone(user)),
            }
        }
        shown
    }

    /// Returns the users in their grace period, for a list of the members: if they come back, nothing is sent.
    pub(super) fn list(&mut self) -> Vec<Arc<str>> {
        self.is_listed |= !self.unsent.is_empty();
        self.leaving.keys().cloned().collect()
    }

    /// Keeps a user present who is about to migrate in, until a connection is in or [leaves](Self::user_left).
    pub(super) fn hold(&mut self, user: &Arc<str>) {
        self.leaving.entry(Arc::clone(user)).or_insert(MIGRATING);
    }

    /// Returns whether a user is kept present for a migration.
    pub(super) fn holds(&self, user: &Arc<str>) -> bool {
        self.leaving.get(user) == Some(&MIGRATING)
    }

    /// Accounts for the users that members of a superseded instance were `shown`; returns `true` for the first such
    /// members only.
    pub(super) fn take_over(&mut self, shown: &BTreeSet<Arc<str>>) -> bool {
        if self.taken_over {
            return false;
        }
        // The migrating members take these users for present already.
        self.unsent.retain(|user, change| *change != PresenceChange::Joined || !shown.contains(user));
        self.taken_over = true;
        true
    }

    /// Returns whether nothing is gathered, and no grace period runs.
    pub(super) fn is_quiet(&self) -> bool {
        self.leaving.is_empty() && self.unsent.is_empty() && !self.is_scheduled
    }

    /// Sends the gathered changes to all members; a member doesn't get its own user's.
    pub(super) fn send(&mut self, room_id: &str, members: &RoomMembers) {
        (self.is_scheduled, self.is_listed) = (false, false);
        let size = members.users() + self.leaving.len();
        let unsent: Vec<_> = std::mem::take(&mut self.unsent).into_iter().collect();
        let encode = |encoding: Encoding| {
            let (mut all, mut ends) = (Vec::new(), Vec::with_capacity(unsent.len()));
            for (user, change) in &unsent {
                let (room_id, user_id) = (room_id.into(), (&**user).into());
                let presence = frame::Presence { room_id, user_id, change: *change, size };
                encoding.put_frame(&mut all, &presence.encode(None));
                ends.push(all.len());
            }
            (Bytes::from(all), ends)
        };
        let (websocket, sse) = (encode(Encoding::WebSocket), encode(Encoding::Sse));
        for subscription in members.iter() {
            let EventSink::Member(outbox, handle) = &subscription.sink else { continue };
            let (all, ends) = match outbox.encoding() {
                Encoding::WebSocket => &websocket,
                Encoding::Sse => &sse,
            };
            // Each member gets the shared bytes before and after its own change.
            let own = unsent.binary_search_by(|(user, _)| user.cmp(&handle.user_id)).ok();
            let start = own.and_then(|own| own.checked_sub(1)).and_then(|before| ends.get(before).copied());
            let (start, end) = match own.and_then(|own| ends.get(own).copied()) {
                Some(end) => (start.unwrap_or(0), end),
                None => (0, 0),
            };
            let parts = [all.slice(..start), all.slice(end..)];
            outbox.send_raw(parts.into_iter().filter(|part| !part.is_empty()));
        }
    }

    /// Gathers a change; it cancels out an opposite one that wasn't sent yet, unless that may be known.
    fn note(&mut self, user: &Arc<str>, change: PresenceChange) -> bool {
        match self.unsent.get(user) {
            Some(other) if *other != change && !self.is_listed => {
                self.unsent.remove(user);
            }
            _ => {
                self.unsent.insert(Arc::clone(user), change);
            }
        }
        !self.unsent.is_empty()
    }
}
