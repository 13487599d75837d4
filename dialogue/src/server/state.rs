//! The state that instances of a room have of their own.

use std::fmt;

use serde::{Serialize, de::DeserializeOwned};

use super::{RoomHandle, handle::Place};
use crate::{Code, Refusal, ServerRoom, catch_panic::catch_panic_sync, hub::Saved};

/// A room whose instances have a state of their own: `#[room(state = Board)]`. `rooms!` implements it.
#[diagnostic::on_unimplemented(
    message = "room `{Self}` has no state",
    label = "declared without one",
    note = "declare its type: `#[room(state = Board)]`"
)]
pub trait Stateful: ServerRoom {
    /// What an instance holds. A new one holds the default; what was saved by an older version of the type has to be
    /// readable by the newer one (`#[serde(default)]` on what was added).
    type State: Serialize + DeserializeOwned + Default + Send + 'static;
}

/// A room's state, as it was at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot<T> {
    /// How often it was saved: 0 for the default.
    pub version: u64,
    /// The state.
    pub state: T,
}

impl<R: Stateful> RoomHandle<R> {
    /// This instance's state.
    ///
    /// # Errors
    ///
    /// `UNAVAILABLE` while the store can't be read; `INTERNAL` if what was saved is no `R::State`, of which the program's log
    /// tells.
    pub async fn state(&self) -> Result<Snapshot<R::State>, Refusal> {
        let Place { room, room_id } = self.place()?;
        let saved = self.engine().registry.run(room, room_id, |state| state.saved()).await?;
        let state = decode(&saved, room_id)?;
        Ok(Snapshot { version: saved.version, state })
    }

    /// Changes this instance's state, and saves it; yields what `change` does. Changes of one instance are made one after
    /// the other, and between its events. The state is JSON of at most 64 KiB.
    ///
    /// ```
    /// #[dialogue::event]
    /// pub struct Moved { pub task: u64, pub column: String }
    ///
    /// /// Where the tasks are.
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
    /// `UNAVAILABLE` while the store can't take it, and nothing is changed; `TOO_LARGE` for a state that is; `INTERNAL` if
    /// what was saved is no `R::State`, or the new one can't be encoded, of which the program's log tells.
    pub async fn update<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut R::State) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let Place { room, room_id } = self.place()?;
        let id = std::sync::Arc::clone(room_id);
        let change = move |saved: &Saved| {
            let changed = catch_panic_sync("update", || {
                let mut state: R::State = decode(saved, &id)?;
                let changed = change(&mut state);
                Ok((encode(&state, &id)?, changed))
            });
            changed.unwrap_or_else(|| Err(Refusal::new(Code::Internal, "internal error")))
        };
        let registry = &self.engine().registry;
        // Before it is this room's turn, which goes on meanwhile.
        let lock = registry.lock_state(room_id).await?;
        registry.wait(room, room_id, |state| Box::pin(state.save(lock, change))).await?
    }
}

/// Bytes of a state: with its version, it is a record of a store.
const LARGEST: usize = (64 << 10) - 8;

fn decode<T: DeserializeOwned + Default>(saved: &Saved, room_id: &str) -> Result<T, Refusal> {
    if saved.version == 0 {
        return Ok(T::default());
    }
    serde_json::from_slice(&saved.json).map_err(|error| broken(room_id, "can't be read as its type", &error))
}

fn encode<T: Serialize>(state: &T, room_id: &str) -> Result<Vec<u8>, Refusal> {
    let json =
        serde_json::to_vec(state).map_err(|error| broken(room_id, "can't be encoded as JSON", &error))?;
    if json.len() > LARGEST {
        let message = format!("the state of room `{room_id}` is over {LARGEST} bytes");
        return Err(Refusal::new(Code::TooLarge, message));
    }
    Ok(json)
}

fn broken(room_id: &str, what: &str, error: &dyn fmt::Display) -> Refusal {
    tracing::error!(room_id, %error, "the state of a room {what}");
    Refusal::new(Code::Internal, "internal error")
}
