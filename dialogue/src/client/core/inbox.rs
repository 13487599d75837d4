//! What a room has received and the application has not taken yet.

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
    wire::Position,
};

/// Events of bounded number and size, between the connection that puts them in and the one reader that takes them.
///
/// What does not fit is not put in. The membership remembers that, and asks the server again for what came after the
/// last event in here once the reader has caught up: a slow reader of one room holds no other room up.
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
    /// Something did not fit.
    overflowed: bool,
    /// Comes after everything in the queue.
    end: Option<Interruption>,
    ended: bool,
    /// The reader is gone.
    abandoned: bool,
    taken: Position,
    waker: Option<Waker>,
}

#[derive(Debug)]
pub(crate) enum Item {
    Event(Arrival),
    /// The last of a sync carries the log's head.
    History(Arrival, Option<Position>),
    Rejoined(Joined),
    Lost(Lost),
    Presence(Presence),
    Skipped(u64),
}

impl Item {
    fn bytes(&self) -> usize {
        match self {
            Item::Event(arrival) | Item::History(arrival, _) => arrival.bytes(),
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
        let bytes = item.bytes();
        let full = state.queue.len() >= self.events || state.bytes.saturating_add(bytes) > self.bytes;
        if state.overflowed || (full && !state.queue.is_empty()) {
            state.overflowed = true;
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
    pub(crate) fn push_or_skip(&self, arrival: Arrival) {
        let mut state = self.lock();
        let full =
            state.queue.len() >= self.events || state.bytes.saturating_add(arrival.bytes()) > self.bytes;
        if full || state.overflowed {
            state.skip(1);
        } else {
            state.put(Item::Event(arrival));
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

    /// Whether something did not fit.
    pub(crate) fn overflowed(&self) -> bool {
        self.lock().overflowed
    }

    /// Whether something did not fit, and there is room again.
    pub(crate) fn wants_more(&self) -> bool {
        let state = self.lock();
        state.overflowed && !state.ended && state.queue.len().saturating_mul(4) <= self.events
    }

    /// What did not fit has been asked for again.
    pub(crate) fn refill(&self) {
        self.lock().overflowed = false;
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
            Item::History(_, Some(head)) | Item::Lost(Lost { head, .. }) => self.taken = head.clone(),
            Item::Rejoined(_) | Item::Presence(_) | Item::Skipped(_) => {}
        }
    }
}
