//! The scheduler: holds fan-outs until they are due, gives them to the providers' workers, and keeps their records in
//! the store up to date. It also goes on with the pushes of processes that have ended.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};

use super::{
    context::PushContext,
    fanout::{AcceptedBetween, Fanout},
    memory::MAX_QUEUED_UNITS,
    pending::{Ownership, PendingPush, ResumedFanout},
    queued_event::QueuedEvent,
    remote_users::{self, RemoteUsers},
    retry_queue, topic,
    worker::WorkerCommand,
};
use crate::{
    collections::{HashMap, HashSet},
    live::{Registry, RoomRead, RoomSpec},
};

/// The task between the [`PushDispatcher`](super::PushDispatcher) and the workers.
pub(super) struct PushScheduler {
    context: Arc<PushContext>,
    registry: Weak<Registry>,
    /// The workers' channels by the names of their providers.
    workers: Vec<(&'static str, mpsc::Sender<WorkerCommand>)>,
    /// The memory of new events, in [units](super::memory::UNIT_BYTES).
    memory: Arc<Semaphore>,
    /// The fan-outs that aren't due yet, by time and id.
    pub(super) scheduled: BTreeMap<(Instant, String), Arc<Fanout>>,
    /// All fan-outs that aren't finished, by id.
    active: HashMap<String, ActiveFanout>,
    /// Events of which it is unknown whether they were accepted, by the time at which their rooms' logs are read, and
    /// id.
    unconfirmed: BTreeMap<(Instant, String), UnconfirmedEvent>,
    /// The ids and values of records to remove, of events that weren't accepted, or were accepted before.
    void: Vec<(String, Option<Bytes>)>,
    /// The epochs of rooms' logs, cached for [`HOUSEKEEPING_INTERVAL`].
    epochs: HashMap<Arc<str>, Arc<str>>,
    /// The users at other nodes of rooms with fan-outs.
    remote_users: HashMap<Arc<str>, Weak<RemoteUsers>>,
    /// The newest fan-out of each room and collapse key, by their [topic](topic).
    pub(super) newest: HashMap<String, NewestFanout>,
    /// The number of times that the other nodes have taken this one for dead, as of the last time that all records were
    /// confirmed.
    confirmed_forgotten: usize,
    /// Pushes of other processes that have no memory here yet.
    pub(super) backlog: VecDeque<PendingPush>,
    /// The memory of the backlog itself, in [units](super::memory::UNIT_BYTES).
    pub(super) backlog_units: usize,
    /// Counts resumed jobs: each holds a clone.
    resume_token: Arc<()>,
    /// Callers of [`PushDispatcher::drain`](super::PushDispatcher::drain).
    drain_waiters: Vec<oneshot::Sender<()>>,
}

/// An offered event whose outcome is known, or will never be known by the offer itself.
pub(super) struct ResolvedOffer {
    pub(super) room: Arc<RoomSpec>,
    pub(super) event: QueuedEvent,
    pub(super) accepted: AcceptedBetween,
    /// The value of the event's record.
    pub(super) stored: Option<Bytes>,
    pub(super) permit: OwnedSemaphorePermit,
    pub(super) outcome: OfferOutcome,
}

/// The outcome of an offered event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OfferOutcome {
    /// The event was accepted.
    Accepted,
    /// The event is a retry of one that was accepted before.
    Duplicate,
    /// The offer was dropped: the room's log decides.
    Unknown,
}

/// The newest fan-out of a collapse key. It is remembered after its end, since an older one may be taken over later.
pub(super) struct NewestFanout {
    id: String,
    fanout: Weak<Fanout>,
}

struct ActiveFanout {
    fanout: Weak<Fanout>,
    /// The value of its record.
    stored: Option<Bytes>,
}

struct UnconfirmedEvent {
    event: QueuedEvent,
    stored: Option<Bytes>,
    permit: OwnedSemaphorePermit,
}

