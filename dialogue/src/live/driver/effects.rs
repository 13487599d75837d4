//! The execution of a room's effects: `left` for its former members, timers, pages from the store, messages and member counts for other nodes, marks
//! of the instance.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    live::{
        ConnectionId, LiveRoom,
        command::{RoomChange, Unreadable},
        delivery::ReplaySource,
        room::{RoomCore, RoomEffect, RoomTimer},
    },
    wire::frame::{self, ServerFrame},
};

/// Attempts to read a page from the store, with a delay that doubles from the first: 6 s together.
const MAX_READ_ATTEMPTS: u32 = 5;
const FIRST_RETRY_DELAY: Duration = Duration::from_millis(200);

impl LiveRoom {
    /// Carries out the effects of the last command, in their order.
    pub(in crate::live) fn carry_out(self: &Arc<Self>, core: &mut RoomCore) {
        for effect in core.take_effects() {
            self.carry_out_one(effect);
        }
    }

    fn carry_out_one(self: &Arc<Self>, effect: RoomEffect) {
        let cluster = self.archive().and_then(|archive| archive.cluster.as_ref());
        match (effect, cluster) {
            (RoomEffect::Resized { local, remote }, _) => self.update_size(local, remote),
            (RoomEffect::MemberJoined(user), Some(cluster)) => cluster.member_joined(&self.id, &user),
            (RoomEffect::MemberLeft(user), Some(cluster)) => cluster.member_left(&self.id, &user),
            (RoomEffect::NotifyNodes(notice), Some(cluster)) => {
                cluster.notify(&self.id, notice);
            }
            (RoomEffect::MemberJoined(_) | RoomEffect::MemberLeft(_) | RoomEffect::NotifyNodes(_), None) => {}
            (RoomEffect::StartTimer(after, timer), _) => self.start_timer(after, timer),
            (RoomEffect::TrimStore, _) => self.request_trim(),
            (RoomEffect::StartReplay(outbox), _) => outbox.start_replay(self),
            (RoomEffect::ReplayPageSent(outbox, more), _) => outbox.replay_page_sent(self, more),
            (RoomEffect::RequestPage(connection), _) => Arc::clone(self).request_page(connection),
            (RoomEffect::FetchPage { connection, after, epoch }, _) => {
                // The task ends with the instance, or after a bounded number of attempts.
                self.spawn(fetch(Arc::downgrade(self), epoch, connection, after));
            }
            (RoomEffect::SendLeft { handles, reason }, _) => {
                let left = frame::Left { room_id: (&*self.id).into(), reason: Some(reason.as_ref().into()) };
                let left = left.encode(None);
                handles.iter().for_each(|handle| handle.outbox.send(&left));
            }
            (RoomEffect::Deleted { listeners }, _) => {
                self.mark_deleted();
                drop(listeners);
                // Before any caller is answered: a caller that then creates the room again must not find this instance.
                self.close();
            }
        }
    }

    /// Runs a timer, unless the instance is dropped before.
    fn start_timer(self: &Arc<Self>, after: Duration, timer: RoomTimer) {
        let instance = Arc::downgrade(self);
        self.spawn(async move {
            sleep(after).await;
            if let Some(instance) = instance.upgrade() {
                // A closed instance has no timers.
                let _ = instance.push(RoomChange::Timer(timer));
            }
        });
    }
}

/// Reads a page of a replay from the store. Clients that come back to the same position share it.
async fn fetch(instance: Weak<LiveRoom>, epoch: Arc<str>, connection: ConnectionId, after: u64) {
    for attempt in 0..MAX_READ_ATTEMPTS {
        let Some(room) = instance.upgrade() else { return };
        let Some(archive) = room.archive() else { return };
        match archive.after(&room.room, &room.id, &epoch, after).await {
            Ok(page) => {
                return room.enqueue(RoomChange::PageFetched { connection, after, page: Ok(page) });
            }
            Err(error) => tracing::debug!(room_id = &*room.id, %error, "a page of a replay can't be read"),
        }
        drop(room);
        sleep(FIRST_RETRY_DELAY * 2_u32.pow(attempt)).await;
    }
    if let Some(room) = instance.upgrade() {
        room.enqueue(RoomChange::PageFetched { connection, after, page: Err(Unreadable) });
    }
}
