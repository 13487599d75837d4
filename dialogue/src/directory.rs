//! Who is connected to this process.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use crate::{Code, Refusal, hub::ConnectionHandle};

/// The connections of each user.
#[derive(Debug)]
pub(crate) struct Directory {
    users: Mutex<HashMap<Arc<str>, Vec<Arc<ConnectionHandle>>>>,
    /// Connections that a user may have.
    most: usize,
    /// What was last found to wait for all connections, and when.
    waiting: Mutex<Option<(Instant, usize)>>,
}

/// For how long what waits for connections isn't asked again.
const FRESH: Duration = Duration::from_secs(1);

/// A connection's place in a [`Directory`], which is free again when this is dropped.
#[must_use = "the place is free again when this is dropped"]
pub(crate) struct Place<'a> {
    directory: &'a Directory,
    link: &'a ConnectionHandle,
}

impl Directory {
    pub(crate) fn new(most: usize) -> Self {
        Directory { users: Mutex::default(), most, waiting: Mutex::default() }
    }

    /// Takes a connection in, if its user has not too many.
    pub(crate) fn enter<'a>(&'a self, link: &'a Arc<ConnectionHandle>) -> Result<Place<'a>, Refusal> {
        let mut users = self.users.lock();
        let links = users.entry(Arc::clone(&link.user_id)).or_default();
        if links.len() >= self.most {
            let message = format!("a user has at most {} connections", self.most);
            return Err(Refusal::new(Code::TooMany, message));
        }
        links.push(Arc::clone(link));
        Ok(Place { directory: self, link })
    }

    pub(crate) fn exit(&self, link: &ConnectionHandle) {
        let mut users = self.users.lock();
        if let Some(links) = users.get_mut(&link.user_id) {
            links.retain(|other| other.id() != link.id());
            if links.is_empty() {
                users.remove(&link.user_id);
            }
        }
    }

    /// A user's connections.
    pub(crate) fn links(&self, user: &str) -> Vec<Arc<ConnectionHandle>> {
        self.users.lock().get(user).cloned().unwrap_or_default()
    }

    /// Whether a user has a connection in a room.
    pub(crate) fn is_in(&self, user: &str, room_id: &str) -> bool {
        self.users.lock().get(user).is_some_and(|links| links.iter().any(|link| link.room(room_id).is_some()))
    }

    /// How many bytes wait for them, all together: as of a second ago, since each of them has to be asked.
    pub(crate) fn waiting(&self) -> usize {
        let mut waiting = self.waiting.lock();
        if let Some((asked, bytes)) = *waiting
            && asked.elapsed() < FRESH
        {
            return bytes;
        }
        // Not under the users' lock, which newcomers need.
        let links: Vec<_> = self.users.lock().values().flatten().cloned().collect();
        let bytes = links.iter().map(|link| link.outbox.queued_bytes()).sum();
        *waiting = Some((Instant::now(), bytes));
        bytes
    }

    /// How many users are connected.
    pub(crate) fn len(&self) -> usize {
        self.users.lock().len()
    }
}

impl Place<'_> {
    /// The connection stays until it [exits](Directory::exit).
    pub(crate) fn keep(self) {
        // It holds nothing but borrows.
        std::mem::forget(self);
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.directory.exit(self.link);
    }
}
