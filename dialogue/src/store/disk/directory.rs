//! The directory of a store: whose it is, and which format.
//!
//! ```text
//! lock      held by the process that has the store open, and its number
//! format    what the directory is
//! engine/   the engine's
//! ```

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::super::StoreError;

/// A directory that is ours alone, until this is dropped.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

const FORMAT: u32 = 1;
const HEADING: &str = "dialogue store, format ";
/// How long the process before is waited for: a restart may overlap with its end.
const PATIENCE: Duration = Duration::from_millis(500);

impl Directory {
    /// Locks a directory, which is made if it isn't there, and sees that it is ours.
    ///
    /// # Errors
    ///
    /// Another process has it, it holds something else, its format is newer, or it can't be written.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let failed = |source: io::Error| cannot_open(path, hint(&source)).source(source);
        fs::create_dir_all(path).map_err(failed)?;
        // Before anything is written there.
        let ours = recognise(path)?;
        let lock = lock(path)?;
        let directory = Directory { path: path.into(), _lock: lock };
        if !ours {
            directory.clear_half_made().map_err(failed)?;
        }
        Ok(directory)
    }

    /// The user's name for it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where the engine keeps what is its own.
    pub(super) fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Writes down what the directory is, if that isn't there yet: last, when all else is.
    pub(super) fn sign(&self) -> Result<(), StoreError> {
        let (format, fresh) = (self.path.join("format"), self.path.join("format.new"));
        if format.exists() {
            return Ok(());
        }
        let sign = || {
            let mut file = File::create(&fresh)?;
            writeln!(file, "{HEADING}{FORMAT}")?;
            file.sync_all()?;
            fs::rename(&fresh, &format)?;
            sync(&self.path)
        };
        sign().map_err(|source: io::Error| cannot_open(&self.path, hint(&source)).source(source))
    }

    /// Removes an engine's directory that was never finished: the process was killed while it made the store.
    fn clear_half_made(&self) -> io::Result<()> {
        let engine = self.engine();
        if engine.exists() && !engine.join("version").exists() {
            fs::remove_dir_all(engine)?;
        }
        Ok(())
    }
}

/// Yields whether a directory is a store; it isn't yet if there is nothing in it.
fn recognise(path: &Path) -> Result<bool, StoreError> {
    let failed = |source: io::Error| cannot_open(path, hint(&source)).source(source);
    match fs::read_to_string(path.join("format")) {
        Ok(text) => match text.strip_prefix(HEADING).and_then(|format| format.trim().parse::<u32>().ok()) {
            Some(FORMAT) => Ok(true),
            Some(newer) => {
                let why = format!(
                    "it is of format {newer}, and this version of dialogue reads format {FORMAT}: run the version that wrote it"
                );
                Err(cannot_open(path, &why))
            }
            None => Err(cannot_open(path, "its file `format` is not a store's: name another directory")),
        },
        Err(error) if error.kind() == ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                if !["lock", "format.new", "engine"].iter().any(|ours| name == *ours) {
                    let why = format!(
                        "it holds `{}`, and no store: name a directory that is empty, or not there yet",
                        name.display()
                    );
                    return Err(cannot_open(path, &why));
                }
            }
            Ok(false)
        }
        Err(error) => Err(failed(error)),
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let failed = |source: io::Error| cannot_open(path, hint(&source)).source(source);
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
    let mut file = options.open(path.join("lock")).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if began.elapsed() < PATIENCE => {
                thread::sleep(PATIENCE / 10);
            }
            Err(TryLockError::WouldBlock) => return Err(cannot_open(path, &holder(&mut file))),
        }
    }
    let number = std::process::id().to_string();
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(number.as_bytes()))
        .map_err(failed)?;
    Ok(file)
}

fn holder(lock: &mut File) -> String {
    let mut number = String::new();
    // Where a lock keeps others from reading too, nobody is named.
    let _ = lock.take(20).read_to_string(&mut number);
    let who = match number.trim() {
        "" => "another process".into(),
        own if *own == std::process::id().to_string() => "this very process".into(),
        other => format!("process {other}"),
    };
    format!("{who} has it open: stop that one, or give each server a directory of its own")
}

fn cannot_open(path: &Path, why: &str) -> StoreError {
    StoreError::new(format!("can't open the store in {}: {why}", path.display()))
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "the server's user must be able to write there"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "there is no space left",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "it is no directory",
        _ => "it can't be read or written",
    }
}

/// Makes a rename last.
fn sync(directory: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}
