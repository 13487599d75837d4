//! The disk store of [Dialogue](https://docs.rs/dialogue): logs and records in a directory, over the embedded LSM-tree
//! engine [fjall](https://docs.rs/fjall). Applications depend on `dialogue` with the feature `disk`, which re-exports it.
//!
//! [`Disk`] implements [`Store`]. Each call runs on a blocking thread of the runtime, except small appends that need no
//! sync. After a failed write the engine is closed, its journal is repaired, and the next call opens it again.

mod directory;
mod engine;
mod journal;
mod log_cache;
mod read;
mod rows;
#[cfg(test)]
mod tests;
mod write;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use dialogue_core::store::{Append, Head, Page, Query, Store, StoreError, StoredKey, Trim};
use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::task;

use self::{directory::StoreDirectory, engine::DiskEngine};

/// A [`Store`] in a directory of this machine, with nothing to install and no other process to run.
///
/// One process at a time has the directory open; opening it in a second one fails. All clones share one store, which is
/// closed when the last clone, and all servers with one, are dropped.
///
/// After a failed write, as on a full disk, clients' requests are refused with `UNAVAILABLE`, and the store reopens
/// itself, at most once a second, until it works. This loses no acknowledged event, nor does killing the process; the
/// effect of a power failure depends on the [`Durability`].
///
/// Calls that may wait for the disk run on the runtime's blocking threads. Only an append of at most 64 events that is
/// not [`Synced`](Durability::Synced) runs on the calling thread, if nothing would delay it there.
///
/// It uses up to 80 MiB of memory: 32 MiB for events that aren't in a table yet, 32 MiB of block cache, and the
/// metadata of recently used rooms. If events arrive faster than tables are written, it is up to 180 MiB, and then
/// appends wait. On the disk, it takes some 100 MiB besides the data, for the journal and recently trimmed events, and
/// temporarily more while events arrive and are trimmed faster than tables are compacted.
///
/// ```
/// use dialogue::store::{Disk, Durability, Store};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> dialogue::Result<(), Box<dyn std::error::Error>> {
/// # let directory = std::env::temp_dir().join(format!("dialogue-doc-{}", std::process::id()));
/// # let directory = &directory;
/// let disk = Disk::open(directory)?.durability(Durability::Written);
/// disk.put(vec![("greeting/en".into(), Some("hello".into()))]).await?;
/// drop(disk);
///
/// let disk = Disk::open(directory)?;
/// assert_eq!(disk.get("greeting/en").await?.as_deref(), Some(&b"hello"[..]));
/// # drop(disk);
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Disk {
    shared: Arc<DiskShared>,
    durability: Durability,
}

/// The durability of an event at the time when it is acknowledged.
///
/// | | lost if | latency of a single event | with 1,000 writers, each |
/// |---|---|---|---|
/// | [`Memory`](Durability::Memory) | the process is killed | 3 µs of CPU | 3 µs |
/// | [`Written`](Durability::Written) | the machine fails | 5 µs, with a system call | 3 µs, sharing it |
/// | [`Synced`](Durability::Synced), the default | the disk fails | 0.2 ms to some ms, for the disk | 3 µs, sharing one wait for the disk |
///
/// Measured for 128 bytes, in the store alone (`cargo bench -p dialogue-tests --bench disk -- writers`).
///
/// An orderly exit of the process loses nothing at any level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// The event may be in this process' memory alone. It is lost if the process is killed.
    Memory,
    /// The event has been written to the operating system. It is lost if the machine fails.
    Written,
    /// The event has been synced to the disk (`fdatasync`). It is lost only if the disk fails, or doesn't honour the
    /// sync.
    #[default]
    Synced,
}

struct DiskShared {
    // Declared before the directory, so that the engine is closed before the lock is released.
    state: RwLock<DiskState>,
    directory: StoreDirectory,
}

enum DiskState {
    Open(DiskEngine),
    /// The last attempt to reopen the engine was at this time, and failed with this error.
    Closed(Instant, StoreError),
}

/// Tells a blocking call whether its caller still waits. A call whose future was dropped counts as failed, so that it
/// must not take effect any more.
struct Cancellation(Weak<()>);

/// The minimum time between two attempts to reopen the engine.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
/// The maximum number of events of an append on the calling thread. An event takes some 2 µs, waking another thread 30
/// µs.
const MAX_INLINE_EVENTS: usize = 64;

