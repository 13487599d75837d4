//! One instance of a room: a log and its readers, with one writer at a time.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use tokio::{runtime::Handle, sync::Notify, time::timeout};

use super::{
    Link, Maker, Registry, RoomDecl,
    archive::{Archive, Found},
    declared::Info,
    inbox::{Command, Inbox},
    newcomers::Made,
    peers::Followed,
    state::{ConnectionId, State},
    turn::Turn,
    upkeep::{moment, moment_us},
};
use crate::{Refusal, observe::RoomInstanceGuard, store::StoreError};

/// One instance of a room.
///
/// Whoever has something to do pushes a command; if nobody is working on them, a task is spawned that does so until none
/// is left. So an idle room has no task, a busy one has one writer, and what is pushed while that one writes to the
/// readers becomes the next batch. While a new one is looked for in the store, what is pushed waits likewise.
pub(crate) struct Instance {
    pub(crate) room: Arc<RoomDecl>,
    pub(crate) id: Arc<str>,
    info: RwLock<Arc<Info>>,
    /// Who was said to create it when it was made.
    creator: Option<Arc<str>>,
    /// The client on whose behalf it came into memory.
    pub(super) maker: Option<Maker>,
    /// The application came to it, too.
    pub(super) applied: AtomicBool,
    /// That it was new then.
    pub(super) made: OnceLock<Arc<Made>>,
    archive: Option<Arc<Archive>>,
    /// What others tell of it comes here as long as it is there.
    _followed: Option<Followed>,
    /// Why it could not be opened: what waits for it is refused.
    pub(super) failure: OnceLock<Refusal>,
    deleted: AtomicBool,
    /// Connections in it; the state's own count, for whoever lists rooms.
    pub(super) size: AtomicUsize,
    /// Connections in it at other instances, likewise.
    elsewhere: AtomicUsize,
    /// The number of the newest event in its log, for whoever compares.
    pub(super) head: AtomicU64,
    /// The beginning of its id.
    pub(super) head_id: AtomicU64,
    /// What others told of it was missed, and is to be looked for.
    pub(super) behind: AtomicBool,
    /// Another instance said that it was deleted: then what the store has lost was deleted.
    pub(super) said_deleted: AtomicBool,
    /// Who is on the way in: until they are, it isn't given up for being empty.
    pub(super) coming: AtomicUsize,
    /// When it was last left empty, in microseconds of [`moment_us`].
    pub(super) emptied: AtomicU64,
    /// When what has grown too old was last dropped, in milliseconds of [`moment`].
    trimmed_at: AtomicU64,
    pub(super) inbox: Mutex<Inbox>,
    /// Where the state is while nobody works.
    pub(super) state: Mutex<Option<Box<State>>>,
    pub(super) space: Notify,
    pub(super) registry: Weak<Registry>,
    runtime: Handle,
    _counted: RoomInstanceGuard,
}

/// Bytes of payloads that may wait for the writer: more, and their senders wait.
const INBOX_BYTES: usize = 4 << 20;
/// Commands that may wait likewise.
const INBOX_COMMANDS: usize = 16 << 10;
/// How long a sender waits at most.
const PATIENCE: Duration = Duration::from_secs(5);

impl Instance {
    /// An instance that is there at once; or, where there is an archive, once it was looked for there.
    pub(super) fn new(
        registry: &Arc<Registry>,
        room: Arc<RoomDecl>,
        id: Arc<str>,
        epoch: Arc<str>,
        info: Info,
        maker: Option<Maker>,
    ) -> Arc<Self> {
        let archive = registry.archive.clone();
        let opening = archive.is_some();
        // Before it is looked for in the store: what comes after that is told.
        let peers = archive.as_ref().and_then(|archive| archive.peers.as_ref());
        let followed = peers.map(|peers| peers.follow(&id));
        let instance = Arc::new_cyclic(|this| {
            let state = (!opening).then(|| {
                let found = Found { info: None, log: None, state: None, members: Vec::new() };
                let (this, room) = (Weak::clone(this), Arc::clone(&room));
                Box::new(State::new(this, room, Arc::clone(&id), None, epoch, found))
            });
            Instance {
                _counted: room.meter.count_instance(),
                room,
                id,
                creator: info.created_by.clone(),
                info: RwLock::new(Arc::new(info)),
                maker,
                applied: AtomicBool::new(false),
                made: OnceLock::new(),
                archive,
                _followed: followed,
                failure: OnceLock::new(),
                deleted: AtomicBool::new(false),
                size: AtomicUsize::new(0),
                elsewhere: AtomicUsize::new(0),
                head: AtomicU64::new(0),
                head_id: AtomicU64::new(0),
                behind: AtomicBool::new(false),
                said_deleted: AtomicBool::new(false),
                coming: AtomicUsize::new(0),
                emptied: AtomicU64::new(moment_us()),
                trimmed_at: AtomicU64::new(moment()),
                inbox: Mutex::new(Inbox { running: opening, ..Inbox::default() }),
                state: Mutex::new(state),
                space: Notify::new(),
                registry: Arc::downgrade(registry),
                runtime: registry.runtime.clone(),
            }
        });
        if opening {
            instance.runtime.spawn(Arc::clone(&instance).open());
        }
        instance
    }

