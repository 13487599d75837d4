//! The status of a client's connection: the types that applications observe, and the board that combines the WebSocket
//! with the streams.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Error;

/// The state of a client's connection.
///
/// The state of the WebSocket, once one was opened. A client whose rooms all use event streams has the best state of
/// its streams.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// No connection is needed: none was requested yet, or the last room over an event stream ended.
    Idle,
    /// A connection attempt is in progress.
    Connecting,
    /// The WebSocket is connected as this user.
    Online(Identity),
    /// Event streams are open, and no WebSocket was requested.
    Streaming,
    /// The connection was lost; the client will retry after the backoff.
    Offline,
    /// The client has stopped with this error and will not reconnect.
    Stopped(Error),
}

impl Status {
    /// Returns true while there is a connection: [`Online`](Status::Online) or [`Streaming`](Status::Streaming).
    pub fn is_connected(&self) -> bool {
        matches!(self, Status::Online(_) | Status::Streaming)
    }
}

/// The stream of statuses that [`Client::statuses`](super::Client::statuses) returns.
#[derive(Debug, Clone)]
pub struct Statuses {
    pub(crate) watch: watch::Receiver<Status>,
}

impl Statuses {
    /// Returns the current status at the first call, then each change; intermediate statuses between two calls may be
    /// skipped. `None` after [`Status::Stopped`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a status that was not returned is returned, or superseded, by the next call.
    pub async fn next(&mut self) -> Option<Status> {
        self.watch.changed().await.ok()?;
        Some(self.watch.borrow_and_update().clone())
    }
}

/// The identity that the server assigned to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The id of this connection; every reconnect gets a new one.
    pub client_id: String,
    /// The user's id.
    pub user_id: String,
    /// The hash of the rooms and events that the server declares.
    pub schema: Option<String>,
}

/// Combines the status of the WebSocket and of the streams, and publishes each change.
#[derive(Debug)]
pub(crate) struct StatusBoard {
    parts: Mutex<Parts>,
    status: watch::Sender<Status>,
}

#[derive(Debug)]
struct Parts {
    socket: Status,
    connecting: usize,
    open: usize,
    waiting: usize,
}

/// The status of one stream, counted on the board until it is dropped.
#[derive(Debug)]
pub(crate) struct StreamStatus {
    board: Arc<StatusBoard>,
    at: StreamState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    Connecting,
    Open,
    /// Backoff before the next attempt.
    Waiting,
}

impl StatusBoard {
    pub(crate) fn new() -> Self {
        let parts = Parts { socket: Status::Idle, connecting: 0, open: 0, waiting: 0 };
        StatusBoard { parts: Mutex::new(parts), status: watch::Sender::new(Status::Idle) }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// Sets the status of the WebSocket.
    pub(crate) fn socket(&self, status: Status) {
        self.change(|parts| parts.socket = status);
    }

    /// Adds a stream, in the state `Connecting`.
    pub(crate) fn stream(self: &Arc<Self>) -> StreamStatus {
        self.change(|parts| parts.connecting += 1);
        StreamStatus { board: Arc::clone(self), at: StreamState::Connecting }
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        // A poisoned lock is safe to enter: the change is applied as a whole. Held while the status is published, so
        // that the last published status is the newest.
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut parts);
        let status = parts.status();
        self.status.send_if_modified(|shown| {
            let same = match (&*shown, &status) {
                (Status::Online(before), Status::Online(now)) => before == now,
                (before, now) => std::mem::discriminant(before) == std::mem::discriminant(now),
            };
            *shown = status;
            !same
        });
    }
}

impl Parts {
    fn status(&self) -> Status {
        match &self.socket {
            Status::Idle if self.open > 0 => Status::Streaming,
            Status::Idle if self.connecting > 0 => Status::Connecting,
            Status::Idle if self.waiting > 0 => Status::Offline,
            socket => socket.clone(),
        }
    }

    fn count(&mut self, state: StreamState) -> &mut usize {
        match state {
            StreamState::Connecting => &mut self.connecting,
            StreamState::Open => &mut self.open,
            StreamState::Waiting => &mut self.waiting,
        }
    }
}

impl StreamStatus {
    pub(crate) fn enter(&mut self, state: StreamState) {
        let before = std::mem::replace(&mut self.at, state);
        if before != state {
            self.board.change(|parts| {
                *parts.count(before) -= 1;
                *parts.count(state) += 1;
            });
        }
    }
}

impl Drop for StreamStatus {
    fn drop(&mut self) {
        self.board.change(|parts| *parts.count(self.at) -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_socket_has_the_state_of_its_best_stream() {
        let board = Arc::new(StatusBoard::new());
        let shown = board.watch();
        let (mut one, mut two) = (board.stream(), board.stream());
        assert!(matches!(*shown.borrow(), Status::Connecting));
        one.enter(StreamState::Open);
        two.enter(StreamState::Waiting);
        assert!(shown.borrow().is_connected());
        drop(one);
        assert!(matches!(*shown.borrow(), Status::Offline));
        two.enter(StreamState::Connecting);
        assert!(matches!(*shown.borrow(), Status::Connecting));
        drop(two);
        assert!(matches!(*shown.borrow(), Status::Idle));
    }

    #[test]
    fn the_socket_takes_precedence_and_only_changes_are_published() {
        let board = Arc::new(StatusBoard::new());
        let mut shown = board.watch();
        let mut stream = board.stream();
        stream.enter(StreamState::Open);
        board.socket(Status::Offline);
        assert!(matches!(*shown.borrow_and_update(), Status::Offline));
        stream.enter(StreamState::Waiting);
        drop(stream);
        assert!(!shown.has_changed().unwrap());
    }
}
