//! From an accepted event to the providers' queues.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    PushCounts, Target,
    chain::Chain,
    complaints::Complaints,
    config::Opened,
    counts::Counts,
    departures::Departures,
    devices::{Devices, Wish},
    lane::{Lane, Shared, Task},
    pending::{Left, Pending},
    provider::AnyProvider,
    round::{Round, Told},
};
use crate::{
    Accepted, Refusal,
    directory::Directory,
    hub::{Registry, RoomDecl},
    store::{AnyStore, Memory},
};

/// Takes accepted events, and pushes them to the devices that asked for their rooms.
pub(crate) struct Dispatch {
    providers: Vec<(Arc<dyn AnyProvider>, Arc<Counts>)>,
    shared: Arc<Shared>,
    arriving: mpsc::Sender<Arc<Round>>,
    settling: mpsc::Sender<oneshot::Sender<()>>,
    /// What may wait, in [`UNIT`]s.
    space: Arc<Semaphore>,
    public_key: Option<String>,
    /// They end with this.
    _tasks: JoinSet<()>,
}

/// An event that is pushed if it is accepted.
pub(crate) struct Offer {
    dispatch: Arc<Dispatch>,
    room: Arc<RoomDecl>,
    told: Told,
    permit: OwnedSemaphorePermit,
}

/// Bytes that all waiting events take at most, and what an event takes at least.
const SPACE: usize = 64 << 20;
const UNIT: usize = 1 << 10;
/// Tasks that wait for a lane: no fewer than there may be rounds.
const QUEUE: usize = SPACE / UNIT + 1;
/// Between two looks at what is done with.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same while a process that ends waits.
const SETTLE_EVERY: Duration = Duration::from_millis(50);
/// Between two looks for registrations that are over.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// What a process that ends waits for its last pushes.
const SETTLE_WITHIN: Duration = Duration::from_secs(3);
/// Between two tries to read what a process before left.
const STORE_REST: Duration = Duration::from_secs(1);

impl Dispatch {
    /// Starts with what `opened` holds; without a store, devices are forgotten with the process.
    pub(crate) fn start(
        opened: Opened,
        store: Option<Arc<dyn AnyStore>>,
        registry: &Arc<Registry>,
        directory: &Arc<Directory>,
        longest_after: Duration,
    ) -> Arc<Self> {
        let pending = store.clone().map(Pending::new);
        let store = store.unwrap_or_else(|| Arc::new(Memory::new()));
        let shared = Arc::new(Shared {
            devices: Devices::new(store, opened.bounds),
            directory: Arc::clone(directory),
            departures: Departures::new(longest_after + LOOK_EVERY),
            complaints: Complaints::default(),
            pending,
            stopping: AtomicBool::new(false),
            trying: AtomicUsize::new(0),
        });
        let (arriving, arrivals) = mpsc::channel(QUEUE);
        let (settling, settlers) = mpsc::channel(1);
        let space = Arc::new(Semaphore::new(SPACE / UNIT));
        let (mut tasks, runtime) = (JoinSet::new(), Handle::current());
        let (mut lanes, mut providers) = (Vec::new(), Vec::new());
        for provider in opened.providers {
            let (lane, tasks_of_lane) = mpsc::channel(QUEUE);
            let counts = Arc::new(Counts::default());
            let worker =
                Lane::new(Arc::clone(&shared), Arc::clone(&provider), Arc::clone(&counts), tasks_of_lane);
            tasks.spawn_on(worker.run(), &runtime);
            lanes.push((provider.name(), lane));
            providers.push((provider, counts));
        }
        let router = Router {
            shared: Arc::clone(&shared),
            registry: Arc::downgrade(registry),
            lanes,
            space: Arc::clone(&space),
            early: BTreeMap::new(),
            live: HashMap::new(),
            epochs: HashMap::new(),
            newest: HashMap::new(),
            settlers: Vec::new(),
        };
        tasks.spawn_on(router.run(arrivals, settlers), &runtime);
        tasks.spawn_on(sweep(Arc::clone(&shared)), &runtime);
        let public_key = opened.public_key;
        Arc::new(Dispatch { providers, shared, arriving, settling, space, public_key, _tasks: tasks })
    }

    /// The event, if it is one that is pushed; to be told once it is accepted.
    pub(crate) fn offer(
        self: Arc<Self>,
        room: &Arc<RoomDecl>,
        room_id: &str,
        event: u8,
        from: &str,
        data: &str,
    ) -> Option<Offer> {
        let kind = room.events.get(usize::from(event)).filter(|kind| kind.push.is_some())?;
        let units = u32::try_from(data.len() / UNIT + 1).ok()?;
        let Ok(permit) = Arc::clone(&self.space).try_acquire_many_owned(units) else {
            self.shared.complaints.say(
                "all",
                "an event is not pushed",
                "too much waits to be pushed already",
            );
            return None;
        };
        let told = Told {
            room_id: room_id.to_owned(),
            event: kind.name.to_owned(),
            data: data.to_owned(),
            from: from.to_owned(),
            accepted: Accepted { seq: None, event_id: String::new(), timestamp: 0, duplicate: false },
            done: HashMap::new(),
            epoch: None,
        };
        Some(Offer { dispatch: self, room: Arc::clone(room), told, permit })
    }

