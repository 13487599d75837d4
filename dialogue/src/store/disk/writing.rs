//! Writing: events, records, and what goes.

use bytes::Bytes;
use fjall::OwnedWriteBatch;

use super::{
    super::{Append, StoreError, Trim},
    Asked, Durability,
    opened::{Opened, Writer, unread},
    rows::{self, Doomed, Log},
};

/// Rows that are dropped in one write, so that appends get in between.
const CHUNK: u64 = 1_000;
const MANY: usize = CHUNK as usize;
/// Chunks of removed logs that one call drops at most.
const SWEEP: usize = 64;

impl Opened {
    /// Whether an append to these rooms reads nothing.
    pub(super) fn knows(&self, appends: &[Append]) -> bool {
        let logs = self.logs();
        appends.iter().all(|append| logs.find(&append.room_id).is_some())
    }

    pub(super) fn append(
        &self,
        writer: &mut Writer,
        appends: &[Append],
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mut batch = self.batch(appends.iter().map(|append| append.events.len()).sum());
        let (mut grown, mut refused) = (Vec::with_capacity(appends.len()), Vec::new());
        for (place, append) in appends.iter().enumerate() {
            match self.add(writer, &mut batch, append)? {
                Some(log) => grown.push((append, log)),
                None => refused.push(place),
            }
        }
        if !batch.is_empty() {
            self.commit(writer, batch, durability)?;
        }
        let mut logs = self.logs();
        for (append, log) in grown {
            logs.insert(&append.room_id, log);
        }
        if refused.is_empty() {
            return Ok(());
        }
        Err(StoreError::conflict("can't append: the log holds other events, or is another").only(refused))
    }

    /// Yields the log with the events, if they follow those it has.
    fn add(
        &self,
        writer: &mut Writer,
        batch: &mut OwnedWriteBatch,
        append: &Append,
    ) -> Result<Option<Log>, StoreError> {
        let Some(first) = append.events.first() else { return Ok(None) };
        let mut log = match self.log(&append.room_id)? {
            Some(log) if log.epoch == append.epoch && first.seq == log.last + 1 => log,
            None if first.seq == 1 => {
                let id = writer.number(&self.rows, batch);
                let epoch = append.epoch.clone();
                let log = Log { id, epoch, first: 1, keys: 1, last: 0, keyed: 0 };
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

    /// Drops a log's oldest events and keys, a chunk at a time, and gives up between two when nobody asks any more.
    pub(super) fn trim(&self, room_id: &str, trim: &Trim, asked: &Asked) -> Result<(), StoreError> {
        let Trim { epoch, first, keys_since } = trim;
        loop {
            let mut writer = self.writer();
            asked.still()?;
            let Some(mut log) = self.log(room_id)?.filter(|log| log.epoch == *epoch) else { break };
            let to = (*first).clamp(log.first, log.last);
            let next = to.min(log.first.saturating_add(CHUNK));
            let expired = self.expired_keys(&log, *keys_since)?;
            let keys = self.first_key(&log, &expired, *keys_since)?;
            if (next, keys) == (log.first, log.keys) {
                break;
            }
            log.keys = keys;
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
            // What a crash brings back is trimmed again.
            self.commit(&mut writer, batch, Durability::Memory)?;
            self.logs().insert(&room_id.into(), log);
        }
        self.sweep(asked)
    }

    /// Numbers of trimmed events whose keys are older than that, up to a chunk of them.
    fn expired_keys(&self, log: &Log, since: u64) -> Result<Vec<u64>, StoreError> {
        let mut found = Vec::new();
        for row in self.trimmed_keys(log).take(MANY) {
            let (place, row) = row.into_inner().map_err(unread)?;
            if rows::read_key(&place, &row)?.timestamp >= since {
                break;
            }
            found.push(rows::seq(&place)?);
        }
        Ok(found)
    }

    /// The number from which on keys are told of, once those expired ones are dropped.
    fn first_key(&self, log: &Log, expired: &[u64], since: u64) -> Result<u64, StoreError> {
        let trimmed = expired.last().map_or(log.keys, |newest| newest + 1);
        if expired.len() == MANY {
            // There may be more before those of events that are held.
            return Ok(trimmed);
        }
        let held = log.first.max(log.keys);
        let since = self.first_since(log, since, held, log.last + 1)?;
        Ok(if since > held { since } else { trimmed })
    }

    /// Forgets a log; its events go as time allows.
    pub(super) fn remove(
        &self,
        room_id: &str,
        durability: Durability,
        asked: &Asked,
    ) -> Result<(), StoreError> {
        let mut writer = self.writer();
        asked.still()?;
        let Some(log) = self.log(room_id)? else { return Ok(()) };
        let gone = Doomed { id: log.id, first: log.first, last: log.last };
        let mut batch = self.batch(2);
        batch.remove(&self.rows, rows::log(room_id));
        batch.insert(&self.rows, rows::doomed(gone.id), gone.encode());
        self.commit(&mut writer, batch, durability)?;
        self.logs().remove(room_id);
        writer.doomed.push(gone);
        drop(writer);
        self.sweep(asked)
    }

    /// Drops events and keys of removed logs. What is left over is for the next call.
    fn sweep(&self, asked: &Asked) -> Result<(), StoreError> {
        for _ in 0..SWEEP {
            let mut writer = self.writer();
            asked.still()?;
            let Some(gone) = writer.doomed.last().copied() else { break };
            let mut batch = self.batch(0);
            let next = gone.last.saturating_add(1).min(gone.first.saturating_add(CHUNK));
            (gone.first..next).for_each(|seq| batch.remove(&self.rows, rows::event(gone.id, seq)));
            let done = next > gone.last;
            if done {
                for row in self.rows.range(rows::key(gone.id, 0)..=rows::key(gone.id, u64::MAX)) {
                    batch.remove(&self.rows, row.key().map_err(unread)?);
                }
                batch.remove(&self.rows, rows::doomed(gone.id));
            }
            self.commit(&mut writer, batch, Durability::Memory)?;
            writer.doomed.pop();
            if !done {
                writer.doomed.push(Doomed { first: next, ..gone });
            }
        }
        Ok(())
    }

    pub(super) fn put(
        &self,
        records: Vec<(String, Option<Bytes>)>,
        durability: Durability,
        asked: &Asked,
    ) -> Result<(), StoreError> {
        let mut batch = self.batch(records.len());
        for (key, value) in records {
            match value {
                Some(value) => batch.insert(&self.rows, rows::record(&key), &*value),
                None => batch.remove(&self.rows, rows::record(&key)),
            }
        }
        let mut writer = self.writer();
        asked.still()?;
        self.commit(&mut writer, batch, durability)
    }
}
