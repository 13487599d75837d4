//! Who comes and goes, as the others are told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::members::{Members, Reader};
use crate::wire::{Encoding, frame};

/// What is to be told in a room that declares presence.
///
/// A user whose last connection went is gone after a grace, so that a page's reload shows nothing. Changes that come
/// together are told together, and who came and went meanwhile not at all: a crowd that joins a crowd costs each of
/// them a frame for each newcomer, but one write.
#[derive(Debug)]
pub(super) struct Presence {
    pub(super) grace: Duration,
    /// Users whose last connection went, and the number of that departure.
    leaving: HashMap<Arc<str>, u64>,
    departures: u64,
    untold: BTreeMap<Arc<str>, &'static str>,
    /// They are to be told in a moment.
    pub(super) waiting: bool,
    /// The users that the members of a lost instance were shown are accounted for.
    taken_over: bool,
}

/// How long changes are gathered.
pub(super) const GATHER: Duration = Duration::from_millis(50);

/// The number of no departure: of users that don't leave by themselves.
const HELD: u64 = 0;

const JOINED: &str = "joined";
const LEFT: &str = "left";

impl Presence {
    pub(super) fn new(grace: Duration) -> Self {
        Presence {
            grace,
            leaving: HashMap::new(),
            departures: 0,
            untold: BTreeMap::new(),
            waiting: false,
            taken_over: false,
        }
    }

    /// A user's first connection came; yields whether there is something to tell.
    pub(super) fn came(&mut self, user: &Arc<str>) -> bool {
        self.leaving.remove(user).is_none() && self.note(user, JOINED)
    }

    /// A user's last connection went; yields the number to come back with after the grace.
    pub(super) fn went(&mut self, user: &Arc<str>) -> u64 {
        self.departures += 1;
        self.leaving.insert(Arc::clone(user), self.departures);
        self.departures
    }

    /// The grace of a departure is over; yields whether there is something to tell.
    pub(super) fn gone(&mut self, user: &Arc<str>, departure: u64) -> bool {
        self.leaving.get(user) == Some(&departure) && {
            self.leaving.remove(user);
            self.note(user, LEFT)
        }
    }

    /// The users that the room's members take for present, by what they were sent.
    pub(super) fn shown(&self, members: &Members) -> BTreeSet<Arc<str>> {
        let mut shown: BTreeSet<_> = members.user_ids().chain(self.leaving.keys().cloned()).collect();
        for (user, change) in &self.untold {
            match *change {
                JOINED => _ = shown.remove(user),
                _ => _ = shown.insert(Arc::clone(user)),
            }
        }
        shown
    }

    /// Keeps a user present that is about to move in, until it is in or [goes](Self::went).
    pub(super) fn hold(&mut self, user: &Arc<str>) {
        self.leaving.entry(Arc::clone(user)).or_insert(HELD);
    }

    /// Returns whether a user is kept present, and not for a grace.
    pub(super) fn holds(&self, user: &Arc<str>) -> bool {
        self.leaving.get(user) == Some(&HELD)
    }

    /// Returns true once: for the first members that come from a lost instance, in which they were `shown` who is
    /// present.
    pub(super) fn take_over(&mut self, shown: &BTreeSet<Arc<str>>) -> bool {
        if self.taken_over {
            return false;
        }
        // They were there before the members came, who take them for present.
        self.untold.retain(|user, change| *change != JOINED || !shown.contains(user));
        self.taken_over = true;
        true
    }

    /// Whether nobody is about to be told something.
    pub(super) fn is_quiet(&self) -> bool {
        self.leaving.is_empty() && self.untold.is_empty() && !self.waiting
    }

    /// Tells the members.
    pub(super) fn tell(&mut self, room_id: &str, members: &Members) {
        self.waiting = false;
        let size = members.users() + self.leaving.len();
        let untold: Vec<_> = std::mem::take(&mut self.untold).into_iter().collect();
        let encode = |encoding: Encoding| {
            let (mut all, mut ends) = (Vec::new(), Vec::with_capacity(untold.len()));
            for (user, change) in &untold {
                let body = frame::Presence { room_id, user_id: user, change, size };
                let json = frame::Frame::new("presence", None, body).encode();
                encoding.put_frame(&mut all, "presence", &json);
                ends.push(all.len());
            }
            (Bytes::from(all), ends)
        };
        let (websocket, sse) = (encode(Encoding::WebSocket), encode(Encoding::Sse));
        for reading in members.iter() {
            let Reader::Member(outbox, link) = &reading.reader else { continue };
            let (all, ends) = match outbox.encoding() {
                Encoding::WebSocket => &websocket,
                Encoding::Sse => &sse,
            };
            // Nobody is told of themselves: of what all share, they get what is before and after that.
            let own = untold.binary_search_by(|(user, _)| user.cmp(&link.user_id)).ok();
            let start = own.and_then(|own| own.checked_sub(1)).and_then(|before| ends.get(before).copied());
            let (start, end) = match own.and_then(|own| ends.get(own).copied()) {
                Some(end) => (start.unwrap_or(0), end),
                None => (0, 0),
            };
            let parts = [all.slice(..start), all.slice(end..)];
            outbox.send_raw(parts.into_iter().filter(|part| !part.is_empty()));
        }
    }

    /// Who came and went before it was told did neither.
    fn note(&mut self, user: &Arc<str>, change: &'static str) -> bool {
        match self.untold.get(user) {
            Some(other) if *other != change => {
                self.untold.remove(user);
            }
            _ => {
                self.untold.insert(Arc::clone(user), change);
            }
        }
        !self.untold.is_empty()
    }
}
