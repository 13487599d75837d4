//! A store in a directory of this machine.

mod directory;
mod journal;
mod logs;
mod opened;
mod reading;
mod rows;
#[cfg(test)]
mod tests;
mod writing;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::{RwLock, RwLockWriteGuard};
use tokio::task;

use self::{directory::Directory, opened::Opened};
use super::{Append, Head, Page, Query, Store, StoreError, StoredKey, Trim};

/// A [`Store`] in a directory of this machine: nothing to install, nothing to run beside.
///
/// One process has the directory; a second one that opens it is refused. Clones are one store, which is closed when the
/// last of them, and all servers with one, are dropped.
///
/// When a write fails, as on a full disk, what clients ask for is answered `UNAVAILABLE`, and the store opens itself again
/// until it works. Nothing acknowledged is lost by that, nor by the process being killed; a power failure loses what
/// [`Durability`] says.
///
/// Calls that may wait for the disk do that on the runtime's threads for what blocks. Only a small append that is not to be
/// [`Synced`](Durability::Synced) is done where it is called, when nothing holds it up.
///
/// It takes up to 80 MiB of memory: 32 of events that aren't in a table yet, 32 of what was read, and what is known of the
/// rooms used last; 180 MiB when events come faster than tables are written, and then appends wait. The disk holds some
/// 100 MiB beside what is kept, the journal and what was trimmed of late; and for a while more, when events come and go
/// faster than tables are merged.
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
    shared: Arc<Shared>,
    durability: Durability,
}

/// How safe an event is when its `ok` is sent.
///
/// | | what loses it | what an event alone waits for | with 1,000 writers, each |
/// |---|---|---|---|
/// | [`Memory`](Durability::Memory) | the process is killed | 3 µs of CPU | 3 µs |
/// | [`Written`](Durability::Written) | the machine fails | 5 µs: a system call | 3 µs: they share it |
/// | [`Synced`](Durability::Synced), the default | the disk fails | the disk: 0.2 ms to some ms | 3 µs, and one wait that they share |
///
/// Measured for 128 bytes, in the store alone (`cargo bench -p dialogue-tests --bench disk -- writers`).
///
/// A process that ends in an orderly way loses nothing, whichever it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Durability {
    /// It may be in this process' memory: lost when the process is killed.
    Memory,
    /// The system has it: lost when the machine fails.
    Written,
    /// It is on the disk (`fdatasync`), as far as the disk tells the truth.
    #[default]
    Synced,
}

struct Shared {
    // Closed before the directory is given away.
    state: RwLock<State>,
    directory: Directory,
}

enum State {
    Open(Opened),
    /// It was tried then, for the last time, to open it again.
    Closed(Instant, StoreError),
}

/// Whether somebody still waits for a call's answer. If nobody does, it counts as failed, and must not be done any more.
struct Asked(Weak<()>);

/// Between two attempts to open a store again.
const RETRY: Duration = Duration::from_secs(1);
/// Events of an append that is done without leaving the thread: some 2 µs each, where another thread's waking takes 30.
const FEW: usize = 64;

