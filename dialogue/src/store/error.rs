//! Why a store couldn't.

use std::{borrow::Cow, error::Error, fmt, sync::Arc};

/// Why a store couldn't do what it was asked for. It goes into the server's log, never to a client.
///
/// ```
/// use dialogue::store::StoreError;
///
/// let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
/// let error = StoreError::new("can't append").source(full).only([3]);
/// assert_eq!(error.to_string(), "can't append: no storage space");
/// ```
#[derive(Debug, Clone)]
pub struct StoreError {
    message: Cow<'static, str>,
    conflict: bool,
    /// Of which of a call's rooms, if not of all.
    rooms: Option<Vec<usize>>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// It couldn't, at least not now; `message` says what was attempted.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        StoreError { message: message.into(), conflict: false, rooms: None, source: None }
    }

    /// The log holds events of these numbers already: somebody else writes to it, or an earlier append was done after all.
    pub fn conflict(message: impl Into<Cow<'static, str>>) -> Self {
        StoreError { conflict: true, ..StoreError::new(message) }
    }

    /// Because of that.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into().into());
        self
    }

    /// Only of these of the rooms that [`append`](super::Store::append) was given, by their places.
    #[must_use]
    pub fn only(mut self, rooms: impl IntoIterator<Item = usize>) -> Self {
        self.rooms = Some(rooms.into_iter().collect());
        self
    }

    /// Whether it is a [`conflict`](Self::conflict).
    pub fn is_conflict(&self) -> bool {
        self.conflict
    }

    /// Whether it is about the room at this place.
    pub fn is_of(&self, room: usize) -> bool {
        self.rooms.as_ref().is_none_or(|rooms| rooms.contains(&room))
    }

    /// Whether it is about all rooms of a call.
    pub fn is_of_all(&self) -> bool {
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
