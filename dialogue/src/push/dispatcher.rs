//! The entrance of the push module: receives accepted events from ingest, and owns the tasks that push them.

use std::{
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
    AnyProvider, PushCounts, PushError, PushTarget,
    config::PushSetup,
    context::PushContext,
    counts::PushCounters,
    device_registry::{DeviceRegistry, RegistrationRequest},
    fanout::AcceptedBetween,
    last_seen::LastSeen,
    memory::{MAX_ORIGIN_RETRY_UNITS, MAX_PROVIDER_RETRY_UNITS, MAX_QUEUED_UNITS, UNIT_BYTES},
    now,
    pending::PendingPushes,
    queued_event::QueuedEvent,
    rate_limited_log::RateLimitedLog,
    retry_budget::RetryBudget,
    runtime::PushRuntime,
    scheduler::{OfferOutcome, PushScheduler, ResolvedOffer},
    takeover::take_over_orphans,
    worker::ProviderWorker,
};
use crate::{
    Refusal,
    collections::HashMap,
    event::DeliveryClass,
    hooks::AnyHooks,
    live::{Registry, RoomSpec, UserConnections},
    log::Journal,
    store::Memory,
    wire::{Accepted, EventIndex, Id},
};

/// Pushes accepted events to the devices that are registered for their rooms.
pub(crate) struct PushDispatcher {
    providers: Vec<(Arc<dyn AnyProvider>, Arc<PushCounters>)>,
    context: Arc<PushContext>,
    offers: mpsc::Sender<ResolvedOffer>,
    drains: mpsc::Sender<oneshot::Sender<()>>,
    /// The memory of new events, in [units](UNIT_BYTES).
    memory: Arc<Semaphore>,
    /// See [`Provider::application_key`](super::Provider::application_key).
    application_key: Option<String>,
    _runtime: PushRuntime,
}

/// An event that is pushed if it is accepted.
///
/// Where the store outlives the process, it is recorded before ingest appends the event to the room's log, so that a
/// crash in between loses no push. If an offer is dropped, it is unknown whether the event was accepted, and the
/// scheduler looks it up in the log.
pub(crate) struct PushOffer {
    dispatcher: Arc<PushDispatcher>,
    event_id: Id,
    /// `None` once the outcome is known.
    unresolved: Option<UnresolvedOffer>,
}

struct UnresolvedOffer {
    room: Arc<RoomSpec>,
    event: QueuedEvent,
    offered_at: Instant,
    /// The value of the event's record.
    stored: Option<Bytes>,
    permit: OwnedSemaphorePermit,
}

/// The capacity of the channels to the scheduler and to each worker: more than there may be events, so that no send
/// fails.
const CHANNEL_CAPACITY: usize = MAX_QUEUED_UNITS + 1;
/// The interval at which expired registrations are removed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60 * 60);
/// The time that a draining process waits for its last pushes.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// The time for which [`LastSeen`] remembers users beyond the longest time between an event and its first attempts.
const LAST_SEEN_MARGIN: Duration = Duration::from_secs(1);

