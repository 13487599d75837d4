//! The error of a store's operations.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

/// The failure of an operation of a [`Store`](super::Store). Its text goes into the server's log, never to a client.
///
/// ```
/// use dialogue::store::StoreError;
///
/// let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
/// let error = StoreError::new("can't append").with_source(full).for_rooms([3]);
/// assert_eq!(error.to_string(), "can't append: no storage space");
/// ```
#[derive(Debug, Clone)]
pub struct StoreError {
    message: Cow<'static, str>,
    is_conflict: bool,
    /// The indices of the rooms of the call that failed; `None` for all of them.
    rooms: Option<Vec<usize>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// Returns an error for an operation that failed, perhaps only for now; `message` says what was attempted.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        StoreError { message: message.into(), is_conflict: false, rooms: None, source: None }
    }

    /// Returns an error for an append that doesn't continue the log: the log has another epoch, or holds these numbers
    /// already, since another process writes to it or an earlier append that failed was executed after all.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        StoreError { is_conflict: true, ..StoreError::new(message) }
    }

    /// Sets the cause, which the error's text repeats.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Limits the error to some rooms of the call to [`append`](super::Store::append), named by their indices in
    /// `appends`. Without it, the call failed for all of its rooms.
    #[must_use]
    pub fn for_rooms(mut self, indices: impl IntoIterator<Item = usize>) -> Self {
        self.rooms = Some(indices.into_iter().collect());
        self
    }

    /// Returns whether the error is a [`conflict`](Self::conflict).
    pub fn is_conflict(&self) -> bool {
        self.is_conflict
    }

    /// Returns whether the call failed for the room at this index.
    pub fn concerns(&self, index: usize) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(&index))
    }

    /// Returns whether the error isn't [limited to some rooms](Self::for_rooms).
    pub fn concerns_all(&self) -> bool {
        self.rooms.is_none()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_ref().map(|source| &**source as &(dyn Error + 'static))
    }
}
