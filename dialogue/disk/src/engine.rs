//! The open storage engine: one fjall database with one keyspace (an LSM tree) that holds all rows.
//! [`Disk`](super::Disk) calls it on blocking threads; `read` and `write` add the operations of the store.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use dialogue_core::store::StoreError;
use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, LsmError, OwnedWriteBatch,
    PersistMode,
    config::{BlockSizePolicy, CompressionPolicy},
};
use parking_lot::{Mutex, MutexGuard};

use super::{
    Durability, journal,
    log_cache::LogCache,
    rows::{self, LogMeta, RemovedLog},
};

/// The open engine. After a failed write it is broken, and must be closed and opened again.
pub(super) struct DiskEngine {
    database: Database,
    pub(super) rows: Keyspace,
    writer: Mutex<WriterState>,
    log_cache: Mutex<LogCache>,
    broken: AtomicBool,
}

/// The state that needs the exclusive right to write: the holder of its lock is the only writer.
pub(super) struct WriterState {
    /// The number of the next log that is made.
    next: u64,
    /// The end of the ids that are reserved on the disk.
    reserved: u64,
    pub(super) removed: Vec<RemovedLog>,
}

/// The size of rows in memory at which they are written into a table. Up to four times as much is in memory while
/// tables are being written.
const MEMTABLE_BYTES: u64 = 32 << 20;
/// The size of a table's block, the unit of reads and of compression.
const BLOCK_BYTES: u32 = 8 << 10;
/// The size of the block cache.
const BLOCK_CACHE_BYTES: u64 = 32 << 20;
/// The maximum number of tables whose files are kept open.
const MAX_OPEN_TABLES: usize = 256;
/// The number of log ids that one write reserves.
const LOG_IDS_PER_RESERVATION: u64 = 1_000;
/// The time that a write waits while the engine is behind with its tables, before it fails.
const WRITE_TIMEOUT: Duration = Duration::from_secs(4);

impl DiskEngine {
    /// Opens or creates the engine in its directory.
    pub(super) fn open(engine: &Path) -> Result<Self, StoreError> {
        if engine.exists() {
            journal::repair(engine)?;
        }
        let failed = |error| {
            StoreError::new(format!("can't open {}", engine.display())).with_source(unwrap_error(error))
        };
        let database = Database::builder(engine)
            // Each write sets its own durability.
            .manual_journal_persist(true)
            .journal_compression(CompressionType::None)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_cached_files(Some(MAX_OPEN_TABLES))
            // With more than one, a worker busy-waits while the others compact tables.
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let rows = database.keyspace("rows", options).map_err(failed)?;
        let next = match rows.get(rows::COUNTER).map_err(failed)? {
            Some(row) => u64::from_be_bytes(row.as_ref().try_into().map_err(rows::damaged)?),
            None => 1,
        };
        let mut removed = Vec::new();
        for row in rows.prefix(rows::REMOVED) {
            let (key, row) = row.into_inner().map_err(failed)?;
            removed.push(RemovedLog::decode(&key, &row)?);
        }
        Ok(DiskEngine {
            database,
            rows,
            writer: Mutex::new(WriterState { next, reserved: next, removed }),
            log_cache: Mutex::default(),
            broken: AtomicBool::new(false),
        })
    }

    /// Returns whether a write has failed, after which the contents of the journal are unknown.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn mark_broken(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, WriterState> {
        self.writer.lock()
    }

    pub(super) fn try_writer(&self) -> Option<MutexGuard<'_, WriterState>> {
        self.writer.try_lock()
    }

    /// Returns whether a write that isn't synced can't stall: the memtable isn't full, and no table is being written or
    /// compacted. Otherwise the engine's threads may hold its locks during a write to the disk.
    pub(super) fn can_write_without_stall(&self) -> bool {
        self.database.write_buffer_size() < MEMTABLE_BYTES && self.database.active_compactions() == 0
    }

    pub(super) fn batch(&self, rows: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.database.clone(), rows)
    }

    /// Writes a batch atomically, and returns once it is as durable as `durability` says.
    pub(super) fn commit(
        &self,
        _writer: &mut WriterState,
        batch: OwnedWriteBatch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mode = match durability {
            Durability::Memory => None,
            Durability::Written => Some(PersistMode::Buffer),
            Durability::Synced => Some(PersistMode::SyncData),
        };
        self.await_write_capacity()?;
        batch.durability(mode).commit().map_err(|error| {
            self.mark_broken();
            failed("can't write to the store")(error)
        })
    }

    /// Waits, for at most [`WRITE_TIMEOUT`], until the engine has capacity for a write. The engine's own write stall
    /// has no timeout, and never ends if its tables can't be written.
    fn await_write_capacity(&self) -> Result<(), StoreError> {
        let mut began = None;
        while self.rows.sealed_memtable_count() >= 3 || self.rows.tree.l0_run_count() >= 20 {
            // Returns the error of the engine's threads, if one has failed.
            if let Err(error) = self.database.persist(PersistMode::Buffer) {
                self.mark_broken();
                return Err(failed("can't write to the store")(error));
            }
            if began.get_or_insert_with(Instant::now).elapsed() > WRITE_TIMEOUT {
                return Err(StoreError::new("the disk is slower than the rate of events: try again later"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Returns the cache of logs' metadata. Only the holder of the writer may change it.
    pub(super) fn log_cache(&self) -> MutexGuard<'_, LogCache> {
        self.log_cache.lock()
    }

    /// Returns the metadata of a room's log, from the cache or the engine.
    pub(super) fn log(&self, room_id: &str) -> Result<Option<LogMeta>, StoreError> {
        if let Some(log) = self.log_cache().find(room_id) {
            return Ok(Some(log.clone()));
        }
        let Some(row) = self.rows.get(rows::log(room_id)).map_err(read_failed)? else { return Ok(None) };
        let mut log = LogMeta::decode(&row)?;
        let newest =
            self.rows.range(rows::event(log.id, log.first)..=rows::event(log.id, u64::MAX)).next_back();
        let Some(newest) = newest else {
            return Err(StoreError::new(format!("the log of room {room_id} has lost its events")));
        };
        let (newest, keyed) = rows::read_event(&newest.value().map_err(read_failed)?)?;
        log.last = newest.seq;
        log.last_keyed = if newest.key.is_some() { newest.seq } else { keyed };
        Ok(Some(log))
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(MEMTABLE_BYTES)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        .data_block_compression_policy(CompressionPolicy::new([CompressionType::None, CompressionType::Lz4]))
        // Keys that are looked up nearly always exist: no bloom filter on the last level.
        .expect_point_read_hits(true)
}

impl WriterState {
    /// Returns an id that no log had before, and adds the reservation of more ids to the batch if needed.
    pub(super) fn new_log_id(&mut self, rows: &Keyspace, batch: &mut OwnedWriteBatch) -> u64 {
        if self.next >= self.reserved {
            self.reserved = self.next.saturating_add(LOG_IDS_PER_RESERVATION);
            batch.insert(rows, rows::COUNTER, self.reserved.to_be_bytes());
        }
        let number = self.next;
        self.next += 1;
        number
    }
}

pub(super) fn read_failed(error: fjall::Error) -> StoreError {
    failed("can't read the store")(error)
}

fn failed(attempted: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |error| StoreError::new(attempted).with_source(unwrap_error(error))
}

/// Returns the I/O error inside an error of the engine, or the error itself.
fn unwrap_error(error: fjall::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => error.into(),
        fjall::Error::Poisoned => "a write in the background failed".into(),
        other => other.into(),
    }
}
