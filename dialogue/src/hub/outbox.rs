//! What waits to be written to one connection: bounded, shared bytes.

use std::{
    collections::{HashMap, VecDeque},
    fmt, io,
    io::IoSlice,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::{
    sync::Notify,
    time::{Instant, timeout},
};

use super::{Instance, batch::Batch, state::ConnectionId};
use crate::wire::{Encoding, EventSet};
use queue::{Queue, Replay};

mod queue;
#[cfg(test)]
mod tests;

/// A socket that can be written to from anywhere, without waiting.
pub(crate) trait Direct: Send + Sync {
    /// As `write_vectored` of a non-blocking socket.
    fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// One connection's outgoing bytes.
///
/// With a [`Direct`] socket, whoever delivers writes to it then and there, as long as the socket takes everything: no
/// task wakes for a delivery. Only what the socket refuses is queued, and then the connection's own task waits for
/// the socket and [`flush`](Outbox::flush)es. Without one, the task takes the bytes with [`poll_take`](Outbox::poll_take).
///
/// The queue is bounded. A reader that falls behind loses ephemeral events first (and is told how many), of conflated
/// ones it keeps the newest of each key, and past the bound it is cut: it comes back and resumes from the log.
///
/// There is a lock per recipient and delivery: several rooms and the connection's own task write to one outbox. It is
/// uncontended unless they do so at once, some 10 ns beside the microseconds of the system call that it guards.
pub(crate) struct Outbox {
    id: ConnectionId,
    encoding: Encoding,
    direct: Option<Box<dyn Direct>>,
    limit: usize,
    /// Set once frames of the connection that still wait may no longer be carried out.
    revoked: AtomicBool,
    /// The number of reads from the client.
    heard: AtomicU64,
    /// Notified whenever the client shows a sign of life: something was read of it, or it took something.
    stirred: Notify,
    /// The client isn't read at the moment, since it has enough to take or to wait for.
    unread: AtomicBool,
    queue: Mutex<Queue>,
}

/// Why nothing more is written to a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It reads too slowly.
    TooSlow,
    /// The server removed it.
    Removed(Arc<str>),
    /// It doesn't answer.
    Silent,
    /// The socket is gone.
    Closed,
}

/// What a flush achieved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing waits.
    Idle,
    /// The socket takes no more now.
    Blocked,
    /// Nothing more is to be written.
    Cut(Cut),
}

/// Under this share of the bound, ephemeral events are still queued, and replies wait for what they go with.
const SHARE: usize = 8;
/// How many slices one system call gets.
const SLICES: usize = 64;
/// Time that a connection has to answer where its place in a full room depends on it.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// Time after that in which an answer that has arrived is read.
const LAST_LOOK: Duration = Duration::from_millis(50);

impl Outbox {
    pub(crate) fn new(
        id: ConnectionId,
        encoding: Encoding,
        limit: usize,
        direct: Option<Box<dyn Direct>>,
        positions: Vec<Box<str>>,
    ) -> Arc<Self> {
        let queue = Queue {
            items: VecDeque::new(),
            bytes: 0,
            page: 0,
            stale: 0,
            taken: 0,
            latest: HashMap::new(),
            blocked: false,
            partial: false,
            skipped: Vec::new(),
            replays: Vec::new(),
            positions,
            cut: None,
            waker: None,
            cut_waker: None,
            stuck: None,
            handed: 0,
        };
        Arc::new(Outbox {
            id,
            encoding,
            direct,
            limit,
            revoked: AtomicBool::new(false),
            heard: AtomicU64::new(0),
            stirred: Notify::new(),
            unread: AtomicBool::new(false),
            queue: Mutex::new(queue),
        })
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.id
    }

    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Queues a frame that is no event, to go with whatever is written next.
    pub(crate) fn queue(&self, kind: &str, json: &[u8]) {
        let mut bytes = Vec::with_capacity(json.len() + 48);
        self.encoding.put_frame(&mut bytes, kind, json);
        let mut queue = self.queue.lock();
        queue.push(bytes.into(), None);
        if queue.bytes > self.limit / SHARE {
            // Nobody is slow who wasn't given anything yet.
            self.push_out(&mut queue);
        }
        self.bound(&mut queue);
    }

    /// Sends a frame that is no event.
    pub(crate) fn send(&self, kind: &str, json: &[u8]) {
        self.queue(kind, json);
        self.push_out(&mut self.queue.lock());
    }

    /// Sends what was queued.
    pub(crate) fn nudge(&self) {
        self.push_out(&mut self.queue.lock());
    }

