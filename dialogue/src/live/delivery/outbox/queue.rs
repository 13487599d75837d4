//! The queue of an outbox: items in order, and conflation by key.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    task::{Context, Waker},
};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::super::{ReplaySource, batch::id_line};
use crate::{collections::HashMap, wire::EventIndex};

/// Empty items up to which the queue isn't compacted.
const MAX_STALE_ITEMS: usize = 64;

pub(super) struct Queue {
    pub(super) items: VecDeque<QueuedItem>,
    /// Bytes in `items`.
    pub(super) bytes: usize,
    /// The bytes of `items` that are pages of a replay, which the client reads at its own pace: they don't count
    /// towards the bound.
    pub(super) page: usize,
    /// An upper bound on the items that are empty because a newer event of their key replaced them.
    pub(super) stale: usize,
    /// The number of items that ever left the front; an item's number less this is its index.
    pub(super) taken: u64,
    /// The number of the item with the newest event of each conflation key.
    pub(super) latest: HashMap<LatestKey, u64>,
    /// The socket took fewer bytes than offered: the connection's task waits for it.
    pub(super) blocked: bool,
    /// Set while the front item is partly written.
    pub(super) partial: bool,
    pub(super) skipped: Vec<(Arc<str>, u64)>,
    pub(super) replays: Vec<Replay>,
    /// In an event stream, the position in each of its rooms.
    pub(super) positions: Vec<Box<str>>,
    pub(super) close_reason: Option<OutboxCloseReason>,
    pub(super) waker: Option<Waker>,
    /// The waker of a task that waits for the outbox's closing only.
    pub(super) close_waker: Option<Waker>,
    /// The time of the client's last progress, or of the first write since, while a write waits for it.
    pub(super) stalled_since: Option<Instant>,
    /// Chunks that the writer of an event stream has and hasn't written yet.
    pub(super) handed_chunks: usize,
}

pub(super) struct QueuedItem {
    pub(super) bytes: Bytes,
    pub(super) latest: Option<LatestKey>,
    /// In an event stream, the position after this item. The `id:` line repeats the positions of all rooms, and is
    /// encoded when the item is taken, so that it doesn't fill the queue.
    pub(super) at: Option<StreamPosition>,
}

/// The identity by which `latest` events are conflated: a newer event of the same key replaces this one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LatestKey {
    pub(super) room_id: Arc<str>,
    pub(super) event: EventIndex,
    /// The key that the event type declares, as text.
    pub(super) key: Box<str>,
}

/// The place of a room among those of an event stream. A WebSocket sends no positions; all of its rooms have the first
/// place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct StreamSlot(u8);

impl StreamSlot {
    /// Returns the slots of a stream's rooms, in their order.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(StreamSlot)
    }
}

/// A position in one room of an event stream.
#[derive(Debug)]
pub(super) struct StreamPosition {
    pub(super) slot: StreamSlot,
    /// The position as in the `id:` line.
    pub(super) text: Box<str>,
}

/// The reason that nothing more is written to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutboxCloseReason {
    /// The client reads too slowly: more bytes were queued than the bound, or the log was trimmed past its replay.
    TooSlow,
    /// The server removed it.
    Removed(Arc<str>),
    /// The client showed no sign of life in time.
    Unresponsive,
    /// The socket is closed.
    Disconnected,
}

/// A replay of a room to this connection, a page each time that the queue is empty.
pub(super) struct Replay {
    pub(super) source: Weak<dyn ReplaySource>,
    pub(super) is_requested: bool,
}

impl Queue {
    pub(super) fn push(&mut self, bytes: Bytes, latest: Option<LatestKey>) {
        self.push_at(bytes, latest, None);
    }

    pub(super) fn push_at(&mut self, bytes: Bytes, latest: Option<LatestKey>, at: Option<StreamPosition>) {
        if self.close_reason.is_some() {
            return;
        }
        if let Some(key) = &latest {
            let number = self.taken + u64::try_from(self.items.len()).unwrap_or(0);
            if let Some(older) = self.latest.insert(key.clone(), number) {
                self.drop_conflated(older);
            }
        }
        self.bytes += bytes.len();
        self.items.push_back(QueuedItem { bytes, latest, at });
        self.drop_stale();
    }