/// The interval at which finished fan-outs are removed and the progress of the others is recorded: after a crash, the
/// pushes of the last interval may be sent again.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);
/// The same while the process drains.
const DRAIN_INTERVAL: Duration = Duration::from_millis(50);
/// The time for which the store is left alone after an error.
const STORE_BACKOFF: Duration = Duration::from_secs(1);
/// The memory of the backlog, in [units](super::memory::UNIT_BYTES), beyond which nothing more is taken over. One
/// big event doesn't keep the others from it.
const MAX_BACKLOG_UNITS: usize = MAX_QUEUED_UNITS / 2;
/// The part of the memory that resumed events leave to new ones, in [units](super::memory::UNIT_BYTES).
const RESERVED_UNITS: usize = MAX_QUEUED_UNITS / 4;
/// The maximum of finished fan-outs that are remembered in case an older one of their collapse key is taken over.
const MAX_REMEMBERED: usize = 16_384;
/// The age of an offer after which its event can't be appended any more, since every wait of ingest and the store is
/// shorter.
const CONFIRM_AFTER: Duration = Duration::from_secs(20);

impl PushScheduler {
    pub(super) fn new(
        context: Arc<PushContext>,
        registry: &Arc<Registry>,
        workers: Vec<(&'static str, mpsc::Sender<WorkerCommand>)>,
        memory: Arc<Semaphore>,
    ) -> Self {
        PushScheduler {
            context,
            registry: Arc::downgrade(registry),
            workers,
            memory,
            scheduled: BTreeMap::new(),
            active: HashMap::default(),
            unconfirmed: BTreeMap::new(),
            void: Vec::new(),
            epochs: HashMap::default(),
            remote_users: HashMap::default(),
            newest: HashMap::default(),
            confirmed_forgotten: 0,
            backlog: VecDeque::new(),
            backlog_units: 0,
            resume_token: Arc::default(),
            drain_waiters: Vec::new(),
        }
    }

    /// Runs until the dispatcher is dropped. Without other nodes, first reads the pushes that a process before has
    /// left.
    pub(super) async fn run(
        mut self,
        mut offers: mpsc::Receiver<ResolvedOffer>,
        mut takeovers: mpsc::Receiver<PendingPush>,
        mut drains: mpsc::Receiver<oneshot::Sender<()>>,
    ) {
        if self.is_single_node() {
            self.resume_all().await;
        }
        let mut housekeeping = interval(HOUSEKEEPING_INTERVAL);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut refresh = interval(remote_users::MAX_AGE);
        refresh.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let due = self.scheduled.first_key_value().map(|((due, _), _)| *due);
            let is_due = async {
                match due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                offer = offers.recv() => match offer {
                    Some(offer) => self.receive(offer).await,
                    None => return,
                },
                // With a full backlog, the rest is left for other nodes to take over.
                Some(push) = takeovers.recv(), if self.backlog_units < MAX_BACKLOG_UNITS => {
                    self.resume(push).await;
                }
                () = is_due => self.start_due(Instant::now()).await,
                _ = refresh.tick(), if !self.remote_users.is_empty() && !self.scheduled.is_empty() => {
                    self.refresh_remote_users().await;
                }
                _ = housekeeping.tick(), if self.has_housekeeping() => {
                    self.keep_house().await;
                    if !self.drain_waiters.is_empty() {
                        housekeeping.reset_after(DRAIN_INTERVAL);
                    }
                }
                Some(waiter) = drains.recv() => {
                    self.drain_waiters.push(waiter);
                    self.drain(&mut offers).await;
                    housekeeping.reset_after(DRAIN_INTERVAL);
                }
            }
        }
    }

    /// Returns whether the deployment has no other nodes that could take pushes over.
    fn is_single_node(&self) -> bool {
        self.registry.upgrade().is_none_or(|registry| registry.cluster().is_none())
    }

    fn has_housekeeping(&self) -> bool {
        let is_waiting = !(self.unconfirmed.is_empty() && self.backlog.is_empty());
        is_waiting || !(self.active.is_empty() && self.void.is_empty() && self.drain_waiters.is_empty())
    }

