//! The outbox of a connection: a bounded queue of shared bytes, with conflation and a policy for slow clients.

use std::{
    collections::VecDeque,
    fmt, io,
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{Batch, ConnectionId};
use crate::{
    collections::HashMap,
    wire::{Encoding, EventSet, frame::EncodedFrame},
};
use queue::{LatestKey, Queue, StreamPosition};
pub(crate) use queue::{OutboxCloseReason, StreamSlot};

mod activity;
mod queue;
mod replays;
#[cfg(test)]
mod tests;

/// A socket that can be written to without waiting, from any task.
pub(crate) trait DirectWriter: Send + Sync {
    /// Writes as `write_vectored` of a non-blocking socket does.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// The outgoing bytes of one connection.
///
/// With a [`DirectWriter`], the task that delivers an event writes it to the socket itself, as long as the socket takes
/// everything: no other task wakes for a delivery. Only the bytes that the socket refuses are queued, and then the
/// connection's own task waits for the socket and calls [`flush`](Outbox::flush). Without one, the connection's task
/// takes the bytes with [`poll_take`](Outbox::poll_take).
///
/// The queue is bounded. A client that falls behind loses ephemeral events first (and is sent their number), keeps only
/// the newest of each key of conflated events, and is disconnected past the bound: it reconnects and resumes from the
/// log.
///
/// There is a lock per recipient and delivery: several rooms and the connection's own task write to one outbox. It is
/// uncontended unless they do so at once, and costs some 10 ns beside the microseconds of the system call that it
/// guards.
pub(crate) struct Outbox {
    id: ConnectionId,
    encoding: Encoding,
    direct: Option<Box<dyn DirectWriter>>,
    max_bytes: usize,
    /// Set once frames of the connection that still wait may no longer be carried out.
    revoked: AtomicBool,
    /// The number of reads from the client, as its sign of life.
    read_count: AtomicU64,
    /// Notified at each sign of life of the client: a read from it, or a write that it took.
    activity: Notify,
    /// Set while reading from the client is paused, because it has enough to take or to wait for.
    reading_paused: AtomicBool,
    queue: Mutex<Queue>,
}

/// The state of the outbox after a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FlushStatus {
    /// The queue is empty.
    Idle,
    /// The socket takes no more bytes now.
    Blocked,
    /// The outbox is closed.
    Closed(OutboxCloseReason),
}

/// The bound divided by this is the low-water mark: below it, ephemeral events are still queued, and replies wait for
/// the next write.
const LOW_WATER_DIVISOR: usize = 8;
/// Buffers of one vectored write.
const MAX_IO_SLICES: usize = 64;
impl Outbox {
    pub(crate) fn new(
        id: ConnectionId,
        encoding: Encoding,
        max_bytes: usize,
        direct: Option<Box<dyn DirectWriter>>,
        positions: Vec<Box<str>>,
    ) -> Arc<Self> {
        let queue = Queue {
            items: VecDeque::new(),
            bytes: 0,
            page: 0,
            stale: 0,
            taken: 0,
            latest: HashMap::default(),
            blocked: false,
            partial: false,
            skipped: Vec::new(),
            replays: Vec::new(),
            positions,
            close_reason: None,
            waker: None,
            close_waker: None,
            stalled_since: None,
            handed_chunks: 0,
        };
        Arc::new(Outbox {
            id,
            encoding,
            direct,
            max_bytes,
            revoked: AtomicBool::new(false),
            read_count: AtomicU64::new(0),
            activity: Notify::new(),
            reading_paused: AtomicBool::new(false),
            queue: Mutex::new(queue),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Queues a frame that is no event, to be written together with the next event.
    pub(crate) fn queue(&self, frame: &EncodedFrame) {
        let bytes = self.encoding.frame(frame);
        let mut queue = self.queue.lock();
        queue.push(bytes, None);
        if queue.bytes > self.max_bytes / LOW_WATER_DIVISOR {
            // The client isn't slow as long as the bytes weren't offered to it.
            self.write_out(&mut queue);
        }
        self.enforce_bound(&mut queue);
    }

    /// Queues a frame that is no event, and writes the queue.
    pub(crate) fn send(&self, frame: &EncodedFrame) {
        self.queue(frame);
        self.write_out(&mut self.queue.lock());
    }

    /// Writes the queue.
    pub(crate) fn flush_queued(&self) {
        self.write_out(&mut self.queue.lock());
    }

    /// Sends encoded frames, all at once. However large they are, a client with an empty queue isn't too slow yet.
    pub(crate) fn send_raw(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut queue = self.queue.lock();
        let idle = queue.items.is_empty();
        for bytes in frames {
            queue.push(bytes, None);
        }
        self.write_out(&mut queue);
        self.enforce_bound_after(&mut queue, idle);
    }

    /// Sends `joined` for a room, in an event stream with the position from which the client resumes. Events of the room
    /// that are queued are not conflated with later ones: a replay sends some of them again, and a client that is cut
    /// off between the two has a position behind the first.
    pub(crate) fn send_joined(
        &self,
        frame: &EncodedFrame,
        room_id: &str,
        slot: StreamSlot,
        position: String,
    ) {
        let bytes = self.encoding.frame(frame);
        let at = match self.encoding {
            Encoding::WebSocket => None,
            Encoding::Sse => Some(StreamPosition { slot, text: position.into() }),
        };
        let mut queue = self.queue.lock();
        queue.latest.retain(|key, _| *key.room_id != *room_id);
        queue.push_at(bytes, None, at);
        self.write_out(&mut queue);
        // A stream joins all its rooms before anything is taken from it.
        if self.encoding == Encoding::WebSocket {
            self.enforce_bound(&mut queue);
        }
    }

    /// Sends a page of the log that the client didn't request; it doesn't count towards the bound.
    pub(crate) fn send_page(&self, frame: &EncodedFrame) {
        let bytes = self.encoding.frame(frame);
        let mut queue = self.queue.lock();
        queue.page = queue.page.saturating_add(bytes.len());
        queue.push(bytes, None);
        self.write_out(&mut queue);
    }

    /// Delivers the events of a batch that are in `filter`.
    pub(crate) fn deliver(&self, slot: StreamSlot, batch: &Batch, filter: EventSet) {
        self.deliver_to(&mut self.queue.lock(), slot, batch, filter);
    }

    /// Delivers a page of a replay, which may be larger than the bound.
    pub(crate) fn deliver_page(&self, slot: StreamSlot, batch: &Batch, filter: EventSet) {
        let mut queue = self.queue.lock();
        // Pages of other rooms may be queued still.
        let (before, page) = (queue.bytes, queue.page);
        queue.page = usize::MAX;
        self.deliver_to(&mut queue, slot, batch, filter);
        queue.page = page.saturating_add(queue.bytes.saturating_sub(before));
    }

    fn deliver_to(&self, queue: &mut Queue, slot: StreamSlot, batch: &Batch, filter: EventSet) {
        if queue.close_reason.is_some() {
            return;
        }
        match (&self.direct, self.encoding) {
            (Some(direct), Encoding::WebSocket) if queue.items.is_empty() => {
                let bytes = batch.websocket(filter);
                match direct.try_write(&[IoSlice::new(&bytes)]) {
                    Ok(written) if written == bytes.len() => return,
                    Ok(written) => self.queue_rest(queue, batch, filter, written),
                    Err(error) if would_block(&error) => self.queue_rest(queue, batch, filter, 0),
                    Err(_) => queue.close(OutboxCloseReason::Disconnected),
                }
                queue.blocked = true;
                queue.wait();
                queue.wake();
            }
            _ => {
                let idle = queue.items.is_empty();
                self.queue_batch(queue, slot, batch, filter);
                self.write_out(queue);
                self.enforce_bound_after(queue, idle);
            }
        }
    }

    /// Writes the queue; called by the connection's task when its socket takes bytes again.
    pub(crate) fn flush(&self) -> FlushStatus {
        let mut queue = self.queue.lock();
        queue.blocked = false;
        self.write_out(&mut queue);
        match &queue.close_reason {
            Some(reason) => FlushStatus::Closed(reason.clone()),
            None if queue.blocked => FlushStatus::Blocked,
            None => FlushStatus::Idle,
        }
    }

    /// Polls for work of the connection's task: the socket refused bytes, or the outbox is closed.
    pub(crate) fn poll_writable_work(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        if queue.blocked || queue.close_reason.is_some() {
            return Poll::Ready(());
        }
        queue.register(cx);
        Poll::Pending
    }

    /// Takes bytes to write, for a connection without a [`DirectWriter`]. In an event stream, the bytes taken by one
    /// call are a chunk, which counts as unwritten until [`note_written`](Self::note_written).
    pub(crate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        out: &mut Vec<Bytes>,
    ) -> Poll<Result<(), OutboxCloseReason>> {
        let mut queue = self.queue.lock();
        self.on_drained(&mut queue);
        let mut size = 0;
        while size < max {
            let Some(item) = queue.pop() else { break };
            size += item.len();
            out.push(item);
        }
        if size > 0 {
            match self.encoding {
                Encoding::WebSocket => queue.progress(),
                Encoding::Sse => queue.note_handed(),
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(reason) = &queue.close_reason {
            return Poll::Ready(Err(reason.clone()));
        }
        queue.register(cx);
        Poll::Pending
    }

    /// Polls for the outbox's closing, independently of the task that takes the bytes.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<OutboxCloseReason> {
        let mut queue = self.queue.lock();
        if let Some(reason) = &queue.close_reason {
            return Poll::Ready(reason.clone());
        }
        queue.close_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Returns the number of queued bytes.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Returns the number of queued bytes; `None` once the server has closed the connection, as opposed to having lost
    /// it.
    pub(crate) fn pressure(&self) -> Option<usize> {
        let queue = self.queue.lock();
        matches!(queue.close_reason, None | Some(OutboxCloseReason::Disconnected)).then_some(queue.bytes)
    }

    /// Closes the outbox: nothing more is delivered. A frame of which the socket has a part is completed by
    /// [`close_and_take_partial`](Self::close_and_take_partial).
    pub(crate) fn close(&self, reason: OutboxCloseReason) {
        let removed = matches!(reason, OutboxCloseReason::Removed(_));
        if removed {
            self.revoke();
        }
        let mut queue = self.queue.lock();
        queue.close(reason);
        if removed && self.direct.is_none() {
            // The connection's task would take the queued bytes before it sees the reason.
            queue.clear();
        }
    }

    /// Closes an event stream after one last frame, which replaces the queue.
    pub(crate) fn close_with(&self, frame: &EncodedFrame) {
        self.revoke();
        let bytes = self.encoding.frame(frame);
        let mut queue = self.queue.lock();
        if queue.close_reason.is_none() {
            queue.clear();
            queue.push(bytes, None);
            queue.close(OutboxCloseReason::Disconnected);
        }
    }

    /// Revokes the connection's queued frames: none of those that it sent and that still wait is carried out any more.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// Returns whether the connection's frames that still wait may no longer be carried out.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Closes the outbox and drops the queue, except for the rest of a frame that is partly written, which is returned.
    pub(crate) fn close_and_take_partial(&self) -> Option<Bytes> {
        let mut queue = self.queue.lock();
        // Under the same lock: an event that a room delivered now would end up inside that frame.
        queue.close(OutboxCloseReason::Disconnected);
        let rest = if queue.partial { queue.pop() } else { None };
        queue.clear();
        rest
    }

    fn queue_batch(&self, queue: &mut Queue, slot: StreamSlot, batch: &Batch, filter: EventSet) {
        for (record, bytes) in batch.each(self.encoding, filter) {
            let at = match self.encoding {
                Encoding::Sse => batch
                    .stream_position(record)
                    .map(|position| StreamPosition { slot, text: position.into() }),
                Encoding::WebSocket => None,
            };
            self.queue_event(queue, batch, record, bytes, at);
        }
    }

    /// Queues the part of a batch that the socket refused, event by event, so that each can still be skipped or
    /// conflated.
    fn queue_rest(&self, queue: &mut Queue, batch: &Batch, filter: EventSet, mut written: usize) {
        for (record, mut bytes) in batch.each(self.encoding, filter) {
            if written >= bytes.len() {
                written -= bytes.len();
            } else if written > 0 {
                bytes.advance(written);
                written = 0;
                queue.partial = true;
                queue.push(bytes, None);
            } else {
                self.queue_event(queue, batch, record, bytes, None);
            }
        }
        self.enforce_bound(queue);
    }

    fn queue_event(
        &self,
        queue: &mut Queue,
        batch: &Batch,
        record: &crate::log::Record,
        bytes: Bytes,
        at: Option<StreamPosition>,
    ) {
        let latest = record.conflated.as_ref().map(|key| LatestKey {
            room_id: Arc::clone(batch.room_id()),
            event: record.event,
            key: key.clone(),
        });
        if record.seq.is_none() && queue.bytes > self.max_bytes / LOW_WATER_DIVISOR {
            batch.meter().skipped();
            return queue.skip(batch.room_id());
        }
        queue.push_at(bytes, latest, at);
    }

    /// Closes the outbox as too slow if it is past the bound after a write. Bytes that were queued onto an empty queue
    /// don't count: the client has had no time to read them.
    fn enforce_bound_after(&self, queue: &mut Queue, was_idle: bool) {
        if was_idle {
            queue.page = queue.page.max(queue.bytes);
        }
        self.enforce_bound(queue);
    }

    fn enforce_bound(&self, queue: &mut Queue) {
        if queue.bytes.saturating_sub(queue.page) > self.max_bytes {
            queue.close(OutboxCloseReason::TooSlow);
        }
    }

    /// Writes to the socket until it refuses bytes, or wakes the connection's task.
    fn write_out(&self, queue: &mut Queue) {
        let Some(direct) = &self.direct else {
            if !queue.items.is_empty() {
                queue.wait();
            }
            return queue.wake();
        };
        while !queue.blocked && !queue.items.is_empty() && queue.close_reason.is_none() {
            let mut slices = [IoSlice::new(&[]); MAX_IO_SLICES];
            let mut given = 0;
            let count = slices
                .iter_mut()
                .zip(&queue.items)
                .map(|(slice, item)| {
                    *slice = IoSlice::new(&item.bytes);
                    given += item.bytes.len();
                })
                .count();
            match direct.try_write(slices.get(..count).unwrap_or_default()) {
                Ok(written) => {
                    queue.advance(written);
                    queue.blocked = written < given;
                    if written > 0 {
                        queue.stalled_since = None;
                    }
                }
                Err(error) if would_block(&error) => queue.blocked = true,
                Err(_) => queue.close(OutboxCloseReason::Disconnected),
            }
        }
        if queue.blocked {
            queue.wait();
        }
        if queue.blocked || queue.close_reason.is_some() {
            queue.wake();
        } else {
            self.on_drained(queue);
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("id", &self.id)
            .field("encoding", &self.encoding)
            .finish_non_exhaustive()
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
