//! Migration: the members of a superseded instance enter the one that takes its place.
//!
//! A migration is no join and no leave: the users of both instances are not announced.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Lifecycle, RoomCore, RoomEffect, members::EventSink};
use crate::{
    collections::HashMap,
    live::{ConnectionHandle, ConnectionId, StreamSlot},
    log::LogHead,
    wire::{EventSet, Position},
};

/// The members of a superseded instance.
pub(in crate::live) struct Migration {
    pub(in crate::live) members: Vec<MigratingMember>,
    /// In a room that declares presence: the users that its members take for present.
    pub(in crate::live) shown: Option<Arc<BTreeSet<Arc<str>>>>,
}

/// A member that migrates from one instance to the next.
pub(in crate::live) struct MigratingMember {
    pub(in crate::live) handle: Arc<ConnectionHandle>,
    pub(in crate::live) slot: StreamSlot,
    pub(in crate::live) filter: EventSet,
    /// The position of the last event delivered to it. The new log decides whether the member lost events.
    pub(in crate::live) since: Position,
}

/// The time until every node has published its roster of a room again, after the store was emptied.
const ROSTER_REFRESH_TIMEOUT: Duration = Duration::from_secs(4);

impl RoomCore {
    /// Closes the instance because its log is lost or was replaced. Returns the members, who migrate into the instance
    /// that supersedes this one.
    pub(in crate::live) fn supersede(&mut self) -> Migration {
        self.close(Lifecycle::Superseded);
        self.refuse_all_held();
        self.migrating = HashMap::default();
        let shown = self.presence.as_ref().map(|presence| presence.shown(&self.members));
        let LogHead { seq: head, event_id } = self.log.head();
        let epoch = Arc::clone(self.log.epoch());
        let position =
            |seq, event_id: &str| Position { epoch: epoch.to_string(), seq, event_id: event_id.to_owned() };
        let head = position(head, event_id);
        let mut migrating = Vec::new();
        for subscription in self.members.drain() {
            // Dropping the subscription closes the listener's queue, upon which its task subscribes to the next
            // instance.
            let EventSink::Member(outbox, handle) = subscription.sink else { continue };
            if subscription.replaying.is_some() {
                self.effects.push(RoomEffect::ReplayPageSent(outbox, false));
            }
            let since = subscription.replaying.map_or_else(|| head.clone(), |seq| position(seq, ""));
            if handle.begin_migration(&self.id, self.instance_id) {
                migrating.push(MigratingMember {
                    handle,
                    slot: subscription.slot,
                    filter: subscription.filter,
                    since,
                });
            } else {
                // Its connection is closed, so that it doesn't migrate.
                self.count_member(RoomEffect::MemberLeft, &handle);
            }
        }
        self.update_size();
        Migration { members: migrating, shown: shown.map(Arc::new) }
    }

    /// Notes the members of a superseded instance that are about to enter, and the users that its members were `shown`
    /// as present; returns `false` if this instance is closed, too.
    ///
    /// A migration is no join and no leave: users of both instances are not announced. Users who came or went while
    /// there was no instance are.
    pub(in crate::live) fn expect_migrating(
        &mut self,
        mut handles: Vec<Arc<ConnectionHandle>>,
        shown: Option<&BTreeSet<Arc<str>>>,
    ) -> bool {
        if self.is_closed() {
            return false;
        }
        // Some may have been removed since they set off; nothing else would end their migration.
        handles.retain(|handle| handle.is_migrating(&self.id));
        let users: BTreeSet<_> = handles.iter().map(|handle| Arc::clone(&handle.user_id)).collect();
        self.migrating.extend(handles.into_iter().map(|handle| (handle.id(), handle)));
        let (Some(presence), Some(shown)) = (&mut self.presence, shown) else { return true };
        if !presence.take_over(shown) {
            return true;
        }
        let absent = |user: &&Arc<str>| !self.members.has_user(user);
        let (migrating, departed): (Vec<_>, Vec<_>) =
            shown.iter().filter(absent).cloned().partition(|user| users.contains(user));
        migrating.iter().for_each(|user| presence.hold(user));
        // Users at other nodes may be missing only until those nodes publish their rosters again.
        let grace =
            if self.is_clustered { presence.grace.max(ROSTER_REFRESH_TIMEOUT) } else { presence.grace };
        departed.iter().for_each(|user| self.user_left_after(user, grace));
        for user in self.members.user_ids().filter(|user| !shown.contains(user)).collect::<Vec<_>>() {
            self.user_joined(&user);
        }
        true
    }

    /// Ends a member's migration that won't complete: its user is announced as gone once no other connection of the
    /// user is migrating.
    pub(in crate::live) fn cancel_migration(&mut self, user: &Arc<str>) {
        if !self.presence.as_ref().is_some_and(|presence| presence.holds(user)) {
            return;
        }
        if !self.migrating.values().any(|handle| handle.user_id == *user && handle.is_migrating(&self.id)) {
            self.user_left(user);
        }
    }

    /// Drops the members whose migration has ended, from the list of migrating ones.
    pub(in crate::live) fn prune_migrating(&mut self) {
        self.migrating.retain(|_, handle| handle.is_migrating(&self.id));
    }

    /// Removes a connection that is a member or is migrating into this instance; returns whether it was either.
    pub(in crate::live) fn release_connection(&mut self, handle: &ConnectionHandle) -> bool {
        if self.leave(handle.id()) {
            return true;
        }
        let ended = self.end_migration(handle);
        if ended {
            self.cancel_migration(&handle.user_id);
        }
        ended
    }

    /// Returns whether a connection is migrating into this instance.
    pub(super) fn is_expecting(&self, connection: ConnectionId) -> bool {
        self.migrating.get(&connection).is_some_and(|handle| handle.is_migrating(&self.id))
    }

    /// Ends the migration of a connection into this instance; returns whether it was migrating.
    pub(super) fn end_migration(&mut self, handle: &ConnectionHandle) -> bool {
        let ended = handle.end_migration(&self.id, self.instance_id);
        if ended {
            self.count_member(RoomEffect::MemberLeft, handle);
        }
        ended
    }
}