    async fn receive(&mut self, offer: ResolvedOffer) {
        let ResolvedOffer { room, event, accepted, stored, permit, outcome } = offer;
        match outcome {
            OfferOutcome::Duplicate if stored.is_some() => self.void.push((event.id, stored)),
            OfferOutcome::Duplicate => {}
            OfferOutcome::Unknown => {
                let due = Instant::now() + CONFIRM_AFTER;
                let key = (due, event.id.clone());
                self.unconfirmed.insert(key, UnconfirmedEvent { event, stored, permit });
            }
            OfferOutcome::Accepted => {
                if let Some(fanout) = Fanout::new(&room, event, permit, Some(accepted)) {
                    self.schedule(Arc::new(fanout), stored).await;
                }
            }
        }
    }

    async fn schedule(&mut self, fanout: Arc<Fanout>, stored: Option<Bytes>) {
        self.track_remote_users(&fanout).await;
        fanout.set_epoch(self.epoch(&fanout.room_id).await.as_deref());
        self.activate(&fanout, stored);
        self.record(&fanout).await;
        self.scheduled.insert((fanout.due, fanout.id().to_owned()), fanout);
    }

    /// Adds a fan-out to the active ones, and supersedes the one before of its collapse key.
    pub(super) fn activate(&mut self, fanout: &Arc<Fanout>, stored: Option<Bytes>) {
        let active = ActiveFanout { fanout: Arc::downgrade(fanout), stored };
        self.active.insert(fanout.id().to_owned(), active);
        let Some(topic) = topic_of(fanout) else { return };
        let newest = NewestFanout { id: fanout.id().to_owned(), fanout: Arc::downgrade(fanout) };
        if let Some(before) = self.newest.insert(topic, newest).and_then(|before| before.fanout.upgrade()) {
            before.supersede();
        }
    }

    /// Adds a fan-out to the active ones that another process began, or whose event was confirmed late. If there is, or
    /// was, a newer one of its collapse key, it is superseded itself.
    fn activate_late(&mut self, fanout: &Arc<Fanout>, stored: Option<Bytes>) {
        let newest = topic_of(fanout).and_then(|topic| self.newest.get(&topic));
        if newest.is_some_and(|newest| newest.id.as_str() > fanout.id()) {
            fanout.supersede();
            let active = ActiveFanout { fanout: Arc::downgrade(fanout), stored };
            self.active.insert(fanout.id().to_owned(), active);
            return;
        }
        self.activate(fanout, stored);
    }

    /// Takes a snapshot of the users that the fan-out's room has at other nodes, who receive the event there.
    async fn track_remote_users(&mut self, fanout: &Fanout) {
        if self.is_single_node() || !fanout.is_for_disconnected() {
            return;
        }
        let known = self.remote_users.get(&fanout.room_id).and_then(Weak::upgrade);
        let remote_users = known.unwrap_or_else(|| {
            let room_id = Arc::clone(&fanout.room_id);
            let remote_users = Arc::new(RemoteUsers::new(self.registry.clone(), Arc::clone(&room_id)));
            self.remote_users.insert(room_id, Arc::downgrade(&remote_users));
            remote_users
        });
        remote_users.refresh(remote_users::MAX_AGE_AT_ONCE, &self.context.last_seen).await;
        fanout.set_remote_users(remote_users);
    }

    /// Takes new snapshots for all fan-outs that aren't due, so that users who come and leave other nodes meanwhile are
    /// noticed.
    async fn refresh_remote_users(&self) {
        let mut refreshed = HashSet::default();
        for fanout in self.scheduled.values() {
            if let Some(remote_users) = fanout.remote_users()
                && refreshed.insert(&fanout.room_id)
            {
                remote_users.refresh(remote_users::MAX_AGE, &self.context.last_seen).await;
            }
        }
    }