impl Disk {
    /// Opens the store in a directory, and creates the directory if it doesn't exist. Blocks for about a second,
    /// independently of the size of the store.
    ///
    /// # Errors
    ///
    /// Another process has the directory open, the directory holds other files or has the format of a newer version, it
    /// can't be written, or it is damaged. The error converts into a `dialogue::Error` by `?`.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let directory = StoreDirectory::open(directory.as_ref())?;
        let engine = DiskEngine::open(&directory.engine())?;
        directory.write_format()?;
        let shared = DiskShared { state: RwLock::new(DiskState::Open(engine)), directory };
        Ok(Disk { shared: Arc::new(shared), durability: Durability::default() })
    }

    /// Sets the durability of the writes of this clone and its clones; the default is [`Durability::Synced`].
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Appends on this thread and returns the outcome, or returns `None` if that could block: on the disk, on another
    /// writer, or on reading the log's metadata.
    fn append_inline(&self, appends: &[Append]) -> Option<Result<(), StoreError>> {
        let events: usize = appends.iter().map(|append| append.events.len()).sum();
        if self.durability == Durability::Synced || events > MAX_INLINE_EVENTS {
            return None;
        }
        let state = self.shared.state.try_read()?;
        let DiskState::Open(engine) = &*state else { return None };
        let mut writer = engine.try_writer()?;
        let may_block =
            engine.is_broken() || !engine.can_write_without_stall() || !engine.has_cached(appends);
        (!may_block).then(|| engine.append(&mut writer, appends, self.durability))
    }

    /// Runs an operation on a blocking thread, with the engine open.
    async fn run<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&DiskEngine, &Cancellation) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let waiting = Arc::new(());
        let (shared, cancellation) = (Arc::clone(&self.shared), Cancellation(Arc::downgrade(&waiting)));
        let done =
            task::spawn_blocking(move || shared.with_engine(|engine| operation(engine, &cancellation))).await;
        drop(waiting);
        done.unwrap_or_else(|error| {
            if error.is_panic() {
                self.shared.mark_broken();
            }
            Err(StoreError::new("the operation on the store panicked or was aborted").with_source(error))
        })
    }
}

impl DiskShared {
    fn with_engine<T>(
        &self,
        operation: impl FnOnce(&DiskEngine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let mut state = self.state.read();
        if !matches!(&*state, DiskState::Open(engine) if !engine.is_broken()) {
            drop(state);
            let mut closed = self.state.write();
            self.reopen(&mut closed);
            state = RwLockWriteGuard::downgrade(closed);
        }
        match &*state {
            DiskState::Open(engine) => operation(engine),
            DiskState::Closed(_, error) => Err(error.clone()),
        }
    }

    fn reopen(&self, state: &mut DiskState) {
        match state {
            DiskState::Open(engine) if !engine.is_broken() => return,
            DiskState::Closed(tried, _) if tried.elapsed() < REOPEN_INTERVAL => return,
            _ => {}
        }
        let name = self.directory.path().display();
        let was_open = matches!(state, DiskState::Open(_));
        // Drops the engine, which closes its files, before they are opened again.
        *state = DiskState::Closed(Instant::now(), StoreError::new("the store is being reopened"));
        let engine = self.directory.engine();
        match journal::rewrite(&engine).and_then(|()| DiskEngine::open(&engine)) {
            Ok(engine) => {
                *state = DiskState::Open(engine);
                tracing::info!("a write to the store in {name} had failed; it is open again");
            }
            Err(error) => {
                // Logged once per outage; the server logs the store's recovery.
                if was_open {
                    tracing::error!("the store in {name} can't be opened again yet: {error}");
                }
                *state = DiskState::Closed(Instant::now(), error);
            }
        }
    }

    fn mark_broken(&self) {
        if let DiskState::Open(engine) = &*self.state.read() {
            engine.mark_broken();
        }
    }
}

impl Cancellation {
    /// Returns an error if the caller has dropped its future.
    fn check(&self) -> Result<(), StoreError> {
        if self.0.strong_count() > 0 { Ok(()) } else { Err(StoreError::new("the call was cancelled")) }
    }
}

impl Store for Disk {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        if let Some(done) = self.append_inline(&appends) {
            return done;
        }
        let durability = self.durability;
        self.run(move |engine, cancellation| {
            let mut writer = engine.writer();
            cancellation.check()?;
            engine.append(&mut writer, &appends, durability)
        })
        .await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |engine, _| engine.head(&room_id)).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |engine, _| engine.read(&room_id, &query)).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |engine, _| engine.keys(&room_id, since)).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |engine, cancellation| engine.trim(&room_id, &trim, cancellation)).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        let (room_id, durability) = (room_id.to_owned(), self.durability);
        self.run(move |engine, cancellation| engine.remove(&room_id, durability, cancellation)).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let durability = self.durability;
        self.run(move |engine, cancellation| engine.put(records, durability, cancellation)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.run(move |engine, _| engine.get(&key)).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.run(move |engine, _| engine.scan(&prefix, after.as_deref(), limit)).await
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Disk")
            .field("directory", &self.shared.directory.path())
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}