    /// Whether there is a provider of that name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn AnyProvider>> {
        self.providers.iter().map(|(provider, _)| provider).find(|provider| provider.name() == name)
    }

    /// See [`Devices::register`].
    pub(crate) async fn register(
        &self,
        user: &str,
        provider: &dyn AnyProvider,
        target: Target,
        language: Option<String>,
        rooms: Vec<String>,
    ) -> Result<(), Refusal> {
        let wish = Wish { user: user.to_owned(), provider: provider.name(), target, language, rooms };
        self.shared.devices.register(wish).await
    }

    /// See [`Devices::unregister`].
    pub(crate) async fn unregister(
        &self,
        user: &str,
        provider: &dyn AnyProvider,
        target: &Target,
        rooms: Option<&[String]>,
    ) -> Result<(), Refusal> {
        self.shared.devices.unregister(user, provider.name(), target, rooms).await
    }

    /// See [`Devices::forget_user`].
    pub(crate) async fn forget_user(&self, user: &str) -> Result<usize, Refusal> {
        self.shared.devices.forget_user(user).await
    }

    /// A user left a room that is pushed, having seen what was said until now.
    pub(crate) fn departed(&self, user: &Arc<str>, room_id: &Arc<str>) {
        self.shared.departures.note(user, room_id);
    }

    /// Brings what is on its way to where it is safe: into the store, or else to its devices, for which it waits a little.
    pub(crate) async fn settle(&self) {
        let (settled, wait) = oneshot::channel();
        if self.settling.send(settled).await.is_ok() {
            let _ = timeout(SETTLE_WITHIN, wait).await;
        }
    }

    /// What pages subscribe with.
    pub(crate) fn public_key(&self) -> Option<&str> {
        self.public_key.as_deref()
    }

    pub(crate) fn counts(&self) -> Vec<(&'static str, PushCounts)> {
        self.providers.iter().map(|(provider, counts)| (provider.name(), counts.read())).collect()
    }

    /// The same, by the names of outcomes.
    pub(crate) fn outcomes(&self) -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
        self.counts().into_iter().map(|(provider, counts)| (provider, counts.named().into())).collect()
    }
}

impl Offer {
    /// The event is accepted.
    pub(crate) fn accepted(self, accepted: &Accepted) {
        if accepted.duplicate {
            return;
        }
        let Offer { dispatch, room, mut told, permit } = self;
        told.accepted = accepted.clone();
        let Some(round) = Round::new(&room, told, permit) else { return };
        // The permits are fewer than its places.
        let _ = dispatch.arriving.try_send(Arc::new(round));
    }
}

