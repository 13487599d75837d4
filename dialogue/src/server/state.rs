//! The application-defined state of a room instance, which the store keeps.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use super::{RoomHandle, handle::RoomTarget};
use crate::{
    Code, Refusal,
    catch_panic::catch_panic_sync,
    live::{RoomRead, SavedState},
    room::ServerRoom,
};

/// A room whose instances have an application-defined state: `#[room(state = Board)]`. `rooms!` implements it.
#[diagnostic::on_unimplemented(
    message = "room `{Self}` has no state",
    label = "declared without one",
    note = "declare its type: `#[room(state = Board)]`"
)]
pub trait Stateful: ServerRoom {
    /// The type of the state. A new instance has the default. A newer version of the type must be able to decode the
    /// states that older versions have saved (`#[serde(default)]` on added fields).
    type State: Serialize + DeserializeOwned + Default + Send + 'static;
}

/// A snapshot of a room's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot<T> {
    /// The number of times that the state was saved: 0 for the default.
    pub version: u64,
    /// The state.
    pub state: T,
}

impl<R: Stateful> RoomHandle<R> {
    /// Returns the state of this room instance.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read; `INTERNAL` if the saved state doesn't decode as `R::State`, which
    /// is logged.
    pub async fn state(&self) -> Result<Snapshot<R::State>, Refusal> {
        let RoomTarget { room, room_id } = self.target()?;
        let saved = self.engine().registry.request(room, room_id, RoomRead::SavedState).await?;
        let state = decode(&saved, room_id)?;
        Ok(Snapshot { version: saved.version, state })
    }

    /// Changes the state of this room instance and saves it, and returns the result of `change`. Changes of one
    /// instance run one at a time, and between its events. The state is at most 64 KiB of JSON.
    ///
    /// ```
    /// #[dialogue::event]
    /// pub struct Moved { pub task: u64, pub column: String }
    ///
    /// /// The column of each task.
    /// #[derive(Default, serde::Serialize, serde::Deserialize)]
    /// pub struct Board { pub columns: std::collections::BTreeMap<u64, String> }
    ///
    /// dialogue::rooms! {
    ///     pub struct Acme;
    ///     #[room(state = Board)]
    ///     project(u64): [Moved] via [websocket];
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let server = Acme::server().build().await?;
    /// let project = server.project(7);
    /// project.update(|board| board.columns.insert(1, "done".to_owned())).await?;
    /// let board = project.state().await?;
    /// assert_eq!((board.version, board.state.columns[&1].as_str()), (1, "done"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't save it; `TOO_LARGE` for a state of over 64 KiB; `INTERNAL` if the saved
    /// state doesn't decode as `R::State`, the new one can't be encoded, or `change` panics, which is logged. The state
    /// is unchanged then.
    pub async fn update<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut R::State) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let RoomTarget { room, room_id } = self.target()?;
        let id = std::sync::Arc::clone(room_id);
        let change = move |saved: &SavedState| {
            let changed = catch_panic_sync("update", || {
                let mut state: R::State = decode(saved, &id)?;
                let changed = change(&mut state);
                Ok((encode(&state, &id)?, changed))
            });
            changed.unwrap_or_else(|| Err(Refusal::new(Code::Internal, "internal error")))
        };
        let registry = &self.engine().registry;
        // Outside of the room's task, which handles events meanwhile.
        let lock = registry.lock_state(room_id).await?;
        registry.save_state(room, room_id, lock, change).await
    }
}

/// The maximum bytes of an encoded state: together with its version (8 bytes) it is one record of the store.
const MAX_STATE_BYTES: usize = (64 << 10) - 8;

fn decode<T: DeserializeOwned + Default>(saved: &SavedState, room_id: &str) -> Result<T, Refusal> {
    if saved.version == 0 {
        return Ok(T::default());
    }
    serde_json::from_slice(&saved.json)
        .map_err(|error| internal_error(room_id, "can't be decoded as its type", &error))
}

fn encode<T: Serialize>(state: &T, room_id: &str) -> Result<Vec<u8>, Refusal> {
    let json = serde_json::to_vec(state)
        .map_err(|error| internal_error(room_id, "can't be encoded as JSON", &error))?;
    if json.len() > MAX_STATE_BYTES {
        let message = format!("the state of room `{room_id}` is over {MAX_STATE_BYTES} bytes");
        return Err(Refusal::new(Code::TooLarge, message));
    }
    Ok(json)
}

fn internal_error(room_id: &str, what: &str, error: &dyn fmt::Display) -> Refusal {
    tracing::error!(room_id, %error, "the state of a room {what}");
    Refusal::new(Code::Internal, "internal error")
}
