//! Who is connected to this process.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{Code, Refusal, hub::Link};

/// The connections of each user.
#[derive(Debug)]
pub(crate) struct Directory {
    users: Mutex<HashMap<Arc<str>, Vec<Arc<Link>>>>,
    /// Connections that a user may have.
    most: usize,
}

impl Directory {
    pub(crate) fn new(most: usize) -> Self {
        Directory { users: Mutex::default(), most }
    }

    /// Takes a connection in, if its user has not too many.
    pub(crate) fn enter(&self, link: &Arc<Link>) -> Result<(), Refusal> {
        let mut users = self.users.lock();
        let links = users.entry(Arc::clone(&link.user_id)).or_default();
        if links.len() >= self.most {
            let message = format!("a user has at most {} connections", self.most);
            return Err(Refusal::new(Code::TooMany, message));
        }
        links.push(Arc::clone(link));
        Ok(())
    }

    pub(crate) fn exit(&self, link: &Link) {
        let mut users = self.users.lock();
        if let Some(links) = users.get_mut(&link.user_id) {
            links.retain(|other| other.id() != link.id());
            if links.is_empty() {
                users.remove(&link.user_id);
            }
        }
    }

    /// A user's connections.
    pub(crate) fn links(&self, user: &str) -> Vec<Arc<Link>> {
        self.users.lock().get(user).cloned().unwrap_or_default()
    }

    /// How many users are connected.
    pub(crate) fn len(&self) -> usize {
        self.users.lock().len()
    }
}
