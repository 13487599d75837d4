//! Commands: calls of scripts among them, the key by which each is routed, their replies and their failures.

mod error;
pub(crate) mod reply;
mod script;
mod slot;

use redis::Cmd;

pub(crate) use error::CommandError;
pub(crate) use script::Script;
pub(crate) use slot::{SLOTS, slot};

/// A command, with the key that decides to which server it is sent.
pub(crate) struct KeyedCommand {
    pub(crate) key: String,
    pub(crate) cmd: Cmd,
}

impl KeyedCommand {
    /// Returns a command that is sent to the server of `key`.
    pub(crate) fn new(key: String, cmd: Cmd) -> Self {
        KeyedCommand { key, cmd }
    }

    pub(crate) fn slot(&self) -> u16 {
        slot(self.key.as_bytes())
    }
}
