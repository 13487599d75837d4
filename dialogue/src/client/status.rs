//! Whether there is a connection, and who the client is on it.

use super::Error;

/// Whether a client is connected.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// Nothing has needed a connection yet.
    Idle,
    /// A connection is being made.
    Connecting,
    /// There is a connection, as this user.
    Online(Identity),
    /// There is none at the moment; the next attempt is due soon.
    Offline,
    /// There is none, and there will be none.
    Stopped(Error),
}

/// Who the server says that the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// Of this connection; another one has another.
    pub client_id: String,
    /// Of the user.
    pub user_id: String,
    /// The hash of the rooms and events that the server declares.
    pub schema: Option<String>,
}
