//! Joins: admission of a connection into a room, the `joined` reply, and the start of its replay.
//!
//! A join attaches before it reads the log ("resume" in the protocol): live events are delivered from then on, or,
//! while it is replayed, read from the log.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{
    RoomCore, RoomEffect,
    members::{EventSink, RoomSubscription, UserPresence},
    request::unavailable,
};
use crate::{
    Code, Refusal,
    live::{ConnectionHandle, ConnectionId, RoomInstanceInfo, StreamSlot},
    log::{LogHead, ResumeDecision, StoredId},
    wire::{
        EventSet, Position,
        frame::{self, ResumeOutcome, ServerFrame},
        stream_position,
    },
};

/// A connection's request to join a room.
#[derive(Debug)]
pub(crate) struct JoinRequest {
    pub(crate) handle: Arc<ConnectionHandle>,
    pub(crate) options: JoinOptions,
    /// Set if the member migrates from a superseded instance: it keeps its place, and its user was present there.
    pub(crate) is_migrating: bool,
}

/// The parameters of a join.
#[derive(Debug, Default)]
pub(crate) struct JoinOptions {
    /// The events to subscribe to; `None` keeps the subscription, or subscribes to the room's default events.
    pub(crate) filter: Option<EventSet>,
    /// The position to resume from.
    pub(crate) since: Option<Position>,
    /// The index of the room among those of an event stream.
    pub(crate) slot: StreamSlot,
    /// The `id` of the request, as JSON.
    pub(crate) id: Option<Box<RawValue>>,
}

/// The knowledge of the store by which the room decides whether a client can join, and resume.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ResumeEvidence {
    /// The id that the store has for the event at the client's position.
    pub(crate) stored_id: StoredId,
    /// Set once the room has probed the store since the request was made.
    pub(crate) is_probed: bool,
    /// Set once the record of recent deletions no longer names the room.
    pub(crate) is_deletion_withdrawn: bool,
}

/// The outcome of an attempt to join.
#[derive(Debug)]
pub(crate) enum JoinStep {
    Joined {
        /// Set if the connection was not in the room before.
        is_new: bool,
    },
    Refused(Refusal),
    /// The instance is closed; there may be a new one.
    Closed,
    /// Only the store can say whether the client can resume: its event at the position has to be read first, in the log
    /// of this epoch.
    NeedsStoredId(Arc<str>),
    /// The position is unknown here, but the client may have it from a node that is further on: the store has to be
    /// probed first.
    NeedsProbe,
    /// The room was deleted recently. A client with a position in the deleted room is to be told so, unless the room
    /// was `made_again` meanwhile; everybody else makes it again, which withdraws the deletion first.
    NeedsDeletionWithdrawn {
        made_again: bool,
    },
}

impl JoinStep {
    /// Returns whether another attempt may succeed, with more evidence.
    pub(in crate::live) fn needs_evidence(&self) -> bool {
        matches!(
            self,
            JoinStep::NeedsStoredId(_) | JoinStep::NeedsProbe | JoinStep::NeedsDeletionWithdrawn { .. }
        )
    }
}

impl RoomCore {
    /// Adds a member, and sends it `joined` before anything else of the room.
    pub(in crate::live) fn join(
        &mut self,
        join: &JoinRequest,
        evidence: ResumeEvidence,
        info: &RoomInstanceInfo,
    ) -> JoinStep {
        if self.is_closed() {
            return JoinStep::Closed;
        }
        let connection = join.handle.id();
        let is_new = !self.members.has(connection);
        // In a cluster, its place was reserved already.
        if is_new
            && !join.is_migrating
            && !self.is_clustered
            && let Some(capacity) = self.room.max_size(info)
        {
            let size = self.size_with_migrating();
            if size >= usize::try_from(capacity).unwrap_or(usize::MAX) {
                return JoinStep::Refused(full_refusal(&self.id, size));
            }
        }
        self.log.trim(self.time.unix_ms);
        let resume = self.log.resume(join.options.since.as_ref(), evidence.stored_id);
        if resume == ResumeDecision::Unknown {
            return JoinStep::NeedsStoredId(Arc::clone(self.log.epoch()));
        }
        if resume == ResumeDecision::Lost && self.is_clustered {
            if !evidence.is_probed {
                return JoinStep::NeedsProbe;
            }
            if self.is_uncertain() {
                return JoinStep::Refused(unavailable(&self.id));
            }
        }
        if self.follows_deletion && !evidence.is_deletion_withdrawn {
            return JoinStep::NeedsDeletionWithdrawn { made_again: self.was_made_again(info) };
        }
        if join.is_migrating {
            if !join.handle.finish_migration(&self.id, self.instance_id) {
                // It was removed during its migration.
                return JoinStep::Closed;
            }
            self.migrating.remove(&connection);
        }
        self.follows_deletion = false;
        if is_new {
            self.enter(join);
        }
        self.admit(join, resume, is_new, info);
        JoinStep::Joined { is_new }
    }