    /// What is known of it.
    pub(crate) fn info(&self) -> Arc<Info> {
        Arc::clone(&self.info.read())
    }

    /// It is new, and counts for the client that made it.
    pub(super) fn is_made(self: &Arc<Self>, made: Arc<Made>) {
        made.is_instance(self);
        let _ = self.made.set(made);
    }

    /// Returns whether nothing is left of it once it is no longer in memory.
    pub(super) fn left_no_trace(&self) -> bool {
        self.head.load(Ordering::Acquire) == 0 && !self.is_deleted() && !self.info.read().created
    }

    pub(super) fn creator(&self) -> Option<&Arc<str>> {
        self.creator.as_ref()
    }

    /// Its name for people.
    pub(crate) fn name(&self) -> String {
        let info = self.info();
        info.name.as_deref().or(self.room.options.title).unwrap_or(self.room.name).to_owned()
    }

    pub(super) fn archive(&self) -> Option<&Arc<Archive>> {
        self.archive.as_ref()
    }

    /// Why it could not be opened.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.failure.get().cloned()
    }

    /// Has the store trimmed before long.
    pub(super) fn trim_soon(&self) {
        if let Some(registry) = self.registry.upgrade() {
            registry.upkeep.trim(&self.id);
        }
    }

    /// Notes that somebody had something to do in it: it isn't idle for now. Returns whether it may make space for
    /// others.
    pub(super) fn touch(&self, state: &State) -> bool {
        let (idle, stored) = (state.is_idle(), self.archive.is_some());
        if idle && stored {
            self.emptied.store(moment_us(), Ordering::Relaxed);
        }
        idle && self.room.keyed && (stored || !(state.has_state() || self.info.read().is_kept()))
    }

    /// A connection is no longer counted for the others, where there are any.
    pub(super) fn went(&self, link: &Link) {
        if let Some(peers) = self.archive.as_ref().and_then(|archive| archive.peers.as_ref()) {
            peers.went(&self.id, &link.user_id);
        }
    }

    /// Ends the move of a connection into this instance, or out of it: for one caller only, and then it is no longer
    /// counted.
    pub(super) fn end_move(&self, link: &Link) -> bool {
        let ended = link.end_move(self);
        if ended {
            self.went(link);
        }
        ended
    }

    /// Removes a closed connection from the room, or ends its move.
    pub(crate) fn release(self: &Arc<Self>, link: &Arc<Link>) {
        let gone = Arc::clone(link);
        if self.push(Command::Run(Box::new(move |state| _ = state.let_go(&gone)))).is_err() {
            self.end_move(link);
        }
    }

    /// Runs a task of its own, which ends by itself.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.runtime.spawn(task);
    }

    /// Says that new logs are called otherwise from now on than that one, which is gone.
    pub(super) async fn renew_epoch_of(&self, lost: &str) -> Result<(), StoreError> {
        let Some(registry) = self.registry.upgrade() else { return Ok(()) };
        registry.read_epoch().await?;
        if *registry.epoch() == *lost { registry.renew_epoch().await } else { Ok(()) }
    }

    /// Its log ends there now.
    pub(super) fn tell_head(&self, (head, event_id): (u64, &str)) {
        self.head_id.store(beginning(event_id), Ordering::Release);
        self.head.store(head, Ordering::Release);
    }

    /// So many connections are in it now, here and at other instances.
    pub(super) fn tell_size(&self, size: usize, elsewhere: usize) {
        self.elsewhere.store(elsewhere, Ordering::Relaxed);
        let before = self.size.swap(size, Ordering::Relaxed);
        self.room.meter.resized(before, size);
        if size == 0 && before > 0 {
            self.emptied.store(moment_us(), Ordering::Relaxed);
        }
    }

    /// How many connections are in it, at any instance.
    pub(crate) fn total(&self) -> usize {
        self.size() + self.elsewhere.load(Ordering::Relaxed)
    }

    /// How many connections are in it here.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// How many connections it holds at most.
    pub(crate) fn max_size(&self) -> Option<u32> {
        self.room.max_size(&self.info())
    }

    /// Whether it was ended on purpose.
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Relaxed)
    }

    /// It ends on purpose.
    pub(super) fn delete(&self) {
        self.deleted.store(true, Ordering::Relaxed);
    }

    /// Whether another instance said that it deleted it.
    pub(super) fn was_deleted(&self) -> bool {
        self.said_deleted.load(Ordering::Acquire)
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.inbox.lock().retired
    }

    /// Nothing is taken any more; what waits is still done.
    pub(super) fn retire(&self) {
        self.inbox.lock().retired = true;
    }

    /// Retires it if nobody is in it and nothing is to be done; yields whether it did. Where there is no store, what
    /// somebody made on purpose, or has a state of its own, stays.
    pub(super) fn retire_if_idle(&self) -> bool {
        let stored = self.archive.is_some();
        let mut inbox = self.inbox.lock();
        let idle = !inbox.retired
            && !inbox.running
            && (stored || !self.info.read().is_kept())
            && self
                .state
                .lock()
                .as_ref()
                .is_some_and(|state| state.is_idle() && (stored || !state.has_state()));
        inbox.retired |= idle;
        idle
    }

    /// Whether nothing has been dropped by its age for `time`; says that it is now, if so.
    pub(super) fn is_untrimmed(&self, time: Duration) -> bool {
        let (now, before) = (moment(), self.trimmed_at.load(Ordering::Relaxed));
        let due = u128::from(now.saturating_sub(before)) >= time.as_millis();
        if due {
            self.trimmed_at.store(now, Ordering::Relaxed);
        }
        due
    }

    /// Drops from memory what has grown too old, unless somebody is at work: they do so themselves.
    pub(super) fn trim_if_idle(&self) {
        let inbox = self.inbox.lock();
        if !inbox.running
            && let Some(state) = self.state.lock().as_mut()
        {
            state.grow_old();
        }
    }

    /// What its creator says of it, once it is sure that nobody else did.
    pub(super) fn describe_as(&self, info: Info) {
        *self.info.write() = Arc::new(info);
    }

    /// Pushes something to do; gives it back if the instance is retired.
    #[expect(clippy::result_large_err, reason = "it is the caller's own command")]
    pub(crate) fn push(self: &Arc<Self>, command: Command) -> Result<(), Command> {
        let mut inbox = self.inbox.lock();
        if inbox.retired {
            return Err(command);
        }
        inbox.bytes += command.size();
        inbox.commands.push(command);
        if !inbox.running {
            inbox.running = true;
            self.runtime.spawn(Turn::work(Arc::clone(self)));
        }
        Ok(())
    }

    /// Waits until there is room for an event, which is then to be pushed; returns whether it had to wait.
    ///
    /// # Errors
    ///
    /// Too much waits, for too long.
    pub(crate) async fn has_room(&self) -> Result<bool, Refusal> {
        let full = self.is_full();
        if full {
            // In a box, since it is rare and every connection would hold what it needs.
            let room = Box::pin(timeout(PATIENCE, self.space()));
            room.await.map_err(|_| super::busy(&self.id))?;
        }
        Ok(full)
    }

    /// Does `f` in its turn, and waits for what it yields; `None` if the instance is retired.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        let (command, done) = Command::run(f);
        self.push(command).ok()?;
        done.await.ok()
    }

    /// Does in its turn what the store has a part in, and waits for what it yields.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if the instance is no more.
    pub(crate) async fn wait<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl for<'a> FnOnce(&'a mut State) -> Pin<Box<dyn Future<Output = T> + Send + 'a>> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (command, done) = Command::wait(f);
        let gone = || self.failure().unwrap_or_else(|| super::busy(&self.id));
        self.push(command).map_err(|_| gone())?;
        done.await.map_err(|_| gone())
    }

    /// Does `f` in its turn.
    pub(crate) fn cast(self: &Arc<Self>, f: impl FnOnce(&mut State) + Send + 'static) {
        // A retired instance has no members left to do anything for.
        let _ = self.push(Command::Run(Box::new(f)));
    }

    /// Does `f` in its turn, after a while.
    pub(super) fn cast_after(self: &Arc<Self>, time: Duration, f: impl FnOnce(&mut State) + Send + 'static) {
        let instance = Arc::downgrade(self);
        self.runtime.spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(instance) = instance.upgrade() {
                instance.cast(f);
            }
        });
    }

    /// The reader `connection` has taken what it was given: it gets the next page.
    pub(super) fn replay_more(self: &Arc<Self>, connection: ConnectionId) {
        self.cast(move |state| state.replay_page(connection));
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        !self.inbox.lock().running
    }

    /// How many commands wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.inbox.lock().commands.len()
    }

    /// Waits until there is room.
    async fn space(&self) {
        while self.is_full() {
            let space = self.space.notified();
            if self.is_full() {
                space.await;
            }
        }
    }

    pub(super) fn is_full(&self) -> bool {
        let inbox = self.inbox.lock();
        !inbox.retired && (inbox.bytes > INBOX_BYTES || inbox.commands.len() > INBOX_COMMANDS)
    }
}

/// Eight bytes of an event's id, for whoever compares.
pub(super) fn beginning(event_id: &str) -> u64 {
    event_id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).finish_non_exhaustive()
    }
}