/// Holds rounds until they are due, and hands them to the lanes.
struct Router {
    shared: Arc<Shared>,
    registry: Weak<Registry>,
    lanes: Vec<(&'static str, mpsc::Sender<Task>)>,
    space: Arc<Semaphore>,
    early: BTreeMap<(Instant, String), Arc<Round>>,
    /// All that are not done with.
    live: HashMap<String, Weak<Round>>,
    /// Of rooms, as they were a moment ago.
    epochs: HashMap<Arc<str>, Arc<str>>,
    /// By room and collapse key.
    newest: HashMap<(Arc<str>, String), Weak<Round>>,
    /// Who waits until nothing would be lost with the process.
    settlers: Vec<oneshot::Sender<()>>,
}

impl Router {
    async fn run(
        mut self,
        mut arrivals: mpsc::Receiver<Arc<Round>>,
        mut settlers: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        self.resume().await;
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.early.first_key_value().map(|((due, _), _)| *due);
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                round = arrivals.recv() => match round {
                    Some(round) => self.take(round).await,
                    None => return,
                },
                () = is_due => self.hand_over(Instant::now()).await,
                _ = look.tick(), if !self.live.is_empty() || !self.settlers.is_empty() => {
                    self.look().await;
                    if !self.settlers.is_empty() {
                        look.reset_after(SETTLE_EVERY);
                    }
                }
                Some(settler) = settlers.recv() => {
                    self.settlers.push(settler);
                    self.settle(&mut arrivals).await;
                    look.reset_after(SETTLE_EVERY);
                }
            }
        }
    }

    async fn take(&mut self, round: Arc<Round>) {
        round.in_epoch(self.epoch(&round.room_id).await.as_deref());
        if let Some(pending) = &self.shared.pending {
            pending.keep(&round).await;
        }
        self.enlist(&round);
        self.early.insert((round.due, round.id.clone()), round);
    }

    /// Takes it among the live ones, in the place of an older one.
    fn enlist(&mut self, round: &Arc<Round>) {
        self.live.insert(round.id.clone(), Arc::downgrade(round));
        let Some(collapse) = &round.collapse else { return };
        let key = (Arc::clone(&round.room_id), collapse.clone());
        let before = self.newest.insert(key, Arc::downgrade(round));
        if let Some(before) = before.and_then(|before| before.upgrade()) {
            before.supersede();
        }
    }

    /// The process is about to end.
    async fn settle(&mut self, arrivals: &mut mpsc::Receiver<Arc<Round>>) {
        while let Ok(round) = arrivals.try_recv() {
            self.take(round).await;
        }
        self.shared.stopping.store(self.shared.pending.is_some(), Ordering::Release);
        if self.shared.pending.is_none()
            && let Some(((last, _), _)) = self.early.last_key_value()
        {
            // Nobody else will.
            self.hand_over(*last).await;
        }
        self.look().await;
    }

    /// Gives those that are due by then to every lane.
    async fn hand_over(&mut self, by: Instant) {
        while let Some(first) = self.early.first_entry()
            && first.key().0 <= by
        {
            let round = first.remove();
            if round.is_superseded() {
                continue;
            }
            for (provider, lane) in &self.lanes {
                let after = round.told.done.get(*provider).cloned();
                // The permits are fewer than its places; those of a process before wait.
                let _ = lane.send(Task::Walk(Arc::clone(&round), after)).await;
            }
        }
    }

    /// The epoch of a room's log. Asked for once for a while: it interrupts the room.
    async fn epoch(&mut self, room_id: &Arc<str>) -> Option<Arc<str>> {
        if let Some(epoch) = self.epochs.get(room_id) {
            return Some(Arc::clone(epoch));
        }
        let instance = self.registry.upgrade()?.find(room_id)?;
        let epoch: Arc<str> = instance.run(|state| state.epoch().into()).await?;
        self.epochs.insert(Arc::clone(room_id), Arc::clone(&epoch));
        Some(epoch)
    }

    /// Lets go of what is done with, and keeps how far the others are.
    async fn look(&mut self) {
        let gone: Vec<String> = self
            .live
            .iter()
            .filter(|(_, round)| round.strong_count() == 0)
            .map(|(id, _)| id.clone())
            .collect();
        gone.iter().for_each(|id| drop(self.live.remove(id)));
        self.newest.retain(|_, round| round.strong_count() > 0);
        self.epochs.clear();
        let stopped =
            self.shared.stopping.load(Ordering::Acquire) && self.shared.trying.load(Ordering::Acquire) == 0;
        self.keep(gone).await;
        if self.live.is_empty() || stopped {
            self.settlers.drain(..).for_each(|settler| _ = settler.send(()));
        }
    }

    async fn keep(&self, gone: Vec<String>) {
        let Some(pending) = &self.shared.pending else { return };
        if !gone.is_empty() {
            pending.done(gone).await;
        }
        let live: Vec<Arc<Round>> = self.live.values().filter_map(Weak::upgrade).collect();
        for round in live.iter().filter(|round| round.has_news()) {
            pending.keep(round).await;
        }
    }

    /// Goes on with what a process before left in the store.
    async fn resume(&mut self) {
        let Some(pending) = &self.shared.pending else { return };
        let left = loop {
            match pending.left().await {
                Ok(left) => break left,
                Err(error) => {
                    tracing::warn!(%error, "pushes that a process before left can't be read yet");
                    tokio::time::sleep(STORE_REST).await;
                }
            }
        };
        let (mut last, mut chains): (Option<Arc<Round>>, Vec<(&'static str, Chain)>) = (None, Vec::new());
        for left in left {
            match left {
                Left::Round(told) => last = self.revive(told),
                Left::Chain { registration, user, tries } => {
                    let lane = self.lanes.iter().find(|(name, _)| registration.device.is_of(name));
                    let (Some((name, _)), Some(round)) = (lane, &last) else { continue };
                    round.skip(registration.device.clone());
                    chains.push((*name, Left::of(registration, user, tries, Arc::clone(round))));
                }
            }
        }
        for (name, chain) in chains {
            let Some((_, lane)) = self.lanes.iter().find(|(known, _)| *known == name) else { continue };
            let _ = lane.send(Task::Resume(chain)).await;
        }
    }

    fn revive(&mut self, told: Told) -> Option<Arc<Round>> {
        let registry = self.registry.upgrade()?;
        let (room, _) = registry.declared(&told.room_id).ok()?;
        let units = u32::try_from(told.data.len() / UNIT + 1).ok()?;
        let permit = Arc::clone(&self.space).try_acquire_many_owned(units).ok()?;
        let round = Arc::new(Round::new(room, told, permit)?);
        round.in_epoch(round.told.epoch.as_deref());
        self.enlist(&round);
        self.early.insert((round.due, round.id.clone()), Arc::clone(&round));
        Some(round)
    }
}

/// Forgets registrations that are over, now and then.
async fn sweep(shared: Arc<Shared>) {
    let mut every = interval(SWEEP_EVERY);
    loop {
        every.tick().await;
        if let Err(error) = shared.devices.sweep().await {
            tracing::warn!(%error, "registrations that are over can't be looked for");
        }
    }
}

impl fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}
