//! The connections of each user on this node.
//!
//! The session registers its connection here; the engine looks up the connections of a user, to send to them or to
//! remove them from a room.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Code, Refusal, collections::HashMap, live::ConnectionHandle};

/// The connections of each user, and the bound on their number.
#[derive(Debug)]
pub(crate) struct UserConnections {
    users: Mutex<HashMap<Arc<str>, Vec<Arc<ConnectionHandle>>>>,
    max_per_user: usize,
    /// The last measured number of queued bytes.
    queued_bytes: Mutex<Option<QueuedBytes>>,
}

#[derive(Debug, Clone, Copy)]
struct QueuedBytes {
    measured: Instant,
    bytes: usize,
}

/// The time for which the number of queued bytes is not measured again.
const QUEUED_BYTES_MAX_AGE: Duration = Duration::from_secs(1);

/// A connection in [`UserConnections`], which is removed when this is dropped.
#[must_use = "the connection is removed when this is dropped"]
pub(crate) struct RegisteredConnection<'a> {
    connections: &'a UserConnections,
    connection: &'a ConnectionHandle,
}

impl UserConnections {
    pub(crate) fn new(max_per_user: usize) -> Self {
        UserConnections { users: Mutex::default(), max_per_user, queued_bytes: Mutex::default() }
    }

    /// Adds a connection.
    ///
    /// # Errors
    ///
    /// `TOO_MANY` if the user has the maximum number of connections on this node.
    pub(crate) fn register<'a>(
        &'a self,
        connection: &'a Arc<ConnectionHandle>,
    ) -> Result<RegisteredConnection<'a>, Refusal> {
        let mut users = self.users.lock();
        let connections = users.entry(Arc::clone(&connection.user_id)).or_default();
        if connections.len() >= self.max_per_user {
            let message = format!("a user has at most {} connections", self.max_per_user);
            return Err(Refusal::new(Code::TooMany, message));
        }
        connections.push(Arc::clone(connection));
        Ok(RegisteredConnection { connections: self, connection })
    }

    pub(crate) fn unregister(&self, connection: &ConnectionHandle) {
        let mut users = self.users.lock();
        if let Some(connections) = users.get_mut(&connection.user_id) {
            connections.retain(|other| other.id() != connection.id());
            if connections.is_empty() {
                users.remove(&connection.user_id);
            }
        }
    }

    /// Returns a user's connections.
    pub(crate) fn connections_of(&self, user: &str) -> Vec<Arc<ConnectionHandle>> {
        self.users.lock().get(user).cloned().unwrap_or_default()
    }

    /// Returns whether a user has a connection in a room.
    pub(crate) fn is_in_room(&self, user: &str, room_id: &str) -> bool {
        let users = self.users.lock();
        users.get(user).is_some_and(|connections| {
            connections.iter().any(|connection| connection.room(room_id).is_some())
        })
    }

    /// Returns the number of bytes that are queued for all connections together. The number may be one second old,
    /// since measuring it visits every connection.
    pub(crate) fn queued_bytes(&self) -> usize {
        let mut last = self.queued_bytes.lock();
        if let Some(QueuedBytes { measured, bytes }) = *last
            && measured.elapsed() < QUEUED_BYTES_MAX_AGE
        {
            return bytes;
        }
        // The users' lock is released first: new connections wait for it.
        let connections: Vec<_> = self.users.lock().values().flatten().cloned().collect();
        let bytes = connections.iter().map(|connection| connection.outbox.queued_bytes()).sum();
        *last = Some(QueuedBytes { measured: Instant::now(), bytes });
        bytes
    }

    /// Returns the number of connected users.
    pub(crate) fn user_count(&self) -> usize {
        self.users.lock().len()
    }
}

impl RegisteredConnection<'_> {
    /// Keeps the connection until it is [unregistered](UserConnections::unregister).
    pub(crate) fn keep(self) {
        // Leaks nothing: the fields are borrows.
        std::mem::forget(self);
    }
}

impl Drop for RegisteredConnection<'_> {
    fn drop(&mut self) {
        self.connections.unregister(self.connection);
    }
}