    /// Prepares for the end of the process. With a store, workers begin nothing more, and another process goes on.
    /// Without, everything that waits is sent now.
    async fn drain(&mut self, offers: &mut mpsc::Receiver<ResolvedOffer>) {
        while let Ok(offer) = offers.try_recv() {
            self.receive(offer).await;
        }
        self.context.is_draining.store(self.context.pending.is_some(), Ordering::Release);
        if self.context.pending.is_none()
            && let Some(((last, _), _)) = self.scheduled.last_key_value()
        {
            self.start_due(*last).await;
        }
        self.keep_house().await;
    }

    /// Gives the fan-outs that are due at `by` to all workers.
    async fn start_due(&mut self, by: Instant) {
        while let Some(first) = self.scheduled.first_entry()
            && first.key().0 <= by
        {
            let fanout = first.remove();
            if fanout.is_superseded() {
                continue;
            }
            if let Some(remote_users) = fanout.remote_users() {
                remote_users.refresh(remote_users::MAX_AGE_AT_ONCE, &self.context.last_seen).await;
            }
            let permit = Arc::new(fanout.take_permit());
            for (provider, worker) in &self.workers {
                let after = fanout.event.progress.get(*provider).cloned();
                let (fanout, permit) = (Arc::clone(&fanout), Arc::clone(&permit));
                // Waits only for resumed fan-outs: the channel has more places than there are permits.
                let _ = worker.send(WorkerCommand::Start { fanout, after, permit }).await;
            }
        }
    }

    /// Returns the epoch of a room's log. It is cached, since each call interrupts the room's driver.
    async fn epoch(&mut self, room_id: &Arc<str>) -> Option<Arc<str>> {
        if let Some(epoch) = self.epochs.get(room_id) {
            return Some(Arc::clone(epoch));
        }
        let room = self.registry.upgrade()?.find(room_id)?;
        let epoch = room.request(RoomRead::Epoch).await?;
        self.epochs.insert(Arc::clone(room_id), Arc::clone(&epoch));
        Some(epoch)
    }

    /// Removes finished fan-outs and their records, records the progress of the others, and goes on with unconfirmed
    /// events and the backlog.
    pub(super) async fn keep_house(&mut self) {
        let (active, finished): (HashMap<_, _>, HashMap<_, _>) =
            self.active.drain().partition(|(_, active)| active.fanout.strong_count() > 0);
        self.active = active;
        self.prune_newest();
        self.remote_users.retain(|_, remote_users| remote_users.strong_count() > 0);
        self.epochs.clear();
        let is_draining = self.context.is_draining.load(Ordering::Acquire);
        let is_drained = is_draining && self.context.in_flight.load(Ordering::Acquire) == 0;
        self.update_records(finished).await;
        if !self.context.is_draining.load(Ordering::Acquire) {
            self.confirm_events().await;
            self.resume_backlog().await;
        }
        if self.active.is_empty() || is_drained {
            self.drain_waiters.drain(..).for_each(|waiter| _ = waiter.send(()));
        }
    }

    /// Forgets the newest fan-outs that are finished. While older ones of their collapse keys may be taken over, the
    /// last [`MAX_REMEMBERED`] stay.
    fn prune_newest(&mut self) {
        let is_finished = |newest: &NewestFanout| newest.fanout.strong_count() == 0;
        if self.is_single_node() && self.backlog.is_empty() && self.unconfirmed.is_empty() {
            self.newest.retain(|_, newest| !is_finished(newest));
            return;
        }
        let mut finished: Vec<_> =
            self.newest.values().filter(|newest| is_finished(newest)).map(|newest| &newest.id).collect();
        let Some(last_index) = finished.len().checked_sub(MAX_REMEMBERED + 1) else { return };
        // Ids begin with the time.
        let last = finished.select_nth_unstable(last_index).1.clone();
        self.newest.retain(|_, newest| !is_finished(newest) || newest.id > last);
    }

