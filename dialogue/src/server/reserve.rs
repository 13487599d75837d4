//! Descriptors that are kept for when there are no others.

use socket2::{Domain, Socket, Type};

/// See the [module](self).
///
/// A process that has used up its descriptors can't even accept a connection to say so, or to answer a health check. It
/// gives one of these up for each connection that it accepts then.
#[derive(Debug, Default)]
pub(super) struct Reserve(Vec<Socket>);

/// Connections that are served at once while there are no descriptors.
const SIZE: usize = 8;

impl Reserve {
    /// Takes what is missing. Returns whether nothing is: `false` where the process has no descriptors left.
    pub(super) fn fill(&mut self) -> bool {
        while self.0.len() < SIZE {
            // A socket that is bound to nothing costs nothing else.
            match Socket::new(Domain::IPV4, Type::DGRAM, None) {
                Ok(descriptor) => self.0.push(descriptor),
                Err(_) => return false,
            }
        }
        true
    }

    /// Gives one up, if there is one.
    pub(super) fn lend(&mut self) -> bool {
        self.0.pop().is_some()
    }
}
