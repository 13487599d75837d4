//! Changing the saved state of a room.

use std::sync::Arc;

use super::{Registry, lookup::internal};
use crate::{
    Refusal,
    cluster::{LockRecords, StateLock},
    live::{
        RoomSpec, SavedState,
        clock::unix_ms,
        command::{StateChange, StoreOperation},
        room::unavailable,
    },
};

impl Registry {
    /// Changes the saved state of a room, which is opened if need be, and returns the result of the change.
    ///
    /// # Errors
    ///
    /// The refusal of `change`, or `UNAVAILABLE` if the store can't be written; the state is then unchanged.
    pub(crate) async fn save_state<T: Send + 'static>(
        self: &Arc<Self>,
        room: &Arc<RoomSpec>,
        room_id: &str,
        lock: Option<StateLock>,
        change: impl FnOnce(&SavedState) -> Result<(Vec<u8>, T), Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let (change, result) = StateChange::new(lock, change);
        self.request(room, room_id, |reply| StoreOperation::SaveState(change, reply)).await??;
        result.await.map_err(|_| internal())
    }

    /// Locks a room's saved state against changes by other nodes.
    pub(crate) async fn lock_state(&self, room_id: &Arc<str>) -> Result<Option<StateLock>, Refusal> {
        let Some(archive) = self.archive() else { return Ok(None) };
        let Some(cluster) = &archive.cluster else { return Ok(None) };
        let records = Arc::clone(&archive.journal) as Arc<dyn LockRecords>;
        let lock = cluster.lock_state(records, room_id, unix_ms).await.map_err(|error| {
            tracing::debug!(%room_id, %error, "the state of a room can't be locked");
            unavailable(room_id)
        });
        lock.map(Some)
    }
}