    async fn update_records(&mut self, finished: HashMap<String, ActiveFanout>) {
        let Some(pending) = &self.context.pending else { return };
        let mut removed = std::mem::take(&mut self.void);
        removed.extend(finished.into_iter().map(|(id, active)| (id, active.stored)));
        if !removed.is_empty() {
            pending.remove(removed).await;
        }
        let active: Vec<Arc<Fanout>> =
            self.active.values().filter_map(|active| active.fanout.upgrade()).collect();
        let cluster = self.registry.upgrade().and_then(|registry| registry.cluster().cloned());
        let forgotten = cluster.map_or(0, |cluster| cluster.forgotten_count());
        // Nodes that took this one for dead may have taken over any of its fan-outs.
        let must_confirm = self.confirmed_forgotten != forgotten;
        let mut are_confirmed = true;
        for fanout in active.iter().filter(|fanout| fanout.take_has_changed() || must_confirm) {
            are_confirmed &= self.record(fanout).await;
        }
        if are_confirmed {
            self.confirmed_forgotten = forgotten;
        }
    }

    /// Records the progress of a fan-out, or supersedes it if another node has taken it over. Returns whether it is
    /// known which node owns it.
    async fn record(&mut self, fanout: &Arc<Fanout>) -> bool {
        let (Some(pending), Some(active)) = (&self.context.pending, self.active.get_mut(fanout.id())) else {
            return true;
        };
        match pending.update(&fanout.snapshot(), active.stored.take()).await {
            Ownership::ThisNode(stored) => active.stored = stored,
            Ownership::Unknown(stored) => {
                active.stored = stored;
                return false;
            }
            Ownership::OtherNode => {
                tracing::warn!(room_id = &*fanout.room_id, "another node has taken over an event's pushes");
                fanout.supersede();
                // The record is the other node's.
                self.active.remove(fanout.id());
            }
        }
        true
    }

    /// Goes on with all pushes that a process before has left in the store.
    pub(super) async fn resume_all(&mut self) {
        let Some(pending) = &self.context.pending else { return };
        let pushes = loop {
            match pending.scan().await {
                Ok(pushes) => break pushes,
                Err(error) => {
                    tracing::warn!(%error, "can't read the pushes that the last process left; trying again");
                    sleep(STORE_BACKOFF).await;
                }
            }
        };
        pushes.into_iter().for_each(|push| self.push_backlog(push));
        self.resume_backlog().await;
    }

    /// Goes on with the pushes of the backlog that get memory. The others stay on record, and are tried again at the
    /// next housekeeping.
    async fn resume_backlog(&mut self) {
        for _ in 0..self.backlog.len() {
            let Some(push) = self.backlog.pop_front() else { return };
            self.backlog_units = self.backlog_units.saturating_sub(push.units());
            self.resume(push).await;
        }
    }

    fn push_backlog(&mut self, push: PendingPush) {
        self.backlog_units = self.backlog_units.saturating_add(push.units());
        self.backlog.push_back(push);
    }

    /// Goes on with a push of another process if there is memory for its event, and with those of its retries that get
    /// memory. The rest goes to the backlog.
    pub(super) async fn resume(&mut self, mut push: PendingPush) {
        let resumed = match push.resumed.take() {
            Some(resumed) => resumed,
            None => {
                let Some(permit) = self.acquire_memory(&push) else { return self.push_backlog(push) };
                match self.confirm_ownership(&mut push).await {
                    Some(true) => {}
                    Some(false) => return,
                    None => return self.push_backlog(push),
                }
                let Some(fanout) = self.start_resumed(&push, permit).await else { return };
                push.retry_devices().for_each(|device| fanout.skip(device.clone()));
                // The fan-out holds copies of these.
                (push.event.data, push.stored) = (String::new(), Bytes::new());
                ResumedFanout { fanout, since: Instant::now() }
            }
        };
        self.resume_jobs(&mut push, &resumed).await;
        if push.retry_devices().next().is_some() {
            push.resumed = Some(resumed);
            self.push_backlog(push);
        }
    }

    /// Returns whether this node still owns a push that it took over, since others may have taken it for dead while the
    /// push waited for memory; `None` while the store fails.
    async fn confirm_ownership(&self, push: &mut PendingPush) -> Option<bool> {
        let Some(pending) = &self.context.pending else { return Some(true) };
        match pending.claim(push).await {
            Ok(is_ours) => {
                if !is_ours {
                    let room_id = &*push.event.room_id;
                    tracing::warn!(room_id, "another node has taken over an event's pushes");
                }
                Some(is_ours)
            }
            Err(error) => {
                tracing::warn!(%error, "can't take over the pushes of another node; trying again");
                None
            }
        }
    }