impl Disk {
    /// Opens the store in a directory, which is made if it isn't there. It waits for the disk: about a second,
    /// however much the store holds.
    ///
    /// # Errors
    ///
    /// Another process has the directory open, it holds something else or is of a newer version's format, it can't be
    /// written, or it is damaged. It becomes a [`dialogue::Error`](crate::Error) by `?`.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, StoreError> {
        let directory = Directory::open(directory.as_ref())?;
        let opened = Opened::open(&directory.engine())?;
        directory.sign()?;
        let shared = Shared { state: RwLock::new(State::Open(opened)), directory };
        Ok(Disk { shared: Arc::new(shared), durability: Durability::default() })
    }

    /// How safe what this handle writes is when it is acknowledged: [`Durability::Synced`] unless said.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Appends on this thread, if that won't wait: neither for the disk, nor for anybody else, nor to read first.
    fn append_here(&self, appends: &[Append]) -> Option<Result<(), StoreError>> {
        let few = appends.iter().map(|append| append.events.len()).sum::<usize>() <= FEW;
        if self.durability == Durability::Synced || !few {
            return None;
        }
        let state = self.shared.state.try_read()?;
        let State::Open(opened) = &*state else { return None };
        let mut writer = opened.try_writer()?;
        let waits = opened.is_broken() || !opened.is_calm() || !opened.knows(appends);
        (!waits).then(|| opened.append(&mut writer, appends, self.durability))
    }

    /// Has a thread for what blocks do that, with the store open.
    async fn run<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Opened, &Asked) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let asking = Arc::new(());
        let (shared, asked) = (Arc::clone(&self.shared), Asked(Arc::downgrade(&asking)));
        let done = task::spawn_blocking(move || shared.with(|opened| act(opened, &asked))).await;
        drop(asking);
        done.unwrap_or_else(|ended| {
            if ended.is_panic() {
                self.shared.give_up();
            }
            Err(StoreError::new("the store was interrupted").source(ended))
        })
    }
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut state = self.state.read();
        if !matches!(&*state, State::Open(opened) if !opened.is_broken()) {
            drop(state);
            let mut closed = self.state.write();
            self.open_again(&mut closed);
            state = RwLockWriteGuard::downgrade(closed);
        }
        match &*state {
            State::Open(opened) => act(opened),
            State::Closed(_, error) => Err(error.clone()),
        }
    }

    fn open_again(&self, state: &mut State) {
        match state {
            State::Open(opened) if !opened.is_broken() => return,
            State::Closed(tried, _) if tried.elapsed() < RETRY => return,
            _ => {}
        }
        let name = self.directory.path().display();
        let was_open = matches!(state, State::Open(_));
        // The engine lets go of its files first.
        *state = State::Closed(Instant::now(), StoreError::new("the store is being opened again"));
        let engine = self.directory.engine();
        match journal::rewrite(&engine).and_then(|()| Opened::open(&engine)) {
            Ok(opened) => {
                *state = State::Open(opened);
                tracing::info!("a write to the store in {name} had failed; it is open again");
            }
            Err(error) => {
                // Said once; the server says when the store works again.
                if was_open {
                    tracing::error!("the store in {name} can't be opened again yet: {error}");
                }
                *state = State::Closed(Instant::now(), error);
            }
        }
    }

    fn give_up(&self) {
        if let State::Open(opened) = &*self.state.read() {
            opened.give_up();
        }
    }
}

impl Asked {
    /// # Errors
    ///
    /// Nobody waits any more.
    fn still(&self) -> Result<(), StoreError> {
        if self.0.strong_count() > 0 { Ok(()) } else { Err(StoreError::new("nobody waits for it any more")) }
    }
}

impl Store for Disk {
    async fn append(&self, appends: Vec<Append>) -> Result<(), StoreError> {
        if let Some(done) = self.append_here(&appends) {
            return done;
        }
        let durability = self.durability;
        self.run(move |opened, asked| {
            let mut writer = opened.writer();
            asked.still()?;
            opened.append(&mut writer, &appends, durability)
        })
        .await
    }

    async fn head(&self, room_id: &str) -> Result<Option<Head>, StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |opened, _| opened.head(&room_id)).await
    }

    async fn read(&self, room_id: &str, query: Query) -> Result<Page, StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |opened, _| opened.read(&room_id, &query)).await
    }

    async fn keys(&self, room_id: &str, since: u64) -> Result<Vec<StoredKey>, StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |opened, _| opened.keys(&room_id, since)).await
    }

    async fn trim(&self, room_id: &str, trim: Trim) -> Result<(), StoreError> {
        let room_id = room_id.to_owned();
        self.run(move |opened, asked| opened.trim(&room_id, &trim, asked)).await
    }

    async fn remove(&self, room_id: &str) -> Result<(), StoreError> {
        let (room_id, durability) = (room_id.to_owned(), self.durability);
        self.run(move |opened, asked| opened.remove(&room_id, durability, asked)).await
    }

    async fn put(&self, records: Vec<(String, Option<Bytes>)>) -> Result<(), StoreError> {
        let durability = self.durability;
        self.run(move |opened, asked| opened.put(records, durability, asked)).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, StoreError> {
        let key = key.to_owned();
        self.run(move |opened, _| opened.get(&key)).await
    }

    async fn scan(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Bytes)>, StoreError> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.run(move |opened, _| opened.scan(&prefix, after.as_deref(), limit)).await
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
