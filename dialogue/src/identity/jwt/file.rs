//! Keys from a file that may change.

use std::{
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
    keys::{Keys, LONGEST_SET},
};

/// A JWK set in a file.
pub(super) struct JwksFile {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    /// What the file held last, of use or not: a fault is warned of once.
    text: Option<Vec<u8>>,
    keys: Arc<Keys>,
    looked: Instant,
}

/// Between two looks at the file.
pub(super) const EVERY: Duration = Duration::from_secs(2);

impl JwksFile {
    pub(super) fn open(path: &Path) -> Result<Self, KeyError> {
        let failed = |source| KeyError::io(format!("can't read the keys in {}", path.display()), source);
        let text = read(path).map_err(failed)?;
        let keys = Arc::new(Keys::set(&text)?);
        let state = State { text: Some(text), keys, looked: Instant::now() };
        Ok(JwksFile { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// The keys, from a file that was looked at within [`EVERY`]; or those before, while another caller looks.
    pub(super) async fn keys(&self) -> Arc<Keys> {
        if let Some(keys) = self.fresh() {
            return keys;
        }
        let path = self.path.clone();
        // The whole text rather than its time of change, which two changes can share.
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

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn fresh(&self) -> Option<Arc<Keys>> {
        let mut state = self.state.lock();
        if state.looked.elapsed() < EVERY {
            return Some(Arc::clone(&state.keys));
        }
        state.looked = Instant::now();
        None
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = u64::try_from(LONGEST_SET).unwrap_or(u64::MAX);
    File::open(path)?.take(limit.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() > LONGEST_SET {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has more than 1 MiB"));
    }
    Ok(text)
}
