//! Joins: a connection becomes a member of a room, and receives the events after the position that its client has.
//!
//! [`Registry::join`] is called once the user may join: it finds or opens the instance, reserves a place in it among
//! all nodes, probes the store where another node may be further on, reads from the store the event at the client's
//! position where memory doesn't have it, and admits the connection. What the room itself decides with these is in
//! `room/join.rs`, and the replay of what the client missed in `room/replay.rs`.

use std::{
    mem,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    LiveRoom, Opener, Registry, RoomSpec,
    command::{RoomChange, RoomRead, StoreOperation},
    room::{JoinRequest, JoinStep, ResumeEvidence, full_refusal, unavailable},
};
use crate::{Code, Refusal, cluster::PlaceReservation, log::StoredId, wire::Position};

/// The outcome of a join that was not refused.
#[derive(Debug)]
pub(crate) enum JoinOutcome {
    /// The connection is in the instance, and was so before unless it `is_new`.
    Joined { instance: Arc<LiveRoom>, is_new: bool },
    /// The request named a position in a room instance that was deleted. A resume does not create it again.
    RoomDeleted,
}

/// The reason for which an instance doesn't admit a connection.
#[derive(Debug)]
pub(super) enum JoinError {
    Refused(Refusal),
    /// The instance is closed; there may be a new one.
    Closed,
    /// The request named a position in a room that was deleted, and that nobody has made again.
    Deleted,
}

/// The maximum time for which a repeated join waits until its member has moved from an instance that lost its log to
/// the next.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(5);

