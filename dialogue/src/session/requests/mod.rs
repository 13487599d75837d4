//! The requests of clients, with a file for each: what its fields mean, their bounds, and how it is carried out.
//!
//! A request is declared in `wire::request`, checked and carried out by its implementation of [`Apply`] here, and
//! listed in [`apply`].

mod auth;
mod bounds;
mod create_room;
mod delete_room;
mod fields;
mod history;
mod invalid;
mod join;
mod leave;
mod list_rooms;
mod malformed;
mod members;
mod push;
mod subscribe;
#[cfg(test)]
mod tests;
mod trigger;

use std::{future::Future, net::IpAddr, sync::Arc};

use serde_json::value::RawValue;

pub(crate) use bounds::{PageLimits, check_depth, check_event_count};
pub(crate) use create_room::create_room;
pub(crate) use delete_room::delete_room;
pub(crate) use fields::Fields;
pub(crate) use history::HISTORY_LIMITS;
pub(crate) use invalid::invalid;
pub(crate) use list_rooms::ROOM_LIST_LIMITS;
pub(crate) use push::{PushChange, change_push};
pub(super) use trigger::trigger;

use super::Session;
use crate::{
    Refusal,
    hooks::UntypedCaller,
    live::RoomSpec,
    wire::{EventSet, request::*},
};

/// A request that a session carries out.
pub(super) trait Apply {
    /// Checks the request, carries it out, and sends its reply; `id` is the request's, as JSON.
    ///
    /// # Errors
    ///
    /// The refusal to be sent as the reply.
    fn apply(
        self,
        session: &mut Session,
        id: Option<&RawValue>,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// Carries out a request of any type but `trigger`, which is on the hot path and has a function of its own.
pub(super) async fn apply(
    session: &mut Session,
    kind: &str,
    fields: &Fields<'_>,
    id: Option<&RawValue>,
) -> Result<(), Refusal> {
    macro_rules! apply_one_of {
        ($($(#[$cfg:meta])* $request:ident),* $(,)?) => {
            match kind {
                $($(#[$cfg])* $request::TYPE => match fields.read::<$request<'_>>() {
                    Ok(request) => request.apply(session, id).await,
                    Err(invalid) => Err(malformed::refusal(session, kind, fields, invalid)),
                },)*
                other => {
                    let shown: String = other.chars().take(64).collect();
                    Err(invalid(format!("`type`: there is no frame `{shown}`")))
                }
            }
        };
    }

    apply_one_of!(
        Auth,
        CreateRoom,
        DeleteRoom,
        GetHistory,
        GetMembers,
        Join,
        Leave,
        ListRooms,
        RegisterPush,
        Subscribe,
        UnregisterPush,
        Unsubscribe,
    )
}

/// The caller of a `createRoom` or `deleteRoom` request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Requester<'a> {
    /// A user, with the address if it is known. Subject to the application's hooks and to the bounds on created rooms.
    User(&'a UntypedCaller, Option<IpAddr>),
    /// The application's backend with a server key, under this name.
    Backend(&'a Arc<str>),
}

/// Returns the events of a room that a request names, which may be `max` at most.
fn named_events(room: &RoomSpec, names: &[Text<'_>], max: usize) -> Result<EventSet, Refusal> {
    check_event_count(names.len(), max)?;
    room.events_named(names.iter().map(|name| &**name))
}
