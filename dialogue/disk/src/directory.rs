//! The directory of a disk store: an advisory lock (`flock` on Unix) that keeps other processes out, and a file that
//! identifies the directory and its format. [`Disk::open`](super::Disk::open) opens it before the engine.
//!
//! ```text
//! lock      locked by the process that has the store open; holds its process id
//! format    "dialogue store, format 1"; written last, once the store is complete
//! engine/   the files of the storage engine
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use dialogue_core::store::StoreError;

/// A directory that this process has locked; the lock is released when this is dropped.
#[derive(Debug)]
pub(super) struct StoreDirectory {
    path: PathBuf,
    _lock: File,
}

const FORMAT: u32 = 1;
const FORMAT_PREFIX: &str = "dialogue store, format ";
/// The time that opening waits for the lock: during a restart, the old process may still hold it.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);

impl StoreDirectory {
    /// Creates the directory if it doesn't exist, checks that it is a store or empty, and locks it.
    ///
    /// # Errors
    ///
    /// Another process has the lock, the directory holds other files, its format is newer, or it can't be written.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: io::Error| cannot_open(path, io_hint(&source)).with_source(source);
        fs::create_dir_all(path).map_err(failed)?;
        // Checked first, so that nothing is written into a directory that is no store.
        let is_store = is_store(path)?;
        let lock = lock(path)?;
        let directory = StoreDirectory { path: path.into(), _lock: lock };
        if !is_store {
            directory.remove_unfinished().map_err(failed)?;
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Writes the file `format` if it doesn't exist yet. Called last, when the rest of the store is complete.
    pub(super) fn write_format(&self) -> Result<(), StoreError> {
        let (format, temporary) = (self.path.join("format"), self.path.join("format.new"));
        if format.exists() {
            return Ok(());
        }
        let write = || {
            let mut file = File::create(&temporary)?;
            writeln!(file, "{FORMAT_PREFIX}{FORMAT}")?;
            file.sync_all()?;
            fs::rename(&temporary, &format)?;
            sync_directory(&self.path)
        };
        write().map_err(|source: io::Error| cannot_open(&self.path, io_hint(&source)).with_source(source))
    }

    /// Removes the engine's directory if it is incomplete, since a process was killed while it created the store.
    fn remove_unfinished(&self) -> io::Result<()> {
        let engine = self.engine();
        if engine.exists() && !engine.join("version").exists() {
            fs::remove_dir_all(engine)?;
        }
        Ok(())
    }
}

/// Returns whether a directory is a store, or `false` if it can become one: it is empty, or its creation was
/// interrupted.
fn is_store(path: &Path) -> Result<bool, StoreError> {
    let failed = |source: io::Error| cannot_open(path, io_hint(&source)).with_source(source);
    match fs::read_to_string(path.join("format")) {
        Ok(text) => {
            match text.strip_prefix(FORMAT_PREFIX).and_then(|format| format.trim().parse::<u32>().ok()) {
                Some(FORMAT) => Ok(true),
                Some(newer) => {
                    let reason = format!(
                        "it is of format {newer}, and this version of dialogue reads format {FORMAT}: run the version that wrote it"
                    );
                    Err(cannot_open(path, &reason))
                }
                None => Err(cannot_open(path, "its file `format` is not a store's: name another directory")),
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                if !["lock", "format.new", "engine"].iter().any(|own| name == *own) {
                    let reason = format!(
                        "it holds `{}`, and no store: name a directory that is empty, or not there yet",
                        name.display()
                    );
                    return Err(cannot_open(path, &reason));
                }
            }
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |source: io::Error| cannot_open(path, io_hint(&source)).with_source(source);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(path.join("lock")).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_TIMEOUT => {
                thread::sleep(LOCK_TIMEOUT / 10);
            }
            Err(TryLockError::WouldBlock) => return Err(cannot_open(path, &lock_holder(&mut file))),
        }
    }
    let number = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(number.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

fn lock_holder(lock: &mut File) -> String {
    let mut number = String::new();
    // On platforms where the lock is mandatory, the file can't be read, and the text names no process.
    let _ = lock.take(20).read_to_string(&mut number);
    let process = match number.trim() {
        "" => "another process".into(),
        own if *own == std::process::id().to_string() => "this very process".into(),
        other => format!("process {other}"),
    };
    format!("{process} has it open: stop that process, or give each server a directory of its own")
}

fn cannot_open(path: &Path, reason: &str) -> StoreError {
    StoreError::new(format!("can't open the store in {}: {reason}", path.display()))
}

fn io_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the server's user must be able to write there"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "there is no space left",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "it is no directory",
        _ => "it can't be read or written",
    }
}

/// Syncs a directory, which makes a rename in it durable.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
