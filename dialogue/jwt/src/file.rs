//! Keys from a JWK set in a file, which is read again when it changes.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{task::spawn_blocking, time::Instant};

use super::{
    error::KeyError,
    key_source::{CheckFuture, KeySource},
    keys::{Keys, MAX_SET_BYTES},
    token::UnverifiedToken,
};

/// A JWK set in a file.
pub(super) struct JwksFile {
    path: PathBuf,
    state: Mutex<FileState>,
}

struct FileState {
    /// The last content of the file, valid or not, so that a fault is logged once; `None` after it could not be read.
    text: Option<Vec<u8>>,
    keys: Arc<Keys>,
    last_check: Instant,
}

/// The minimum interval between two reads of the file.
pub(super) const FILE_CHECK_INTERVAL: Duration = Duration::from_secs(2);

impl JwksFile {
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::io(format!("can't read the keys in {}", path.display()), source);
        let text = read(path).map_err(failed)?;
        let keys = Arc::new(Keys::set(&text)?);
        let state = FileState { text: Some(text), keys, last_check: Instant::now() };
        Ok(JwksFile { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// Returns the keys. Reads the file if the last check is [`FILE_CHECK_INTERVAL`] ago; while one caller does, others
    /// get the previous keys.
    async fn keys(&self) -> Arc<Keys> {
        if let Some(keys) = self.fresh() {
            return keys;
        }
        let path = self.path.clone();
        // Compares the content rather than the modification time, which two changes can share.
        let text =
            spawn_blocking(move || read(&path)).await.unwrap_or_else(|error| Err(io::Error::other(error)));
        let mut state = self.state.lock();
        match text {
            Ok(text) if state.text.as_ref() != Some(&text) => {
                match Keys::set(&text) {
                    Ok(keys) => state.keys = Arc::new(keys),
                    Err(error) => {
                        tracing::warn!("the keys in {} stay as they were: {error}", self.path.display())
                    }
                }
                state.text = Some(text);
            }
            Ok(_) => {}
            Err(error) => {
                if state.text.take().is_some() {
                    tracing::warn!(
                        "can't read the keys in {}, which stay as they were: {error}",
                        self.path.display()
                    );
                }
            }
        }
        Arc::clone(&state.keys)
    }

    fn fresh(&self) -> Option<Arc<Keys>> {
        let mut state = self.state.lock();
        if state.last_check.elapsed() < FILE_CHECK_INTERVAL {
            return Some(Arc::clone(&state.keys));
        }
        state.last_check = Instant::now();
        None
    }
}

impl KeySource for JwksFile {
    fn check<'a>(&'a self, token: &'a UnverifiedToken<'_>) -> CheckFuture<'a> {
        Box::pin(async move { self.keys().await.check(token) })
    }

    fn show_place(&self, jwt: &mut fmt::DebugStruct<'_, '_>) {
        jwt.field("file", &self.path);
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = u64::try_from(MAX_SET_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() > MAX_SET_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}
