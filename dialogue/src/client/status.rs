//! The connection status of a client, and its identity on the connection.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::Error;

/// The connection status of a client.
///
/// It is the status of the WebSocket, once a request has needed one. For a client whose rooms all come over event
/// streams it is the best status of the streams.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Status {
    /// No connection is needed: no request has needed one yet, or the last room over an event stream has ended.
    Idle,
    /// A connection is being made.
    Connecting,
    /// The WebSocket is connected, as this user.
    Online(Identity),
    /// Rooms come over event streams, and there is no WebSocket.
    Streaming,
    /// There is no connection; the next attempt is scheduled.
    Offline,
    /// There is no connection, and the client has given up.
    Stopped(Error),
}

impl Status {
    /// Returns whether there is a connection: [`Online`](Status::Online) or [`Streaming`](Status::Streaming).
    pub fn is_connected(&self) -> bool {
        matches!(self, Status::Online(_) | Status::Streaming)
    }
}

/// The stream of a client's status, from [`Client::statuses`](super::Client::statuses).
#[derive(Debug, Clone)]
pub struct Statuses {
    pub(crate) watch: watch::Receiver<Status>,
}

impl Statuses {
    /// Returns the current status at the first call, and then each status that differs from the last one returned. A
    /// status that is replaced between two calls may be skipped. Returns `None` after [`Status::Stopped`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Status> {
        self.watch.changed().await.ok()?;
        Some(self.watch.borrow_and_update().clone())
    }
}

/// The client's identity, as the server sent it in `connected`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Identity {
    /// The id of this connection. It changes with each connection.
    pub client_id: String,
    /// The id of the user.
    pub user_id: String,
    /// The hash of the rooms and events that the server declares.
    pub schema: Option<String>,
}

/// The parts of the status: the state of the socket, and those of the streams.
#[derive(Debug)]
pub(crate) struct Board {
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

/// The state of one stream; it counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Stage {
    board: Arc<Board>,
    at: StreamState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamState {
    Connecting,
    Open,
    /// For the next attempt.
    Waiting,
}

impl Board {
    pub(crate) fn new() -> Self {
        let parts = Parts { socket: Status::Idle, connecting: 0, open: 0, waiting: 0 };
        Board { parts: Mutex::new(parts), status: watch::Sender::new(Status::Idle) }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// The socket's state is now this.
    pub(crate) fn socket(&self, status: Status) {
        self.change(|parts| parts.socket = status);
    }

    /// A stream begins.
    pub(crate) fn stream(self: &Arc<Self>) -> Stage {
        self.change(|parts| parts.connecting += 1);
        Stage { board: Arc::clone(self), at: StreamState::Connecting }
    }

    fn change(&self, change: impl FnOnce(&mut Parts)) {
        // A panic while it is held leaves nothing half done. Held while the status is sent, so that the newest is the
        // last.
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

impl Stage {
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

impl Drop for Stage {
    fn drop(&mut self) {
        self.board.change(|parts| *parts.count(self.at) -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_without_a_socket_has_the_state_of_its_best_stream() {
        let board = Arc::new(Board::new());
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
    fn a_socket_decides_and_only_changes_are_told() {
        let board = Arc::new(Board::new());
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
