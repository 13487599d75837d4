//! Announcements of rooms that come and go, to the clients that watch.
//!
//! The first change is told at once. What comes within a tick of it is told together at the end of the tick, of each room
//! only what came last: a room that is created and deleted in turn costs a watcher a frame or two a tick.
//!
//! A flush is sent to some watchers at a time, with other tasks in between. The next one begins when all have it, so that
//! each watcher gets them in their order.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Weak},
    time::Duration,
    vec,
};

use parking_lot::Mutex;

use super::Engine;
use crate::{
    hooks::RoomRef,
    hub::{ConnectionId, RoomDecl},
};

/// Changes that aren't told yet.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    untold: Mutex<Untold>,
    /// The flush that is being sent. Locked while changes are taken and sent, so that no later change of a room overtakes
    /// an earlier one.
    flush: Mutex<Option<Flush>>,
}

/// Changes on their way to the watchers.
#[derive(Debug)]
struct Flush {
    changes: Vec<(Arc<str>, Change)>,
    /// The watchers that don't have them yet.
    watchers: vec::IntoIter<ConnectionId>,
}

#[derive(Debug, Default)]
struct Untold {
    rooms: HashMap<Arc<str>, Change>,
    /// Those rooms, the one that changed first in front.
    order: VecDeque<Arc<str>>,
    /// Something was told within the last tick.
    resting: bool,
}

/// A change of one room that is not announced yet.
#[derive(Debug)]
struct Change {
    room: Arc<RoomDecl>,
    deleted: Option<Vec<u8>>,
    created: Option<Vec<u8>>,
}

/// Which of the two happened to a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Created,
    Deleted,
}

/// The flush that [`Engine::flush_part`] may begin where none is on its way: one of the changes that wait, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    Waiting,
    Nothing,
}

/// Between two flushes.
const TICK: Duration = Duration::from_millis(50);
/// Bytes of a flush, unless its first change alone is larger.
const FLUSH: usize = 64 << 10;
/// Rooms whose changes wait: with more, each change first sends the oldest ones.
const MOST: usize = 16_384;
/// Watchers that a flush is sent to before other tasks have their turn.
const PART: usize = 256;

impl Engine {
    /// Tells those who watch, and may join, of a room.
    pub(super) fn announce(&self, room: &Arc<RoomDecl>, room_id: &Arc<str>, kind: Kind, json: Vec<u8>) {
        if self.watchers.lock().is_empty() {
            return;
        }
        let (rested, is_full) = {
            let mut untold = self.announcements.untold.lock();
            untold.note(room, room_id, kind, json);
            let rested = !std::mem::replace(&mut untold.resting, true);
            if rested {
                self.flush_later();
            }
            (rested, untold.order.len() > MOST)
        };
        if is_full {
            // A whole flush, so that the queue shrinks however many watch.
            while self.flush_part(Begin::Waiting) {}
        } else if rested && self.flush_part(Begin::Waiting) {
            let engine = self.this.clone();
            self.registry.spawn(async move { flush_rest(&engine).await });
        }
    }

    /// Tells what comes meanwhile, tick by tick until nothing does.
    fn flush_later(&self) {
        let engine = self.this.clone();
        // It ends with the engine, or a tick after the last change.
        self.registry.spawn(async move {
            loop {
                tokio::time::sleep(TICK).await;
                {
                    let Some(engine) = engine.upgrade() else { return };
                    if engine.announcements.rest() {
                        return;
                    }
                    engine.flush_part(Begin::Waiting);
                }
                flush_rest(&engine).await;
            }
        });
    }

