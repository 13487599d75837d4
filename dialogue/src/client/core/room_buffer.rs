//! The bounded queue of one room's received items, between the driver (or a stream's task), which pushes, and the
//! application's reader, which takes.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use crate::{
    client::incoming::{Interruption, Joined, Lost, Presence},
    event::Unreadable,
    wire::{Position, frame::Event},
};

/// A bounded single-consumer queue of received items, limited in number and in bytes.
///
/// A full buffer puts backpressure on the server: its connection is not read while nothing else needs it. A connection
/// that has to be read, for a response or for another room, drops the items that do not fit. The buffer records the
/// overflow, and the client joins the room again from the last queued position once the reader has caught up. A slow
/// reader therefore delays no other room.
#[derive(Debug)]
pub(crate) struct RoomBuffer {
    state: Mutex<RoomBufferState>,
    max_events: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct RoomBufferState {
    queue: VecDeque<BufferedItem>,
    bytes: usize,
    skipped: u64,
    /// The size, in bytes, of the first item that did not fit; `None` without an overflow.
    overflowed: Option<usize>,
    /// Set while reading from the connection is paused because this buffer is full.
    stalled: bool,
    /// The number of items taken by the reader.
    taken_count: u64,
    /// The interruption that the reader receives after the last queued item.
    end: Option<Interruption>,
    ended: bool,
    /// Set when the reader was dropped.
    abandoned: bool,
    position: Position,
    waker: Option<Waker>,
}

/// Bytes kept free for a frame that is already in transit when reading is paused: 128 KiB.
const FRAME_RESERVE_BYTES: usize = 128 << 10;

#[derive(Debug)]
pub(crate) enum BufferedItem {
    Event(Event<'static>),
    /// An event of the sync that precedes live events; the last one carries the log's head.
    History(Event<'static>, Option<Position>),
    /// An event that could not be parsed; the last one of a sync carries the log's head.
    Unreadable(Box<Unreadable>, Option<Position>),
    Rejoined(Joined),
    Lost(Lost),
    Presence(Presence),
    Skipped(u64),
}

impl BufferedItem {
    fn bytes(&self) -> usize {
        match self {
            BufferedItem::Event(event_frame) | BufferedItem::History(event_frame, _) => event_frame.bytes(),
            BufferedItem::Unreadable(unreadable, _) => unreadable.why.len() + unreadable.from.len() + 256,
            _ => 128,
        }
    }
}

impl RoomBuffer {
    pub(crate) fn new(max_events: usize, max_bytes: usize) -> Self {
        RoomBuffer { state: Mutex::default(), max_events: max_events.max(1), max_bytes }
    }

    /// Appends `item` and returns true if it fits; an empty buffer accepts an item of any size. Otherwise records the
    /// overflow.
    #[must_use]
    pub(crate) fn push(&self, item: BufferedItem) -> bool {
        let mut state = self.lock();
        if state.overflowed.is_some() || !self.has_space_for(&state, item.bytes()) {
            state.overflowed.get_or_insert(item.bytes());
            return false;
        }
        state.put(item);
        true
    }

    /// Appends `item` regardless of the bounds, for items that occur at most once per join.
    pub(crate) fn push_unbounded(&self, item: BufferedItem) {
        self.lock().put(item);
    }

    /// Appends an ephemeral event, or counts it as skipped if it does not fit.
    pub(crate) fn push_or_skip(&self, item: BufferedItem) {
        let mut state = self.lock();
        let full =
            state.queue.len() >= self.max_events || state.bytes.saturating_add(item.bytes()) > self.max_bytes;
        if full || state.overflowed.is_some() {
            state.skip(1);
        } else {
            state.put(item);
        }
    }

    pub(crate) fn skip(&self, count: u64) {
        self.lock().skip(count);
    }

    /// Sets the reader's position before the first item is taken.
    pub(crate) fn set_position(&self, position: Position) {
        self.lock().position = position;
    }

    /// Ends the buffer with `end`, delivered after the queued items. Later calls have no effect.
    pub(crate) fn end(&self, end: Interruption) {
        let mut state = self.lock();
        if !state.ended {
            state.end = Some(end);
            state.ended = true;
            state.wake();
        }
    }

    /// Ends the buffer without an interruption, because the application left the room or closed the client.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.ended = true;
        state.wake();
    }

    /// Marks the reader as dropped.
    pub(crate) fn abandon(&self) {
        self.lock().abandoned = true;
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }

    /// Returns true if an item did not fit since the last join.
    pub(crate) fn overflowed(&self) -> bool {
        self.lock().overflowed.is_some()
    }

    /// Returns true if an item did not fit, and the buffer has drained enough to request it again: a quarter of the
    /// bounds is in use, or less.
    pub(crate) fn can_resume(&self) -> bool {
        let state = self.lock();
        let missed = state.overflowed.filter(|_| !state.ended);
        missed.is_some_and(|bytes| self.is_drained_to(&state, 4) && self.has_space_for(&state, bytes))
    }

    /// Returns true if an item of `bytes` fits. Otherwise [`needs_wake`](RoomBuffer::needs_wake) returns true when the
    /// caller should check again.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        let mut state = self.lock();
        let fits = self.has_space_for(&state, bytes);
        state.stalled = !fits;
        fits
    }