    /// Empties an item that a newer event of its key replaced. It keeps its place, so that the numbers of the others
    /// hold.
    pub(super) fn drop_conflated(&mut self, number: u64) {
        let place = number.checked_sub(self.taken).and_then(|place| usize::try_from(place).ok());
        if place == Some(0) && self.partial {
            return;
        }
        if let Some(item) = place.and_then(|place| self.items.get_mut(place)) {
            self.bytes -= item.bytes.len();
            item.bytes = Bytes::new();
            (item.latest, item.at) = (None, None);
            self.stale += 1;
        }
    }

    /// Removes the empty items once they are the majority, so that the memory of a client that stalls is bounded by the
    /// bytes that wait for it.
    pub(super) fn drop_stale(&mut self) {
        if self.stale <= MAX_STALE_ITEMS.max(self.items.len() / 2) {
            return;
        }
        self.stale = 0;
        self.items.retain(|item| !item.bytes.is_empty());
        for (number, item) in (self.taken..).zip(&self.items) {
            if let Some(place) = item.latest.as_ref().and_then(|key| self.latest.get_mut(key)) {
                *place = number;
            }
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        loop {
            let item = self.items.pop_front()?;
            let number = self.taken;
            self.taken += 1;
            self.partial = false;
            if let Some(key) = item.latest
                && self.latest.get(&key) == Some(&number)
            {
                self.latest.remove(&key);
            }
            if !item.bytes.is_empty() {
                self.bytes -= item.bytes.len();
                return Some(match item.at {
                    Some(position) => [self.move_to(position), item.bytes].concat().into(),
                    None => item.bytes,
                });
            }
        }
    }

    /// Removes bytes from the front that the socket took.
    pub(super) fn advance(&mut self, mut written: usize) {
        while let Some(front) = self.items.front_mut() {
            if front.bytes.len() > written {
                if written > 0 {
                    front.bytes.advance(written);
                    self.bytes -= written;
                    self.partial = true;
                }
                return;
            }
            written -= front.bytes.len();
            let number = self.taken;
            self.taken += 1;
            self.partial = false;
            if let Some(item) = self.items.pop_front() {
                self.bytes -= item.bytes.len();
                if let Some(key) = item.latest
                    && self.latest.get(&key) == Some(&number)
                {
                    self.latest.remove(&key);
                }
            }
        }
    }

    pub(super) fn skip(&mut self, room_id: &Arc<str>) {
        match self.skipped.iter_mut().find(|(skipped, _)| skipped == room_id) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push((Arc::clone(room_id), 1)),
        }
    }

    pub(super) fn move_to(&mut self, position: StreamPosition) -> Bytes {
        if let Some(place) = self.positions.get_mut(usize::from(position.slot.0)) {
            *place = position.text;
        }
        id_line(&self.positions)
    }

    pub(super) fn close(&mut self, reason: OutboxCloseReason) {
        self.close_reason.get_or_insert(reason);
        if let Some(waker) = self.close_waker.take() {
            waker.wake();
        }
        self.wake();
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.latest.clear();
        self.bytes = 0;
    }

    /// Notes that a write waits for the client.
    pub(super) fn wait(&mut self) {
        self.stalled_since.get_or_insert_with(Instant::now);
    }

    /// Notes that the writer of an event stream got a chunk.
    pub(super) fn note_handed(&mut self) {
        self.handed_chunks += 1;
        self.wait();
    }

    /// Notes that the client took bytes.
    pub(super) fn progress(&mut self) {
        self.stalled_since = (self.handed_chunks > 0 || !self.items.is_empty()).then(Instant::now);
    }

    pub(super) fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn register(&mut self, cx: &Context<'_>) {
        match &self.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            _ => self.waker = Some(cx.waker().clone()),
        }
    }
}

impl Replay {
    pub(super) fn is_from<S>(&self, source: &Arc<S>) -> bool {
        std::ptr::addr_eq(self.source.as_ptr(), Arc::as_ptr(source))
    }
}
