//! The write operations of the disk store, on rows of the [engine](super::engine): appends, trims, removals, records.

use bytes::Bytes;
use dialogue_core::store::{Append, StoreError, Trim};
use fjall::OwnedWriteBatch;

use super::{
    Cancellation, Durability,
    engine::{DiskEngine, WriterState, read_failed},
    rows::{self, LogMeta, RemovedLog},
};

/// The number of rows that one write deletes, so that appends can run between two of them.
const TRIM_CHUNK: u64 = 1_000;
const TRIM_CHUNK_ROWS: usize = TRIM_CHUNK as usize;
/// The maximum number of chunks of removed logs that one call deletes.
const MAX_SWEEP_CHUNKS: usize = 64;

impl DiskEngine {
    /// Returns whether the metadata of all these logs is cached, so that an append reads nothing.
    pub(super) fn has_cached(&self, appends: &[Append]) -> bool {
        let log_cache = self.log_cache();
        appends.iter().all(|append| log_cache.find(&append.room_id).is_some())
    }

    pub(super) fn append(
        &self,
        writer: &mut WriterState,
        appends: &[Append],
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mut batch = self.batch(appends.iter().map(|append| append.events.len()).sum());
        let (mut grown, mut conflicts) = (Vec::with_capacity(appends.len()), Vec::new());
        for (index, append) in appends.iter().enumerate() {
            match self.add(writer, &mut batch, append)? {
                Some(log) => grown.push((append, log)),
                None => conflicts.push(index),
            }
        }
        if !batch.is_empty() {
            self.commit(writer, batch, durability)?;
        }
        let mut log_cache = self.log_cache();
        for (append, log) in grown {
            log_cache.insert(&append.room_id, log);
        }
        if conflicts.is_empty() {
            return Ok(());
        }
        Err(StoreError::conflict("can't append: the log has another epoch or other events")
            .for_rooms(conflicts))
    }

    /// Adds events to the batch and returns the log's new metadata, or `None` if they don't continue the log.
    fn add(
        &self,
        writer: &mut WriterState,
        batch: &mut OwnedWriteBatch,
        append: &Append,
    ) -> Result<Option<LogMeta>, StoreError> {
        let Some(first) = append.events.first() else { return Ok(None) };
        let mut log = match self.log(&append.room_id)? {
            Some(log) if log.epoch == append.epoch && first.seq == log.last + 1 => log,
            None if first.seq == 1 => {
                let id = writer.new_log_id(&self.rows, batch);
                let epoch = append.epoch.clone();
                let log = LogMeta { id, epoch, first: 1, first_key: 1, last: 0, last_keyed: 0 };
                batch.insert(&self.rows, rows::log(&append.room_id), log.encode());
                log
            }
            _ => return Ok(None),
        };
        for event in &append.events {
            batch.insert(&self.rows, rows::event(log.id, event.seq), log.row(event));
            log.push(event);
        }
        Ok(Some(log))
    }

    /// Deletes a log's oldest events and keys in chunks, and stops between two of them if the call is cancelled.
    pub(super) fn trim(
        &self,
        room_id: &str,
        trim: &Trim,
        cancellation: &Cancellation,
    ) -> Result<(), StoreError> {
        let Trim { epoch, first, keys_since, .. } = trim;
        loop {
            let mut writer = self.writer();
            cancellation.check()?;
            let Some(mut log) = self.log(room_id)?.filter(|log| log.epoch == *epoch) else { break };
            let to = (*first).clamp(log.first, log.last);
            let next = to.min(log.first.saturating_add(TRIM_CHUNK));
            let expired = self.expired_keys(&log, *keys_since)?;
            let keys = self.first_kept_key(&log, &expired, *keys_since)?;
            if (next, keys) == (log.first, log.first_key) {
                break;
            }
            log.first_key = keys;
            let mut batch = self.batch(expired.len());
            expired.into_iter().for_each(|seq| batch.remove(&self.rows, rows::key(log.id, seq)));
            if next > log.first {
                for key in self.keys_down(&log, next - 1, 0, usize::MAX)? {
                    batch.insert(&self.rows, rows::key(log.id, key.seq), rows::write_key(&key));
                }
                (log.first..next).for_each(|seq| batch.remove(&self.rows, rows::event(log.id, seq)));
                log.first = next;
            }
            batch.insert(&self.rows, rows::log(room_id), log.encode());
            // Needs no sync: the server trims again what a crash restores.
            self.commit(&mut writer, batch, Durability::Memory)?;
            self.log_cache().insert(&room_id.into(), log);
        }
        self.sweep(cancellation)
    }

