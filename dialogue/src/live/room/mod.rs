//! The state machine of a room instance: its log, its subscriptions, its presence and the events that are about to be
//! committed.
//!
//! A [`RoomCore`] is owned by its [`LiveRoom`](super::LiveRoom) and changed by one
//! [`RoomDriver`](super::driver::RoomDriver) at a time (single writer), so it has no locks. It awaits nothing, reads no
//! clock and calls neither the store nor the other nodes: it is told the time, and asks for its [effects](RoomEffect).
//! Each submodule holds one part: `accept` (an event's path into the log) and `pending` (events before the store has
//! them), `held` (events that wait for the store), `join`, `replay`, `members`, `presence`, `lifecycle` (the instance's
//! end), `migration`, `clustered` (logs that other nodes write too), `store_head` and `stored` (the log in the store),
//! `trim` and `audit_log`.

mod accept;
mod audit_log;
mod clustered;
mod effect;
mod held;
mod held_events;
mod join;
mod lifecycle;
mod members;
mod migration;
#[cfg(test)]
mod model;
mod pending;
mod presence;
mod presence_tracker;
mod replay;
mod request;
mod store_head;
mod stored;
mod trim;

use std::{borrow::Cow, collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::value::RawValue;

pub(in crate::live) use effect::RoomEffect;
pub(crate) use effect::RoomTimer;
pub(crate) use join::{JoinOptions, JoinRequest};
pub(in crate::live) use join::{JoinStep, ResumeEvidence, full_refusal};
pub(in crate::live) use migration::{MigratingMember, Migration};
pub(in crate::live) use pending::PendingAppend;
pub(crate) use replay::ArchivedPage;
pub(crate) use replay::SubscriptionChange;
pub(crate) use request::{NewEvent, PublishRequest, TargetedEvent, busy, not_in_room, revoked, unavailable};
pub(in crate::live) use store_head::StoreHead;
pub(crate) use stored::SavedState;
pub(in crate::live) use stored::{StoredLog, StoredRoom};
pub(crate) use trim::TrimPlan;

use held_events::HeldEvents;
use members::{EventSink, MemberPage, RoomMembers, RoomSubscription, UserPresence};
use presence_tracker::PresenceTracker;

use super::{
    ConnectionHandle, ConnectionId, Listener, OutboxCloseReason, RoomSpec, StreamSlot,
    connection::InstanceId,
    delivery::{Batch, PublishOutcome, PublishReply},
};
use crate::{
    cluster::{RemoteRoster, RoomNotice},
    collections::HashMap,
    log::{Log, LogPage, Record, RecordPage},
    store::Query,
    wire::{
        EventSet, Id,
        frame::{self, EncodedFrame, ServerFrame},
    },
};

/// The reason in the `left` frame of a deleted room.
pub(crate) const DELETED_REASON: &str = "the room was deleted";

/// The time of a command.
#[derive(Debug, Clone, Copy)]
pub(in crate::live) struct RoomTime {
    /// The wall-clock time in Unix milliseconds.
    pub(in crate::live) unix_ms: u64,
    /// The time on a monotonic clock, since some fixed moment.
    pub(in crate::live) monotonic: Duration,
}

/// The lifecycle of a room instance that was opened.
#[derive(Debug, Clone, Copy)]
enum Lifecycle {
    Live,
    /// The outcome of the last append is unknown: the store failed or timed out. The store's head is read again at this
    /// time; until then the log accepts no event.
    Uncertain {
        probe_at: Duration,
    },
    Deleted,
    /// The log was found to be lost or replaced, or the driver failed: requests for the room open a new instance.
    Superseded,
}

/// The kind of a room's log outside of memory.
#[derive(Debug)]
pub(in crate::live) enum RoomStorage {
    /// None: the log is in memory only.
    Memory,
    /// A store that this node alone writes.
    Store,
    /// A store that other nodes write too, and the nodes whose members count.
    Cluster { nodes: BTreeSet<Id> },
}

/// The state of a room instance. Only one driver at a time owns it. Its methods are the room's commands. They write to
/// outboxes; what else is to be done outside is a [`RoomEffect`], carried out after them, or a reply to the sender of an
/// event, sent before the events that follow.
#[derive(Debug)]
pub(crate) struct RoomCore {
    instance_id: InstanceId,
    room: Arc<RoomSpec>,
    id: Arc<str>,
    /// Set where a store has the log.
    is_stored: bool,
    /// Set where other nodes write the log too.
    is_clustered: bool,
    /// The time of the command that runs.
    time: RoomTime,
    /// The effects of the command that runs.
    effects: Vec<RoomEffect>,
    /// The members of the room at other nodes.
    roster: Option<Box<RemoteRoster>>,
    /// Set if the catalog in the store has a record of the room, if there is a store.
    in_catalog: bool,
    /// Set while the record of recent deletions may name the room: it is withdrawn once a connection is admitted.
    follows_deletion: bool,
    lifecycle: Lifecycle,
    log: Log,
    /// The epoch under which the store has the log. It differs from the log's own epoch where the catalog overrides
    /// that.
    store_epoch: Arc<str>,
    /// The `seq` from which the store's part of the log is trimmed again.
    trim_at: u64,
    members: RoomMembers,
    /// Set once the server has removed a connection: events that the connection sent before may still arrive.
    has_removed: bool,
    /// Members of a superseded instance of the room that are migrating into this one.
    migrating: HashMap<ConnectionId, Arc<ConnectionHandle>>,
    /// `None` in a room that doesn't declare presence.
    presence: Option<PresenceTracker>,
    /// The saved state that the application declares for the room.
    saved_state: SavedState,
    pending: Option<PendingAppend>,
    held: HeldEvents,
    /// The replies to the senders of events, by the commands since they were last taken.
    replies: Vec<(PublishReply, PublishOutcome)>,
}

impl RoomCore {
    /// Builds the state of a room from its records and log in the store; with an empty `StoredRoom` the log is new and
    /// has the epoch `epoch`.
    pub(super) fn new(
        instance_id: InstanceId,
        room: Arc<RoomSpec>,
        id: Arc<str>,
        storage: RoomStorage,
        epoch: Arc<str>,
        found: StoredRoom,
        time: RoomTime,
    ) -> Self {
        let is_stored = !matches!(storage, RoomStorage::Memory);
        let presence = room.options.presence.map(PresenceTracker::new);
        let StoredRoom { info, log, state: saved, members, follows_deletion } = found;
        let store_epoch = log.as_ref().map_or_else(|| Arc::clone(&epoch), |log| Arc::clone(&log.store_epoch));
        let log = log.map(|log| log.restore(&room, &id));
        let log = log.unwrap_or_else(|| {
            let log = Log::new(epoch, room.options.retention, &room.own_retention());
            if is_stored { log.backed_by_store() } else { log }
        });
        let mut core = RoomCore {
            instance_id,
            is_stored,
            is_clustered: matches!(storage, RoomStorage::Cluster { .. }),
            time,
            effects: Vec::new(),
            roster: None,
            in_catalog: info.is_some() || !room.keyed,
            follows_deletion,
            lifecycle: Lifecycle::Live,
            // The first event after a start trims what earlier runs left.
            trim_at: log.next_seq(),
            store_epoch,
            log,
            room,
            id,
            members: RoomMembers::default(),
            has_removed: false,
            migrating: HashMap::default(),
            presence,
            saved_state: saved.unwrap_or_default(),
            pending: None,
            held: HeldEvents::default(),
            replies: Vec::new(),
        };
        if let RoomStorage::Cluster { nodes } = storage {
            // These members are present already: no presence event announces them.
            for (user, connections) in core.roster.get_or_insert_default().replace(members, &nodes) {
                core.members.change_remote(&user, connections);
            }
        }
        core
    }

    /// Delivers a batch to at most `max` subscriptions from index `from` on; returns the index to go on from, if there
    /// are more. Subscriptions that are being replayed are skipped: they get the events from the log.
    pub(super) fn deliver(&mut self, batch: &Batch, from: usize, max: usize) -> Option<usize> {
        let (subscriptions, next) = self.members.slice_mut(from, max);
        for subscription in subscriptions {
            if subscription.replaying.is_none() && subscription.filter.meets(batch.kinds()) {
                batch.note_recipient(subscription.filter);
                subscription.deliver(batch);
            }
        }
        next
    }

    /// Takes the replies to the senders of events, which are sent before the events are delivered.
    pub(in crate::live) fn drain_replies(&mut self) -> impl Iterator<Item = (PublishReply, PublishOutcome)> {
        self.replies.drain(..)
    }

    /// Frees the buffers that a burst may have grown.
    pub(in crate::live) fn free_buffers(&mut self) {
        self.replies = Vec::new();
    }

    /// Subscribes a listener of server code to the events in `filter`, from now on.
    pub(crate) fn listen(&mut self, listener: Arc<Listener>, filter: EventSet) {
        if self.is_closed() {
            // Dropping the listener closes its queue, upon which its task subscribes to the next instance.
            return;
        }
        self.members.add(RoomSubscription {
            sink: EventSink::Listener(listener),
            slot: StreamSlot::default(),
            filter,
            replaying: None,
        });
    }

    /// Removes a connection's subscription; returns whether it had one.
    pub(crate) fn leave(&mut self, connection: ConnectionId) -> bool {
        let Some((removed, user_presence)) = self.members.remove(connection) else { return false };
        if let EventSink::Member(outbox, handle) = &removed.sink {
            self.count_member(RoomEffect::MemberLeft, handle);
            if removed.replaying.is_some() {
                self.effects.push(RoomEffect::ReplayPageSent(Arc::clone(outbox), false));
            }
            if user_presence == UserPresence::Changed {
                self.user_left(&handle.user_id);
            }
        }
        self.update_size();
        true
    }

    /// Removes a connection on the server's behalf and sends it `left` with the reason; returns whether it was a
    /// member.
    pub(crate) fn remove(&mut self, handle: &Arc<ConnectionHandle>, reason: &str) -> bool {
        let was_in = self.release_connection(handle);
        if was_in {
            self.refuse_events_from(handle.id());
            let (handles, reason) = (vec![Arc::clone(handle)], reason.into());
            self.effects.push(RoomEffect::SendLeft { handles, reason });
        }
        was_in
    }

    /// Refuses the events that a connection sent before the server removed it.
    pub(crate) fn refuse_events_from(&mut self, connection: ConnectionId) {
        self.has_removed = true;
        self.refuse_held_from(connection);
    }

    /// Returns a page of the log before `before`, newest first. Its older part may be in the store only
    /// ([`LogPage::rest`]).
    pub(crate) fn history_page(&mut self, before: Option<u64>, filter: EventSet, limit: usize) -> LogPage {
        self.log.trim(self.time.unix_ms);
        self.log.before(before, filter, limit)
    }

    /// Returns the records that `query` selects from a log that is held in memory alone.
    pub(super) fn select(&mut self, query: &Query) -> RecordPage {
        self.log.trim(self.time.unix_ms);
        self.log.select(query, |event| self.room.event_name(event))
    }

    /// Drops the records that retention no longer keeps, or that are not in `filter`.
    pub(super) fn filter_retained(
        &mut self,
        mut records: Vec<Arc<Record>>,
        filter: EventSet,
    ) -> Vec<Arc<Record>> {
        self.log.trim(self.time.unix_ms);
        let first = self.log.first_seq();
        records.retain(|record| record.seq >= Some(first) && self.log.matches(record, filter));
        records
    }

    /// Returns the oldest `seq` that the log may hold of the events in `filter`.
    pub(super) fn first_seq_of(&mut self, filter: EventSet) -> u64 {
        self.log.trim(self.time.unix_ms);
        self.log.first_seq_of(filter)
    }

    /// Returns the `members` frame: up to `limit` users after `after`, in the order of their ids. Users in their grace
    /// period are among them.
    pub(crate) fn members_frame(
        &mut self,
        after: Option<&str>,
        limit: usize,
        id: Option<&RawValue>,
    ) -> EncodedFrame {
        let leaving = self.presence.as_mut().map(PresenceTracker::list).unwrap_or_default();
        let MemberPage { members, has_more } = self.members.page(after, limit, &leaving);
        let size = self.members.users() + leaving.len();
        frame::Members { room_id: (&*self.id).into(), members, size, more: has_more }.encode(id)
    }

    /// Returns the ids of all users in the room, at any node.
    pub(crate) fn user_ids(&self) -> Vec<String> {
        self.members.page(None, usize::MAX, &[]).members.into_iter().map(|member| member.user_id).collect()
    }

    /// Notifies the other nodes, if they can be reached now.
    pub(super) fn notify_nodes(&mut self, notice: RoomNotice) {
        self.effects.push(RoomEffect::NotifyNodes(notice));
    }

    /// Returns the room's saved state.
    pub(crate) fn saved_state(&self) -> SavedState {
        self.saved_state.clone()
    }

    /// Returns whether the application has ever saved the room's state.
    pub(super) fn has_saved_state(&self) -> bool {
        self.saved_state.version > 0
    }

    /// Sets the room's saved state, which the store has by then, if there is one.
    pub(super) fn set_saved_state(&mut self, saved: SavedState) {
        self.saved_state = saved;
    }

    /// Returns whether the catalog has the room, or there is no store.
    pub(super) fn is_in_catalog(&self) -> bool {
        self.in_catalog || !self.is_stored
    }

    /// Notes that the catalog has the room.
    pub(super) fn mark_in_catalog(&mut self) {
        self.in_catalog = true;
    }

    /// Notes that the catalog has lost the room; the next append writes its record again.
    pub(super) fn mark_not_in_catalog(&mut self) {
        self.in_catalog = false;
    }

    /// Returns whether the room existed before this request: it is in the catalog or has events.
    pub(super) fn exists(&self) -> bool {
        self.in_catalog || self.log.head().seq > 0
    }

    /// Returns the log's epoch.
    pub(in crate::live) fn epoch(&self) -> &Arc<str> {
        self.log.epoch()
    }

    /// The epoch under which the store has the log. It differs from the log's own epoch where the catalog overrides
    /// that.
    pub(super) fn store_epoch(&self) -> &Arc<str> {
        &self.store_epoch
    }

    pub(super) fn log(&self) -> &Log {
        &self.log
    }

    /// Returns an empty batch for this room.
    fn new_batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.room), Arc::clone(&self.id), Arc::clone(self.log.epoch()))
    }

    fn update_size(&mut self) {
        let (local, remote) = (self.members.size(), self.members.remote_size());
        self.effects.push(RoomEffect::Resized { local, remote });
    }

    /// Counts a member in this node's roster, or no longer, where there are other nodes.
    fn count_member(&mut self, change: fn(Arc<str>) -> RoomEffect, handle: &ConnectionHandle) {
        if self.is_clustered {
            self.effects.push(change(Arc::clone(&handle.user_id)));
        }
    }

    /// Sets the time of the commands that follow.
    pub(super) fn set_time(&mut self, time: RoomTime) {
        self.time = time;
    }

    /// Takes the effects of the last command.
    pub(super) fn take_effects(&mut self) -> Vec<RoomEffect> {
        std::mem::take(&mut self.effects)
    }

    /// Handles a timer that the room has started.
    pub(super) fn timer_fired(&mut self, timer: RoomTimer) {
        match timer {
            RoomTimer::HeldExpiry => self.refuse_expired(),
            // The driver probes the store before a command, if that is due.
            RoomTimer::Probe => {}
            RoomTimer::GracePeriod { user, departure } => {
                if self.presence.as_mut().is_some_and(|presence| presence.grace_ended(&user, departure)) {
                    self.schedule_presence();
                }
            }
            RoomTimer::Presence => self.send_presence(),
        }
    }
}

/// Encodes a page of a room's log as the `history` frame.
pub(crate) fn history(room_id: &str, page: &LogPage, id: Option<&RawValue>) -> EncodedFrame {
    // The records hold JSON that this crate encoded.
    let events = page
        .records
        .iter()
        .filter_map(|record| serde_json::from_slice(&record.json).ok().map(Cow::Borrowed))
        .collect();
    frame::History { room_id: room_id.into(), events, more: page.next.is_some(), next: page.next }.encode(id)
}