    /// Sends a flush to the next few watchers: the one that is on its way, or else one of what waits, if that may begin.
    /// Returns whether there are more watchers. Does nothing while another task does this.
    fn flush_part(&self, begin: Begin) -> bool {
        let Some(mut flush) = self.announcements.flush.try_lock() else { return false };
        if flush.is_none() && begin == Begin::Waiting {
            let changes = self.announcements.untold.lock().take();
            if changes.is_empty() {
                return false;
            }
            // After the changes: a client that watches from now on sees in its list of rooms what they say.
            let watchers: Vec<_> = self.watchers.lock().keys().copied().collect();
            *flush = Some(Flush { changes, watchers: watchers.into_iter() });
        }
        let Some(Flush { changes, watchers }) = &mut *flush else { return false };
        let part: Vec<_> = {
            let links = self.watchers.lock();
            watchers.by_ref().take(PART).filter_map(|id| links.get(&id).cloned()).collect()
        };
        // Sending never waits, but the application is asked: not under the lock of the watchers.
        for link in part {
            let (actor, mut bytes) = (link.actor(), Vec::new());
            for (room_id, Change { room, deleted, created }) in &*changes {
                if !self.sees(&actor, RoomRef { id: room_id, name: room.name }, room) {
                    continue;
                }
                for (kind, json) in [("roomDeleted", deleted), ("roomCreated", created)] {
                    if let Some(json) = json {
                        link.outbox.encoding().put_frame(&mut bytes, kind, json);
                    }
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

/// Sends the flush that is on its way to the rest of its watchers.
async fn flush_rest(engine: &Weak<Engine>) {
    while engine.upgrade().is_some_and(|engine| engine.flush_part(Begin::Nothing)) {
        tokio::task::yield_now().await;
    }
}

impl Announcements {
    /// Ends the ticks if nothing waits, and returns whether they end.
    fn rest(&self) -> bool {
        let mut untold = self.untold.lock();
        // A flush that is taken from what waits is there before it is no longer among that.
        let is_idle = untold.order.is_empty() && self.flush.try_lock().is_some_and(|flush| flush.is_none());
        untold.resting = !is_idle;
        is_idle
    }
}

impl Untold {
    fn note(&mut self, room: &Arc<RoomDecl>, room_id: &Arc<str>, kind: Kind, json: Vec<u8>) {
        let change = match self.rooms.entry(Arc::clone(room_id)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                self.order.push_back(Arc::clone(room_id));
                entry.insert(Change { room: Arc::clone(room), deleted: None, created: None })
            }
        };
        match kind {
            Kind::Created => change.created = Some(json),
            // Told though nobody was told of the creation: a list may have shown the room meanwhile.
            Kind::Deleted => (change.deleted, change.created) = (Some(json), None),
        }
    }

    /// The changes of one flush.
    fn take(&mut self) -> Vec<(Arc<str>, Change)> {
        let (mut taken, mut size) = (Vec::new(), 0);
        while size < FLUSH {
            let Some(room_id) = self.order.pop_front() else { break };
            let Some(change) = self.rooms.remove(&room_id) else { continue };
            size += [&change.deleted, &change.created].into_iter().flatten().map(Vec::len).sum::<usize>();
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
        hub::{Link, Outbox},
        identity::User,
        wire::Encoding,
    };

    #[dialogue::event]
    struct Message {
        #[allow(dead_code, reason = "only the room counts")]
        text: String,
    }

    dialogue::rooms! {
        struct Acme;

        project(u64): [Message] via [websocket];
    }

    struct Watched {
        engine: Arc<Engine>,
        links: Vec<Arc<Link>>,
    }

    impl Watched {
        async fn by(watchers: usize) -> Self {
            let engine = Acme::server().build().await.unwrap().engine();
            // Many watchers keep little, which costs them their connections.
            let most = if watchers > 4 * PART { 1 } else { usize::MAX };
            let links: Vec<_> = (0..watchers).map(|_| link(&engine, most)).collect();
            links.iter().for_each(|link| engine.watch(link));
            Watched { engine, links }
        }

        fn announce(&self, kind: Kind) {
            let (room, _) = self.engine.registry.declared("project:1").unwrap();
            self.engine.announce(room, &"project:1".into(), kind, b"{}".to_vec());
        }

        /// The announcements that each watcher got since this was asked last.
        fn got(&self) -> Vec<Vec<String>> {
            self.links.iter().map(|link| frames(link)).collect()
        }
    }

    fn link(engine: &Engine, most: usize) -> Arc<Link> {
        let outbox = Outbox::new(engine.connection_id(), Encoding::Sse, most, None, Vec::new());
        let user = User { id: "somebody".into(), authenticated: None, anonymous_token: None, is_new: false };
        Link::new(outbox, user)
    }

    fn frames(link: &Link) -> Vec<String> {
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
    async fn other_tasks_have_their_turn_between_watchers() {
        let watched = Watched::by(3 * PART).await;
        watched.announce(Kind::Created);
        let heard = |got: Vec<Vec<String>>| got.iter().filter(|frames| !frames.is_empty()).count();
        assert_eq!(heard(watched.got()), PART);
        let begun = tokio::time::Instant::now();
        let mut all = PART;
        while all < 3 * PART {
            tokio::task::yield_now().await;
            let more = heard(watched.got());
            assert!(more <= PART);
            all += more;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO, "no watcher waits for a tick");
    }

    #[tokio::test(start_paused = true)]
    async fn every_watcher_gets_changes_in_their_order() {
        let watched = Watched::by(3 * PART).await;
        watched.announce(Kind::Created);
        // The first flush is on its way.
        watched.announce(Kind::Deleted);
        watched.announce(Kind::Created);
        tokio::time::sleep(2 * TICK).await;
        assert!(watched.got().iter().all(|frames| frames == &["roomCreated", "roomDeleted", "roomCreated"]));
        // The ticks have ended by now: the next change is sent at once again.
        tokio::time::sleep(2 * TICK).await;
        watched.announce(Kind::Deleted);
        assert_eq!(watched.got().iter().flatten().count(), PART);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_changes_wait_however_many_watch() {
        let watched = Watched::by(20 * PART).await;
        let (room, _) = watched.engine.registry.declared("project:1").unwrap();
        for n in 0..MOST + 600 {
            let (room_id, json) = (format!("project:{n}").into(), vec![b'x'; FLUSH / 10]);
            watched.engine.announce(room, &room_id, Kind::Created, json);
        }
        let waiting = watched.engine.announcements.untold.lock().order.len();
        assert!(waiting <= MOST, "{waiting}");
    }

    #[tokio::test]
    async fn a_client_that_begins_to_watch_misses_nothing() {
        let watched = Watched::by(1).await;
        let (engine, newcomer) = (Arc::clone(&watched.engine), link(&watched.engine, usize::MAX));
        let (room, _) = engine.registry.declared("project:1").unwrap();
        let mut untold = engine.announcements.untold.lock();
        let flusher = {
            let engine = Arc::clone(&engine);
            std::thread::spawn(move || engine.flush_part(Begin::Waiting))
        };
        // The flusher has begun, as far as it gets without the changes.
        while engine.announcements.flush.try_lock().is_some() {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(50));
        engine.watch(&newcomer);
        untold.note(room, &"project:1".into(), Kind::Created, b"{}".to_vec());
        drop(untold);
        flusher.join().unwrap();
        assert_eq!(frames(&newcomer), ["roomCreated"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_no_longer_watches_gets_no_more() {
        let watched = Watched::by(3 * PART).await;
        watched.announce(Kind::Created);
        watched.links.iter().for_each(|link| watched.engine.unwatch(link.id()));
        tokio::time::sleep(2 * TICK).await;
        assert_eq!(watched.got().iter().flatten().count(), PART);
    }
}