impl PushDispatcher {
    /// Starts the push tasks. `max_after` is the longest [`AFTER`](crate::notification::PushEvent::AFTER) of all
    /// events. Without a store, devices are forgotten with the process.
    ///
    /// # Errors
    ///
    /// The system can't start a thread.
    pub(crate) fn start(
        setup: PushSetup,
        registry: &Arc<Registry>,
        directory: &Arc<UserConnections>,
        hooks: Option<Arc<dyn AnyHooks>>,
        max_after: Duration,
    ) -> Result<Arc<Self>, PushError> {
        let cluster = registry.cluster().cloned();
        let pending =
            registry.journal().map(|journal| PendingPushes::new(Arc::clone(journal), cluster.clone()));
        let journal = registry.journal().cloned();
        let journal = journal.unwrap_or_else(|| Journal::new(Arc::new(Memory::new()), &Handle::current()));
        let context = Arc::new(PushContext {
            devices: DeviceRegistry::new(journal, setup.bounds),
            directory: Arc::clone(directory),
            last_seen: LastSeen::new(max_after + LAST_SEEN_MARGIN),
            log: RateLimitedLog::default(),
            pending,
            hooks,
            retry_budget: RetryBudget::new(MAX_PROVIDER_RETRY_UNITS, MAX_ORIGIN_RETRY_UNITS),
            is_draining: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
        });
        let (offers, offer_receiver) = mpsc::channel(CHANNEL_CAPACITY);
        let (drains, drain_receiver) = mpsc::channel(1);
        let memory = Arc::new(Semaphore::new(MAX_QUEUED_UNITS));
        let mut runtime = PushRuntime::new()?;
        let (mut workers, mut providers) = (Vec::new(), Vec::new());
        for provider in setup.providers {
            let (commands, command_receiver) = mpsc::channel(CHANNEL_CAPACITY);
            let counters = Arc::new(PushCounters::default());
            let (context, worker_counters) = (Arc::clone(&context), Arc::clone(&counters));
            let worker =
                ProviderWorker::new(context, Arc::clone(&provider), worker_counters, command_receiver);
            runtime.spawn(worker.run());
            workers.push((provider.name(), commands));
            providers.push((provider, counters));
        }
        let (takeovers, takeover_receiver) = mpsc::channel(1);
        if let Some(cluster) = cluster {
            runtime.spawn(take_over_orphans(Arc::clone(&context), cluster, takeovers));
        }
        let scheduler = PushScheduler::new(Arc::clone(&context), registry, workers, Arc::clone(&memory));
        runtime.spawn(scheduler.run(offer_receiver, takeover_receiver, drain_receiver));
        runtime.spawn(sweep_devices(Arc::clone(&context)));
        let application_key = providers.iter().find_map(|(provider, _)| provider.application_key());
        let _runtime = runtime;
        Ok(Arc::new(PushDispatcher { providers, context, offers, drains, memory, application_key, _runtime }))
    }

    /// Offers an event that is about to be appended to its room's log. Returns `None` if it isn't pushed: by its
    /// declaration, or because too much waits to be pushed, which is logged.
    pub(crate) async fn offer(
        self: Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        event: EventIndex,
        from: &str,
        data: &str,
    ) -> Option<PushOffer> {
        let kind = room.kind(event).filter(|kind| kind.push.is_some())?;
        let units = u32::try_from(data.len() / UNIT_BYTES + 1).ok()?;
        let Ok(permit) = Arc::clone(&self.memory).try_acquire_many_owned(units) else {
            let reason = "too much waits to be pushed already";
            self.context.log.warn("all", "an event is not pushed", reason);
            return None;
        };
        let (event_id, timestamp) = (Id::fresh(), now());
        // Ephemeral events are in no log, where their acceptance could be looked up.
        let is_unconfirmed = kind.class != DeliveryClass::Ephemeral;
        let event = QueuedEvent {
            id: format!("{timestamp:013}{event_id}"),
            room_id: room_id.to_owned(),
            event_name: kind.name.to_owned(),
            data: data.to_owned(),
            from: from.to_owned(),
            accepted: Accepted::new(None, event_id.as_str(), timestamp),
            is_unconfirmed,
            progress: HashMap::default(),
            epoch: None,
        };
        let stored = match self.context.pending.as_ref().filter(|_| is_unconfirmed) {
            Some(pending) => pending.offer(&event).await,
            None => None,
        };
        let offered_at = Instant::now();
        let unresolved = Some(UnresolvedOffer { room: Arc::clone(room), event, offered_at, stored, permit });
        Some(PushOffer { dispatcher: self, event_id, unresolved })
    }

    /// Returns the provider of that name.
    pub(crate) fn provider(&self, name: &str) -> Option<&Arc<dyn AnyProvider>> {
        self.providers.iter().map(|(provider, _)| provider).find(|provider| provider.name() == name)
    }

    /// See [`DeviceRegistry::check_room_count`].
    pub(crate) fn check_room_count(&self, rooms: &[String]) -> Result<(), Refusal> {
        self.context.devices.check_room_count(rooms)
    }

