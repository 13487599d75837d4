//! One event on its way to all devices of its room.

use std::{
    collections::{HashMap, HashSet},
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
    elsewhere::Elsewhere,
    now,
    retained::{Retained, Share},
    told::Told,
};
use crate::{Accepted, Audience, Position, hub::RoomSpec, notification::Pushed};

/// See the [module](self). It lives as long as a try for one of its devices is to come.
pub(super) struct Round {
    pub(super) room_id: Arc<str>,
    pub(super) room_name: &'static str,
    /// The event's name.
    pub(super) event: &'static str,
    pub(super) pushed: Pushed,
    pub(super) told: Told,
    pub(super) collapse: Option<String>,
    /// When it was accepted, as far as this process knows.
    pub(super) began: Instant,
    /// When those who are still away are told.
    pub(super) due: Instant,
    /// Where the event stands in the room's log; not known before it is due, and then only of what is in it.
    position: OnceLock<Option<Position>>,
    /// Who is in its room at other instances, where there are any and it matters.
    elsewhere: OnceLock<Arc<Elsewhere>>,
    /// A newer one takes its place, or another instance goes on with it.
    superseded: AtomicBool,
    /// Devices that a process before left to be tried again.
    skipped: Mutex<HashSet<DeviceId>>,
    /// How far each provider's devices are done with.
    progress: Mutex<Progress>,
    /// Its share of what may wait, until it is handed to the lanes.
    space: Mutex<Option<OwnedSemaphorePermit>>,
    /// Its shares of what retries hold, while one of its devices waits for another try.
    shares: Mutex<Shares>,
}

/// An event's memory counts once among what providers with one service hold, and once among what other services hold.
#[derive(Default)]
struct Shares {
    of_provider: Weak<Share>,
    of_origin: Weak<Share>,
}

#[derive(Default)]
struct Progress {
    done: HashMap<&'static str, String>,
    changed: bool,
}

impl Round {
    /// `None` if the room has no such event that is pushed. In this process, it was accepted between those times.
    pub(super) fn new(
        room: &RoomSpec,
        told: Told,
        permit: OwnedSemaphorePermit,
        between: Option<(Instant, Instant)>,
    ) -> Option<Self> {
        let index = room.event(&told.event)?;
        let kind = room.events.get(usize::from(index))?;
        let pushed = kind.push?;
        let (now, age) = (Instant::now(), age(&told));
        // Who left in the millisecond that it is from may have left before it.
        let began = now.checked_sub(age.saturating_sub(Duration::from_millis(1))).unwrap_or(now);
        let began = between.map_or(began, |(offered, accepted)| began.max(offered).min(accepted));
        Some(Round {
            room_id: told.room_id.as_str().into(),
            room_name: room.name,
            event: kind.name,
            pushed,
            collapse: (pushed.collapse)(&told.data),
            began,
            due: now + pushed.after.saturating_sub(age),
            position: OnceLock::new(),
            elsewhere: OnceLock::new(),
            superseded: AtomicBool::new(false),
            skipped: Mutex::default(),
            progress: Mutex::default(),
            told,
            space: Mutex::new(Some(permit)),
            shares: Mutex::default(),
        })
    }

    /// In keys of the store.
    pub(super) fn id(&self) -> &str {
        &self.told.id
    }

    /// Its share of what may wait, for the lanes to hold until each device had its first try.
    pub(super) fn release(&self) -> Option<OwnedSemaphorePermit> {
        self.space.lock().take()
    }

    /// The share of the memory of retries for a device of it that is at `origin`, or of a provider with one service;
    /// `None` if it may not wait for another try.
    pub(super) fn retain(&self, retained: &Arc<Retained>, origin: Option<&Arc<str>>) -> Option<Arc<Share>> {
        self.share(origin, |units| retained.take(origin, units))
    }

    /// The share for a device that waited in another process; `None` if it is to wait for that.
    pub(super) fn take_over(
        &self,
        retained: &Arc<Retained>,
        origin: Option<&Arc<str>>,
    ) -> Option<Arc<Share>> {
        self.share(origin, |units| retained.take_over(origin, units))
    }

    fn share(
        &self,
        origin: Option<&Arc<str>>,
        take: impl FnOnce(usize) -> Option<Share>,
    ) -> Option<Arc<Share>> {
        let Shares { of_provider, of_origin } = &mut *self.shares.lock();
        let known = if origin.is_some() { of_origin } else { of_provider };
        if let Some(share) = known.upgrade() {
            return Some(share);
        }
        let share = Arc::new(take(self.told.units())?);
        *known = Arc::downgrade(&share);
        Some(share)
    }

    /// Whether only those who are away are to be told.
    pub(super) fn is_for_absent(&self) -> bool {
        self.pushed.audience == Audience::Away
    }

    pub(super) fn watch(&self, elsewhere: Arc<Elsewhere>) {
        // Once said, it is said.
        let _ = self.elsewhere.set(elsewhere);
    }

    pub(super) fn elsewhere(&self) -> Option<&Arc<Elsewhere>> {
        self.elsewhere.get()
    }

    /// In which epoch of the room's log the event is.
    pub(super) fn in_epoch(&self, epoch: Option<&str>) {
        let Accepted { seq, event_id, .. } = &self.told.accepted;
        let position = epoch.zip(*seq).map(|(epoch, seq)| Position {
            epoch: epoch.to_owned(),
            seq,
            event_id: event_id.clone(),
        });
        // Once said, it is said.
        let _ = self.position.set(position);
    }

    pub(super) fn position(&self) -> Option<&Position> {
        self.position.get()?.as_ref()
    }

    /// How long ago it was accepted, by the wall's clock.
    pub(super) fn age(&self) -> Duration {
        age(&self.told)
    }

    pub(super) fn supersede(&self) {
        self.superseded.store(true, Ordering::Release);
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// A device is told otherwise than by walking.
    pub(super) fn skip(&self, device: DeviceId) {
        self.skipped.lock().insert(device);
    }

    pub(super) fn skips(&self, device: &DeviceId) -> bool {
        self.skipped.lock().contains(device)
    }

    /// A provider's devices are done with up to that key.
    pub(super) fn done_to(&self, provider: &'static str, key: String) {
        let mut progress = self.progress.lock();
        progress.done.insert(provider, key);
        progress.changed = true;
    }

    /// What is to be kept.
    pub(super) fn told(&self) -> Told {
        let mut told = self.told.clone();
        told.epoch = self.position().map(|position| position.epoch.clone());
        let progress = self.progress.lock();
        told.done.extend(progress.done.iter().map(|(provider, key)| ((*provider).to_owned(), key.clone())));
        told
    }

    /// Whether that is new since this was asked last.
    pub(super) fn has_news(&self) -> bool {
        std::mem::take(&mut self.progress.lock().changed)
    }
}

fn age(told: &Told) -> Duration {
    Duration::from_millis(now().saturating_sub(told.accepted.timestamp))
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round")
            .field("room_id", &self.room_id)
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}
