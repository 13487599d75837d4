//! Requests to a live room: commands that are pushed into its inbox, the wait for space in it, and for their replies.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{sync::oneshot, time::timeout};

#[cfg(test)]
use super::room::RoomCore;
use super::{
    ConnectionHandle, ConnectionId, LiveRoom,
    command::{Reply, RoomChange, RoomCommand, RoomRead, StoreOperation},
    delivery::ReplaySource,
    room::busy,
    room_spec::RoomInstanceInfo,
};
use crate::{Refusal, store::StoreError, wire::Id};

/// Bytes of payloads in the inbox beyond which senders wait.
const MAX_INBOX_BYTES: usize = 4 << 20;
/// Commands in the inbox beyond which senders wait.
const MAX_INBOX_COMMANDS: usize = 16 << 10;
/// The time after which a sender that waits for inbox space is refused.
const INBOX_TIMEOUT: Duration = Duration::from_secs(5);

impl LiveRoom {
    /// Pushes a command, and spawns a driver if none runs. Gives the command back if the instance is closed.
    #[expect(clippy::result_large_err, reason = "it is the caller's own command")]
    pub(crate) fn push(self: &Arc<Self>, command: impl Into<RoomCommand>) -> Result<(), RoomCommand> {
        let command = command.into();
        let mut inbox = self.inbox.lock();
        if inbox.closed {
            return Err(command);
        }
        inbox.bytes += command.size();
        inbox.commands.push(command);
        if !inbox.running {
            inbox.running = true;
            (self.spawn_driver)(self);
        }
        Ok(())
    }

    /// Waits until the inbox has space for an event, which the caller then pushes; returns whether it had to wait.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if there is no space within 5 s.
    pub(crate) async fn wait_for_inbox(&self) -> Result<bool, Refusal> {
        let full = self.is_inbox_full();
        if full {
            // Boxed, since it is rare and its size would count for every connection.
            let room = Box::pin(timeout(INBOX_TIMEOUT, self.wait_for_space()));
            room.await.map_err(|_| busy(&self.id))?;
        }
        Ok(full)
    }

    /// Runs a command that replies, and returns its reply; `None` if the instance is closed.
    pub(crate) async fn request<T, C: Into<RoomCommand>>(
        self: &Arc<Self>,
        command: impl FnOnce(Reply<T>) -> C,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.push(command(reply)).ok()?;
        answer.await.ok()
    }

    /// Runs a command as [`request`](Self::request) does.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if the instance is closed, or the refusal with which opening it failed.
    pub(super) async fn ask<T, C: Into<RoomCommand>>(
        self: &Arc<Self>,
        command: impl FnOnce(Reply<T>) -> C,
    ) -> Result<T, Refusal> {
        self.request(command).await.ok_or_else(|| self.closed_refusal())
    }

    /// Returns the refusal of a request to a closed instance.
    pub(super) fn closed_refusal(&self) -> Refusal {
        self.failure().unwrap_or_else(|| busy(&self.id))
    }

    /// Runs a command without waiting for it. A closed instance has no members to run it for.
    pub(crate) fn enqueue(self: &Arc<Self>, command: impl Into<RoomCommand>) {
        let _ = self.push(command);
    }

    /// Waits until all commands that are queued now have run; returns `None` if the instance is closed.
    pub(crate) async fn barrier(self: &Arc<Self>) -> Option<()> {
        self.request(RoomChange::Barrier).await
    }

    /// Returns the other nodes at which a user is in the room; none if the instance is closed.
    pub(crate) async fn nodes_of(self: &Arc<Self>, user: &Arc<str>) -> BTreeSet<Id> {
        self.request(|reply| RoomRead::NodesOfUser(Arc::clone(user), reply)).await.unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&mut RoomCore) -> T + Send + 'static,
    ) -> Option<T> {
        self.request(|reply| RoomCommand::run(f, Some(reply))).await
    }

    #[cfg(test)]
    pub(super) fn is_idle(&self) -> bool {
        !self.inbox.lock().running
    }

    /// The number of queued commands.
    #[cfg(test)]
    pub(super) fn queued_commands(&self) -> usize {
        self.inbox.lock().commands.len()
    }

    /// Waits until the inbox has space.
    async fn wait_for_space(&self) {
        while self.is_inbox_full() {
            let space = self.inbox_space.notified();
            if self.is_inbox_full() {
                space.await;
            }
        }
    }

    pub(super) fn is_inbox_full(&self) -> bool {
        let inbox = self.inbox.lock();
        !inbox.closed && (inbox.bytes > MAX_INBOX_BYTES || inbox.commands.len() > MAX_INBOX_COMMANDS)
    }

    /// Removes a closed connection from the room, or ends its migration.
    pub(crate) fn release(self: &Arc<Self>, handle: &Arc<ConnectionHandle>) {
        if self.push(RoomChange::Release(Arc::clone(handle))).is_err() {
            self.end_migration(handle);
        }
    }

    /// Deletes the room, in the store first, and removes all its connections. Returns them, or `None` if the room was
    /// deleted already.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` if the store can't do it now; the room stays.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        reason: &'static str,
    ) -> Result<Option<Vec<Arc<ConnectionHandle>>>, Refusal> {
        self.ask(|reply| StoreOperation::Delete(reason, reply)).await?
    }

    /// Adds the room to the catalog; returns whether it is new.
    pub(in crate::live) async fn create(
        self: &Arc<Self>,
        info: RoomInstanceInfo,
    ) -> Result<Result<bool, StoreError>, Refusal> {
        self.ask(|reply| StoreOperation::Create(info, reply)).await
    }
}

impl ReplaySource for LiveRoom {
    fn request_page(self: Arc<Self>, connection: ConnectionId) {
        self.enqueue(RoomChange::ReplayPage(connection));
    }
}
