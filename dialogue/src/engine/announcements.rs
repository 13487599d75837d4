//! Announcements of created and deleted rooms to watching clients, coalesced.
//!
//! The first change is sent at once. Changes within a tick after it are sent together at the end of the tick, and of
//! each room only the last one: a room that is created and deleted in turn costs a watcher a frame or two per tick.
//!
//! A flush is sent to some watchers at a time, and yields to other tasks in between. The next flush begins when all
//! watchers have the last one, so that each watcher gets the changes in their order.

use std::{
    collections::{VecDeque, hash_map::Entry},
    sync::{Arc, Weak},
    time::Duration,
    vec,
};

use parking_lot::Mutex;

use super::Engine;
use crate::{
    collections::HashMap,
    hooks::RoomRef,
    live::{ConnectionId, RoomSpec},
    wire::frame::EncodedFrame,
};

/// The announcements of a node: the changes that are queued, and the flush that is being sent.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    pending: Mutex<PendingChanges>,
    /// The flush that is being sent. Locked while changes are taken and sent, so that no later change of a room
    /// overtakes an earlier one.
    flush: Mutex<Option<Flush>>,
}

/// Changes that are being sent to the watchers.
#[derive(Debug)]
struct Flush {
    changes: Vec<(Arc<str>, RoomChanges)>,
    /// The watchers that have not been sent the changes yet.
    watchers: vec::IntoIter<ConnectionId>,
}

/// The queue of changes.
#[derive(Debug, Default)]
struct PendingChanges {
    rooms: HashMap<Arc<str>, RoomChanges>,
    /// The ids of those rooms, in the order of their first queued change.
    order: VecDeque<Arc<str>>,
    /// Set while the task that flushes at each tick runs.
    is_ticking: bool,
}

/// The queued changes of one room, as encoded frame bodies. A deletion is sent before a creation.
#[derive(Debug)]
struct RoomChanges {
    room: Arc<RoomSpec>,
    deleted: Option<EncodedFrame>,
    created: Option<EncodedFrame>,
}

/// The kind of an announced change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnnouncementKind {
    Created,
    Deleted,
}

/// Tells [`Engine::flush_slice`] whether it may start a flush of the queued changes if none is being sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FlushStart {
    Allowed,
    Forbidden,
}

/// The minimum time between two flushes.
const TICK: Duration = Duration::from_millis(50);
/// The maximum bytes of a flush, unless its first change alone is larger.
const MAX_FLUSH_BYTES: usize = 64 << 10;
/// The maximum number of rooms with queued changes. Beyond it, each new change first sends the oldest ones.
const MAX_PENDING_ROOMS: usize = 16_384;
/// The number of watchers that a flush is sent to before it yields to other tasks.
const SLICE_WATCHERS: usize = 256;

impl Engine {
    /// Announces a change of a room to the watchers that may see it.
    pub(super) fn announce(
        &self,
        room: &Arc<RoomSpec>,
        room_id: &Arc<str>,
        kind: AnnouncementKind,
        frame: EncodedFrame,
    ) {
        if self.watchers.lock().is_empty() {
            return;
        }
        let (was_idle, is_full) = {
            let mut pending = self.announcements.pending.lock();
            pending.push(room, room_id, kind, frame);
            let was_idle = !std::mem::replace(&mut pending.is_ticking, true);
            if was_idle {
                self.flush_at_ticks();
            }
            (was_idle, pending.order.len() > MAX_PENDING_ROOMS)
        };
        if is_full {
            // Whole flushes, so that the queue shrinks whatever the number of watchers.
            while self.flush_slice(FlushStart::Allowed) {}
        } else if was_idle && self.flush_slice(FlushStart::Allowed) {
            let engine = self.this.clone();
            self.registry.spawn(async move { flush_rest(&engine).await });
        }
    }

