//! The inbox of a room instance, in which its commands wait.

use super::RoomCommand;

/// The queued commands of a room instance, and whether they run.
#[derive(Default)]
pub(in crate::live) struct Inbox {
    pub(in crate::live) commands: Vec<RoomCommand>,
    /// Bytes of the payloads in `commands`.
    pub(in crate::live) bytes: usize,
    /// Set while a driver runs, or the instance is being opened.
    pub(in crate::live) running: bool,
    /// Set once the inbox is closed: the instance was deleted, superseded or idle, or failed.
    pub(in crate::live) closed: bool,
}
