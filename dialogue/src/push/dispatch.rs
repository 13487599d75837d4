//! From an accepted event to the providers' queues.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, interval, timeout},
};

use super::{
    PushCounts, PushError, Target,
    complaints::Complaints,
    config::Opened,
    counts::Counts,
    departures::Departures,
    devices::{Devices, Wish},
    heir::inherit,
    lane::{Lane, Shared},
    now,
    pending::Pending,
    provider::AnyProvider,
    quarters::Quarters,
    retained::Retained,
    router::{Arrival, Fate, Router},
    told::Told,
};
use crate::{
    Accepted, DeliveryClass, Refusal,
    hooks::AnyHooks,
    hub::{Registry, RoomDecl},
    log::Journal,
    store::Memory,
    user_connections::UserConnections,
    wire::Id,
};

/// Takes accepted events, and pushes them to the devices that asked for their rooms.
pub(crate) struct Dispatch {
    providers: Vec<(Arc<dyn AnyProvider>, Arc<Counts>)>,
    shared: Arc<Shared>,
    arriving: mpsc::Sender<Arrival>,
    settling: mpsc::Sender<oneshot::Sender<()>>,
    /// What may wait, in [`UNIT`]s.
    space: Arc<Semaphore>,
    public_key: Option<String>,
    _quarters: Quarters,
}

/// An event that is pushed if it is accepted.
///
/// Where the store outlives the process, that is on record before the event is put into its room. So a crash in between
/// loses no push; and whoever drops this doesn't know what became of the event, which the room's log then tells.
pub(crate) struct Offer {
    dispatch: Arc<Dispatch>,
    event_id: Id,
    /// Until it is known what became of it.
    open: Option<Open>,
}

struct Open {
    room: Arc<RoomDecl>,
    told: Told,
    offered: Instant,
    /// What is on record of it.
    kept: Option<Bytes>,
    permit: OwnedSemaphorePermit,
}

/// Bytes that all waiting events take at most, and what an event takes at least.
const SPACE: usize = 64 << 20;
pub(super) const UNIT: usize = 1 << 10;
/// [`UNIT`]s of all waiting events.
pub(super) const MOST_UNITS: usize = SPACE / UNIT;
/// Bytes that all events take at most of which only retries are left: at providers with one service, and at services
/// that users name.
const RETAINED: (usize, usize) = (SPACE, SPACE / 4);
/// Tasks that wait for a lane: no fewer than there may be rounds.
const QUEUE: usize = MOST_UNITS + 1;
/// Between two looks for registrations that are over.
const SWEEP_EVERY: Duration = Duration::from_secs(60 * 60);
/// What a process that ends waits for its last pushes.
const SETTLE_WITHIN: Duration = Duration::from_secs(3);
/// What departures are remembered for beyond the longest grace.
const REMEMBER: Duration = Duration::from_secs(1);

