//! A reserve of file descriptors for the time when the process has run out of others (`EMFILE`).

use socket2::{Domain, Socket, Type};

/// File descriptors that are kept in reserve.
///
/// A process without descriptors can't accept a connection, not even to refuse it or to answer a health check. It frees
/// one of these for each connection that it accepts then.
#[derive(Debug, Default)]
pub(super) struct Reserve(Vec<Socket>);

/// The number of connections that can be served at once while the process has no other descriptors.
const MAX_DESCRIPTORS: usize = 8;

impl Reserve {
    /// Fills the reserve. Returns `false` if the process has no descriptors left for it.
    pub(super) fn fill(&mut self) -> bool {
        while self.0.len() < MAX_DESCRIPTORS {
            // An unbound socket uses nothing but its descriptor.
            match Socket::new(Domain::IPV4, Type::DGRAM, None) {
                Ok(descriptor) => self.0.push(descriptor),
                Err(_) => return false,
            }
        }
        true
    }

    /// Frees a descriptor, and returns whether there was one.
    pub(super) fn lend(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