    /// Sends bytes that are frames of the encoding already, all at once. However large they are, a reader for whom nothing
    /// waited isn't too slow yet.
    pub(crate) fn send_raw(&self, frames: impl IntoIterator<Item = Bytes>) {
        let mut queue = self.queue.lock();
        let idle = queue.items.is_empty();
        for bytes in frames {
            queue.push(bytes, None);
        }
        self.push_out(&mut queue);
        self.bound_after(&mut queue, idle);
    }

    /// Sends the frame that tells a stream where room `slot` stands; sets the position to come back with.
    pub(crate) fn send_at(&self, kind: &str, json: &[u8], slot: u8, position: String) {
        if self.encoding == Encoding::WebSocket {
            return self.send(kind, json);
        }
        let mut bytes = Vec::with_capacity(json.len() + 48);
        self.encoding.put_frame(&mut bytes, kind, json);
        let mut queue = self.queue.lock();
        queue.push_at(bytes.into(), None, Some((slot, position.into())));
        self.push_out(&mut queue);
    }

    /// Sends a page of the log that nobody asked for by itself, and that never counts as too slow.
    pub(crate) fn send_page(&self, kind: &str, json: &[u8]) {
        let mut bytes = Vec::with_capacity(json.len() + 48);
        self.encoding.put_frame(&mut bytes, kind, json);
        let mut queue = self.queue.lock();
        queue.page = queue.page.saturating_add(bytes.len());
        queue.push(bytes.into(), None);
        self.push_out(&mut queue);
    }

    /// Delivers what of `batch` is `wanted`.
    pub(crate) fn deliver(&self, slot: u8, batch: &Batch, wanted: EventSet) {
        self.deliver_to(&mut self.queue.lock(), slot, batch, wanted);
    }

    /// Delivers a page of a replay, which may be larger than the bound.
    pub(crate) fn deliver_page(&self, slot: u8, batch: &Batch, wanted: EventSet) {
        let mut queue = self.queue.lock();
        // Other rooms' pages may be waiting still.
        let (before, page) = (queue.bytes, queue.page);
        queue.page = usize::MAX;
        self.deliver_to(&mut queue, slot, batch, wanted);
        queue.page = page.saturating_add(queue.bytes.saturating_sub(before));
    }

    fn deliver_to(&self, queue: &mut Queue, slot: u8, batch: &Batch, wanted: EventSet) {
        if queue.cut.is_some() {
            return;
        }
        match (&self.direct, self.encoding) {
            (Some(direct), Encoding::WebSocket) if queue.items.is_empty() => {
                let bytes = batch.websocket(wanted);
                match direct.try_write(&[IoSlice::new(&bytes)]) {
                    Ok(written) if written == bytes.len() => return,
                    Ok(written) => self.queue_rest(queue, batch, wanted, written),
                    Err(error) if would_block(&error) => self.queue_rest(queue, batch, wanted, 0),
                    Err(_) => queue.cut(Cut::Closed),
                }
                queue.blocked = true;
                queue.wait();
                queue.wake();
            }
            _ => {
                let idle = queue.items.is_empty();
                self.queue_batch(queue, slot, batch, wanted);
                self.push_out(queue);
                self.bound_after(queue, idle);
            }
        }
    }

    /// Writes what waits; for the connection's task, when its socket takes bytes again.
    pub(crate) fn flush(&self) -> Progress {
        let mut queue = self.queue.lock();
        queue.blocked = false;
        self.push_out(&mut queue);
        match &queue.cut {
            Some(cut) => Progress::Cut(cut.clone()),
            None if queue.blocked => Progress::Blocked,
            None => Progress::Idle,
        }
    }

    /// Waits until the connection's task has something to do: the socket refused bytes, or there is a cut.
    pub(crate) fn poll_trouble(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut queue = self.queue.lock();
        if queue.blocked || queue.cut.is_some() {
            return Poll::Ready(());
        }
        queue.register(cx);
        Poll::Pending
    }

    /// Takes bytes to write, for a connection without a [`Direct`] socket. Of an event stream they count as waiting
    /// until they are [written](Self::written), all that was taken at once as one chunk.
    pub(crate) fn poll_take(
        &self,
        cx: &mut Context<'_>,
        most: usize,
        out: &mut Vec<Bytes>,
    ) -> Poll<Result<(), Cut>> {
        let mut queue = self.queue.lock();
        queue.emptied(self);
        let mut size = 0;
        while size < most {
            let Some(item) = queue.pop() else { break };
            size += item.len();
            out.push(item);
        }
        if size > 0 {
            match self.encoding {
                Encoding::WebSocket => queue.progress(),
                Encoding::Sse => queue.hand(),
            }
            return Poll::Ready(Ok(()));
        }
        if let Some(cut) = &queue.cut {
            return Poll::Ready(Err(cut.clone()));
        }
        queue.register(cx);
        Poll::Pending
    }

