//! The errors of building and serving a server.

use std::io;

#[doc(inline)]
pub use dialogue_core::Error;

use crate::push::PushError;

/// The result of building and serving a [`Server`](super::Server).
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Returns the error of an address that can't be listened on.
pub(super) fn bind_error(address: &str, source: io::Error) -> Error {
    let text = match source.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "can't listen on {address}: the port is in use; stop the other program, or use another port"
            )
        }
        _ => format!("can't listen on {address}: {source}"),
    };
    Error::caused(text, source)
}

/// Returns the error of a listener that fails.
pub(super) fn serve_error(source: io::Error) -> Error {
    Error::caused(format!("can't serve: {source}"), source)
}

impl From<PushError> for Error {
    fn from(error: PushError) -> Self {
        Error::other(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_cause_and_the_remedy() {
        let taken = bind_error("127.0.0.1:3000", io::ErrorKind::AddrInUse.into());
        assert_eq!(
            format!("{taken:?}"),
            "can't listen on 127.0.0.1:3000: the port is in use; stop the other program, or use another port"
        );
    }
}
