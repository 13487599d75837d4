//! Loading a room from the store when its instance opens, and the records beside its log: saved state, and overrides of
//! epochs.

use std::sync::Arc;

use super::Archive;
use crate::{
    live::{
        RoomSpec,
        room::{SavedState, StoredLog, StoredRoom},
    },
    log::{KEY_RETENTION_MS, TAIL_BYTES, TAIL_EVENTS, epoch},
    store::{Order, Page, Query, StoreError},
};

/// The maximum number of reads of a room whose log is replaced meanwhile, as by a deletion or a failover.
const MAX_READS: u32 = 3;

impl Archive {
    /// Loads a room. The cost doesn't depend on the length of its log.
    pub(crate) async fn find(
        &self,
        room: &RoomSpec,
        room_id: &str,
        now: u64,
    ) -> Result<StoredRoom, StoreError> {
        for _ in 0..MAX_READS {
            if let Some(found) = self.read_room(room, room_id, now).await? {
                return Ok(found);
            }
        }
        Err(StoreError::new("the log was replaced while it was read"))
    }

    /// Reads a room. Returns `None` if its log was replaced meanwhile: the parts may be of two logs.
    async fn read_room(
        &self,
        room: &RoomSpec,
        room_id: &str,
        now: u64,
    ) -> Result<Option<StoredRoom>, StoreError> {
        let state = async { if room.options.state { self.state(room_id).await } else { Ok(None) } };
        let known = async { if room.keyed { self.known(room_id).await } else { Ok(None) } };
        let members = async {
            match &self.cluster {
                Some(cluster) => cluster.members(room_id).await,
                None => Ok(Vec::new()),
            }
        };
        let (info, head, state, members) =
            tokio::try_join!(known, self.journal.head(room_id), state, members)?;
        let found = StoredRoom { info, state, members, ..StoredRoom::default() };
        let Some(head) = head else { return Ok(Some(found)) };
        let mut newest = Query::new(Order::NewestFirst, TAIL_EVENTS);
        // Later events that are appended during the read come through the feed.
        newest.before = Some(head.last.seq + 1);
        newest.max_bytes = usize::try_from(TAIL_BYTES).unwrap_or(usize::MAX);
        let keys = self.journal.keys(room_id, now.saturating_sub(KEY_RETENTION_MS));
        let epoch_override = self.epoch_override(room_id, &head.epoch);
        let (page, keys, epoch_override) =
            tokio::try_join!(self.journal.read(room_id, newest), keys, epoch_override)?;
        if page.events.first().is_none_or(|newest| newest.event_id != head.last.event_id) {
            return Ok(None);
        }
        let mut counted = Vec::new();
        for (event, max) in room.counted() {
            counted.push((event, self.newest_of(room_id, room.event_name(event), max).await?));
        }
        let log = StoredLog {
            epoch: epoch_override.unwrap_or_else(|| Arc::clone(&head.epoch)),
            store_epoch: head.epoch,
            first: head.first,
            last: head.last,
            tail: page.events,
            keys,
            counted,
        };
        Ok(Some(StoredRoom { log: Some(log), ..found }))
    }

    /// Returns the numbers of a room's newest events of one name, newest first.
    async fn newest_of(&self, room_id: &str, name: &str, max: u64) -> Result<Vec<u64>, StoreError> {
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        let mut query = Query::new(Order::NewestFirst, max);
        query.events = Some(vec![name.into()]);
        let mut found = Vec::new();
        loop {
            let Page { events, next, .. } = self.journal.read(room_id, query.clone()).await?;
            found.extend(events.iter().map(|event| event.seq));
            if found.len() >= max || next.is_none() {
                return Ok(found);
            }
            (query.before, query.limit) = (next, max - found.len());
        }
    }

    /// Returns the epoch that overrides that of the log, if a node had to override it. `store_epoch` is the log's epoch in
    /// the store.
    pub(in crate::live) async fn epoch_override(
        &self,
        room_id: &str,
        store_epoch: &str,
    ) -> Result<Option<Arc<str>>, StoreError> {
        let record = self.journal.get(&epoch_override_key(room_id)).await?;
        Ok(record.as_deref().and_then(|record| override_in(record, store_epoch)).map(Arc::from))
    }

    /// Removes the override of a log that no longer exists.
    pub(crate) async fn remove_epoch_override(&self, room_id: &str) -> Result<(), StoreError> {
        let key = epoch_override_key(room_id);
        match self.journal.get(&key).await? {
            Some(_) => self.journal.put(vec![(key, None)]).await,
            None => Ok(()),
        }
    }

    /// Overrides the epoch of a log unless another node has done so: the log has lost events whose numbers will be
    /// given again. An override that is older than `known_as` has come back with what the store has lost.
    pub(crate) async fn renew_epoch_override(
        &self,
        room_id: &str,
        store_epoch: &str,
        known_as: &str,
    ) -> Result<(), StoreError> {
        let key = epoch_override_key(room_id);
        let now = self.journal.get(&key).await?;
        let name = now.as_deref().and_then(|record| override_in(record, store_epoch));
        if name.is_some_and(|name| epoch::is_after(name, known_as)) {
            return Ok(());
        }
        let record = format!("{} {store_epoch}", epoch::fresh());
        self.journal.swap(&key, now, Some(record.into())).await.map(drop)
    }

    /// Returns the saved state of a room.
    pub(crate) async fn state(&self, room_id: &str) -> Result<Option<SavedState>, StoreError> {
        let Some(mut value) = self.journal.get(&state_key(room_id)).await? else { return Ok(None) };
        let version = bytes::Buf::try_get_u64(&mut value)
            .map_err(|_| StoreError::new("the record of a room's state is damaged"))?;
        Ok(Some(SavedState { version, json: value }))
    }

    /// Saves the state of a room in place of `before`.
    pub(crate) async fn save_state(
        &self,
        room_id: &str,
        before: &SavedState,
        state: &SavedState,
    ) -> Result<(), StoreError> {
        let key = state_key(room_id);
        let record =
            |saved: &SavedState| bytes::Bytes::from([&saved.version.to_be_bytes()[..], &saved.json].concat());
        if self.cluster.is_none() {
            return self.journal.put(vec![(key, Some(record(state))), self.used_now(room_id)]).await;
        }
        let before = (before.version > 0).then(|| record(before));
        match self.journal.swap(&key, before, Some(record(state))).await? {
            true => {
                self.note_used(&Arc::from(room_id));
                Ok(())
            }
            false => Err(StoreError::new("another node saved the room's state meanwhile")),
        }
    }
}

/// Returns the key of the record with a room's saved state: 8 bytes of its version, then JSON.
pub(super) fn state_key(room_id: &str) -> String {
    format!("state/{room_id}")
}

/// Returns the override in a record, if it is that of this log. The record of a deleted log comes back with a failover
/// to a replica that lacks its removal; the next log has another epoch.
fn override_in<'a>(record: &'a [u8], store_epoch: &str) -> Option<&'a str> {
    let record = std::str::from_utf8(record).ok()?;
    match record.split_once(' ') {
        Some((name, of)) => (of == store_epoch).then_some(name),
        // As earlier versions wrote it.
        None => Some(record),
    }
}

/// Returns the key of the record that overrides a log's epoch: the new name, and the log's epoch in the store.
pub(super) fn epoch_override_key(room_id: &str) -> String {
    format!("generation/{room_id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_override_is_that_of_one_log() {
        assert_eq!(override_in(b"new log", "log"), Some("new"));
        assert_eq!(override_in(b"new log", "next"), None);
        assert_eq!(override_in(b"new", "log"), Some("new"));
    }
}
