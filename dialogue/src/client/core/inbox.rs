//! The inbox of a room: received events that the application has not read yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    client::{
        frame::Arrival,
        incoming::{Interruption, Joined, Lost, Presence},
    },
    delivery::Unreadable,
    wire::Position,
};

/// Events of bounded number and size, between the connection that puts them in and the one reader that takes them.
///
/// A connection that nothing else needs is not read while there is no room: the server then waits with the application.
/// On one that has to be read on, for an answer or for another room, what does not fit is not put in. The membership
/// remembers that, and asks the server again for what came after the last event in here once the reader has caught up:
/// a slow reader of one room holds no other room up.
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    events: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    bytes: usize,
    skipped: u64,
    /// The bytes of what did not fit first.
    overflowed: Option<usize>,
    /// Set while the connection is not read until there is room.
    stalled: bool,
    /// The number of items that the reader has taken.
    takes: u64,
    /// Comes after everything in the queue.
    end: Option<Interruption>,
    ended: bool,
    /// The reader is gone.
    abandoned: bool,
    taken: Position,
    waker: Option<Waker>,
}

/// Bytes that a frame which is on its way finds free when the reading stops.
const RESERVE: usize = 128 << 10;

#[derive(Debug)]
pub(crate) enum Item {
    Event(Arrival),
    /// The last of a sync carries the log's head.
    History(Arrival, Option<Position>),
    /// An event that can't be read; the last of a sync carries the log's head.
    Unreadable(Box<Unreadable>, Option<Position>),
    Rejoined(Joined),
    Lost(Lost),
    Presence(Presence),
    Skipped(u64),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Item::Event(arrival) | Item::History(arrival, _) => arrival.bytes(),
            Item::Unreadable(unreadable, _) => unreadable.why.len() + unreadable.from.len() + 256,
            _ => 128,
        }
    }
}

impl Inbox {
    pub(crate) fn new(events: usize, bytes: usize) -> Self {
        Inbox { state: Mutex::default(), events: events.max(1), bytes }
    }

    /// Puts `item` in, if it fits; a single one always fits an empty inbox.
    #[must_use]
    pub(crate) fn push(&self, item: Item) -> bool {
        let mut state = self.lock();
        if state.overflowed.is_some() || !self.takes(&state, item.bytes()) {
            state.overflowed.get_or_insert(item.bytes());
            return false;
        }
        state.put(item);
        true
    }

    /// Puts `item` in though there be no room: for what comes once per join.
    pub(crate) fn push_anyway(&self, item: Item) {
        self.lock().put(item);
    }

    /// Puts an ephemeral event in, or counts it as skipped.
    pub(crate) fn push_or_skip(&self, item: Item) {
        let mut state = self.lock();
        let full = state.queue.len() >= self.events || state.bytes.saturating_add(item.bytes()) > self.bytes;
        if full || state.overflowed.is_some() {
            state.skip(1);
        } else {
            state.put(item);
        }
    }

    pub(crate) fn skip(&self, count: u64) {
        self.lock().skip(count);
    }

    /// Says where the reader stands before it takes the first item.
    pub(crate) fn place(&self, position: Position) {
        self.lock().taken = position;
    }

    /// Nothing more will come. The first end counts.
    pub(crate) fn end(&self, end: Interruption) {
        let mut state = self.lock();
        if !state.ended {
            state.end = Some(end);
            state.ended = true;
            state.wake();
        }
    }

    /// Ends it without a word: the application itself left.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// The reader goes away.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Returns whether an item was dropped because the inbox was full.
    pub(crate) fn overflowed(&self) -> bool {
        self.lock().overflowed.is_some()
    }

    /// Returns whether items were dropped and there is capacity again.
    pub(crate) fn wants_more(&self) -> bool {
        let state = self.lock();
        let missed = state.overflowed.filter(|_| !state.ended);
        missed.is_some_and(|bytes| self.is_down_to(&state, 4) && self.takes(&state, bytes))
    }

    /// Returns whether there is room for so many bytes. If not, [`wakes`](Inbox::wakes) tells when to ask again.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let fits = self.takes(&state, bytes);
        state.stalled = !fits;
        fits
    }

    /// Returns whether there is no room for a frame of usual size; once there was none, until half of the items are
    /// taken.
    pub(crate) fn is_full(&self) -> bool {
        let mut state = self.lock();
        let full = state.overflowed.is_some() || !self.takes(&state, RESERVE.min(self.bytes / 4));
        state.stalled = !state.queue.is_empty() && (full || (state.stalled && !self.is_down_to(&state, 2)));
        state.stalled
    }

    /// Returns the number of items that the reader has taken.
    pub(crate) fn taken(&self) -> u64 {
        self.lock().takes
    }

    /// Returns whether the connection's task is to look at this inbox again, after the reader took something.
    pub(crate) fn wakes(&self) -> bool {
        let is_down = |state: &State| state.stalled && (state.queue.is_empty() || self.is_down_to(state, 2));
        self.wants_more() || is_down(&self.lock())
    }

    /// Notes that the dropped items were requested again.
    pub(crate) fn refill(&self) {
        self.lock().overflowed = None;
    }

    /// The position after the last item that was taken.
    pub(crate) fn position(&self) -> Position {
        self.lock().taken.clone()
    }

    /// The next item; `None` after the end.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<Option<Item>, Interruption>> {
        let mut state = self.lock();
        if state.skipped > 0 {
            return Poll::Ready(Ok(Some(Item::Skipped(std::mem::take(&mut state.skipped)))));
        }
        if let Some(item) = state.queue.pop_front() {
            state.bytes = state.bytes.saturating_sub(item.bytes());
            state.takes = state.takes.wrapping_add(1);
            state.advance(&item);
            return Poll::Ready(Ok(Some(item)));
        }
        match state.end.take() {
            Some(end) => Poll::Ready(Err(end)),
            None if state.ended => Poll::Ready(Ok(None)),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Returns whether an item of so many bytes fits; a single one always fits an empty inbox.
    fn takes(&self, state: &State, bytes: usize) -> bool {
        let fits = state.queue.len() < self.events && state.bytes.saturating_add(bytes) <= self.bytes;
        fits || state.queue.is_empty()
    }

    /// Returns whether one part in `parts` of what it may hold is left, or less.
    fn is_down_to(&self, state: &State, parts: usize) -> bool {
        state.queue.len().saturating_mul(parts) <= self.events
            && state.bytes.saturating_mul(parts) <= self.bytes
    }

    /// A panic while it is held leaves nothing half done: every method is a few moves.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn put(&mut self, item: Item) {
        self.bytes = self.bytes.saturating_add(item.bytes());
        self.queue.push_back(item);
        self.wake();
    }

    fn skip(&mut self, count: u64) {
        self.skipped = self.skipped.saturating_add(count);
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    fn advance(&mut self, item: &Item) {
        match item {
            Item::Event(arrival) | Item::History(arrival, None) => {
                if let Some(seq) = arrival.seq {
                    self.taken.seq = seq;
                    self.taken.event_id.clone_from(&arrival.event_id);
                }
            }
            Item::Unreadable(unreadable, None) => {
                if let Some(seq) = unreadable.seq {
                    self.taken.seq = seq;
                    self.taken.event_id.clone_from(&unreadable.event_id);
                }
            }
            Item::History(_, Some(head))
            | Item::Unreadable(_, Some(head))
            | Item::Lost(Lost { head, .. }) => self.taken = head.clone(),
            Item::Rejoined(_) | Item::Presence(_) | Item::Skipped(_) => {}
        }
    }
}