impl Dispatch {
    /// Starts with what `opened` holds; without a store, devices are forgotten with the process.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub(crate) fn start(
        opened: Opened,
        registry: &Arc<Registry>,
        directory: &Arc<UserConnections>,
        hooks: Option<Arc<dyn AnyHooks>>,
        longest_after: Duration,
    ) -> Result<Arc<Self>, PushError> {
        let peers = registry.peers().cloned();
        let pending = registry.journal().map(|journal| Pending::new(Arc::clone(journal), peers.clone()));
        let journal = registry.journal().cloned();
        let journal = journal.unwrap_or_else(|| Journal::new(Arc::new(Memory::new()), &Handle::current()));
        let shared = Arc::new(Shared {
            devices: Devices::new(journal, opened.bounds),
            directory: Arc::clone(directory),
            departures: Departures::new(longest_after + REMEMBER),
            complaints: Complaints::default(),
            pending,
            hooks,
            retained: Retained::new(RETAINED.0 / UNIT, RETAINED.1 / UNIT),
            stopping: AtomicBool::new(false),
            trying: AtomicUsize::new(0),
        });
        let (arriving, arrivals) = mpsc::channel(QUEUE);
        let (settling, settlers) = mpsc::channel(1);
        let space = Arc::new(Semaphore::new(MOST_UNITS));
        let mut quarters = Quarters::new()?;
        let (mut lanes, mut providers) = (Vec::new(), Vec::new());
        for provider in opened.providers {
            let (lane, tasks_of_lane) = mpsc::channel(QUEUE);
            let counts = Arc::new(Counts::default());
            let worker =
                Lane::new(Arc::clone(&shared), Arc::clone(&provider), Arc::clone(&counts), tasks_of_lane);
            quarters.spawn(worker.run());
            lanes.push((provider.name(), lane));
            providers.push((provider, counts));
        }
        let (inheriting, inherited) = mpsc::channel(1);
        if let Some(peers) = peers {
            quarters.spawn(inherit(Arc::clone(&shared), peers, inheriting));
        }
        let router = Router::new(Arc::clone(&shared), registry, lanes, Arc::clone(&space));
        quarters.spawn(router.run(arrivals, inherited, settlers));
        quarters.spawn(sweep(Arc::clone(&shared)));
        let public_key = opened.public_key;
        let _quarters = quarters;
        Ok(Arc::new(Dispatch { providers, shared, arriving, settling, space, public_key, _quarters }))
    }

    /// The event, if it is one that is pushed; to be told once it is accepted.
    pub(crate) async fn offer(
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
        let (event_id, timestamp) = (Id::fresh(), now());
        // In a log or not, that one would have to be looked for there.
        let offered = kind.class != DeliveryClass::Ephemeral;
        let told = Told {
            id: format!("{timestamp:013}{event_id}"),
            room_id: room_id.to_owned(),
            event: kind.name.to_owned(),
            data: data.to_owned(),
            from: from.to_owned(),
            accepted: Accepted { seq: None, event_id: event_id.to_string(), timestamp, duplicate: false },
            offered,
            done: HashMap::new(),
            epoch: None,
        };
        let kept = match self.shared.pending.as_ref().filter(|_| offered) {
            Some(pending) => pending.offer(&told).await,
            None => None,
        };
        let offered = Instant::now();
        let open = Some(Open { room: Arc::clone(room), told, offered, kept, permit });
        Some(Offer { dispatch: self, event_id, open })
    }

    /// Whether there is a provider of that name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn AnyProvider>> {
        self.providers.iter().map(|(provider, _)| provider).find(|provider| provider.name() == name)
    }

    /// See [`Devices::has_space_for`].
    pub(crate) fn has_space_for(&self, rooms: &[String]) -> Result<(), Refusal> {
        self.shared.devices.has_space_for(rooms)
    }

    /// See [`Devices::register`].
    pub(crate) async fn register(
        &self,
        user: &str,
        address: Option<String>,
        provider: &dyn AnyProvider,
        target: Target,
        language: Option<String>,
        rooms: Vec<String>,
    ) -> Result<(), Refusal> {
        let (user, provider) = (user.to_owned(), provider.name());
        let wish = Wish { user, address, provider, target, language, rooms };
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
    /// What the event is to be called.
    pub(crate) fn event_id(&self) -> Id {
        self.event_id
    }

    /// The event is accepted.
    pub(crate) fn accepted(mut self, accepted: &Accepted) {
        let Some(mut open) = self.open.take() else { return };
        let fate = match accepted.duplicate {
            true => Fate::Void,
            false => {
                open.told.accepted = accepted.clone();
                open.told.offered = false;
                Fate::Accepted
            }
        };
        self.arrive(open, fate);
    }

    fn arrive(&self, open: Open, fate: Fate) {
        let Open { room, told, offered, kept, permit } = open;
        let between = (offered, Instant::now());
        // The permits are fewer than its places.
        let _ = self.dispatch.arriving.try_send(Arrival { room, told, between, kept, permit, fate });
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(open) = self.open.take().filter(|open| open.kept.is_some()) {
            self.arrive(open, Fate::Unsure);
        }
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
