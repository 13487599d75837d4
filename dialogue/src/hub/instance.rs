//! One instance of a room: a log and its readers, with one writer at a time.

use std::{
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    time::timeout,
};

use super::{
    Registry,
    inbox::{Command, Inbox, Publish},
    state::{ConnectionId, State, now},
};
use crate::{
    Asked, Channel, Code, Refusal, RoomOptions, identity::is_anonymous, room::EventKind, wire::EventSet,
};

/// What `rooms!` says of a room, without its type.
#[derive(Debug)]
pub(crate) struct RoomDecl {
    /// Its place in the declaration.
    pub(crate) index: usize,
    pub(crate) name: &'static str,
    pub(crate) keyed: bool,
    pub(crate) options: RoomOptions,
    pub(crate) asked: Asked,
    pub(crate) channels: &'static [Channel],
    pub(crate) events: Vec<EventKind>,
}

/// One instance of a room.
///
/// Whoever has something to do pushes a command; if nobody is working on them, a task is spawned that does so until none
/// is left. So an idle room has no task, a busy one has one writer, and what is pushed while that one writes to the
/// readers becomes the next batch.
pub(crate) struct Instance {
    pub(crate) room: Arc<RoomDecl>,
    pub(crate) id: Arc<str>,
    pub(crate) info: Info,
    /// Connections in it; the state's own count, for whoever lists rooms.
    pub(super) size: AtomicUsize,
    /// When it was last left empty, in Unix milliseconds.
    pub(super) emptied: AtomicU64,
    inbox: Mutex<Inbox>,
    /// Where the state is while nobody works.
    state: Mutex<Option<Box<State>>>,
    space: Notify,
    registry: Weak<Registry>,
    runtime: Handle,
}

/// What whoever made an instance says of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info {
    pub(crate) name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) max_size: Option<u32>,
    pub(crate) created_by: Option<Arc<str>>,
    /// Made on purpose, not by a first join: it stays though nobody is in it.
    pub(crate) created: bool,
}

/// Bytes of payloads that may wait for the writer: more, and their senders wait.
const INBOX_BYTES: usize = 4 << 20;
/// Commands that may wait likewise.
const INBOX_COMMANDS: usize = 16 << 10;
/// How long a sender waits at most.
const PATIENCE: Duration = Duration::from_secs(5);
/// Readers that are written to before other tasks get a turn.
const STRETCH: usize = 256;
/// Bytes of payloads in one batch.
const BATCH_BYTES: usize = 128 << 10;

impl Info {
    /// Whether somebody made it on purpose who can be told from others.
    pub(super) fn is_kept(&self) -> bool {
        self.created && !self.created_by.as_deref().is_some_and(is_anonymous)
    }
}

impl RoomDecl {
    pub(crate) fn event(&self, name: &str) -> Option<u8> {
        self.events.iter().position(|kind| kind.name == name).and_then(|index| u8::try_from(index).ok())
    }

    pub(crate) fn event_name(&self, event: u8) -> &'static str {
        self.events.get(usize::from(event)).map_or("", |kind| kind.name)
    }

    /// The set that a list of names says; `*` is all.
    pub(crate) fn events_named<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<EventSet, Refusal> {
        names.into_iter().try_fold(EventSet::NONE, |set, name| match (name, self.event(name)) {
            ("*", _) => Ok(EventSet::ALL),
            (_, Some(event)) => Ok(set.with(event)),
            (_, None) => Err(self.not_carried(name)),
        })
    }

    pub(crate) fn not_carried(&self, event: &str) -> Refusal {
        Refusal::new(Code::EventNotAllowed, format!("room `{}` does not carry `{event}`", self.name))
    }

    /// What a join without `events` subscribes to.
    pub(crate) fn default_events(&self) -> EventSet {
        let Some(names) = self.options.subscribe else { return EventSet::ALL };
        self.events_named(names.iter().copied()).unwrap_or(EventSet::ALL)
    }
}