    /// Spawns the task that flushes the queue at each tick. It ends with the engine, or a tick after the last change.
    fn flush_at_ticks(&self) {
        let engine = self.this.clone();
        self.registry.spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                {
                    let Some(engine) = engine.upgrade() else { return };
                    if engine.announcements.stop_ticks_if_idle() {
                        return;
                    }
                    engine.flush_slice(FlushStart::Allowed);
                }
                flush_rest(&engine).await;
            }
        });
    }

    /// Sends the current flush to the next slice of watchers, starting one if `start` allows it. Returns whether more
    /// watchers are left. Does nothing while another task is in it.
    fn flush_slice(&self, start: FlushStart) -> bool {
        let Some(mut flush) = self.announcements.flush.try_lock() else { return false };
        if flush.is_none() && start == FlushStart::Allowed {
            let changes = self.announcements.pending.lock().take();
            if changes.is_empty() {
                return false;
            }
            // After taking the changes: a client that starts to watch from now on finds them in its list of rooms.
            let watchers: Vec<_> = self.watchers.lock().keys().copied().collect();
            *flush = Some(Flush { changes, watchers: watchers.into_iter() });
        }
        let Some(Flush { changes, watchers }) = &mut *flush else { return false };
        let slice: Vec<_> = {
            let links = self.watchers.lock();
            watchers.by_ref().take(SLICE_WATCHERS).filter_map(|id| links.get(&id).cloned()).collect()
        };
        // Without the lock of the watchers, as `is_visible` runs a hook of the application.
        for link in slice {
            let (actor, mut bytes) = (link.actor(), Vec::new());
            for (room_id, RoomChanges { room, deleted, created }) in &*changes {
                if !self.admission.access.is_visible(&actor, RoomRef { id: room_id, name: room.name }, room) {
                    continue;
                }
                for frame in [deleted, created].into_iter().flatten() {
                    link.outbox.encoding().put_frame(&mut bytes, frame);
                }
            }
            if !bytes.is_empty() {
                link.outbox.send_raw([bytes.into()]);
            }
        }
        let more = watchers.len() > 0;
        if !more {
            *flush = None;
        }
        more
    }
}

/// Sends the current flush to the rest of its watchers, and yields to other tasks after each slice.
async fn flush_rest(engine: &Weak<Engine>) {
    while engine.upgrade().is_some_and(|engine| engine.flush_slice(FlushStart::Forbidden)) {
        tokio::task::yield_now().await;
    }
}

impl Announcements {
    /// Ends the ticks if no change is queued or being sent, and returns whether they end.
    fn stop_ticks_if_idle(&self) -> bool {
        let mut pending = self.pending.lock();
        // Changes are taken from the queue with `flush` locked: a flush that just starts is seen here by the failing
        // lock.
        let is_idle = pending.order.is_empty() && self.flush.try_lock().is_some_and(|flush| flush.is_none());
        pending.is_ticking = !is_idle;
        is_idle
    }
}