    /// Returns the numbers of at most a chunk of trimmed events whose keys are older than `since`.
    fn expired_keys(&self, log: &LogMeta, since: u64) -> Result<Vec<u64>, StoreError> {
        let mut expired = Vec::new();
        for row in self.trimmed_keys(log).take(TRIM_CHUNK_ROWS) {
            let (row_key, row) = row.into_inner().map_err(read_failed)?;
            if rows::read_key(&row_key, &row)?.timestamp >= since {
                break;
            }
            expired.push(rows::seq(&row_key)?);
        }
        Ok(expired)
    }

    /// Returns the number of the first event whose key is kept, once the expired keys are deleted.
    fn first_kept_key(&self, log: &LogMeta, expired: &[u64], since: u64) -> Result<u64, StoreError> {
        let trimmed = expired.last().map_or(log.first_key, |newest| newest + 1);
        if expired.len() == TRIM_CHUNK_ROWS {
            // There may be more expired keys of trimmed events.
            return Ok(trimmed);
        }
        let held = log.first.max(log.first_key);
        let since = self.first_since(log, since, held, log.last + 1)?;
        Ok(if since > held { since } else { trimmed })
    }

    /// Removes a log's metadata; its events are deleted in chunks by this and later calls.
    pub(super) fn remove(
        &self,
        room_id: &str,
        durability: Durability,
        cancellation: &Cancellation,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer();
        cancellation.check()?;
        let Some(log) = self.log(room_id)? else { return Ok(()) };
        let log = RemovedLog { id: log.id, first: log.first, last: log.last };
        let mut batch = self.batch(2);
        batch.remove(&self.rows, rows::log(room_id));
        batch.insert(&self.rows, rows::removed(log.id), log.encode());
        self.commit(&mut writer, batch, durability)?;
        self.log_cache().remove(room_id);
        writer.removed.push(log);
        drop(writer);
        self.sweep(cancellation)
    }

    /// Deletes events and keys of removed logs, at most [`MAX_SWEEP_CHUNKS`] chunks; later calls delete the rest.
    fn sweep(&self, cancellation: &Cancellation) -> Result<(), StoreError> {
        for _ in 0..MAX_SWEEP_CHUNKS {
            let mut writer = self.writer();
            cancellation.check()?;
            let Some(log) = writer.removed.last().copied() else { break };
            let mut batch = self.batch(0);
            let next = log.last.saturating_add(1).min(log.first.saturating_add(TRIM_CHUNK));
            (log.first..next).for_each(|seq| batch.remove(&self.rows, rows::event(log.id, seq)));
            let done = next > log.last;
            if done {
                for row in self.rows.range(rows::key(log.id, 0)..=rows::key(log.id, u64::MAX)) {
                    batch.remove(&self.rows, row.key().map_err(read_failed)?);
                }
                batch.remove(&self.rows, rows::removed(log.id));
            }
            self.commit(&mut writer, batch, Durability::Memory)?;
            writer.removed.pop();
            if !done {
                writer.removed.push(RemovedLog { first: next, ..log });
            }
        }
        Ok(())
    }

    pub(super) fn put(
        &self,
        records: Vec<(String, Option<Bytes>)>,
        durability: Durability,
        cancellation: &Cancellation,
    ) -> Result<(), StoreError> {
        let mut batch = self.batch(records.len());
        for (key, value) in records {
            match value {
                Some(value) => batch.insert(&self.rows, rows::record(&key), &*value),
                None => batch.remove(&self.rows, rows::record(&key)),
            }
        }
        let mut writer = self.writer();
        cancellation.check()?;
        self.commit(&mut writer, batch, durability)
    }
}
