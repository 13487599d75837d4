//! What waits, in its order, and what is to be done once nothing does.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Weak},
    task::{Context, Waker},
};

use bytes::{Buf, Bytes};
use tokio::time::Instant;

use super::{Cut, Outbox};
use crate::{
    hub::{Instance, batch::id_line},
    wire::frame,
};

/// Under so many, empty items aren't worth a look at all.
const MOST_STALE: usize = 64;

pub(super) struct Queue {
    pub(super) items: VecDeque<Item>,
    /// Bytes in `items`.
    pub(super) bytes: usize,
    /// How many of them are a page of a replay, which is read at the reader's own pace: they don't count as too many.
    pub(super) page: usize,
    /// At most so many items are empty, since newer ones took their place.
    pub(super) stale: usize,
    /// How many items ever left the front: an item's number less this is its place.
    pub(super) taken: u64,
    /// Where the newest event of each conflated key waits.
    pub(super) latest: HashMap<(Arc<str>, u8, Box<str>), u64>,
    /// The socket took less than it was given: its task waits for it.
    pub(super) blocked: bool,
    /// The front item is written in part.
    pub(super) partial: bool,
    pub(super) skipped: Vec<(Arc<str>, u64)>,
    pub(super) replays: Vec<Replay>,
    /// Of an event stream: what each of its rooms is resumed by.
    pub(super) positions: Vec<Box<str>>,
    pub(super) cut: Option<Cut>,
    pub(super) waker: Option<Waker>,
    /// Of who waits for a cut alone.
    pub(super) cut_waker: Option<Waker>,
    /// When the client last took something, or else was first given something, while a write waits for it.
    pub(super) stuck: Option<Instant>,
    /// Chunks that the writer of an event stream was handed and has not written yet.
    pub(super) handed: usize,
}

pub(super) struct Item {
    pub(super) bytes: Bytes,
    pub(super) latest: Option<(Arc<str>, u8, Box<str>)>,
    /// Of an event stream: which of its rooms then is where. The line that says so repeats all rooms, and is written when
    /// the item is taken, so that it isn't what fills the queue.
    pub(super) at: Option<(u8, Box<str>)>,
}

/// A room that is being replayed to this connection, a page each time that the queue is empty.
pub(super) struct Replay {
    pub(super) instance: Weak<Instance>,
    pub(super) asked: bool,
}

impl Queue {
    pub(super) fn push(&mut self, bytes: Bytes, latest: Option<(Arc<str>, u8, Box<str>)>) {
        self.push_at(bytes, latest, None);
    }

    pub(super) fn push_at(
        &mut self,
        bytes: Bytes,
        latest: Option<(Arc<str>, u8, Box<str>)>,
        at: Option<(u8, Box<str>)>,
    ) {
        if self.cut.is_some() {
            return;
        }
        if let Some(key) = &latest {
            let number = self.taken + u64::try_from(self.items.len()).unwrap_or(0);
            if let Some(older) = self.latest.insert(key.clone(), number) {
                self.drop_conflated(older);
            }
        }
        self.bytes += bytes.len();
        self.items.push_back(Item { bytes, latest, at });
        self.drop_stale();
    }

    /// An item that a newer one of its key made stale keeps its place, empty, so that the numbers of the others hold.
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

    /// Takes the empty items out once they are the most, so that a reader that stalls for long costs what waits for it.
    pub(super) fn drop_stale(&mut self) {
        if self.stale <= MOST_STALE.max(self.items.len() / 2) {
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
                    Some((slot, position)) => [self.move_to(slot, position), item.bytes].concat().into(),
                    None => item.bytes,
                });
            }
        }
    }

    /// The socket took so many bytes off the front.
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

    /// Once nothing waits: says what was skipped, and asks for more of what is being replayed.
    pub(super) fn emptied(&mut self, outbox: &Outbox) {
        if !self.items.is_empty() || self.cut.is_some() {
            return;
        }
        self.page = 0;
        if !self.skipped.is_empty() {
            for (room_id, count) in std::mem::take(&mut self.skipped) {
                let json =
                    frame::Frame::new("skipped", None, frame::Skipped { room_id: &room_id, count }).encode();
                let mut bytes = Vec::with_capacity(json.len() + 48);
                outbox.encoding.put_frame(&mut bytes, "skipped", &json);
                self.push(bytes.into(), None);
            }
            return outbox.push_out(self);
        }
        for replay in self.replays.iter_mut().filter(|replay| !replay.asked) {
            if let Some(instance) = replay.instance.upgrade() {
                replay.asked = true;
                instance.replay_more(outbox.id);
            }
        }
    }

    pub(super) fn skip(&mut self, room_id: &Arc<str>) {
        match self.skipped.iter_mut().find(|(skipped, _)| skipped == room_id) {
            Some((_, count)) => *count += 1,
            None => self.skipped.push((Arc::clone(room_id), 1)),
        }
    }

    pub(super) fn move_to(&mut self, slot: u8, position: Box<str>) -> Bytes {
        if let Some(place) = self.positions.get_mut(usize::from(slot)) {
            *place = position;
        }
        id_line(&self.positions)
    }

    pub(super) fn cut(&mut self, cut: Cut) {
        self.cut.get_or_insert(cut);
        if let Some(waker) = self.cut_waker.take() {
            waker.wake();
        }
        self.wake();
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.latest.clear();
        self.bytes = 0;
    }

    /// A write waits for the client.
    pub(super) fn wait(&mut self) {
        self.stuck.get_or_insert_with(Instant::now);
    }

    /// The writer of an event stream gets a chunk.
    pub(super) fn hand(&mut self) {
        self.handed += 1;
        self.wait();
    }

    /// The client took something.
    pub(super) fn progress(&mut self) {
        self.stuck = (self.handed > 0 || !self.items.is_empty()).then(Instant::now);
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
    pub(super) fn is_of(&self, instance: &Arc<Instance>) -> bool {
        std::ptr::eq(self.instance.as_ptr(), Arc::as_ptr(instance))
    }
}