    /// Returns true if a frame of usual size does not fit. Hysteresis: once full, it stays full until half of the
    /// bounds is free.
    pub(crate) fn is_full(&self) -> bool {
        let mut state = self.lock();
        let full = state.overflowed.is_some()
            || !self.has_space_for(&state, FRAME_RESERVE_BYTES.min(self.max_bytes / 4));
        state.stalled =
            !state.queue.is_empty() && (full || (state.stalled && !self.is_drained_to(&state, 2)));
        state.stalled
    }

    /// Returns the number of items that the reader has taken.
    pub(crate) fn taken_count(&self) -> u64 {
        self.lock().taken_count
    }

    /// Returns true if the reader, after it took an item, has to wake the connection's task, which waits for space
    /// here.
    pub(crate) fn needs_wake(&self) -> bool {
        let is_down = |state: &RoomBufferState| {
            state.stalled && (state.queue.is_empty() || self.is_drained_to(state, 2))
        };
        self.can_resume() || is_down(&self.lock())
    }

    /// Clears the overflow after the missing items were requested again.
    pub(crate) fn clear_overflow(&self) {
        self.lock().overflowed = None;
    }

    /// Returns the position after the last item that was taken.
    pub(crate) fn position(&self) -> Position {
        self.lock().position.clone()
    }

    /// Takes the next item. Resolves to an error once at an interruption, and to `None` after the end.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Result<Option<BufferedItem>, Interruption>> {
        let mut state = self.lock();
        if state.skipped > 0 {
            return Poll::Ready(Ok(Some(BufferedItem::Skipped(std::mem::take(&mut state.skipped)))));
        }
        if let Some(item) = state.queue.pop_front() {
            state.bytes = state.bytes.saturating_sub(item.bytes());
            state.taken_count = state.taken_count.wrapping_add(1);
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

    /// Returns true if an item of `bytes` fits; an empty buffer accepts an item of any size.
    fn has_space_for(&self, state: &RoomBufferState, bytes: usize) -> bool {
        let fits = state.queue.len() < self.max_events && state.bytes.saturating_add(bytes) <= self.max_bytes;
        fits || state.queue.is_empty()
    }

    /// Returns true if at most one part in `parts` of the bounds is in use.
    fn is_drained_to(&self, state: &RoomBufferState, parts: usize) -> bool {
        state.queue.len().saturating_mul(parts) <= self.max_events
            && state.bytes.saturating_mul(parts) <= self.max_bytes
    }

    /// Locks the state. A poisoned lock is safe to enter: no method panics between two related changes.
    fn lock(&self) -> MutexGuard<'_, RoomBufferState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RoomBufferState {
    fn put(&mut self, item: BufferedItem) {
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

    fn advance(&mut self, item: &BufferedItem) {
        match item {
            BufferedItem::Event(event_frame) | BufferedItem::History(event_frame, None) => {
                if let Some(seq) = event_frame.seq {
                    self.position.seq = seq;
                    self.position.event_id.clear();
                    self.position.event_id.push_str(&event_frame.event_id);
                }
            }
            BufferedItem::Unreadable(unreadable, None) => {
                if let Some(seq) = unreadable.seq {
                    self.position.seq = seq;
                    self.position.event_id.clone_from(&unreadable.event_id);
                }
            }
            BufferedItem::History(_, Some(head))
            | BufferedItem::Unreadable(_, Some(head))
            | BufferedItem::Lost(Lost { head, .. }) => self.position = head.clone(),
            BufferedItem::Rejoined(_) | BufferedItem::Presence(_) | BufferedItem::Skipped(_) => {}
        }
    }
}
