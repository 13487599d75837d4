//! The rooms that a user may join, create and see: the role and the identity that a room requires, and the
//! application's hooks.

use std::sync::Arc;

use crate::{
    Refusal,
    hooks::{AnyHooks, RoomRef, UntypedCaller},
    live::RoomSpec,
};

/// Decides on a user's access to rooms.
#[derive(Clone)]
pub(crate) struct Access {
    hooks: Option<Arc<dyn AnyHooks>>,
}

impl Access {
    pub(crate) fn new(hooks: Option<Arc<dyn AnyHooks>>) -> Self {
        Access { hooks }
    }

    /// Checks the role and identity that a room requires, and then the application's `before_join` hook.
    pub(crate) async fn may_join(
        &self,
        caller: &UntypedCaller,
        room: &RoomSpec,
        room_id: &str,
    ) -> Result<(), Refusal> {
        room.admits(&caller.user)?;
        match &self.hooks {
            Some(hooks) => hooks.before_join(caller, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Checks whether a user may create an instance of a keyed room: as [`may_join`](Self::may_join), and then the
    /// application's `before_create` hook.
    pub(crate) async fn may_create(
        &self,
        caller: &UntypedCaller,
        room: &RoomSpec,
        room_id: &str,
    ) -> Result<(), Refusal> {
        self.may_join(caller, room, room_id).await?;
        match &self.hooks {
            Some(hooks) => hooks.before_create(caller, RoomRef { id: room_id, name: room.name }).await,
            None => Ok(()),
        }
    }

    /// Returns whether a room instance is shown to a user, in lists and announcements.
    pub(crate) fn is_visible(&self, caller: &UntypedCaller, room: RoomRef<'_>, spec: &RoomSpec) -> bool {
        spec.admits(&caller.user).is_ok() && self.hooks.as_ref().is_none_or(|hooks| hooks.sees(caller, room))
    }
}