    /// Waits for the end, whoever else takes what is written before.
    pub(crate) fn poll_cut(&self, cx: &mut Context<'_>) -> Poll<Cut> {
        let mut queue = self.queue.lock();
        if let Some(cut) = &queue.cut {
            return Poll::Ready(cut.clone());
        }
        queue.cut_waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.lock().bytes
    }

    /// How many bytes wait; `None` once the server has cut the connection, and not merely lost it.
    pub(crate) fn pressure(&self) -> Option<usize> {
        let queue = self.queue.lock();
        matches!(queue.cut, None | Some(Cut::Closed)).then_some(queue.bytes)
    }

    /// Nothing more is delivered; what the socket has of a frame already is completed by [`last_words`](Self::last_words).
    pub(crate) fn cut(&self, cut: Cut) {
        let removed = matches!(cut, Cut::Removed(_));
        if removed {
            self.revoke();
        }
        let mut queue = self.queue.lock();
        queue.cut(cut);
        if removed && self.direct.is_none() {
            // Its task takes what waits before it looks for the cut.
            queue.clear();
        }
    }

    /// Ends an event stream with one last frame, instead of what waits.
    pub(crate) fn end_with(&self, kind: &str, json: &[u8]) {
        self.revoke();
        let mut bytes = Vec::with_capacity(json.len() + 48);
        self.encoding.put_frame(&mut bytes, kind, json);
        let mut queue = self.queue.lock();
        if queue.cut.is_none() {
            queue.clear();
            queue.push(bytes.into(), None);
            queue.cut(Cut::Closed);
        }
    }