    /// See [`DeviceRegistry::register`].
    pub(crate) async fn register(
        &self,
        user_id: &str,
        address: Option<String>,
        provider: &dyn AnyProvider,
        target: PushTarget,
        language: Option<String>,
        rooms: Vec<String>,
    ) -> Result<(), Refusal> {
        let (user_id, provider) = (user_id.to_owned(), provider.name());
        let request = RegistrationRequest { user_id, address, provider, target, language, rooms };
        self.context.devices.register(request).await
    }

    /// See [`DeviceRegistry::unregister`].
    pub(crate) async fn unregister(
        &self,
        user_id: &str,
        provider: &dyn AnyProvider,
        target: &PushTarget,
        rooms: Option<&[String]>,
    ) -> Result<(), Refusal> {
        self.context.devices.unregister(user_id, provider.name(), target, rooms).await
    }

    /// See [`DeviceRegistry::forget_user`].
    pub(crate) async fn forget_user(&self, user_id: &str) -> Result<usize, Refusal> {
        self.context.devices.forget_user(user_id).await
    }

    /// Notes that a user leaves a room that is pushed, and has seen its events until now.
    pub(crate) fn user_left(&self, user_id: &Arc<str>, room_id: &Arc<str>) {
        self.context.last_seen.record(user_id, room_id);
    }

    /// Makes what is on its way safe before the process ends: waits until it is recorded in the store, or sent if there
    /// is none; for [`DRAIN_TIMEOUT`] at most.
    pub(crate) async fn drain(&self) {
        let (drained, wait) = oneshot::channel();
        if self.drains.send(drained).await.is_ok() {
            let _ = timeout(DRAIN_TIMEOUT, wait).await;
        }
    }

    /// Returns the public key with which apps subscribe: the VAPID key.
    pub(crate) fn application_key(&self) -> Option<&str> {
        self.application_key.as_deref()
    }

    /// Returns the counts of each provider.
    pub(crate) fn counts(&self) -> Vec<(&'static str, PushCounts)> {
        self.providers.iter().map(|(provider, counters)| (provider.name(), counters.read())).collect()
    }

    /// Returns the counts of each provider by the names of outcomes, for the metrics.
    pub(crate) fn outcome_counts(&self) -> Vec<(&'static str, Vec<(&'static str, u64)>)> {
        self.counts().into_iter().map(|(provider, counts)| (provider, counts.by_outcome().into())).collect()
    }
}

impl PushOffer {
    /// Returns the id that the event gets.
    pub(crate) fn event_id(&self) -> Id {
        self.event_id
    }

    /// Pushes the event, which is accepted. A duplicate isn't pushed again.
    pub(crate) fn accepted(mut self, accepted: &Accepted) {
        let Some(mut offer) = self.unresolved.take() else { return };
        let outcome = match accepted.duplicate {
            true => OfferOutcome::Duplicate,
            false => {
                offer.event.accepted = accepted.clone();
                offer.event.is_unconfirmed = false;
                OfferOutcome::Accepted
            }
        };
        self.resolve(offer, outcome);
    }

    fn resolve(&self, offer: UnresolvedOffer, outcome: OfferOutcome) {
        let UnresolvedOffer { room, event, offered_at, stored, permit } = offer;
        let accepted = AcceptedBetween { start: offered_at, end: Instant::now() };
        let offer = ResolvedOffer { room, event, accepted, stored, permit, outcome };
        // The channel has more places than there are permits.
        let _ = self.dispatcher.offers.try_send(offer);
    }
}

impl Drop for PushOffer {
    fn drop(&mut self) {
        if let Some(offer) = self.unresolved.take().filter(|offer| offer.stored.is_some()) {
            self.resolve(offer, OfferOutcome::Unknown);
        }
    }
}

/// Removes expired registrations at the start and every hour.
async fn sweep_devices(context: Arc<PushContext>) {
    let mut ticks = interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        if let Err(error) = context.devices.sweep().await {
            tracing::warn!(%error, "can't remove expired registrations of devices; trying again in an hour");
        }
    }
}

impl fmt::Debug for PushDispatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushDispatcher").finish_non_exhaustive()
    }
}
