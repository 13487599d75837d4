//! The client's replay state of one room: position, duplicate detection, and the translation of frames into buffer
//! items. Shared by the WebSocket core and the Server-Sent Events streams.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use super::room_buffer::{BufferedItem, RoomBuffer};
use crate::{
    client::{
        frame::read_events,
        incoming::{Change, Joined, Lost, Presence, Resume},
    },
    event::Unreadable,
    wire::{
        Position,
        frame::{self, PresenceChange, ResumeOutcome},
    },
};

/// Number of recent event ids kept, to tell a repeated event from an event of a rewritten log.
const RECENT_EVENT_IDS: usize = 32;
/// Minimum interval between two rejoins that check whether the log was rewritten.
const CONFLICT_REJOIN_INTERVAL: Duration = Duration::from_secs(5);

/// The position of one room and the buffer that its events go to.
#[derive(Debug)]
pub(crate) struct Membership {
    pub(crate) buffer: Arc<RoomBuffer>,
    /// The position after the last event in the buffer; sent as `since` by the next join.
    position: Option<Position>,
    recent: VecDeque<(u64, String)>,
    conflict_at: Option<Duration>,
}

/// The outcome of inserting an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InsertOutcome {
    Inserted,
    /// An event that was inserted before.
    Duplicate,
    /// An event that does not fit; it is requested again when the buffer has space.
    Overflow,
    /// An event whose `seq` was already used by another event id. Only a join with `since` can tell if the log is still
    /// the same one.
    Conflict,
}

impl Membership {
    pub(crate) fn new(buffer: Arc<RoomBuffer>, since: Option<Position>) -> Self {
        Membership { buffer, position: since, recent: VecDeque::new(), conflict_at: None }
    }

    /// Returns the position to send as `since`.
    pub(crate) fn since(&self) -> Option<&Position> {
        self.position.as_ref()
    }

    /// Applies the `joined` frame that answers a join with `since`. A response of `fresh` to a position, or of
    /// `complete` in another epoch, counts as lost.
    pub(crate) fn joined(
        &mut self,
        frame: frame::Joined<'static>,
        since: Option<Position>,
        first: bool,
    ) -> Joined {
        let frame::Joined { room_id, name, epoch, seq, event_id, resume, replay, members } = frame;
        let head = Position { epoch: epoch.into_owned(), seq, event_id: event_id.into_owned() };
        let resume = match (&since, resume) {
            (None, _) => Resume::Fresh,
            (Some(since), ResumeOutcome::Complete) if since.epoch == head.epoch => {
                Resume::Complete { replay }
            }
            (Some(_), _) => Resume::Lost,
        };
        let joined = Joined {
            name: name.unwrap_or(room_id).into_owned(),
            resume,
            head: head.clone(),
            members: u64::try_from(members).unwrap_or(u64::MAX),
        };
        self.buffer.clear_overflow();
        match (resume, since) {
            (Resume::Complete { .. }, Some(since)) => {
                if first {
                    self.buffer.set_position(since);
                } else {
                    self.buffer.push_unbounded(BufferedItem::Rejoined(joined.clone()));
                }
                return joined;
            }
            (Resume::Lost, Some(since)) => {
                if first {
                    self.buffer.set_position(since.clone());
                }
                self.buffer.push_unbounded(BufferedItem::Lost(Lost { since, head: head.clone() }));
            }
            _ => self.buffer.set_position(head.clone()),
        }
        self.recent.clear();
        self.position = Some(head);
        joined
    }

    pub(crate) fn event(
        &mut self,
        now: Duration,
        event_frame: Result<frame::Event<'static>, Box<Unreadable>>,
    ) -> InsertOutcome {
        let (seq, id, item) = match event_frame {
            Ok(event_frame) => {
                (event_frame.seq, event_frame.event_id.clone().into_owned(), BufferedItem::Event(event_frame))
            }
            Err(unreadable) => {
                (unreadable.seq, unreadable.event_id.clone(), BufferedItem::Unreadable(unreadable, None))
            }
        };
        let Some(seq) = seq else {
            self.buffer.push_or_skip(item);
            return InsertOutcome::Inserted;
        };
        if let Some(position) = &self.position
            && seq <= position.seq
        {
            let known = (seq, &id) == (position.seq, &position.event_id)
                || self.recent.iter().any(|(s, i)| (*s, i) == (seq, &id));
            let recently_checked =
                self.conflict_at.is_some_and(|at| now.saturating_sub(at) < CONFLICT_REJOIN_INTERVAL);
            if known || recently_checked {
                return InsertOutcome::Duplicate;
            }
            self.conflict_at = Some(now);
            return InsertOutcome::Conflict;
        }
        if !self.buffer.push(item) {
            return InsertOutcome::Overflow;
        }
        if self.recent.len() >= RECENT_EVENT_IDS {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, id.clone()));
        if let Some(position) = &mut self.position {
            position.seq = seq;
            position.event_id = id;
        }
        InsertOutcome::Inserted
    }

    /// Queues the sync that follows a fresh or a lost join: oldest event first, up to the head.
    pub(crate) fn history(&mut self, frame: frame::History<'static>) {
        let event_frames = read_events(&frame);
        let count = event_frames.len();
        for (index, event_frame) in event_frames.enumerate() {
            let head = if index + 1 == count { self.position.clone() } else { None };
            self.buffer.push_unbounded(match event_frame {
                Ok(event_frame) => BufferedItem::History(event_frame, head),
                Err(unreadable) => BufferedItem::Unreadable(unreadable, head),
            });
        }
    }

    pub(crate) fn presence(&mut self, frame: frame::Presence<'static>) {
        let change = match frame.change {
            PresenceChange::Joined => Change::Joined,
            PresenceChange::Left => Change::Left,
        };
        let presence = Presence {
            user_id: frame.user_id.into_owned(),
            change,
            size: u64::try_from(frame.size).unwrap_or(u64::MAX),
        };
        // A change that does not fit causes a rejoin, as an event does; the `Rejoined` item then marks the gap in
        // presence.
        let _fits = self.buffer.push(BufferedItem::Presence(presence));
    }
}
