//! Presence: the users who join and leave the room, as its [`PresenceTracker`](super::presence_tracker::PresenceTracker)
//! announces them, and the timers for that.

use std::{sync::Arc, time::Duration};

use super::{RoomCore, RoomEffect, RoomTimer};

/// The time for which changes are gathered.
const GATHER_INTERVAL: Duration = Duration::from_millis(50);

impl RoomCore {
    /// Sends the gathered presence changes to the members.
    pub(super) fn send_presence(&mut self) {
        if let Some(presence) = &mut self.presence {
            presence.send(&self.id, &self.members);
        }
    }

    /// Announces a user whose first connection has joined.
    pub(super) fn user_joined(&mut self, user: &Arc<str>) {
        if self.presence.as_mut().is_some_and(|presence| presence.user_joined(user)) {
            self.schedule_presence();
        }
    }

    /// Announces a user whose last connection has left, after the room's grace period.
    pub(super) fn user_left(&mut self, user: &Arc<str>) {
        if let Some(grace) = self.presence.as_ref().map(|presence| presence.grace) {
            self.user_left_after(user, grace);
        }
    }

    pub(super) fn user_left_after(&mut self, user: &Arc<str>, grace: Duration) {
        let Some(presence) = &mut self.presence else { return };
        let departure = presence.user_left(user);
        let timer = RoomTimer::GracePeriod { user: Arc::clone(user), departure };
        self.effects.push(RoomEffect::StartTimer(grace, timer));
    }

    pub(super) fn schedule_presence(&mut self) {
        let Some(presence) = &mut self.presence else { return };
        if !std::mem::replace(&mut presence.is_scheduled, true) {
            self.effects.push(RoomEffect::StartTimer(GATHER_INTERVAL, RoomTimer::Presence));
        }
    }
}