impl PendingChanges {
    fn push(
        &mut self,
        room: &Arc<RoomSpec>,
        room_id: &Arc<str>,
        kind: AnnouncementKind,
        frame: EncodedFrame,
    ) {
        let change = match self.rooms.entry(Arc::clone(room_id)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push_back(Arc::clone(room_id));
                entry.insert(RoomChanges { room: Arc::clone(room), deleted: None, created: None })
            }
        };
        match kind {
            AnnouncementKind::Created => change.created = Some(frame),
            // Sent even if the creation was not: a list may have shown the room meanwhile.
            AnnouncementKind::Deleted => (change.deleted, change.created) = (Some(frame), None),
        }
    }

    /// Removes and returns the changes of one flush.
    fn take(&mut self) -> Vec<(Arc<str>, RoomChanges)> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while size < MAX_FLUSH_BYTES {
            let Some(room_id) = self.order.pop_front() else { break };
            let Some(change) = self.rooms.remove(&room_id) else { continue };
            let frames = [&change.deleted, &change.created].into_iter().flatten();
            size += frames.map(|frame| frame.json.len()).sum::<usize>();
            taken.push((room_id, change));
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{
        identity::User,
        live::{ConnectionHandle, Outbox},
        wire::Encoding,
    };

    fn frame(kind: AnnouncementKind, json: Vec<u8>) -> EncodedFrame {
        let kind = match kind {
            AnnouncementKind::Created => "roomCreated",
            AnnouncementKind::Deleted => "roomDeleted",
        };
        EncodedFrame { kind, json }
    }

    #[dialogue::event]
    struct Message {
        #[allow(dead_code, reason = "only the room counts")]
        text: String,
    }

    dialogue::rooms! {
        struct Acme;

        project(u64): [Message] via [websocket];
    }

    /// An engine with watching connections.
    struct Fixture {
        engine: Arc<Engine>,
        links: Vec<Arc<ConnectionHandle>>,
    }

    impl Fixture {
        async fn with_watchers(watchers: usize) -> Self {
            let engine = Acme::server().build().await.unwrap().engine();
            // With many watchers, small outboxes: their connections are cut, which saves memory.
            let max_outbox_bytes = if watchers > 4 * SLICE_WATCHERS { 1 } else { usize::MAX };
            let links: Vec<_> = (0..watchers).map(|_| link(&engine, max_outbox_bytes)).collect();
            links.iter().for_each(|link| engine.watch(link));
            Fixture { engine, links }
        }

        fn announce(&self, kind: AnnouncementKind) {
            let (room, _) = self.engine.registry.declared("project:1").unwrap();
            self.engine.announce(room, &"project:1".into(), kind, frame(kind, b"{}".to_vec()));
        }

        /// Returns the announcements that each watcher was sent since the last call.
        fn received(&self) -> Vec<Vec<String>> {
            self.links.iter().map(|link| frames(link)).collect()
        }
    }

    fn link(engine: &Engine, max_outbox_bytes: usize) -> Arc<ConnectionHandle> {
        let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, max_outbox_bytes, None, Vec::new());
        let user = User { id: "somebody".into(), authenticated: None, anonymous_token: None, is_new: false };
        ConnectionHandle::new(outbox, user)
    }

    fn frames(link: &ConnectionHandle) -> Vec<String> {
        let mut sent = Vec::new();
        while let Poll::Ready(taken) =
            link.outbox.poll_take(&mut Context::from_waker(Waker::noop()), usize::MAX, &mut sent)
        {
            taken.unwrap();
        }
        let text = String::from_utf8(sent.concat()).unwrap();
        text.lines().filter_map(|line| Some(line.strip_prefix("event: dialogue:")?.to_owned())).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_flush_yields_to_other_tasks_between_slices() {
        let fixture = Fixture::with_watchers(3 * SLICE_WATCHERS).await;
        fixture.announce(AnnouncementKind::Created);
        let notified =
            |received: Vec<Vec<String>>| received.iter().filter(|frames| !frames.is_empty()).count();
        assert_eq!(notified(fixture.received()), SLICE_WATCHERS);
        let started_at = tokio::time::Instant::now();
        let mut all = SLICE_WATCHERS;
        while all < 3 * SLICE_WATCHERS {
            tokio::task::yield_now().await;
            let more = notified(fixture.received());
            assert!(more <= SLICE_WATCHERS);
            all += more;
        }
        assert_eq!(started_at.elapsed(), Duration::ZERO, "no watcher waits for a tick");
    }

    #[tokio::test(start_paused = true)]
    async fn every_watcher_gets_changes_in_their_order() {
        let fixture = Fixture::with_watchers(3 * SLICE_WATCHERS).await;
        fixture.announce(AnnouncementKind::Created);
        // The first flush is being sent.
        fixture.announce(AnnouncementKind::Deleted);
        fixture.announce(AnnouncementKind::Created);
        tokio::time::sleep(2 * TICK).await;
        assert!(
            fixture.received().iter().all(|frames| frames == &["roomCreated", "roomDeleted", "roomCreated"])
        );
        // The ticks have ended by now: the next change is sent at once again.
        tokio::time::sleep(2 * TICK).await;
        fixture.announce(AnnouncementKind::Deleted);
        assert_eq!(fixture.received().iter().flatten().count(), SLICE_WATCHERS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_with_many_watchers() {
        let fixture = Fixture::with_watchers(20 * SLICE_WATCHERS).await;
        let (room, _) = fixture.engine.registry.declared("project:1").unwrap();
        for n in 0..MAX_PENDING_ROOMS + 600 {
            let (room_id, json) = (
                format!("project:{n}").into(),
                frame(AnnouncementKind::Created, vec![b'x'; MAX_FLUSH_BYTES / 10]),
            );
            fixture.engine.announce(room, &room_id, AnnouncementKind::Created, json);
        }
        let queued = fixture.engine.announcements.pending.lock().order.len();
        assert!(queued <= MAX_PENDING_ROOMS, "{queued}");
    }

    #[tokio::test]
    async fn a_client_that_starts_to_watch_misses_nothing() {
        let fixture = Fixture::with_watchers(1).await;
        let (engine, new_watcher) = (Arc::clone(&fixture.engine), link(&fixture.engine, usize::MAX));
        let (room, _) = engine.registry.declared("project:1").unwrap();
        let mut pending = engine.announcements.pending.lock();
        let flusher = {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.flush_slice(FlushStart::Allowed))
        };
        // Wait until the flusher blocks on the lock of the queue.
        while !engine.announcements.flush.is_locked() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        engine.watch(&new_watcher);
        pending.push(
            room,
            &"project:1".into(),
            AnnouncementKind::Created,
            frame(AnnouncementKind::Created, b"{}".to_vec()),
        );
        drop(pending);
        flusher.join().unwrap();
        assert_eq!(frames(&new_watcher), ["roomCreated"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_no_longer_watches_gets_no_more() {
        let fixture = Fixture::with_watchers(3 * SLICE_WATCHERS).await;
        fixture.announce(AnnouncementKind::Created);
        fixture.links.iter().for_each(|link| fixture.engine.unwatch(link.id()));
        tokio::time::sleep(2 * TICK).await;
        assert_eq!(fixture.received().iter().flatten().count(), SLICE_WATCHERS);
    }
}
