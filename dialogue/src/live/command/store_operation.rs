//! The commands that need the store: changes that it makes before memory does (the room's creation, its saved state and
//! its deletion), events of other nodes, and comparisons of the log with it.

use std::{fmt, sync::Arc};

use tokio::sync::oneshot;

use super::Reply;
use crate::{
    Refusal,
    cluster::{StateLock, backplane::FeedEvents},
    live::{ConnectionHandle, RoomInstanceInfo, SavedState},
    store::StoreError,
};

/// A command that needs the store.
#[derive(Debug)]
pub(crate) enum StoreOperation {
    /// Add the room to the catalog, with this info; the reply is whether it is new.
    Create(RoomInstanceInfo, Reply<Result<bool, StoreError>>),
    /// Save a changed state.
    SaveState(StateChange, Reply<Result<(), Refusal>>),
    /// Delete the room, and remove its connections for this reason. The reply has these connections, or nothing if the
    /// room was deleted already.
    Delete(&'static str, Reply<Result<Option<Vec<Arc<ConnectionHandle>>>, Refusal>>),
    /// Add events that other nodes published.
    Receive(Box<FeedEvents>),
    /// Another node reports the room's deletion, which only closes a room that the catalog never had: a catch-up finds
    /// out about others.
    DeletedElsewhere,
    /// Compare the room with the store, since messages of other nodes may have been lost.
    CatchUp,
    /// Read the end of the log from the store, and send a signal when that is done.
    Probe(Reply<()>),
}

/// A change of a room's saved state.
pub(crate) struct StateChange {
    /// Held if other nodes may change the state too, in which case it is read again before the change.
    pub(in crate::live) lock: Option<StateLock>,
    pub(in crate::live) change: Box<ChangeState>,
}

/// Returns the new state as JSON.
type ChangeState = dyn FnOnce(&SavedState) -> Result<Vec<u8>, Refusal> + Send;

impl StateChange {
    /// Returns the change, and a receiver of its result.
    pub(in crate::live) fn new<T: Send + 'static>(
        lock: Option<StateLock>,
        change: impl FnOnce(&SavedState) -> Result<(Vec<u8>, T), Refusal> + Send + 'static,
    ) -> (Self, oneshot::Receiver<T>) {
        let (sender, result) = oneshot::channel();
        let change = move |saved: &SavedState| {
            let (json, changed) = change(saved)?;
            // The caller may have dropped its future.
            let _ = sender.send(changed);
            Ok(json)
        };
        (StateChange { lock, change: Box::new(change) }, result)
    }
}

impl fmt::Debug for StateChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateChange").finish_non_exhaustive()
    }
}
