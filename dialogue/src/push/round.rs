//! One event on its way to all devices of its room.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{device::DeviceId, now};
use crate::{Accepted, Position, hub::RoomDecl, notification::Pushed};

/// See the [module](self). It lives as long as a try for one of its devices is to come.
pub(super) struct Round {
    /// In keys of the store; in the order of acceptance.
    pub(super) id: String,
    pub(super) room_id: Arc<str>,
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
    /// A newer one takes its place.
    superseded: AtomicBool,
    /// Devices that a process before left to be tried again.
    skipped: Mutex<HashSet<DeviceId>>,
    /// How far each provider's devices are done with.
    progress: Mutex<Progress>,
    /// Its share of what may wait.
    _permit: OwnedSemaphorePermit,
}

/// What is known of an event once it is accepted; kept where the store outlives the process.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Told {
    pub(super) room_id: String,
    pub(super) event: String,
    /// The payload as JSON.
    pub(super) data: String,
    pub(super) from: String,
    pub(super) accepted: Accepted,
    /// By provider: the key in the store of the last device that is done with.
    #[serde(default, skip_serializing_if = "HashMap::is_empty")]
    pub(super) done: HashMap<String, String>,
    /// The epoch of the room's log, once it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) epoch: Option<String>,
}

#[derive(Default)]
struct Progress {
    done: HashMap<&'static str, String>,
    changed: bool,
}

impl Round {
    /// `None` if the room has no such event that is pushed.
    pub(super) fn new(room: &RoomDecl, told: Told, permit: OwnedSemaphorePermit) -> Option<Self> {
        let index = room.event(&told.event)?;
        let kind = room.events.get(usize::from(index))?;
        let pushed = kind.push?;
        // In a process that was started since, it is as old as it is.
        let age = Duration::from_millis(now().saturating_sub(told.accepted.timestamp));
        let began = Instant::now();
        Some(Round {
            id: format!("{:013}{}", told.accepted.timestamp, told.accepted.event_id),
            room_id: told.room_id.as_str().into(),
            event: kind.name,
            pushed,
            collapse: (pushed.collapse)(&told.data),
            began,
            due: began + pushed.after.saturating_sub(age),
            position: OnceLock::new(),
            superseded: AtomicBool::new(false),
            skipped: Mutex::default(),
            progress: Mutex::default(),
            told,
            _permit: permit,
        })
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
        Duration::from_millis(now().saturating_sub(self.told.accepted.timestamp))
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

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round")
            .field("room_id", &self.room_id)
            .field("event", &self.event)
            .finish_non_exhaustive()
    }
}