impl Registry {
    /// Joins a connection to the room instance `room_id`, which is opened if need be.
    ///
    /// # Errors
    ///
    /// `ROOM_FULL`; `UNAVAILABLE` if the store or the other nodes can't be reached, or if a migration of the member
    /// takes over 5 s; the refusal of an instance that can't be opened.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, a join that is queued in the room still runs. The room is in the list of the
    /// connection's rooms by then, so that the connection leaves it when it ends. A reserved place is given back.
    pub(crate) async fn join(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        join: JoinRequest,
        opener: &Opener,
    ) -> Result<JoinOutcome, Refusal> {
        let (join, mut has_reclaimed) = (Arc::new(join), false);
        let handle = &join.handle;
        loop {
            let closed = handle.room(room_id).filter(|instance| instance.is_closed());
            if handle.is_migrating(room_id) {
                // The instance lost its log, and its members are moving to the next: joins that one once it has moved.
                let arrived = Box::pin(timeout(MIGRATION_TIMEOUT, handle.migration_ended(room_id))).await;
                arrived.map_err(|_| unavailable(room_id))?;
                continue;
            }
            if let Some(closed) = closed {
                self.removed_from_closed(handle, &closed).await;
            }
            // A room that is live was asked for its deletion when it was opened.
            let is_resume = join.options.since.is_some() && room.keyed;
            if is_resume && self.find(room_id).is_none() && self.is_deleted(room_id).await? {
                return Ok(JoinOutcome::RoomDeleted);
            }
            let instance = self.find_or_open(room, room_id, Some(opener))?;
            // Before the next await, so that a session that is dropped during the join leaves the room.
            let Some(entered) = handle.enter(&instance) else { continue };
            match instance.join(&join).await {
                Ok(is_new) => return Ok(JoinOutcome::Joined { instance, is_new }),
                Err(JoinError::Refused(refusal)) => {
                    // A connection that was already in the instance stays a member.
                    if entered {
                        handle.exit(&*instance, "refused");
                    }
                    let may_reclaim =
                        refusal.code == Code::RoomFull && !mem::replace(&mut has_reclaimed, true);
                    if !(may_reclaim && self.reclaim_capacity(handle, &instance).await) {
                        return Err(refusal);
                    }
                }
                Err(JoinError::Deleted) => {
                    if entered {
                        handle.exit(&*instance, "deleted");
                    }
                    return Ok(JoinOutcome::RoomDeleted);
                }
                // The instance has just ended: the next attempt opens another.
                Err(JoinError::Closed) if handle.is_migrating(room_id) => {}
                Err(JoinError::Closed) => {
                    self.removed_from_closed(handle, &instance).await;
                    if let Some(refusal) = instance.failure() {
                        return Err(refusal);
                    }
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

impl LiveRoom {
    /// Joins a connection to this instance; returns whether it is new in it.
    pub(super) async fn join(self: &Arc<Self>, join: &Arc<JoinRequest>) -> Result<bool, JoinError> {
        let is_clustered = self.archive().is_some_and(|archive| archive.cluster.is_some());
        let _pending = (is_clustered && self.room.keyed).then(|| PendingJoin::new(self));
        // The next instance of a migrating member was opened just now.
        let mut evidence = ResumeEvidence { is_probed: join.is_migrating, ..ResumeEvidence::default() };
        let mut reserved = None;
        // Each of the needs comes up once at most.
        loop {
            if reserved.is_none() && !join.is_migrating {
                reserved = self.reserve(join).await?;
            }
            let (request, place) = (Arc::clone(join), reserved.take());
            let step = self.request(|reply| RoomChange::Join { request, evidence, place, reply });
            let (step, place) = step.await.ok_or(JoinError::Closed)?;
            reserved = place;
            match step {
                JoinStep::Joined { is_new } => return Ok(is_new),
                JoinStep::Refused(refusal) => return Err(JoinError::Refused(refusal)),
                JoinStep::Closed => return Err(JoinError::Closed),
                JoinStep::NeedsProbe => {
                    self.probe().await.ok_or(JoinError::Closed)?;
                    evidence.is_probed = true;
                }
                JoinStep::NeedsStoredId(epoch) => {
                    let stored_id = self.stored_id_at(&epoch, join.options.since.as_ref()).await;
                    evidence.stored_id = stored_id.map_err(JoinError::Refused)?;
                }
                JoinStep::NeedsDeletionWithdrawn { made_again } => {
                    let is_resume = join.options.since.is_some() && !made_again;
                    self.withdraw_deletion(is_resume).await?;
                    evidence.is_deletion_withdrawn = true;
                }
            }
        }
    }

    /// Reserves a place for a new connection in a room with a capacity, among all nodes. Returns `None` where the room
    /// itself has the number of its connections, and for a connection that needs no place.
    async fn reserve(self: &Arc<Self>, join: &JoinRequest) -> Result<Option<PlaceReservation>, JoinError> {
        let Some(cluster) = self.archive().and_then(|archive| archive.cluster.clone()) else {
            return Ok(None);
        };
        let connection = join.handle.id();
        let needed = self.request(|reply| RoomRead::NeededPlace(connection, reply)).await;
        let Some(capacity) = needed.ok_or(JoinError::Closed)? else { return Ok(None) };
        match cluster.reserve(&self.id, &join.handle.user_id, capacity).await {
            Ok(Some(place)) => Ok(Some(place)),
            Ok(None) => {
                let capacity = usize::try_from(capacity).unwrap_or(usize::MAX);
                Err(JoinError::Refused(full_refusal(&self.id, capacity)))
            }
            Err(error) => {
                tracing::debug!(room_id = &*self.id, %error, "a place in a room can't be reserved");
                Err(JoinError::Refused(unavailable(&self.id)))
            }
        }
    }

    /// Withdraws the deletion of the room, which a connection makes again by joining it, unless that is a resume of the
    /// deleted room.
    async fn withdraw_deletion(&self, is_resume: bool) -> Result<(), JoinError> {
        let deletions = &self.context.deletions;
        let failed = |error| {
            tracing::debug!(room_id = &*self.id, %error, "the deletion of a room can't be withdrawn");
            JoinError::Refused(unavailable(&self.id))
        };
        if is_resume && deletions.has(&self.id).await.map_err(failed)? {
            return Err(JoinError::Deleted);
        }
        deletions.withdraw(&self.id).await.map_err(failed)
    }

    /// Waits until the room has probed the store; returns `None` if the instance is closed.
    async fn probe(self: &Arc<Self>) -> Option<()> {
        self.request(StoreOperation::Probe).await
    }

    /// Returns the id that the store has for the event at a position.
    async fn stored_id_at(&self, epoch: &Arc<str>, since: Option<&Position>) -> Result<StoredId, Refusal> {
        let (Some(archive), Some(since)) = (self.archive(), since) else { return Ok(StoredId::Missing) };
        let page = archive.after(&self.room, &self.id, epoch, since.seq.saturating_sub(1)).await;
        let page = page.map_err(|_| unavailable(&self.id))?;
        Ok(page.and_then(|page| page.id_of(since.seq)).map_or(StoredId::Missing, StoredId::Found))
    }
}

/// Counts a join under way; while there is one, the instance isn't closed for being empty.
struct PendingJoin<'a>(&'a Arc<LiveRoom>);

impl<'a> PendingJoin<'a> {
    fn new(instance: &'a Arc<LiveRoom>) -> Self {
        instance.pending_joins.fetch_add(1, Ordering::Relaxed);
        PendingJoin(instance)
    }
}

impl Drop for PendingJoin<'_> {
    fn drop(&mut self) {
        if self.0.pending_joins.fetch_sub(1, Ordering::Relaxed) == 1 {
            // A join that failed may leave an empty room, which the driver then closes.
            self.0.enqueue(RoomChange::Wake);
        }
    }
}
