//! One room as the client sees it: where it stands, and what it has passed on.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::inbox::{Inbox, Item};
use crate::{
    client::{
        frame::{Arrival, ChangeWord, HistoryFrame, JoinedFrame, PresenceFrame, ResumeWord},
        incoming::{Change, Joined, Lost, Presence, Resume},
    },
    delivery::Unreadable,
    wire::Position,
};

/// The number of recent event ids that are kept, to distinguish a repeated event from a rewritten log.
const RECENT: usize = 32;
/// A log that seems rewritten is asked about at most so often.
const DOUBT: Duration = Duration::from_secs(5);

/// Where a room stands: the same over a socket and over a stream.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) inbox: Arc<Inbox>,
    /// After the last event that is in the inbox; what the next join shows as `since`.
    position: Option<Position>,
    recent: VecDeque<(u64, String)>,
    doubted: Option<Duration>,
}

/// The action after an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Taken,
    /// It was here before.
    Duplicate,
    /// It does not fit; the inbox asks again when there is room.
    Overflow,
    /// The number was another event's: only a join with `since` can tell whether the log is still the same.
    Doubtful,
}

impl Membership {
    pub(crate) fn new(inbox: Arc<Inbox>, since: Option<Position>) -> Self {
        Membership { inbox, position: since, recent: VecDeque::new(), doubted: None }
    }

    /// Returns the position to send as `since`.
    pub(crate) fn since(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// The answer to a join that showed `since`. A server that answers a position with `fresh`, or with `complete` in
    /// another epoch, has lost it too.
    pub(crate) fn joined(&mut self, frame: JoinedFrame, since: Option<Position>, first: bool) -> Joined {
        let JoinedFrame { room_id, name, head, resume, replay, members } = frame;
        let resume = match (&since, resume) {
            (None, _) => Resume::Fresh,
            (Some(since), ResumeWord::Complete) if since.epoch == head.epoch => Resume::Complete { replay },
            (Some(_), _) => Resume::Lost,
        };
        let joined = Joined { name: name.unwrap_or(room_id), resume, head: head.clone(), members };
        self.inbox.refill();
        match (resume, since) {
            (Resume::Complete { .. }, Some(since)) => {
                if first {
                    self.inbox.place(since);
                } else {
                    self.inbox.push_anyway(Item::Rejoined(joined.clone()));
                }
                return joined;
            }
            (Resume::Lost, Some(since)) => {
                if first {
                    self.inbox.place(since.clone());
                }
                self.inbox.push_anyway(Item::Lost(Lost { since, head: head.clone() }));
            }
            _ => self.inbox.place(head.clone()),
        }
        self.recent.clear();
        self.position = Some(head);
        joined
    }

    pub(crate) fn event(&mut self, now: Duration, arrival: Result<Arrival, Box<Unreadable>>) -> Verdict {
        let (seq, id, item) = match arrival {
            Ok(arrival) => (arrival.seq, arrival.event_id.clone(), Item::Event(arrival)),
            Err(unreadable) => {
                (unreadable.seq, unreadable.event_id.clone(), Item::Unreadable(unreadable, None))
            }
        };
        let Some(seq) = seq else {
            self.inbox.push_or_skip(item);
            return Verdict::Taken;
        };
        if let Some(position) = &self.position
            && seq <= position.seq
        {
            let known = (seq, &id) == (position.seq, &position.event_id)
                || self.recent.iter().any(|(s, i)| (*s, i) == (seq, &id));
            let asked = self.doubted.is_some_and(|at| now.saturating_sub(at) < DOUBT);
            if known || asked {
                return Verdict::Duplicate;
            }
            self.doubted = Some(now);
            return Verdict::Doubtful;
        }
        if !self.inbox.push(item) {
            return Verdict::Overflow;
        }
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, id.clone()));
        if let Some(position) = &mut self.position {
            position.seq = seq;
            position.event_id = id;
        }
        Verdict::Taken
    }

    /// The sync after a fresh or a lost join: oldest first, up to the head.
    pub(crate) fn history(&mut self, frame: HistoryFrame) {
        let arrivals = frame.arrivals();
        let count = arrivals.len();
        for (index, arrival) in arrivals.enumerate() {
            let head = if index + 1 == count { self.position.clone() } else { None };
            self.inbox.push_anyway(match arrival {
                Ok(arrival) => Item::History(arrival, head),
                Err(unreadable) => Item::Unreadable(unreadable, head),
            });
        }
    }

    pub(crate) fn presence(&mut self, frame: PresenceFrame) {
        let change = match frame.change {
            ChangeWord::Joined => Change::Joined,
            ChangeWord::Left => Change::Left,
        };
        let presence = Presence { user_id: frame.user_id, change, size: frame.size };
        // One that doesn't fit makes the room ask again like an event; `Rejoined` then says that presence has a gap.
        let _fits = self.inbox.push(Item::Presence(presence));
    }
}
