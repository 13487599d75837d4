//! The engine, opened: what the store's calls do with it. All of this blocks.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use fjall::{
    AbstractTree, CompressionType, Database, Keyspace, KeyspaceCreateOptions, LsmError, OwnedWriteBatch,
    PersistMode,
    config::{BlockSizePolicy, CompressionPolicy},
};
use parking_lot::{Mutex, MutexGuard};

use super::{
    super::StoreError,
    Durability, journal,
    logs::Logs,
    rows::{self, Doomed, Log},
};

/// An engine that works, until one of its writes fails.
pub(super) struct Opened {
    database: Database,
    pub(super) rows: Keyspace,
    writer: Mutex<Writer>,
    logs: Mutex<Logs>,
    broken: AtomicBool,
}

/// What only one may do at a time: writing.
pub(super) struct Writer {
    /// The number of the next log that is made.
    next: u64,
    /// Numbers up to this one are written down as given.
    given: u64,
    pub(super) doomed: Vec<Doomed>,
}

/// Bytes of rows in memory before they go into a table. Up to four times as many are there while tables are written.
const MEMTABLE: u64 = 32 << 20;
/// Bytes of a table that are read, and packed, together.
const BLOCK: u32 = 8 << 10;
/// Bytes of tables' blocks in memory.
const CACHE: u64 = 32 << 20;
/// Tables whose files are kept open.
const FILES: usize = 256;
/// Numbers of logs that are written down as given at once.
const GIVEN: u64 = 1_000;
/// How long a write waits for the engine to have written tables, before it says that it can't.
const PATIENCE: Duration = Duration::from_secs(4);

impl Opened {
    /// Opens the engine in its directory, or makes it.
    pub(super) fn open(engine: &Path) -> Result<Self, StoreError> {
        if engine.exists() {
            journal::mend(engine)?;
        }
        let failed = |error| StoreError::new(format!("can't open {}", engine.display())).source(plain(error));
        let database = Database::builder(engine)
            // What is handed on, and when, is said with each write.
            .manual_journal_persist(true)
            .journal_compression(CompressionType::None)
            .cache_size(CACHE)
            .max_cached_files(Some(FILES))
            // Of several, one turns in circles while the others merge tables.
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let rows = database.keyspace("rows", options).map_err(failed)?;
        let next = match rows.get(rows::COUNTER).map_err(failed)? {
            Some(row) => u64::from_be_bytes(row.as_ref().try_into().map_err(rows::damaged)?),
            None => 1,
        };
        let mut doomed = Vec::new();
        for row in rows.prefix(rows::DOOMED) {
            let (key, row) = row.into_inner().map_err(failed)?;
            doomed.push(Doomed::decode(&key, &row)?);
        }
        Ok(Opened {
            database,
            rows,
            writer: Mutex::new(Writer { next, given: next, doomed }),
            logs: Mutex::default(),
            broken: AtomicBool::new(false),
        })
    }

    /// Whether a write failed, after which it isn't known what the journal holds.
    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn give_up(&self) {
        self.broken.store(true, Ordering::Release);
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock()
    }

    pub(super) fn try_writer(&self) -> Option<MutexGuard<'_, Writer>> {
        self.writer.try_lock()
    }

    /// Whether a write waits for nothing but the system: no table is being written, none is about to be, and none are
    /// merged. The engine's threads hold its locks over a write to the disk only then.
    pub(super) fn is_calm(&self) -> bool {
        self.database.write_buffer_size() < MEMTABLE && self.database.active_compactions() == 0
    }

    pub(super) fn batch(&self, rows: usize) -> OwnedWriteBatch {
        OwnedWriteBatch::with_capacity(self.database.clone(), rows)
    }

    /// Writes all of a batch or nothing, and returns when it is as safe as that.
    pub(super) fn commit(
        &self,
        _writer: &mut Writer,
        batch: OwnedWriteBatch,
        durability: Durability,
    ) -> Result<(), StoreError> {
        let mode = match durability {
            Durability::Memory => None,
            Durability::Written => Some(PersistMode::Buffer),
            Durability::Synced => Some(PersistMode::SyncData),
        };
        self.await_room()?;
        batch.durability(mode).commit().map_err(|error| {
            self.give_up();
            failed("can't write to the store")(error)
        })
    }

    /// The engine waits without a limit for tables to be written, and for ever when they can't be. So we do it.
    fn await_room(&self) -> Result<(), StoreError> {
        let mut began = None;
        while self.rows.sealed_memtable_count() >= 3 || self.rows.tree.l0_run_count() >= 20 {
            // It says whether its threads failed.
            if let Err(error) = self.database.persist(PersistMode::Buffer) {
                self.give_up();
                return Err(failed("can't write to the store")(error));
            }
            if began.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
                return Err(StoreError::new("the disk is slower than what comes: try again later"));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What is known of logs. Only who has the writer changes it.
    pub(super) fn logs(&self) -> MutexGuard<'_, Logs> {
        self.logs.lock()
    }

    /// The log of a room.
    pub(super) fn log(&self, room_id: &str) -> Result<Option<Log>, StoreError> {
        if let Some(log) = self.logs().find(room_id) {
            return Ok(Some(log.clone()));
        }
        let Some(row) = self.rows.get(rows::log(room_id)).map_err(unread)? else { return Ok(None) };
        let mut log = Log::decode(&row)?;
        let newest =
            self.rows.range(rows::event(log.id, log.first)..=rows::event(log.id, u64::MAX)).next_back();
        let Some(newest) = newest else {
            return Err(StoreError::new(format!("the log of room {room_id} has lost its events")));
        };
        let (newest, keyed) = rows::read_event(&newest.value().map_err(unread)?)?;
        log.last = newest.seq;
        log.keyed = if newest.key.is_some() { newest.seq } else { keyed };
        Ok(Some(log))
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .manual_journal_persist(true)
        .max_memtable_size(MEMTABLE)
        .data_block_size_policy(BlockSizePolicy::all(BLOCK))
        .data_block_compression_policy(CompressionPolicy::new([CompressionType::None, CompressionType::Lz4]))
        // What is looked up by its key is nearly always there.
        .expect_point_read_hits(true)
}

impl Writer {
    /// A number for a log, which no log had before.
    pub(super) fn number(&mut self, rows: &Keyspace, batch: &mut OwnedWriteBatch) -> u64 {
        if self.next >= self.given {
            self.given = self.next.saturating_add(GIVEN);
            batch.insert(rows, rows::COUNTER, self.given.to_be_bytes());
        }
        let number = self.next;
        self.next += 1;
        number
    }
}

/// A row couldn't be read.
pub(super) fn unread(error: fjall::Error) -> StoreError {
    failed("can't read the store")(error)
}

fn failed(attempted: &'static str) -> impl Fn(fjall::Error) -> StoreError {
    move |error| StoreError::new(attempted).source(plain(error))
}

/// The engine's error without its wrapping.
fn plain(error: fjall::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(LsmError::Io(error)) => error.into(),
        fjall::Error::Poisoned => "a write in the background failed".into(),
        other => other.into(),
    }
}
