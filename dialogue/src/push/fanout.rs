//! The fan-out of one event: its way to all devices of its room, at all providers.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{
    device::DeviceId,
    now,
    queued_event::QueuedEvent,
    remote_users::RemoteUsers,
    retry_budget::{RetryBudget, RetryReservation},
};
use crate::{
    collections::{HashMap, HashSet},
    live::RoomSpec,
    notification::{Audience, PushSpec},
    wire::{Accepted, Position},
};

/// One event's fan-out. It is alive as long as an attempt for one of its devices is to come.
pub(super) struct Fanout {
    pub(super) room_id: Arc<str>,
    /// The declared room's name.
    pub(super) room_name: &'static str,
    /// The event's name on the wire.
    pub(super) event_name: &'static str,
    pub(super) spec: PushSpec,
    pub(super) event: QueuedEvent,
    pub(super) collapse_key: Option<String>,
    /// The time at which the event was accepted, as exactly as this process knows.
    pub(super) accepted_at: Instant,
    /// The time of the first attempts.
    pub(super) due: Instant,
    /// The event's position in the room's log. Set before the fan-out is due; `None` for events that are in no log.
    position: OnceLock<Option<Position>>,
    /// The room's users at other nodes; set if there are other nodes and only disconnected users are pushed to.
    remote_users: OnceLock<Arc<RemoteUsers>>,
    /// Set when a newer event takes this one's place, or another node has taken the fan-out over.
    superseded: AtomicBool,
    /// Devices without a first attempt, since another process left them with a retry to make.
    skipped: Mutex<HashSet<DeviceId>>,
    progress: Mutex<Progress>,
    /// The event's share of the memory of new events, until the workers get it.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
    /// The event's reservations in the retry budgets, while one of its devices waits for a retry.
    reservations: Mutex<RetryReservations>,
}

/// The times between which an event was accepted, by this process's clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct AcceptedBetween {
    pub(super) start: Instant,
    pub(super) end: Instant,
}

/// An event has at most one reservation in each of the two budgets, which its jobs share.
#[derive(Default)]
struct RetryReservations {
    of_provider: Weak<RetryReservation>,
    of_origin: Weak<RetryReservation>,
}

/// The progress of the first attempts.
#[derive(Default)]
struct Progress {
    /// By provider: the key of the last device whose first attempt, and all before it, are finished.
    last_keys: HashMap<&'static str, String>,
    has_changed: bool,
}

impl Fanout {
    /// Returns the fan-out of an event; `None` if the room has no such event that is pushed. `accepted` is known of
    /// events that this process accepted.
    pub(super) fn new(
        room: &RoomSpec,
        event: QueuedEvent,
        permit: OwnedSemaphorePermit,
        accepted: Option<AcceptedBetween>,
    ) -> Option<Self> {
        let index = room.event(&event.event_name)?;
        let kind = room.kind(index)?;
        let spec = kind.push?;
        let (now, age) = (Instant::now(), age(&event));
        // The timestamp is rounded down to a millisecond, in which a user may have left before the event.
        let accepted_at = now.checked_sub(age.saturating_sub(Duration::from_millis(1))).unwrap_or(now);
        let accepted_at =
            accepted.map_or(accepted_at, |accepted| accepted_at.max(accepted.start).min(accepted.end));
        Some(Fanout {
            room_id: event.room_id.as_str().into(),
            room_name: room.name,
            event_name: kind.name,
            spec,
            collapse_key: (spec.collapse_key)(&event.data),
            accepted_at,
            due: now + spec.after.saturating_sub(age),
            position: OnceLock::new(),
            remote_users: OnceLock::new(),
            superseded: AtomicBool::new(false),
            skipped: Mutex::default(),
            progress: Mutex::default(),
            event,
            permit: Mutex::new(Some(permit)),
            reservations: Mutex::default(),
        })
    }

    /// Returns the fan-out's id in the store's keys.
    pub(super) fn id(&self) -> &str {
        &self.event.id
    }

    /// Takes the event's share of the memory of new events, for the workers to hold until they have begun all first
    /// attempts.
    pub(super) fn take_permit(&self) -> Option<OwnedSemaphorePermit> {
        self.permit.lock().take()
    }