    /// Sets the subscription of a member that joins, sends it `joined`, and starts its replay.
    fn admit(&mut self, join: &JoinRequest, resume: ResumeDecision, is_new: bool, info: &RoomInstanceInfo) {
        let Some(subscription) = self.members.get_mut(join.handle.id()) else { return };
        if let Some(filter) = join.options.filter {
            subscription.filter = filter;
        }
        let filter = subscription.filter;
        let head = self.log.head().seq;
        let behind = match resume {
            ResumeDecision::Complete { after } if after < head => Some(after),
            _ => None,
        };
        // A repeated join without a position starts no replay: its subscription has had the earlier events, or gets them.
        let resumes = is_new || join.options.since.is_some();
        if resumes {
            let before = std::mem::replace(&mut subscription.replaying, behind);
            if let (Some(_), None) = (before, behind) {
                self.effects.push(RoomEffect::ReplayPageSent(Arc::clone(&join.handle.outbox), false));
            }
            self.room.meter.resumed(resume.outcome());
        }
        // An earlier replay goes on: until its end, the client hasn't all up to the head.
        let replaying = subscription.replaying;
        self.send_joined(join, resume, replaying, info);
        if resumes && self.room.options.sync > 0 && !matches!(resume, ResumeDecision::Complete { .. }) {
            let limit = usize::try_from(self.room.options.sync).unwrap_or(usize::MAX);
            let mut page = self.log.before(None, filter, limit);
            page.records.reverse();
            join.handle.outbox.send_page(&super::history(&self.id, &page, None));
        }
        if behind.is_some() {
            self.effects.push(RoomEffect::StartReplay(Arc::clone(&join.handle.outbox)));
        }
    }

    /// Returns the number of connections in the room, including migrating ones, which keep their places.
    fn size_with_migrating(&self) -> usize {
        let expected = self.migrating.values().filter(|handle| handle.is_migrating(&self.id)).count();
        self.members.size() + self.members.remote_size() + expected
    }

    /// Returns the room's capacity if the connection needs a new place in it; `None` if it is a member already, or the
    /// capacity is unbounded.
    pub(crate) fn needs_place(&self, connection: ConnectionId, info: &RoomInstanceInfo) -> Option<u32> {
        self.room.max_size(info).filter(|_| !self.is_closed() && !self.members.has(connection))
    }

    fn enter(&mut self, join: &JoinRequest) {
        let user_presence = self.members.add(RoomSubscription {
            sink: EventSink::Member(Arc::clone(&join.handle.outbox), Arc::clone(&join.handle)),
            slot: join.options.slot,
            filter: self.room.default_events(),
            replaying: None,
        });
        self.count_member(RoomEffect::MemberJoined, &join.handle);
        // No `left` was announced for the user of a migrated member.
        if user_presence == UserPresence::Changed {
            self.user_joined(&join.handle.user_id);
        }
        self.update_size();
    }

    /// Sends `joined` to a member, with the position at which its stream starts.
    fn send_joined(
        &self,
        join: &JoinRequest,
        resume: ResumeDecision,
        replaying: Option<u64>,
        info: &RoomInstanceInfo,
    ) {
        let LogHead { seq: head, event_id } = self.log.head();
        let joined = frame::Joined {
            room_id: (&*self.id).into(),
            name: Some(self.room.display_name(info).into()),
            epoch: (&**self.log.epoch()).into(),
            seq: head,
            event_id: event_id.into(),
            resume: resume.outcome(),
            replay: replaying.map_or(0, |after| head.saturating_sub(after)),
            members: self.members.users(),
        };
        let (seq, event_id) = match (resume, &join.options.since) {
            (ResumeDecision::Complete { after }, Some(since)) => (after, since.event_id.as_str()),
            _ => (head, event_id),
        };
        let position = stream_position(&self.id, self.log.epoch(), seq, event_id);
        let frame = joined.encode(join.options.id.as_deref());
        join.handle.outbox.send_joined(&frame, &self.id, join.options.slot, position);
    }
}

/// Returns the refusal of a join to a room that holds `size` connections.
pub(in crate::live) fn full_refusal(room_id: &str, size: usize) -> Refusal {
    Refusal::new(Code::RoomFull, format!("room `{room_id}` is full: it holds {size} connections"))
}

impl ResumeDecision {
    fn outcome(self) -> ResumeOutcome {
        match self {
            ResumeDecision::Fresh => ResumeOutcome::Fresh,
            ResumeDecision::Complete { .. } => ResumeOutcome::Complete,
            ResumeDecision::Lost | ResumeDecision::Unknown => ResumeOutcome::Lost,
        }
    }
}
