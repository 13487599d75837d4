//! The quota's entry of a room that a client opened recently.

use std::{
    fmt,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64},
    },
};

use super::{Opener, QuotaSubject};
use crate::live::clock::monotonic_ms;

/// A room that a client opened.
#[derive(Debug)]
pub(in crate::live) struct RecentRoom {
    /// Its position in the order of opening, from 1.
    pub(super) number: u64,
    pub(super) room_id: Arc<str>,
    pub(super) opener: Opener,
    /// The time from which it is new, in milliseconds of [`monotonic_ms`].
    pub(super) new_since_ms: AtomicU64,
    /// Set once it no longer counts.
    pub(super) ended: AtomicBool,
    instance: OnceLock<Weak<dyn OccupiedRoom>>,
}

/// A room instance, as its entry knows it: a room with connections stays new.
pub(in crate::live) trait OccupiedRoom: fmt::Debug + Send + Sync + 'static {
    /// Returns whether the room has connections, at any node.
    fn is_occupied(&self) -> bool;
}

impl RecentRoom {
    /// Creates the entry of a room that is opened now.
    pub(super) fn new(number: u64, room_id: Arc<str>, opener: Opener) -> Self {
        RecentRoom {
            number,
            room_id,
            opener,
            new_since_ms: AtomicU64::new(monotonic_ms()),
            ended: AtomicBool::new(false),
            instance: OnceLock::new(),
        }
    }

    /// Returns whether the room counts for the subject.
    pub(in crate::live) fn counts_for(&self, subject: &QuotaSubject) -> bool {
        self.opener.is(subject)
    }

    /// Sets the room's instance.
    pub(in crate::live) fn set_instance<R: OccupiedRoom>(&self, instance: &Arc<R>) {
        let instance: Weak<R> = Arc::downgrade(instance);
        let _ = self.instance.set(instance);
    }

    /// Returns whether the room has connections.
    pub(super) fn is_occupied(&self) -> bool {
        self.instance.get().and_then(Weak::upgrade).is_some_and(|instance| instance.is_occupied())
    }
}
