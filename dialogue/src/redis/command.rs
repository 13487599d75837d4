//! A command, with the key by which it is routed.

use redis::Cmd;

use super::slot::slot;

/// A command, with the key that decides to which server it is sent.
pub(crate) struct KeyedCommand {
    pub(super) key: String,
    pub(crate) cmd: Cmd,
}

impl KeyedCommand {
    /// Returns a command that is sent to the server of `key`.
    pub(crate) fn new(key: String, cmd: Cmd) -> Self {
        KeyedCommand { key, cmd }
    }

    pub(super) fn slot(&self) -> u16 {
        slot(self.key.as_bytes())
    }
}