impl Instance {
    pub(super) fn new(
        registry: Weak<Registry>,
        runtime: Handle,
        room: Arc<RoomDecl>,
        id: Arc<str>,
        epoch: Arc<str>,
        info: Info,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Instance {
            state: Mutex::new(Some(Box::new(State::new(
                Weak::clone(this),
                Arc::clone(&room),
                Arc::clone(&id),
                epoch,
                &info,
            )))),
            room,
            id,
            info,
            size: AtomicUsize::new(0),
            emptied: AtomicU64::new(now()),
            inbox: Mutex::default(),
            space: Notify::new(),
            registry,
            runtime,
        })
    }

    /// How many connections are in it.
    pub(crate) fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }

    /// How many connections it holds at most.
    pub(crate) fn max_size(&self) -> Option<u32> {
        match (self.room.options.capacity, self.info.max_size) {
            (Some(declared), Some(own)) => Some(declared.min(own)),
            (declared, own) => declared.or(own),
        }
    }

    pub(crate) fn is_retired(&self) -> bool {
        self.inbox.lock().retired
    }

    /// Nothing is taken any more; what waits is still done.
    pub(super) fn retire(&self) {
        self.inbox.lock().retired = true;
    }

    /// Retires it if nobody is in it, nothing is to be done, and nobody made it on purpose; yields whether it did.
    pub(super) fn retire_if_idle(&self) -> bool {
        let mut inbox = self.inbox.lock();
        let idle = !inbox.retired
            && !inbox.running
            && self.state.lock().as_ref().is_some_and(|state| state.is_idle());
        inbox.retired |= idle;
        idle
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
            self.runtime.spawn(Arc::clone(self).work());
        }
        Ok(())
    }

    /// Pushes an event once there is room for it.
    pub(crate) async fn publish(self: &Arc<Self>, publish: Publish) -> Result<(), Refused> {
        if self.is_full() {
            // In a box, since it is rare and every connection would hold what it needs.
            Box::pin(timeout(PATIENCE, self.space())).await.map_err(|_| Refused::Busy)?;
        }
        self.push(Command::Publish(publish)).map_err(Refused::Retired)
    }

    /// Does `f` in its turn, and waits for what it yields; `None` if the instance is retired.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut State) -> T + Send + 'static,
    ) -> Option<T> {
        let (sender, receiver) = oneshot::channel();
        let command = Command::Run(Box::new(move |state| {
            // Whoever asked may be gone.
            let _ = sender.send(f(state));
        }));
        self.push(command).ok()?;
        receiver.await.ok()
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

    fn is_full(&self) -> bool {
        let inbox = self.inbox.lock();
        !inbox.retired && (inbox.bytes > INBOX_BYTES || inbox.commands.len() > INBOX_COMMANDS)
    }

    /// Does what was pushed until nothing is left.
    async fn work(self: Arc<Self>) {
        let Some(state) = self.state.lock().take() else { return };
        let mut turn = Turn { instance: self, state: Some(state) };
        let mut commands = Vec::new();
        while turn.next(&mut commands) {
            turn.instance.space.notify_waiters();
            for command in commands.drain(..) {
                match command {
                    Command::Publish(publish) => {
                        let Some(state) = &mut turn.state else { return };
                        if state.accept(publish) > BATCH_BYTES {
                            turn.deliver().await;
                        }
                    }
                    Command::Run(f) => {
                        // Whoever joins now has what was accepted before in its position.
                        turn.deliver().await;
                        let Some(state) = &mut turn.state else { return };
                        f(state);
                    }
                }
            }
            turn.deliver().await;
        }
    }
}

/// Why an event didn't get into a room.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too much waits, for too long.
    Busy,
    /// The instance is no more.
    Retired(Command),
}

/// A turn of work on an instance, which has the state meanwhile.
struct Turn {
    instance: Arc<Instance>,
    state: Option<Box<State>>,
}

impl Turn {
    /// Takes what was pushed; ends the turn if that is nothing.
    fn next(&mut self, commands: &mut Vec<Command>) -> bool {
        let mut inbox = self.instance.inbox.lock();
        if !inbox.commands.is_empty() {
            inbox.bytes = 0;
            std::mem::swap(&mut inbox.commands, commands);
            return true;
        }
        let mut lost = false;
        inbox.running = false;
        // Where the last turn was a burst, its memory goes.
        inbox.commands = Vec::new();
        if let Some(state) = self.state.take() {
            inbox.retired |= state.is_over();
            lost = state.has_past();
            *self.instance.state.lock() = Some(state);
        }
        let retired = inbox.retired;
        drop(inbox);
        if retired && let Some(registry) = self.instance.registry.upgrade() {
            registry.forget(&self.instance, lost);
        }
        false
    }

    /// Writes what was accepted to all readers.
    async fn deliver(&mut self) {
        let Some(state) = &mut self.state else { return };
        let Some(batch) = state.take_batch() else { return state.answer() };
        let mut from = 0;
        while let Some(next) = state.deliver(&batch, from, STRETCH) {
            from = next;
            tokio::task::yield_now().await;
        }
        state.answer();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Still here only if the work panicked or the runtime is going: the log is lost, and its readers must know.
        if let Some(mut state) = self.state.take() {
            let waiting = {
                let mut inbox = self.instance.inbox.lock();
                inbox.retired = true;
                std::mem::take(&mut inbox.commands)
            };
            // Whoever waits for them is told, and so is who waits for space.
            drop(waiting);
            self.instance.space.notify_waiters();
            state.abandon();
            if let Some(registry) = self.instance.registry.upgrade() {
                registry.forget(&self.instance, true);
            }
        }
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("id", &self.id).finish_non_exhaustive()
    }
}
