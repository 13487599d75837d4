//! Who comes and goes, as the others are told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

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
}

/// How long changes are gathered.
pub(super) const GATHER: Duration = Duration::from_millis(50);

const JOINED: &str = "joined";
const LEFT: &str = "left";

impl Presence {
    pub(super) fn new(grace: Duration) -> Self {
        Presence { grace, leaving: HashMap::new(), departures: 0, untold: BTreeMap::new(), waiting: false }
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
            let frames = untold.iter().map(|(user, change)| {
                let body = frame::Presence { room_id, user_id: user, change, size };
                let json = frame::Frame::new("presence", None, body).encode();
                let mut bytes = Vec::with_capacity(json.len() + 32);
                encoding.put_frame(&mut bytes, "presence", &json);
                (user, bytes)
            });
            frames.collect::<Vec<_>>()
        };
        let (websocket, sse) = (encode(Encoding::WebSocket), encode(Encoding::Sse));
        let whole = |frames: &[(&Arc<str>, Vec<u8>)]| {
            bytes::Bytes::from(
                frames.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect::<Vec<u8>>(),
            )
        };
        let (all_websocket, all_sse) = (whole(&websocket), whole(&sse));
        for reading in members.iter() {
            let Reader::Member(outbox, link) = &reading.reader else { continue };
            let (frames, all) = match outbox.encoding() {
                Encoding::WebSocket => (&websocket, &all_websocket),
                Encoding::Sse => (&sse, &all_sse),
            };
            // Nobody is told of themselves.
            if frames.iter().any(|(user, _)| **user == link.user_id) {
                let others = frames.iter().filter(|(user, _)| **user != link.user_id);
                let others: Vec<u8> = others.flat_map(|(_, bytes)| bytes.iter().copied()).collect();
                if !others.is_empty() {
                    outbox.send_raw(others.into());
                }
            } else {
                outbox.send_raw(all.clone());
            }
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