    /// Takes memory for an event of another process, if that leaves [`RESERVED_UNITS`] to new events.
    fn acquire_memory(&self, push: &PendingPush) -> Option<OwnedSemaphorePermit> {
        let units = push.event.units().min(MAX_QUEUED_UNITS);
        let free = self.memory.available_permits();
        if free < MAX_QUEUED_UNITS && free < units + RESERVED_UNITS {
            return None;
        }
        Arc::clone(&self.memory).try_acquire_many_owned(u32::try_from(units).ok()?).ok()
    }

    /// Starts the fan-out of an event of another process; `None` if it has to be confirmed first.
    async fn start_resumed(
        &mut self,
        push: &PendingPush,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arc<Fanout>> {
        let (event, stored) = (push.event.clone(), Some(push.stored.clone()));
        if event.is_unconfirmed {
            let key = (Instant::now(), event.id.clone());
            self.unconfirmed.insert(key, UnconfirmedEvent { event, stored, permit });
            return None;
        }
        self.schedule_late(event, stored, permit).await
    }

    async fn schedule_late(
        &mut self,
        event: QueuedEvent,
        stored: Option<Bytes>,
        permit: OwnedSemaphorePermit,
    ) -> Option<Arc<Fanout>> {
        let registry = self.registry.upgrade()?;
        let (room, _) = registry.declared(&event.room_id).ok()?;
        let fanout = Arc::new(Fanout::new(room, event, permit, None)?);
        self.track_remote_users(&fanout).await;
        let epoch = match &fanout.event.epoch {
            Some(epoch) => Some(epoch.as_str().into()),
            None => self.epoch(&fanout.room_id).await,
        };
        fanout.set_epoch(epoch.as_deref());
        self.activate_late(&fanout, stored);
        self.scheduled.insert((fanout.due, fanout.id().to_owned()), Arc::clone(&fanout));
        Some(fanout)
    }

    /// Gives the retries that get memory, or are given up, to their workers.
    async fn resume_jobs(&self, push: &mut PendingPush, resumed: &ResumedFanout) {
        let resumed_jobs = Arc::strong_count(&self.resume_token) - 1;
        let max_jobs = retry_queue::MAX_RESUMED_JOBS.saturating_sub(resumed_jobs);
        for job in push.take_jobs(resumed, &self.context.retry_budget, &self.resume_token, max_jobs) {
            let device = &job.registration.id.device;
            let Some((_, worker)) = self.workers.iter().find(|(name, _)| device.is_of(name)) else {
                continue;
            };
            let _ = worker.send(WorkerCommand::Resume(job)).await;
        }
    }

    /// Looks unconfirmed events up in their rooms' logs: pushes those that are there, and removes the records of the
    /// others.
    async fn confirm_events(&mut self) {
        let context = Arc::clone(&self.context);
        let Some(pending) = &context.pending else { return };
        while let Some(first) = self.unconfirmed.first_entry()
            && first.key().0 <= Instant::now()
        {
            let UnconfirmedEvent { mut event, stored, permit } = first.remove();
            match pending.confirm(&mut event).await {
                Ok(true) => _ = self.schedule_late(event, stored, permit).await,
                Ok(false) => self.void.push((event.id, stored)),
                Err(error) => {
                    tracing::warn!(%error, "can't look up whether an event was accepted; trying again");
                    let key = (Instant::now() + STORE_BACKOFF, event.id.clone());
                    self.unconfirmed.insert(key, UnconfirmedEvent { event, stored, permit });
                    return;
                }
            }
        }
    }
}

/// Returns the topic by which a newer event replaces an older one.
fn topic_of(fanout: &Fanout) -> Option<String> {
    fanout.collapse_key.as_ref().map(|collapse_key| topic(&fanout.room_id, collapse_key))
}