    /// Returns the event's reservation for retries of devices at `origin`, or of a provider with one service; `None` if
    /// the budget is used up.
    pub(super) fn reserve(
        &self,
        budget: &Arc<RetryBudget>,
        origin: Option<&Arc<str>>,
    ) -> Option<Arc<RetryReservation>> {
        self.reserve_by(origin, |units| budget.reserve(origin, units))
    }

    /// Returns the event's reservation for a job of another process; `None` if the job has to wait for it.
    pub(super) fn reserve_resumed(
        &self,
        budget: &Arc<RetryBudget>,
        origin: Option<&Arc<str>>,
    ) -> Option<Arc<RetryReservation>> {
        self.reserve_by(origin, |units| budget.reserve_resumed(origin, units))
    }

    fn reserve_by(
        &self,
        origin: Option<&Arc<str>>,
        reserve: impl FnOnce(usize) -> Option<RetryReservation>,
    ) -> Option<Arc<RetryReservation>> {
        let RetryReservations { of_provider, of_origin } = &mut *self.reservations.lock();
        let known = if origin.is_some() { of_origin } else { of_provider };
        if let Some(reservation) = known.upgrade() {
            return Some(reservation);
        }
        let reservation = Arc::new(reserve(self.event.units())?);
        *known = Arc::downgrade(&reservation);
        Some(reservation)
    }

    /// Returns whether users with a connection in the room get no push.
    pub(super) fn is_for_disconnected(&self) -> bool {
        self.spec.audience == Audience::Disconnected
    }

    /// Sets the room's users at other nodes. Later calls do nothing.
    pub(super) fn set_remote_users(&self, remote_users: Arc<RemoteUsers>) {
        let _ = self.remote_users.set(remote_users);
    }

    pub(super) fn remote_users(&self) -> Option<&Arc<RemoteUsers>> {
        self.remote_users.get()
    }

    /// Sets the event's position, from the epoch of the room's log. Later calls do nothing.
    pub(super) fn set_epoch(&self, epoch: Option<&str>) {
        let Accepted { seq, event_id, .. } = &self.event.accepted;
        let position = epoch.zip(*seq).map(|(epoch, seq)| Position {
            epoch: epoch.to_owned(),
            seq,
            event_id: event_id.clone(),
        });
        let _ = self.position.set(position);
    }

    pub(super) fn position(&self) -> Option<&Position> {
        self.position.get()?.as_ref()
    }

    /// Returns the time since the event was accepted, by the wall clock.
    pub(super) fn age(&self) -> Duration {
        age(&self.event)
    }

    /// Cancels all attempts that are to come.
    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Leaves a device out of the first attempts, since it has a retry to make.
    pub(super) fn skip(&self, device: DeviceId) {
        self.skipped.lock().insert(device);
    }

    pub(super) fn skips(&self, device: &DeviceId) -> bool {
        self.skipped.lock().contains(device)
    }

    /// Notes that the first attempts of a provider's devices are finished up to a key.
    pub(super) fn set_progress(&self, provider: &'static str, last_key: String) {
        let mut progress = self.progress.lock();
        progress.last_keys.insert(provider, last_key);
        progress.has_changed = true;
    }

    /// Returns the event with its progress, as it is to be stored.
    pub(super) fn snapshot(&self) -> QueuedEvent {
        let mut event = self.event.clone();
        event.epoch = self.position().map(|position| position.epoch.clone());
        let progress = self.progress.lock();
        let last_keys = progress.last_keys.iter();
        event.progress.extend(last_keys.map(|(provider, key)| ((*provider).to_owned(), key.clone())));
        event
    }

    /// Returns whether the progress has changed since the last call.
    pub(super) fn take_has_changed(&self) -> bool {
        std::mem::take(&mut self.progress.lock().has_changed)
    }
}

fn age(event: &QueuedEvent) -> Duration {
    Duration::from_millis(now().saturating_sub(event.accepted.timestamp))
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fanout")
            .field("room_id", &self.room_id)
            .field("event", &self.event_name)
            .finish_non_exhaustive()
    }
}