    /// From now on, nothing that the connection sent and that still waits is carried out.
    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Relaxed);
    }

    /// Returns whether frames of the connection that wait may no longer be carried out.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Relaxed)
    }

    /// Notes whether the client is read at the moment.
    pub(crate) fn set_read(&self, reads: bool) {
        self.unread.store(!reads, Ordering::Relaxed);
    }

    /// Something was read of the client.
    pub(crate) fn hear(&self) {
        self.heard.fetch_add(1, Ordering::Relaxed);
        self.stirred.notify_waiters();
    }

    /// Notes that a chunk which wasn't taken here is handed to the writer of an event stream, which says so once it is
    /// [written](Self::written).
    pub(crate) fn hand(&self) {
        self.queue.lock().hand();
    }

    /// A chunk that was [taken](Self::poll_take) or [handed](Self::hand) to the writer of an event stream is written.
    pub(crate) fn written(&self) {
        let mut queue = self.queue.lock();
        queue.handed = queue.handed.saturating_sub(1);
        queue.progress();
        drop(queue);
        self.stirred.notify_waiters();
    }

    /// The time that a write has waited for the client without progress; `None` if none waits.
    pub(crate) fn stuck_for(&self) -> Option<Duration> {
        self.queue.lock().stuck.map(|since| since.elapsed())
    }

    /// Asks the client for a sign of life; returns whether none came in time. Takes 2 s at most, and a moment.
    ///
    /// A socket has to send anything, such as the pong that it owes. A stream's client sends nothing, and of a socket that
    /// isn't read at the moment nothing is heard: they count as dead if a write has waited for so long.
    pub(crate) async fn is_dead(&self) -> bool {
        let heard = self.heard.load(Ordering::Relaxed);
        self.send_raw([self.encoding.probe()]);
        let until = Instant::now() + ANSWER_WITHIN;
        let mut last_look = Some(LAST_LOOK);
        loop {
            let stirred = self.stirred.notified();
            tokio::pin!(stirred);
            stirred.as_mut().enable();
            if self.queue.lock().cut.is_some() {
                return true;
            }
            let reads = self.encoding == Encoding::WebSocket && !self.unread.load(Ordering::Relaxed);
            let left = match reads {
                true if self.heard.load(Ordering::Relaxed) != heard => return false,
                true => match until.saturating_duration_since(Instant::now()) {
                    // A busy machine may look late at the answer and at its deadline.
                    Duration::ZERO => last_look.take().unwrap_or_default(),
                    left => left,
                },
                false => match self.stuck_for() {
                    Some(stuck) => ANSWER_WITHIN.saturating_sub(stuck),
                    None => return false,
                },
            };
            if left.is_zero() {
                return true;
            }
            let stirs = timeout(left, stirred).await.is_ok();
            if stirs && !reads {
                return false;
            }
        }
    }

    /// Cuts, and drops what waits, but for the rest of a frame that is written in part.
    pub(crate) fn last_words(&self) -> Option<Bytes> {
        let mut queue = self.queue.lock();
        // At once: what a room delivered now would end up within that frame.
        queue.cut(Cut::Closed);
        let rest = if queue.partial { queue.pop() } else { None };
        queue.clear();
        rest
    }

    /// From now on, each time that nothing waits, `instance` is asked for another page of the replay.
    pub(crate) fn replay(&self, instance: &Arc<Instance>) {
        let mut queue = self.queue.lock();
        queue.replays.retain(|replay| replay.instance.strong_count() > 0);
        // Where one goes on already, its next page is from the new position: a second request would be a second replay.
        if !queue.replays.iter().any(|replay| replay.is_of(instance)) {
            queue.replays.push(Replay { instance: Arc::downgrade(instance), asked: false });
        }
        queue.emptied(self);
    }

    /// How many rooms are being replayed.
    #[cfg(test)]
    pub(super) fn replays(&self) -> usize {
        self.queue.lock().replays.len()
    }

    /// `instance` sent a page, or none as the reader left; there are `more`.
    pub(crate) fn replayed(&self, instance: &Arc<Instance>, more: bool) {
        let mut queue = self.queue.lock();
        if more {
            queue
                .replays
                .iter_mut()
                .filter(|replay| replay.is_of(instance))
                .for_each(|replay| replay.asked = false);
        } else {
            queue.replays.retain(|replay| !replay.is_of(instance));
        }
        queue.emptied(self);
    }

    fn queue_batch(&self, queue: &mut Queue, slot: u8, batch: &Batch, wanted: EventSet) {
        for (record, bytes) in batch.each(self.encoding, wanted) {
            let at = match self.encoding {
                Encoding::Sse => batch.stream_position(record).map(|position| (slot, position.into())),
                Encoding::WebSocket => None,
            };
            self.queue_event(queue, batch, record, bytes, at);
        }
    }

    /// Queues what a socket left of a batch, event by event, so that each can still be skipped or conflated.
    fn queue_rest(&self, queue: &mut Queue, batch: &Batch, wanted: EventSet, mut written: usize) {
        for (record, mut bytes) in batch.each(self.encoding, wanted) {
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
        self.bound(queue);
    }

    fn queue_event(
        &self,
        queue: &mut Queue,
        batch: &Batch,
        record: &crate::log::Record,
        bytes: Bytes,
        at: Option<(u8, Box<str>)>,
    ) {
        let latest =
            record.conflated.as_ref().map(|key| (Arc::clone(batch.room_id()), record.event, key.clone()));
        if record.seq.is_none() && queue.bytes > self.limit / SHARE {
            batch.meter().skipped();
            return queue.skip(batch.room_id());
        }
        queue.push_at(bytes, latest, at);
    }

    /// Cuts a reader for whom too much waits after it was given what it takes. Where nothing waited before, what is left is
    /// a page that it has had no time to read.
    fn bound_after(&self, queue: &mut Queue, was_idle: bool) {
        if was_idle {
            queue.page = queue.page.max(queue.bytes);
        }
        self.bound(queue);
    }

    fn bound(&self, queue: &mut Queue) {
        if queue.bytes.saturating_sub(queue.page) > self.limit {
            queue.cut(Cut::TooSlow);
        }
    }

    /// Writes to the socket what it takes, or tells the task that there is something.
    fn push_out(&self, queue: &mut Queue) {
        let Some(direct) = &self.direct else {
            if !queue.items.is_empty() {
                queue.wait();
            }
            return queue.wake();
        };
        while !queue.blocked && !queue.items.is_empty() && queue.cut.is_none() {
            let mut slices = [IoSlice::new(&[]); SLICES];
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
                        queue.stuck = None;
                    }
                }
                Err(error) if would_block(&error) => queue.blocked = true,
                Err(_) => queue.cut(Cut::Closed),
            }
        }
        if queue.blocked {
            queue.wait();
        }
        if queue.blocked || queue.cut.is_some() {
            queue.wake();
        } else {
            queue.emptied(self);
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
