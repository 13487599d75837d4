//! Whether there is a connection, and who the client is on it.

use tokio::sync::watch;

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

/// What [`Client::statuses`](super::Client::statuses) yields.
#[derive(Debug, Clone)]
pub struct Statuses {
    pub(crate) watch: watch::Receiver<Status>,
}

impl Statuses {
    /// The status at the first call, then each that differs from the last one yielded; those that come and go between
    /// two calls may be left out. `None` after [`Status::Stopped`].
    ///
    /// # Cancel safety
    ///
    /// Safe.
    pub async fn next(&mut self) -> Option<Status> {
        self.watch.changed().await.ok()?;
        Some(self.watch.borrow_and_update().clone())
    }
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
