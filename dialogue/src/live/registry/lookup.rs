//! Finding and opening an instance, and commands to a room that is opened for them.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::oneshot;

use super::Registry;
use crate::{
    Code, Refusal,
    live::{
        LiveRoom, Opener, RoomSpec,
        command::{Reply, RoomCommand},
        room::{PublishRequest, busy, unavailable},
        room_spec::RoomInstanceInfo,
    },
};

impl Registry {
    /// Returns the declaration of the room with id `room_id`, and the text of its key.
    pub(crate) fn declared<'a>(
        &self,
        room_id: &'a str,
    ) -> Result<(&Arc<RoomSpec>, Option<&'a str>), Refusal> {
        let (name, key) = match room_id.split_once(':') {
            Some((name, key)) => (name, Some(key)),
            None => (room_id, None),
        };
        let room = self.names.get(name).and_then(|index| index.entry_of(&self.rooms));
        room.filter(|room| room.keyed == key.is_some())
            .map(|room| (room, key))
            .ok_or_else(|| not_found(room_id))
    }

    /// Returns the instance with id `room_id` if it is in memory and not closed.
    pub(crate) fn find(&self, room_id: &str) -> Option<Arc<LiveRoom>> {
        self.instances.read().get(room_id).filter(|instance| !instance.is_closed()).cloned()
    }

    /// Returns the instance with id `room_id` if the room exists, opening it from the store if need be.
    pub(crate) async fn look_up(self: &Arc<Self>, room_id: &str) -> Result<Option<Arc<LiveRoom>>, Refusal> {
        let live = self.find(room_id);
        let (Some(archive), Ok((room, _))) = (self.archive(), self.declared(room_id)) else {
            return Ok(live);
        };
        let instance = match live {
            Some(instance) => instance,
            None if archive.known(room_id).await.map_err(|_| unavailable(room_id))?.is_none()
                && !self.has_remote_members(room_id).await? =>
            {
                return Ok(None);
            }
            None => self.find_or_open(room, room_id, None)?,
        };
        // The room's info is loaded once the instance is open.
        match instance.barrier().await {
            Some(()) => Ok(Some(instance)),
            None => instance.failure().map_or(Ok(None), Err),
        }
    }

    /// Returns the instance with id `room_id`, opening it if need be: for a client, or for the application. The caller
    /// has checked the key.
    pub(crate) fn find_or_open(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        opener: Option<&Opener>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        match self.find(room_id) {
            Some(instance) => {
                if opener.is_none() && instance.opener.is_some() {
                    instance.used_by_application.store(true, Ordering::Relaxed);
                }
                Ok(instance)
            }
            None => {
                self.insert(room, room_id, RoomInstanceInfo::default(), opener).map(|(instance, _)| instance)
            }
        }
    }

    /// Returns whether a keyed room was deleted recently, and nobody has made it again. Members that other nodes still
    /// count in it are those of the deleted room: whoever joins the next withdraws the deletion.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read.
    pub(in crate::live) async fn is_deleted(&self, room_id: &str) -> Result<bool, Refusal> {
        self.context.deletions.has(room_id).await.map_err(|_| unavailable(room_id))
    }

    /// Returns whether a room has members at other nodes, other than those of a room that has just been deleted.
    pub(super) async fn has_remote_members(&self, room_id: &str) -> Result<bool, Refusal> {
        Ok(self.remote_size(room_id).await? > 0 && !self.is_deleted(room_id).await?)
    }

    /// Returns the number of connections in a room that isn't in memory here.
    pub(in crate::live) async fn remote_size(&self, room_id: &str) -> Result<usize, Refusal> {
        match self.cluster() {
            Some(cluster) => cluster.size(room_id).await.map_err(|_| unavailable(room_id)),
            None => Ok(0),
        }
    }

    /// Pushes a command to a room, opening it if need be; returns the instance.
    pub(crate) fn push(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        command: impl Into<RoomCommand>,
    ) -> Result<Arc<LiveRoom>, Refusal> {
        let mut command = command.into();
        loop {
            let instance = self.find_or_open(room, room_id, None)?;
            match instance.push(command) {
                Ok(()) => return Ok(instance),
                // It was closed just now, and another instance takes its place.
                Err(back) => command = back,
            }
        }
    }

    /// Publishes an event in a room, opening it if need be.
    pub(crate) async fn publish(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        mut publish: PublishRequest,
        opener: Option<&Opener>,
    ) -> Result<(), Refusal> {
        loop {
            let instance = self.find_or_open(room, room_id, opener)?;
            instance.wait_for_inbox().await?;
            publish = match instance.push(RoomCommand::Publish(publish)) {
                Ok(()) => return Ok(()),
                Err(RoomCommand::Publish(back)) => back,
                Err(_) => return Err(busy(room_id)),
            };
        }
    }

    /// Runs a command of a room that replies, opening the room if need be, and returns its reply.
    pub(crate) async fn request<T, C: Into<RoomCommand>>(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        command: impl FnOnce(Reply<T>) -> C,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let instance = self.push(room, room_id, command(reply))?;
        answer.await.map_err(|_| instance.failure().unwrap_or_else(internal))
    }

    #[cfg(test)]
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        f: impl FnOnce(&mut crate::live::RoomCore) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        self.request(room, room_id, |reply| RoomCommand::run(f, Some(reply))).await
    }
}

/// Returns the refusal of a request about a room that doesn't exist, or that the caller may not know of.
pub(crate) fn not_found(room_id: &str) -> Refusal {
    // The id is the client's text; a part of it is enough to find a mistake.
    let shown: String = room_id.chars().take(64).collect();
    Refusal::new(Code::RoomNotFound, format!("there is no room `{shown}`"))
}

/// Returns the refusal of a request that failed for no known reason.
pub(super) fn internal() -> Refusal {
    Refusal::new(Code::Internal, "internal error")
}
